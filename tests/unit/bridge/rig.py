"""What the tests hand in: a clock that stands, timers fired by hand, a publisher that remembers."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import nats
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from phloem.firmware_bridge.headers import Encoded, decode_headers
from phloem.firmware_bridge.publisher import Respond

WAIT_S = 10  # a bound for what takes milliseconds; reached only by a failing test


async def until(holds: Callable[[], bool]) -> None:
    """Turns of the loop until something holds that nobody tells of."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0)


class StandingClock:
    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return 1_800_000_000_000_000_000 + self.now_ns


class ManualTimer:
    def __init__(self, delay_ns: int, callback: Callable[[], None]) -> None:
        self.delay_ns, self.callback, self.cancelled = delay_ns, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class ManualTimers:
    """A ``CallLater`` whose timers fire when the test says so, moving the clock if one is given."""

    def __init__(self, clock: StandingClock | None = None) -> None:
        self.delays_ns: list[int] = []
        self._clock = clock
        self._made: asyncio.Queue[ManualTimer] = asyncio.Queue()
        self._next: ManualTimer | None = None

    def __call__(self, delay_ns: int, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(delay_ns, callback)
        self.delays_ns.append(delay_ns)
        self._made.put_nowait(timer)
        return timer

    def forget(self) -> None:
        """Timers that nobody will fire."""
        self.delays_ns.clear()
        while not self._made.empty():
            self._made.get_nowait()

    async def waiting(self) -> ManualTimer:
        """Wait until somebody waits for a timer: whatever came before it has been done."""
        await asyncio.sleep(
            0
        )  # from Python 3.12 on nobody else has a turn in ``wait_for`` if a timer is there
        while self._next is None or self._next.cancelled:
            self._next = await asyncio.wait_for(self._made.get(), WAIT_S)
        return self._next

    async def fire(self, after_ns: int | None = None) -> ManualTimer:
        """Fire the next timer that nobody cancelled, waiting for it; ``after_ns`` replaces its delay."""
        timer, self._next = await self.waiting(), None
        if self._clock is not None:
            self._clock.now_ns += timer.delay_ns if after_ns is None else after_ns
        timer.callback()
        return timer


class Published(NamedTuple):
    subject: str
    payload: bytes
    headers: Mapping[str, str]

    @property
    def seq(self) -> int:
        return int(self.headers["Phloem-Seq"])


class MemoryPublisher:
    """What a port says of itself, on ``SUBJECT.$port``, is in ``events`` and ``states``."""

    payload_max = 1 << 20

    def __init__(self) -> None:
        self._published: asyncio.Queue[Published] = asyncio.Queue()
        self.callbacks: dict[str, Callable[[bytes], None]] = {}
        self.requests: dict[str, Callable[[bytes, Respond], None]] = {}
        self.events: list[Published] = []
        self.states: list[Published] = []
        self._happened: asyncio.Queue[str] = asyncio.Queue()

    async def happened(self, kind: str) -> None:
        """Wait for an event."""
        while await asyncio.wait_for(self._happened.get(), WAIT_S) != kind:
            pass

    @property
    def kinds(self) -> list[str]:
        """Of the events so far."""
        return [event.subject.rpartition(".")[2] for event in self.events]

    def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        message = Published(subject, payload, headers)
        if "$port" not in subject.split("."):
            self._published.put_nowait(message)
        elif subject.endswith(".state"):
            self.states.append(message)
        else:
            self.events.append(message)
            self._happened.put_nowait(self.kinds[-1])

    def publish_all(self, messages: Sequence[Encoded]) -> None:
        for subject, block, payload in messages:
            self.publish(subject.decode(), payload, decode_headers(block))

    def serve(self, subject: str, callback: Callable[[bytes, Respond], None]) -> Callable[[], None]:
        self.requests[subject] = callback
        return lambda: self.requests.pop(subject, None) and None

    def ask(self, subject: str, request: bytes) -> tuple[bytes, Mapping[str, str]]:
        answers: list[tuple[bytes, Mapping[str, str]]] = []
        self.requests[subject](request, lambda payload, headers: answers.append((payload, headers)))
        (answer,) = answers
        return answer

    def subscribe(self, subject: str, callback: Callable[[bytes], None]) -> Callable[[], None]:
        self.callbacks[subject] = callback
        return lambda: self.callbacks.pop(subject, None) and None

    async def next(self) -> Published:
        return await asyncio.wait_for(self._published.get(), WAIT_S)

    @property
    def quiet(self) -> bool:
        return self._published.empty()


class Heard:
    """What a subscriber of a real server got."""

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self.client, self._subscription = client, subscription

    async def next(self) -> Published:
        message = await self._subscription.next_msg(WAIT_S)
        return Published(message.subject, message.data, message.headers or {})


@asynccontextmanager
async def listen(url: str, subject: str) -> AsyncIterator[Heard]:
    """A client with a subscription that the server knows of."""
    async with await nats.connect(url, allow_reconnect=False) as client:
        subscription = await client.subscribe(subject)
        await client.flush()
        yield Heard(client, subscription)


class Bytes:
    """Collects what a simulated device receives; ``read`` waits for an exact amount."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()

    def __call__(self, data: bytes) -> None:
        self._pieces.put_nowait(data)

    async def read(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            got += await asyncio.wait_for(self._pieces.get(), WAIT_S)
        return got


def open_files() -> set[str]:
    """Serial devices, pseudo-terminals, pipes and sockets that this process has open."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{entry} {os.readlink(f'/proc/self/fd/{entry}')}")
        except FileNotFoundError:  # the descriptor that read the folder
            continue
    return found


class NatsServer:
    """The real nats-server on loopback. ``start`` a second time takes the same port again."""

    def __init__(self) -> None:
        self.port = -1
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self, *flags: str) -> None:
        self._process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "nats-server"),
            *("-a", "127.0.0.1", "-p", str(self.port), *flags),
            stderr=asyncio.subprocess.PIPE,
        )
        assert self._process.stderr is not None
        while line := await asyncio.wait_for(self._process.stderr.readline(), WAIT_S):
            if found := re.search(rb"Listening for client connections on 127.0.0.1:(\d+)", line):
                self.port = int(found[1])
            if b"Server is ready" in line:
                return
        raise AssertionError("nats-server ended")

    async def stop(self) -> None:
        """Kill it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            await self._process.communicate()
            self._process = None
