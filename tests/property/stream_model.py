"""One stream and its consumers in lists and dicts: what must be stored, and what each consumer must hand out.

It is the reference for the compiled engine, so it is written to be read. Rules it follows: jetstream.md 2.5 to 2.7 for
what is kept, 4.4 to 4.10 for what is handed out, and nats-server where they say nothing. Time is a number that
``advance`` moves; everything due on the way happens in its order.

What it says is exact for messages, their numbers and the words that end a pull request. What the servers are free to
choose is left open: see ``Numbers`` for what an info is compared by.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.property.model import matches

SECOND = 1_000_000_000
LATE = 50_000_000  # the expiry timer of phloem; nats-server's is later still
WINDOW = 120 * SECOND  # of message ids


def collide(one: str, other: str) -> bool:
    """Whether there is a subject that both match."""
    for a, b in zip(one.split("."), other.split("."), strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return one.count(".") == other.count(".")


@dataclass(frozen=True)
class Delivered:
    """A message as a receiver gets it. ``left`` is how many the consumer has left to hand out for the first time."""

    seq: int
    consumer_seq: int
    deliveries: int
    left: int
    subject: str
    payload: bytes


Output = Delivered | str  # a string is a status
NOTHING = "404 No Messages"
PENDING = "408 Requests Pending"
DELETED = "409 Consumer Deleted"


def timeout(left: int) -> str:
    """The end of a request of which so many messages are left."""
    return f"408 Request Timeout {left}"


@dataclass(frozen=True)
class StreamSettings:
    storage: str = "memory"
    retention: str = "limits"
    max_msgs: int = -1
    max_msgs_per_subject: int = -1
    discard: str = "old"
    max_age_s: int = 0


@dataclass(frozen=True)
class ConsumerSettings:
    ack: str = "explicit"
    filters: tuple[str, ...] = ()
    push: bool = False
    ack_wait_s: int = 30
    backoff_s: tuple[int, ...] = ()
    max_deliver: int = -1
    max_ack_pending: int = 1000
    deliver: str = "all"

    @property
    def waits_s(self) -> tuple[int, ...]:
        """How long it waits after each delivery; the last one repeats."""
        fits = self.max_deliver < 0 or len(self.backoff_s) < self.max_deliver
        return self.backoff_s if self.backoff_s and fits and self.ack != "none" else (self.ack_wait_s,)


@dataclass
class Stored:
    subject: str
    payload: bytes
    ts: int
    dies: int  # 0: never by itself


@dataclass
class Out:
    """A message that was handed out and is not acknowledged."""

    deliveries: int
    due: int | None  # None: it waits to be handed out again


@dataclass
class Pull:
    where: str
    batch: int
    no_wait: bool
    expires: int  # 0: never
    delivered: int = 0


@dataclass(frozen=True)
class Numbers:
    """What an info must say of a consumer."""

    delivered: int
    pending: int
    ack_pending: int
    waiting: int
    redelivered: int


@dataclass
class Consumer:
    """``where`` of a push consumer is its deliver subject. ``gave_up``: handed out as often as allowed."""

    name: str
    settings: ConsumerSettings
    next_seq: int
    emit: Callable[[str, Output], None]
    delivered: int = 0
    out: dict[int, Out] = field(default_factory=dict)
    again: list[int] = field(default_factory=list)
    gave_up: set[int] = field(default_factory=set)
    pulls: list[Pull] = field(default_factory=list)
    paused_until: int = 0
    listening: bool = False

    def wants(self, subject: str) -> bool:
        return not self.settings.filters or any(matches(f, subject) for f in self.settings.filters)

    def needs(self, seq: int, subject: str) -> bool:
        """Whether the message has to be kept for it, where retention is by interest."""
        return self.wants(subject) and (seq >= self.next_seq or seq in self.out or seq in self.gave_up)

    def wait_of(self, deliveries: int) -> int:
        waits = self.settings.waits_s
        return waits[min(deliveries, len(waits)) - 1] * SECOND

    def forget(self, seq: int) -> None:
        self.out.pop(seq, None)
        self.gave_up.discard(seq)
        if seq in self.again:
            self.again.remove(seq)


class Model:
    """``outputs`` holds what each receiver (a pull's reply subject, a push consumer's subject) has still to get."""

    def __init__(self, settings: StreamSettings, now: int) -> None:
        self.settings = settings
        self.now = now
        self.kept: dict[int, Stored] = {}
        self.last_seq = 0
        self.consumers: dict[str, Consumer] = {}
        self.ids: dict[str, tuple[int, int]] = {}
        self.outputs: dict[str, list[Output]] = {}

    def _emit(self, where: str, output: Output) -> None:
        self.outputs.setdefault(where, []).append(output)

    # --- the stream

    @property
    def first_seq(self) -> int:
        return min(self.kept, default=self.last_seq + 1)

    def publish(self, subject: str, payload: bytes, ident: str, ttl_s: int) -> tuple[str, int]:
        """What the acknowledgement says: ``stored``, ``duplicate`` or ``refused``, and the sequence."""
        known = self.ids.get(ident)
        s = self.settings
        window = s.max_age_s * SECOND or WINDOW
        if ident and known and known[1] >= self.now - window:
            return "duplicate", known[0]
        if s.retention == "interest" and not any(c.wants(subject) for c in self.consumers.values()):
            self.last_seq += 1
            if ident:
                self.ids[ident] = (self.last_seq, self.now)
            return "stored", self.last_seq
        same = [seq for seq, m in sorted(self.kept.items()) if m.subject == subject]
        full = 0 <= s.max_msgs <= len(self.kept)
        if s.discard == "new" and full and not 0 < s.max_msgs_per_subject <= len(same):
            return "refused", 0
        self.last_seq += 1
        ages = [self.now + seconds * SECOND for seconds in (s.max_age_s, ttl_s) if seconds]
        self.kept[self.last_seq] = Stored(subject, payload, self.now, min(ages, default=0))
        if ident:
            self.ids[ident] = (self.last_seq, self.now)
        if 0 < s.max_msgs_per_subject <= len(same):
            self._remove(same[0])
        while 0 <= s.max_msgs < len(self.kept):
            self._remove(self.first_seq)
        seq = self.last_seq
        self.work()
        return "stored", seq

    def _remove(self, seq: int) -> None:
        del self.kept[seq]
        for consumer in self.consumers.values():
            consumer.forget(seq)

    def delete(self, seq: int) -> bool:
        if seq not in self.kept:
            return False
        self._remove(seq)
        self.work()
        return True

    def purge(self, subject: str, below: int, keep: int) -> int:
        found = [
            seq
            for seq, m in sorted(self.kept.items())
            if (not subject or matches(subject, m.subject)) and (not below or seq < below)
        ]
        gone = found[: max(len(found) - keep, 0)]
        for seq in gone:
            self._remove(seq)
        if not subject and not keep and below > self.last_seq:
            self.last_seq = below - 1
            for consumer in self.consumers.values():
                consumer.next_seq = max(consumer.next_seq, below)
        self.work()
        return len(gone)

    def _acked(self, seq: int) -> None:
        """A consumer is done with it."""
        message = self.kept.get(seq)
        if self.settings.retention != "limits" and message and not self._needed(seq, message):
            self._remove(seq)

    def _needed(self, seq: int, message: Stored) -> bool:
        return any(c.needs(seq, message.subject) for c in self.consumers.values())

    # --- consumers

    def may_create(self, name: str, settings: ConsumerSettings) -> bool:
        """A work queue's messages are for one consumer each."""
        if self.settings.retention != "workqueue":
            return True
        if settings.ack != "explicit" or settings.deliver != "all":
            return False
        mine = settings.filters or (">",)
        theirs = [f for c in self.consumers.values() if c.name != name for f in c.settings.filters or (">",)]
        return not any(collide(a, b) for a in mine for b in theirs)

    def create(self, name: str, settings: ConsumerSettings) -> None:
        start = self.last_seq + 1 if settings.deliver == "new" else self.first_seq
        consumer = self.consumers[name] = Consumer(name, settings, start, self._emit)
        if settings.deliver == "last":
            wanted = [seq for seq, m in self.kept.items() if consumer.wants(m.subject)]
            consumer.next_seq = max(wanted, default=self.last_seq + 1)
        self.work()

    def remove_consumer(self, name: str) -> None:
        consumer = self.consumers.pop(name)
        for pull in consumer.pulls:
            self._emit(pull.where, DELETED)
        if self.settings.retention == "interest":
            for seq, message in list(self.kept.items()):
                if not self._needed(seq, message):
                    self._remove(seq)
        self.work()

    def pull(self, name: str, pull: Pull) -> None:
        """A request; one that does not wait may be answered at once."""
        consumer = self.consumers[name]
        if pull.no_wait:
            there = self.pending(consumer) + len(consumer.again)
            if there == 0 and not pull.expires:
                self._emit(pull.where, NOTHING)
                return
            if 0 < there < sum(one.batch for one in consumer.pulls):
                self._emit(pull.where, PENDING)
                return
        consumer.pulls.append(pull)
        self.work()

    def listen(self, name: str, on: bool) -> None:
        self.consumers[name].listening = on
        self.work()

    def pause(self, name: str, until: int) -> None:
        self.consumers[name].paused_until = until if until > self.now else 0
        self.work()

    def ack(self, name: str, seq: int) -> None:
        consumer = self.consumers[name]
        policy = consumer.settings.ack
        if policy == "none":
            return
        done = [one for one in consumer.out if one <= seq] if policy == "all" else [seq]
        for one in done:
            consumer.forget(one)
        for one in done:
            self._acked(one)
        self.work()

    def nak(self, name: str, seq: int, delay_s: int) -> None:
        consumer = self.consumers[name]
        out = consumer.out.get(seq)
        if out is None:
            return
        if delay_s:
            out.due = self.now + delay_s * SECOND
            if seq in consumer.again:
                consumer.again.remove(seq)
        elif out.due is not None:
            out.due = None
            consumer.again.append(seq)
        self.work()

    def progress(self, name: str, seq: int) -> None:
        consumer = self.consumers[name]
        out = consumer.out.get(seq)
        if out is not None and out.due is not None:
            out.due = self.now + consumer.wait_of(out.deliveries)

    # --- handing out

    def new(self, consumer: Consumer) -> Iterator[int]:
        """What it has still to hand out for the first time."""
        return (
            seq
            for seq in sorted(self.kept)
            if seq >= consumer.next_seq and consumer.wants(self.kept[seq].subject)
        )

    def pending(self, consumer: Consumer) -> int:
        return sum(1 for _ in self.new(consumer))

    def work(self) -> None:
        """Everyone hands out what can be handed out now."""
        for consumer in list(self.consumers.values()):
            while self._one(consumer):
                pass

    def _one(self, consumer: Consumer) -> bool:
        settings = consumer.settings
        if settings.push and not consumer.listening:
            return False
        if not settings.push and not consumer.pulls:
            return False
        if consumer.paused_until:
            self._in_vain(consumer)
            return False
        while consumer.again:
            seq = consumer.again.pop(0)
            out = consumer.out[seq]
            if 0 < settings.max_deliver <= out.deliveries:
                self._give_up(consumer, seq)
                continue
            out.deliveries += 1
            out.due = self.now + consumer.wait_of(out.deliveries)
            self._hand_out(consumer, seq, out.deliveries)
            return True
        if settings.ack != "none" and len(consumer.out) >= settings.max_ack_pending > 0:
            return False
        seq = next(self.new(consumer), 0)
        if not seq:
            self._in_vain(consumer)
            return False
        consumer.next_seq = seq + 1
        if settings.ack != "none":
            consumer.out[seq] = Out(1, self.now + consumer.wait_of(1))
        self._hand_out(consumer, seq, 1)
        if settings.ack == "none":
            self._acked(seq)
        return True

    @staticmethod
    def _give_up(consumer: Consumer, seq: int) -> None:
        consumer.forget(seq)
        consumer.gave_up.add(seq)

    def _hand_out(self, consumer: Consumer, seq: int, deliveries: int) -> None:
        message = self.kept[seq]
        consumer.delivered += 1
        left = self.pending(consumer)
        what = Delivered(seq, consumer.delivered, deliveries, left, message.subject, message.payload)
        if consumer.settings.push:
            self._emit(consumer.name, what)
            return
        pull = consumer.pulls.pop(0)
        self._emit(pull.where, what)
        pull.batch -= 1
        pull.delivered += 1
        if pull.batch:
            consumer.pulls.append(pull)

    def _in_vain(self, consumer: Consumer) -> None:
        """Nothing to hand out: requests that do not wait end."""
        for pull in list(consumer.pulls):
            if pull.no_wait and (not pull.expires or pull.delivered):
                self._emit(pull.where, NOTHING)
                consumer.pulls.remove(pull)

    def numbers(self, name: str) -> Numbers:
        consumer = self.consumers[name]
        return Numbers(
            consumer.delivered,
            self.pending(consumer),
            len(consumer.out),
            len(consumer.pulls),
            sum(out.deliveries > 1 for out in consumer.out.values()),
        )

    # --- time

    def _dues(self) -> Iterator[int]:
        yield from (m.dies + LATE for m in self.kept.values() if m.dies)
        for consumer in self.consumers.values():
            yield from (out.due for out in consumer.out.values() if out.due is not None)
            yield from (pull.expires for pull in consumer.pulls if pull.expires)
            if consumer.paused_until:
                yield consumer.paused_until

    def advance(self, seconds: int) -> None:
        end = self.now + seconds * SECOND
        while (due := min(self._dues(), default=end + 1)) <= end:
            self.now = max(self.now, due)
            self._expire()
            self.work()
        self.now = end

    def _expire(self) -> None:
        for seq in [seq for seq, m in self.kept.items() if m.dies and m.dies + LATE <= self.now]:
            self._remove(seq)
        for consumer in self.consumers.values():
            if 0 < consumer.paused_until <= self.now:
                consumer.paused_until = 0
            for seq in sorted(consumer.out):
                out = consumer.out[seq]
                if out.due is not None and out.due <= self.now:
                    if 0 < consumer.settings.max_deliver <= out.deliveries:
                        self._give_up(consumer, seq)
                    else:
                        out.due = None
                        consumer.again.append(seq)
            self._expire_pulls(consumer)

    def _expire_pulls(self, consumer: Consumer) -> None:
        rang = any(0 < pull.expires <= self.now for pull in consumer.pulls)
        for pull in list(consumer.pulls):
            if 0 < pull.expires <= self.now:
                self._emit(pull.where, timeout(pull.batch))
                consumer.pulls.remove(pull)
            elif rang and pull.no_wait and (not pull.expires or pull.delivered):
                self._emit(pull.where, NOTHING)
                consumer.pulls.remove(pull)

    def restart(self) -> None:
        """The server was stopped and started on the same folder: requests are gone, what is out has its whole wait; ids
        are those of messages that are still there."""
        self.ids = {ident: known for ident, known in self.ids.items() if known[0] in self.kept}
        for consumer in self.consumers.values():
            consumer.pulls.clear()
            consumer.listening = False
            consumer.again.clear()
            for out in consumer.out.values():
                out.due = self.now + consumer.wait_of(out.deliveries)
