"""``kill -9`` under load, again and again, and after each start the questions that a user would ask.

Rules. Every payload says which it is and has a checksum; what was acknowledged, and what was only asked, is kept in
the Ledger. Nothing acknowledged may be lost, nothing may be there that was not sent, a sequence that an acknowledgement
or a delivery has named keeps its message for ever, what was acknowledged with an answer is not delivered again. What
was asked without an answer may have happened or not.

The server is any command: nats-server's promises are the same for kill -9 with ``sync_interval: always``.
"""

import asyncio
import contextlib
import itertools
import random
import signal
import zlib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import APIError

from tests.support.server_process import ServerProcess

Start = Callable[[str, Path], ServerProcess]
CONFIG = 'jetstream {{ store_dir: "{folder}", sync_interval: always }}\n'
PUBLISHERS = 4
TIMEOUT_S = 10.0
LOST = (nats.errors.Error, APIError, ConnectionError, OSError, asyncio.TimeoutError)  # the server is gone


def message(number: int, rng: random.Random) -> bytes:
    filler = rng.randbytes(rng.choice((20, 100, 100, 1000, 5000)))
    head = b"%d " % number + filler
    return b"%08x %s" % (zlib.crc32(head), head)


def number_of(data: bytes) -> int:
    assert b"%08x" % zlib.crc32(data[9:]) == data[:8], "a payload is not what was sent"
    return int(data[9:].split(b" ", 1)[0])


@dataclass
class Stream:
    """What is known of one stream: numbers of messages, by the sequence that was named for them."""

    sent: set[int] = field(default_factory=set)
    acked: dict[int, int] = field(default_factory=dict)  # sequence: number
    asked_gone: set[int] = field(default_factory=set)  # sequences
    gone: set[int] = field(default_factory=set)
    last: int = 0

    def named(self, seq: int, number: int) -> None:
        assert number in self.sent, f"message {number} was never sent"
        known = self.acked.setdefault(seq, number)
        assert known == number, f"sequence {seq} was message {known} and is message {number} now"
        self.last = max(self.last, seq)


@dataclass
class Ledger:
    """What all workloads know; it outlives the server."""

    rng: random.Random
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    streams: dict[str, Stream] = field(
        default_factory=lambda: {n: Stream() for n in ("plain", "once", "work")}
    )
    doubtful: dict[int, bytes] = field(default_factory=dict)  # sent to "once" and not acknowledged
    seen: dict[int, tuple[int, bytes]] = field(
        default_factory=dict
    )  # number: sequence and data of some in "once"
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)  # key: revision and value acknowledged
    key_asked: dict[str, set[int]] = field(default_factory=dict)
    tried: set[int] = field(default_factory=set)  # work for which that was asked
    finished: dict[int, int] = field(
        default_factory=dict
    )  # work that was acknowledged with an answer, and when


class World(Protocol):
    """What is kept on a server, what works on it, and what it has promised. It outlives the server."""

    config: ClassVar[str]
    rng: random.Random
    acks: int

    def __init__(self, rng: random.Random) -> None: ...
    async def make(self, js: JetStreamContext) -> None: ...
    async def check(self, js: JetStreamContext) -> None:
        """The questions after a start; AssertionError: a promise was broken."""
        ...

    def work(self, life: "Life") -> list[Coroutine[None, None, None]]: ...


class Life:
    """One life of the server: workloads that go on until it is gone."""

    def __init__(self, js: JetStreamContext, world: World, stop_at: int, kill: Callable[[], None]) -> None:
        self.js, self.world, self.kill = js, world, kill
        self.stop_at = world.acks + stop_at
        self.over = False

    def counted(self) -> None:
        self.world.acks += 1
        if self.world.acks >= self.stop_at and not self.over:
            self.over = True
            self.kill()

    async def run(self, gone: asyncio.Event) -> None:
        """Until the connection is closed: everything that the server has said is heard, the rest is in doubt."""
        running = [asyncio.ensure_future(self._until_gone(w)) for w in self.world.work(self)]
        for task in running:
            task.add_done_callback(lambda t: gone.set() if not t.cancelled() and t.exception() else None)
        try:
            await asyncio.wait_for(gone.wait(), 60)
        finally:
            for task in running:
                task.cancel()
        for result in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result
        assert self.over, "the connection was lost before the server was killed"

    async def _until_gone(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except LOST:
            assert self.over, "a workload failed although the server was there"


class Load:
    """The workloads of ``Everything``."""

    def __init__(self, life: Life, ledger: Ledger) -> None:
        self.life, self.js, self.ledger, self.counted = life, life.js, ledger, life.counted

    @property
    def over(self) -> bool:
        return self.life.over

    async def publish(self, name: str) -> None:
        stream, ledger = self.ledger.streams[name], self.ledger
        while not self.over:
            number = next(ledger.numbers)
            data = message(number, ledger.rng)
            stream.sent.add(number)
            headers = None
            if name == "once":
                ledger.doubtful[number] = data
                headers = {"Nats-Msg-Id": str(number)}
            ack = await self.js.publish(f"{name}.{number % 7}", data, timeout=TIMEOUT_S, headers=headers)
            if name == "once":
                ledger.doubtful.pop(number, None)
                ledger.seen[number] = ack.seq, data
            stream.named(ack.seq, number)
            self.counted()

    async def put(self, which: int) -> None:
        bucket, ledger = await self.js.key_value("keys"), self.ledger
        while not self.over:
            key, number = f"k{which}.{ledger.rng.randrange(9)}", next(ledger.numbers)
            ledger.key_asked.setdefault(key, set()).add(number)
            revision = await bucket.put(key, message(number, ledger.rng))
            ledger.keys[key] = (revision, number)
            self.counted()

    async def remove(self) -> None:
        """Deletes single messages, and now and then everything below one."""
        stream, rng = self.ledger.streams["plain"], self.ledger.rng
        while not self.over:
            left = [seq for seq in stream.acked if seq not in stream.asked_gone]
            if len(left) < 10:
                await asyncio.sleep(0)
                await self.js.stream_info("plain")
                continue
            if rng.random() < 0.1:
                below = left[rng.randrange(len(left) // 2)]
                going = {seq for seq in range(1, below) if seq not in stream.gone}
                stream.asked_gone |= going
                await self.js.purge_stream("plain", seq=below)
            else:
                going = {rng.choice(left)}
                stream.asked_gone |= going
                await self.js.delete_msg("plain", next(iter(going)))
            stream.gone |= going
            self.counted()

    async def work(self) -> None:
        """Takes work, and says with a double ack that it is done; some of it is taken and left."""
        subscription = await self.js.pull_subscribe_bind("workers", "work")
        while not self.over:
            for came in await some(subscription, 5, 0.2):
                await self._one(came)

    async def _one(self, came: "Came") -> None:
        number = taken(came, self.ledger)
        if self.ledger.rng.random() < 0.8:
            self.ledger.tried.add(number)
            await came.msg.ack_sync(timeout=TIMEOUT_S)
            self.ledger.finished[number] = moment()
            self.counted()


MOMENTS = itertools.count()


def moment() -> int:
    """Later ones are greater."""
    return next(MOMENTS)


class Came(NamedTuple):
    """A delivery, and when it came. One that waits here for longer than ``ack_wait`` comes twice, and rightly so: only
    what came after its acknowledgement was answered has come again."""

    msg: Msg
    at: int


async def some(subscription: JetStreamContext.PullSubscription, count: int, timeout_s: float) -> list[Came]:
    """What there is within a moment; nats-py waits that long unless all of it comes."""
    try:
        found = await subscription.fetch(count, timeout=timeout_s)
    except TimeoutError:  # nats-py's own is one, and it lets asyncio's through
        return []
    at = moment()
    return [Came(msg, at) for msg in found]


def taken(came: Came, ledger: Ledger) -> int:
    """A delivery from the work queue: its number, checked."""
    number = number_of(came.msg.data)
    ledger.streams["work"].named(came.msg.metadata.sequence.stream, number)
    assert came.at < ledger.finished.get(number, came.at + 1), f"work {number} was done and came again"
    return number


async def make(js: JetStreamContext) -> None:
    await js.add_stream(StreamConfig(name="plain", subjects=["plain.*"]))
    await js.add_stream(StreamConfig(name="once", subjects=["once.*"], duplicate_window=3600))
    work = StreamConfig(name="work", subjects=["work.*"], retention=RetentionPolicy.WORK_QUEUE)
    await js.add_stream(work)
    await js.add_consumer("work", ConsumerConfig(durable_name="workers", ack_wait=1.0, max_ack_pending=5000))
    await js.create_key_value(bucket="keys", history=1)


# --- questions after a start -----------------------------------------------------------------------


async def contents(js: JetStreamContext, name: str) -> dict[int, int]:
    """Sequence to number of everything in a stream, read message by message as a consumer gets them."""
    info = await js.stream_info(name)
    found: dict[int, int] = {}
    if info.state.messages == 0:
        return found
    subscription = await js.subscribe(f"{name}.*", ordered_consumer=True)
    pending = 1
    while pending:
        msg = await subscription.next_msg(TIMEOUT_S)
        found[msg.metadata.sequence.stream] = number_of(msg.data)
        pending = msg.metadata.num_pending
    await subscription.unsubscribe()
    assert len(found) == info.state.messages, (
        f"{name} counts {info.state.messages} messages, {len(found)} came"
    )
    return found


async def check_stream(js: JetStreamContext, name: str, stream: Stream) -> None:
    found = await contents(js, name)
    info = await js.stream_info(name)
    assert info.state.last_seq >= stream.last, f"{name}: the last sequence was {stream.last}"
    lost = {seq for seq in stream.acked if seq not in found} - stream.asked_gone
    assert not lost, f"{name}: acknowledged and lost: {sorted(lost)[:10]}"
    assert not stream.gone & found.keys(), f"{name}: removed and there again"
    for seq, number in found.items():
        stream.named(seq, number)


async def check_once(js: JetStreamContext, ledger: Ledger) -> None:
    """What was not acknowledged is sent again with its id; each message is there once."""
    stream = ledger.streams["once"]
    for number, data in sorted(ledger.doubtful.items()):
        ack = await js.publish(f"once.{number % 7}", data, headers={"Nats-Msg-Id": str(number)})
        stream.named(ack.seq, number)
    ledger.doubtful.clear()
    for number in ledger.rng.sample(sorted(ledger.seen), min(50, len(ledger.seen))):
        seq, data = ledger.seen[number]
        ack = await js.publish(f"once.{number % 7}", data, headers={"Nats-Msg-Id": str(number)})
        assert (ack.seq, ack.duplicate) == (seq, True), f"message {number} was taken twice"
    numbers = list((await contents(js, "once")).values())
    assert len(numbers) == len(set(numbers)), "a message with an id was stored twice"


async def check_keys(js: JetStreamContext, ledger: Ledger) -> None:
    bucket = await js.key_value("keys")
    for key, (revision, number) in ledger.keys.items():
        entry = await bucket.get(key)
        assert entry.value is not None
        found = number_of(entry.value)
        if found != number:
            assert entry.revision is not None
            assert found in ledger.key_asked[key], f"{key}: {found} was never put"
            assert found > number, f"{key}: {found} is older than what was acknowledged, {number}"
            assert entry.revision > revision, f"{key}: its revision went back"
            ledger.keys[key] = (entry.revision, found)


async def check_work(js: JetStreamContext, ledger: Ledger) -> None:
    """All of it that was acknowledged and not done comes; what was done does not."""
    stream = ledger.streams["work"]
    open_work = set(stream.acked.values()) - ledger.tried
    subscription = await js.pull_subscribe_bind("workers", "work")
    tries = 0
    while open_work:
        tries += 1
        assert tries < 100, f"work that was acknowledged does not come: {sorted(open_work)[:10]}"
        for came in await some(subscription, 100, 0.3):
            number = taken(came, ledger)
            ledger.tried.add(number)
            await came.msg.ack_sync(timeout=TIMEOUT_S)
            ledger.finished[number] = moment()
            open_work.discard(number)
    await subscription.unsubscribe()


class Everything:
    """Streams, deletions, message ids, a key-value bucket and a work queue."""

    config: ClassVar[str] = CONFIG

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.acks = rng, 0
        self.ledger = Ledger(rng)

    async def make(self, js: JetStreamContext) -> None:
        await make(js)

    async def check(self, js: JetStreamContext) -> None:
        ledger = self.ledger
        await check_stream(js, "plain", ledger.streams["plain"])
        await check_stream(js, "once", ledger.streams["once"])
        await check_once(js, ledger)
        await check_keys(js, ledger)
        await check_work(js, ledger)

    def work(self, life: Life) -> list[Coroutine[None, None, None]]:
        load = Load(life, self.ledger)
        work = [load.publish(name) for name in ("plain", "once", "work") for _ in range(PUBLISHERS)]
        return work + [load.put(n) for n in range(2)] + [load.remove(), load.work(), load.work()]


# --- the loop --------------------------------------------------------------------------------------


async def connect(server: ServerProcess, gone: asyncio.Event) -> Client:
    async def silent(error: Exception) -> None:
        pass  # the server is killed: every workload notices by itself

    async def closed() -> None:
        gone.set()

    url = f"nats://127.0.0.1:{server.port()}"
    return await nats.connect(url, allow_reconnect=False, error_cb=silent, closed_cb=closed)


@contextmanager
def ended(server: ServerProcess) -> Iterator[ServerProcess]:
    try:
        yield server
    finally:
        server.stop()


async def life(server: ServerProcess, world: World, first: bool) -> None:
    """Asks everything, then works until the server is killed in the middle of it."""
    gone = asyncio.Event()
    client = await connect(server, gone)
    js = client.jetstream(timeout=TIMEOUT_S)
    if first:
        await world.make(js)
    else:
        await world.check(js)
    stop_at = world.rng.randrange(20, 400)
    await Life(js, world, stop_at, lambda: server.signal(signal.SIGKILL)).run(gone)
    server.wait()
    with contextlib.suppress(*LOST):
        await client.close()


async def last_questions(server: ServerProcess, world: World) -> None:
    client = await connect(server, asyncio.Event())
    await world.check(client.jetstream(timeout=TIMEOUT_S))
    await client.close()


W = TypeVar("W", bound=World)


def kill_again_and_again(start: Start, folder: Path, seed: int, kills: int, kind: type[W]) -> W:
    """``kills`` lives of one server on one folder; AssertionError names what was broken."""
    world = kind(random.Random(seed))
    config = world.config.format(folder=folder / "store")
    for number in range(kills):
        with ended(start(config, folder / f"life-{number}")) as server:
            asyncio.run(life(server, world, number == 0))
    with ended(start(config, folder / f"life-{kills}")) as server:
        asyncio.run(last_questions(server, world))
    return world
