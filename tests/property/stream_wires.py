"""How a walk over a stream reaches a server: phloem in memory with time that is handed in, or any server over TCP.

In memory everything has happened when ``receive`` returns; over TCP what a server does by itself takes its time, so
whoever compares has to ask again (``in_step`` False).
"""

import heapq
import itertools
import select
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests.property.kernel_driver import StillServer

from phloem.shared.server.jetstream.system import JetStream
from phloem.shared.testing import ManualClock

STORM = 100_000  # timers that go off without time passing: nothing waits for anything


class Wire(Protocol):
    """One connection to a server."""

    in_step: bool

    def send(self, data: bytes) -> None: ...
    def receive(self) -> bytes: ...
    def wall_ns(self) -> int: ...
    def advance(self, seconds: int) -> None:
        """Only in memory."""
        ...

    def restart(self) -> None:
        """Only in memory: the server stops and starts again, connections are gone."""
        ...


class Timer:
    """What ``call_later`` gives back."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class TimelessServer(StillServer):
    """Its timers go off when the wire says so."""

    def __init__(self, config: str, clock: ManualClock) -> None:
        self.timers: list[tuple[int, int, Timer]] = []
        self._numbers = itertools.count()
        super().__init__(config, clock)

    def call_later(self, seconds: float, work: Callable[[], None]) -> Any:
        timer = Timer(work)
        due = self.clock.monotonic_ns() + round(seconds * 1e9)
        heapq.heappush(self.timers, (due, next(self._numbers), timer))
        return timer

    def spawn(self, work: Any, name: str) -> Any:
        raise AssertionError("nothing here needs a loop")


class MemoryWire:
    """phloem without a socket. The folder is emptied first."""

    in_step = True

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self.clock = ManualClock(monotonic_ns=10**12)
        self._start()

    def _start(self) -> None:
        config = f'jetstream {{ store_dir: "{self._folder}" }}\n'
        self.server = TimelessServer(config, self.clock)
        options = self.server.options.jetstream
        assert options is not None
        self.js = JetStream(self.server, options)
        self.js.start()
        self.server.jetstream = self.js
        self._conn = self.server.clients.attach(-1, "memory", 1, "STANDARD").conn

    def stop(self) -> None:
        self.js.stop()
        self.server.kernel.close()

    def restart(self) -> None:
        self.stop()
        self._start()

    def send(self, data: bytes) -> None:
        self.server.kernel.set_now(self.clock.monotonic_ns())
        self.js.before_tick()
        self._conn.feed(data)
        self.js.after_tick()
        self._settle()

    def _settle(self) -> None:
        """Until nothing is left to do without time passing."""
        kernel, store = self.server.kernel, self.js.store
        while True:
            if not store.settled:
                store.wait()
            elif not select.select([kernel.fileno()], [], [], 0)[0]:
                return
            self.js.before_tick()
            kernel.tick(self.clock.monotonic_ns())
            self.js.after_tick()

    def receive(self) -> bytes:
        self._settle()
        return self._conn.output()

    def wall_ns(self) -> int:
        return self.clock.wall_ns()

    def advance(self, seconds: int) -> None:
        """Timer by timer."""
        end = self.clock.monotonic_ns() + seconds * 10**9
        for _ in range(STORM):
            due = self._next_due()
            if due > end:
                break
            self.clock.advance(max(due - self.clock.monotonic_ns(), 0))
            self._ring()
        else:
            raise AssertionError("timers go off again and again")
        self.clock.advance(end - self.clock.monotonic_ns())

    def _next_due(self) -> int:
        timers = self.server.timers
        while timers and timers[0][2].cancelled:
            heapq.heappop(timers)
        dues = [due for due in (self.server.kernel.due_ns, timers[0][0] if timers else 0) if due]
        return min(dues, default=1 << 62)

    def _ring(self) -> None:
        now = self.clock.monotonic_ns()
        timers = self.server.timers
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled:
                self.server.kernel.set_now(now)
                timer.work()
                self.server.kernel.settle()
        self.js.before_tick()
        self.server.kernel.sweep(now)
        self.js.after_tick()
        self._settle()


class TcpWire:
    """A connection to a server that runs; ``receive`` takes what is there, after a moment if nothing is."""

    in_step = False

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        if not select.select([self._socket], [], [], 0.05)[0]:
            return b""
        return self._socket.recv(1 << 20)

    def wall_ns(self) -> int:
        return 0

    def advance(self, seconds: int) -> None:
        raise NotImplementedError

    def restart(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._socket.close()
