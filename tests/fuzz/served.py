"""Carries out Steps on a whole server with JetStream, without a socket, and looks at what is left on the disk.

Steps: ``feed`` a connection's bytes, ``time`` in milliseconds passes, ``again``: the server ends and another one begins
on the same folder. Nothing but what the wire says may happen: an exception anywhere, a line that no peer could read, or
a finding in the store afterwards is a fault.
"""

import asyncio
import atexit
import functools
import logging
import shutil
import tempfile
from pathlib import Path

from phloem.shared.kernel import Connection
from phloem.shared.server.server import Server
from phloem.shared.store.check import check
from phloem.shared.testing.manual_clock import ManualClock
from tests.fuzz.folder import MEMORY
from tests.fuzz.frames import Nonsense, Received
from tests.fuzz.steps import Step, Steps

TURNS = 6  # of the loop behind each Step
ANSWERS_MAX = 64 << 20


class _Faults(logging.Handler):
    """Exceptions that somebody caught and logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(logging.Formatter().format(record))


FAULTS = (
    _Faults()
)  # and one loop for all inputs: what is made anew each time leaves a little behind in Python itself


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


class Served:
    """One server and two connections."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.server = self.make(folder, clock)
        self.conns: list[Connection] = []
        self.received: list[Received] = []
        self.bytes = 0

    def make(self, folder: Path, clock: ManualClock) -> Server:
        return Server(
            {"host": "127.0.0.1", "port": -1, "jetstream": {"store_dir": str(folder)}}, clock=clock, seed=7
        )

    async def start(self) -> None:
        await self.server.start()
        for _ in range(2):
            self.conns.append(self.server.clients.attach(-1, "127.0.0.1", 0, "STANDARD").conn)
            self.received.append(Received(False))

    def carry_out(self, step: Step) -> None:
        conn = self.conns[step.who % len(self.conns)]
        if step.verb == "time":
            self.clock.advance(step.number % 100_000 * 1_000_000)
            self.server.sweep()
        elif not conn.closed:
            conn.feed(step.data)

    async def step(self, step: Step) -> None:
        self.carry_out(step)
        for _ in range(TURNS):
            self.server._tick()
            await asyncio.sleep(0)
        assert self.server.jetstream is not None
        self.server.jetstream.store.wait()
        self.server._tick()
        self.look()

    def look(self) -> None:
        for conn, received in zip(self.conns, self.received, strict=True):
            data = conn.output()
            self.bytes += len(data)
            received.add(data)
        if self.bytes > ANSWERS_MAX:
            raise Nonsense(f"{self.bytes} bytes were sent")

    async def stop(self) -> dict[str, tuple[int, ...]]:
        """What the streams had that last."""
        assert self.server.jetstream is not None
        kept = {}
        for account in self.server.jetstream.accounts.values():
            for name, stream in account.streams.items():
                log = stream.log
                if not log.memory:
                    kept[name] = (log.messages, log.bytes, log.first_seq, log.last_seq, log.subjects_count)
        await self.server.stop()
        return kept


async def _run(steps: Steps, folder: Path, kind: type[Served]) -> None:
    clock = ManualClock()
    faults: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _, context: faults.append(repr(context.get("exception") or context["message"]))
    )
    served = kind(folder, clock)
    await served.start()
    for step in [*steps, Step("again")]:
        if step.verb == "again":
            kept = await served.stop()
            if findings := check(folder / "jetstream" / "phloem").findings:
                raise Nonsense(f"the store has findings: {[str(f) for f in findings[:3]]}")
            served = kind(folder, clock)
            await served.start()
            _compare(served, kept)
        else:
            await served.step(step)
        if faults:
            raise Nonsense(f"an exception: {faults[0]}")
    await served.stop()


def _compare(served: Served, kept: dict[str, tuple[int, ...]]) -> None:
    assert served.server.jetstream is not None
    for account in served.server.jetstream.accounts.values():
        for name, stream in account.streams.items():
            log = stream.log
            now = (log.messages, log.bytes, log.first_seq, log.last_seq, log.subjects_count)
            if name in kept and kept[name] != now:
                raise Nonsense(f"stream {name} had {kept[name]} and has {now}")


def run(steps: Steps) -> None:
    carry_out(steps, Served)


def carry_out(steps: Steps, kind: type[Served]) -> None:
    """On a server of that kind; raises Nonsense."""
    folder = Path(tempfile.mkdtemp(prefix="phloem-fuzz-", dir=MEMORY))
    log = logging.getLogger("phloem")
    FAULTS.found.clear()
    log.addHandler(FAULTS)
    try:
        _loop().run_until_complete(_run(steps, folder, kind))
    finally:
        log.removeHandler(FAULTS)
        shutil.rmtree(folder)
    if FAULTS.found:
        raise Nonsense(FAULTS.found[0])
