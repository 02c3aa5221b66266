"""More that has to survive ``kill -9``: push consumers, limits, interest of two, messages with a time to live, and
what the sync mode ``interval`` promises. The rules are those of ``kills.py``.

That a message which was acknowledged with an answer never comes again is more than nats-server promises: it writes down
what consumers have heard some time later. So ``Push`` and ``Interest`` are for phloem alone.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import ClassVar

import nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig

from tests.durability.kills import (
    CONFIG,
    PUBLISHERS,
    TIMEOUT_S,
    Came,
    Everything,
    Life,
    Stream,
    check_stream,
    contents,
    message,
    moment,
    number_of,
    some,
)

Work = list[Coroutine[None, None, None]]


class Published:
    """Publishing to one stream, and what is known of it."""

    config: ClassVar[str] = CONFIG
    name: ClassVar[str]

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.acks = rng, 0
        self.stream = Stream()
        self.numbers = itertools.count(1)

    async def publish(self, life: Life) -> None:
        while not life.over:
            await self.publish_one(life, None)

    async def publish_one(self, life: Life, headers: dict[str, str] | None) -> tuple[int, int]:
        """Number and sequence."""
        number = next(self.numbers)
        self.stream.sent.add(number)
        subject = f"{self.name}.{number % 7}"
        data = message(number, self.rng)
        ack = await life.js.publish(subject, data, timeout=TIMEOUT_S, headers=headers)
        self.stream.named(ack.seq, number)
        life.counted()
        return number, ack.seq


@dataclass
class Done:
    """What one consumer has had."""

    tried: set[int] = field(default_factory=set)  # asked to be taken for done
    finished: dict[int, int] = field(default_factory=dict)  # and answered, when

    def taken(self, came: Came, stream: Stream) -> int:
        number = number_of(came.msg.data)
        stream.named(came.msg.metadata.sequence.stream, number)
        assert came.at < self.finished.get(number, came.at + 1), f"message {number} was done and came again"
        return number

    async def finish(self, came: Came, number: int) -> None:
        self.tried.add(number)
        await came.msg.ack_sync(timeout=TIMEOUT_S)
        self.finished[number] = moment()


class Push(Published):
    """A durable push consumer: who listens gets all that is not done, and nothing that is."""

    name = "push"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.done = Done()

    async def make(self, js: JetStreamContext) -> None:
        await js.add_stream(StreamConfig(name="push", subjects=["push.*"]))
        settings = ConsumerConfig(durable_name="P", deliver_subject="to.P", ack_policy="explicit", ack_wait=1)
        await js.add_consumer("push", settings)

    def work(self, life: Life) -> Work:
        return [self.publish(life) for _ in range(PUBLISHERS)] + [self.listen(life)]

    async def listen(self, life: Life) -> None:
        _, deliveries = await self._listening(life.js)
        while not life.over:
            came = await asyncio.wait_for(deliveries.get(), TIMEOUT_S)
            number = self.done.taken(came, self.stream)
            if self.rng.random() < 0.8:
                await self.done.finish(came, number)
                life.counted()

    async def _listening(self, js: JetStreamContext) -> tuple[Subscription, asyncio.Queue[Came]]:
        """What is delivered, each with the moment at which it came."""
        deliveries: asyncio.Queue[Came] = asyncio.Queue()

        async def come(msg: Msg) -> None:
            deliveries.put_nowait(Came(msg, moment()))

        return await js._nc.subscribe("to.P", cb=come), deliveries

    async def check(self, js: JetStreamContext) -> None:
        await check_stream(js, "push", self.stream)
        waiting = set(self.stream.acked.values()) - self.done.tried
        subscription, deliveries = await self._listening(js)
        while waiting:
            came = await asyncio.wait_for(deliveries.get(), TIMEOUT_S)
            number = self.done.taken(came, self.stream)
            await self.done.finish(came, number)
            waiting.discard(number)
        await subscription.unsubscribe()


class Limits(Published):
    """The newest messages are there, all of them and no others."""

    name = "limits"
    most = 64

    async def make(self, js: JetStreamContext) -> None:
        settings = StreamConfig(
            name="limits", subjects=["limits.*"], max_msgs=self.most, discard=DiscardPolicy.OLD
        )
        await js.add_stream(settings)

    def work(self, life: Life) -> Work:
        return [self.publish(life) for _ in range(2 * PUBLISHERS)]

    async def check(self, js: JetStreamContext) -> None:
        found = await contents(js, "limits")
        state = (await js.stream_info("limits")).state
        assert state.last_seq >= self.stream.last, f"the last sequence was {self.stream.last}"
        first = max(state.last_seq - self.most, 0) + 1
        assert sorted(found) == list(range(first, state.last_seq + 1)), "not the newest messages"
        for seq, number in found.items():
            self.stream.named(seq, number)


class Interest(Published):
    """Two consumers: one works, the other dies now and then with messages in its hands. Each gets everything, and what
    both have done is gone."""

    name = "interest"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.done = {"steady": Done(), "dying": Done()}

    async def make(self, js: JetStreamContext) -> None:
        settings = StreamConfig(name="interest", subjects=["interest.*"], retention=RetentionPolicy.INTEREST)
        await js.add_stream(settings)
        for name in self.done:
            consumer = ConsumerConfig(durable_name=name, ack_wait=1, max_ack_pending=5000)
            await js.add_consumer("interest", consumer)

    def work(self, life: Life) -> Work:
        return [self.publish(life) for _ in range(PUBLISHERS)] + [
            self.consume(life, "steady", 1.0),
            self.consume(life, "dying", 0.6),
        ]

    async def consume(self, life: Life, name: str, diligence: float) -> None:
        """With less diligence it ends in the middle of a batch, and somebody else begins."""
        done = self.done[name]
        while not life.over:
            subscription = await life.js.pull_subscribe_bind(name, "interest")
            for came in await some(subscription, 20, 0.2):
                number = done.taken(came, self.stream)
                if self.rng.random() >= diligence:
                    break
                await done.finish(came, number)
                life.counted()
            await subscription.unsubscribe()

    async def check(self, js: JetStreamContext) -> None:
        for name, done in self.done.items():
            await self._drain(js, name, done)
        async with asyncio.timeout(TIMEOUT_S):
            while left := (await js.stream_info("interest")).state.messages:
                for name, done in self.done.items():  # what was sent and never acknowledged is there as well
                    await self._drain(js, name, done, once=True)
        assert left == 0

    async def _drain(self, js: JetStreamContext, name: str, done: Done, *, once: bool = False) -> None:
        waiting = set(self.stream.acked.values()) - done.tried
        tries = 0
        while waiting or once:
            once, tries = False, tries + 1
            assert tries < 100, f"{name} does not get {sorted(waiting)[:10]}"
            # one for each fetch: what comes too late for it is handed out again, and would be here twice
            subscription = await js.pull_subscribe_bind(name, "interest")
            for came in await some(subscription, 100, 0.3):
                number = done.taken(came, self.stream)
                await done.finish(came, number)
                waiting.discard(number)
            await subscription.unsubscribe()


class Lifetimes(Published):
    """Messages with a time to live are gone when it is over and not before; others stay."""

    name = "lives"
    ttls: ClassVar[dict[str, float]] = {"": 0, "1s": 1, "1h": 3600, "never": 0}

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.dies: dict[int, tuple[float, float]] = {}  # sequence: not before, and not after
        self.gone: set[int] = set()

    async def make(self, js: JetStreamContext) -> None:
        await js.add_stream(StreamConfig(name="lives", subjects=["lives.*"], allow_msg_ttl=True))

    def work(self, life: Life) -> Work:
        return [self._publish(life) for _ in range(PUBLISHERS)]

    async def _publish(self, life: Life) -> None:
        while not life.over:
            text = self.rng.choice(list(self.ttls))
            asked = time.time()
            _, seq = await self.publish_one(life, {"Nats-TTL": text} if text else None)
            if seconds := self.ttls[text]:
                self.dies[seq] = asked + seconds, time.time() + seconds

    async def check(self, js: JetStreamContext) -> None:
        before = time.time()
        found = await contents_now(js, "lives")
        for seq, number in found.items():
            self.stream.named(seq, number)
        lost = [seq for seq in self.stream.acked if seq not in found and self._lives(seq, before)]
        assert not lost, f"acknowledged and lost: {lost[:10]}"
        over = [seq for seq in self.dies if self.dies[seq][1] < before and seq not in self.gone]
        for seq in over:
            async with asyncio.timeout(TIMEOUT_S):
                while await is_there(js, "lives", seq):
                    pass
        self.gone.update(over)

    def _lives(self, seq: int, now: float) -> bool:
        """False also if it may be gone by now."""
        return seq not in self.dies or now < self.dies[seq][0] - 1


class Interval(Everything):
    """``sync_interval: 2s``: acknowledged is what the operating system has, and it outlives the process."""

    config: ClassVar[str] = 'jetstream {{ store_dir: "{folder}", sync_interval: 2s }}\n'


async def is_there(js: JetStreamContext, name: str, seq: int) -> bool:
    try:
        await js.get_msg(name, seq)
    except nats.js.errors.NotFoundError:
        return False
    return True


async def contents_now(js: JetStreamContext, name: str) -> dict[int, int]:
    """Sequence to number of what is there, message by message; some may go meanwhile."""
    state = (await js.stream_info(name)).state
    found: dict[int, int] = {}
    seq = state.first_seq
    while seq <= state.last_seq:
        try:
            msg = await js.get_msg(name, seq, next=True, subject=f"{name}.*")
        except nats.js.errors.NotFoundError:
            break
        assert msg.seq is not None
        assert msg.data is not None
        found[msg.seq] = number_of(msg.data)
        seq = msg.seq + 1
    return found


WORLDS = (Everything, Push, Limits, Interest, Lifetimes, Interval)
