"""Behind a snapshot and a restore: the stream that is read, the stream that comes to be (reference 5.4).

A stream that is restored has a log from the first message on, and no name: nobody can see it, publish to it or ask for
it before all of it is there. The store remembers the numbers of such logs, so that what a crash left half restored is
removed at the next start.
"""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from phloem.shared import limits
from phloem.shared.engine.archived import archived
from phloem.shared.jetstream.archive import (
    CONSUMER,
    STATE,
    ArchiveError,
    ConsumerDocument,
    ConsumerState,
    Entry,
    Outstanding,
    Pair,
    State,
)
from phloem.shared.jetstream.consumer_rules import ConsumerLimits, check_workqueue, last_as_long_as
from phloem.shared.jetstream.consumer_rules import checked as checked_consumer
from phloem.shared.jetstream.errors import error
from phloem.shared.jetstream.headers import Wishes, wishes_of
from phloem.shared.jetstream.stream_config import RESERVED, StreamConfig
from phloem.shared.jetstream.ttl import parse_ttl
from phloem.shared.server.jetstream.consumer import Consumer, ConsumerRecord
from phloem.shared.server.jetstream.stream import Stream, StreamRecord

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.snapshot import Timer

NAME_MAX = 255
SUBJECT_MAX = limits.MAX_CONTROL_LINE_CEILING
# White space, an empty token, a wildcard.
NO_SUBJECT = re.compile(rb"[ \t\r\n\f\0]|\A\Z|(?:\A|\.)(?:\.|\Z)|(?:\A|\.)[*>](?:\.|\Z)")


class AccountLine:
    """The messages of one account."""

    def __init__(self, account: "AccountJetStream") -> None:
        self._account = account.kernel_account
        self._system = account.system
        self.clock = account.system.clock

    def publish(self, subject: str, reply: str, header: bytes, body: bytes) -> int:
        """How many got it."""
        kernel = self._system.server.kernel
        return kernel.publish(self._account, subject.encode(), reply.encode(), header, body)

    def listened(self, subject: str) -> bool:
        """Whether somebody has subscribed to exactly this."""
        return self._system.server.kernel.listened(self._account, subject.encode())

    def answer(self, reply: bytes, body: bytes) -> None:
        """Once all that was stored so far is on the disk."""
        self._system.engine.answer(self._account, reply, b"", body, durable=True)

    def subscribe(self, subject: str, callback: Callable[[bytes, bytes, bytes, bytes], None]) -> int:
        """Interest of the server."""
        return self._system.server.kernel.subscribe(self._account, subject.encode(), None, callback)

    def unsubscribe(self, ident: int) -> None:
        """No more of it."""
        self._system.server.kernel.unsubscribe(ident)

    def call_later(self, delay_ns: int, work: Callable[[], None]) -> "Timer":
        """A turn of the server's loop."""
        return self._system.server.call_later(delay_ns / 1e9, work)


# --- out ---------------------------------------------------------------------------------------------------


def consumer_document(consumer: Consumer, last_seq: int, now: int) -> dict[str, Any]:
    """Configuration and state of a consumer, as a snapshot has them."""
    n = consumer.engine.numbers
    handed = [one for one in consumer.engine.pending() if one[0] <= last_seq]
    state = ConsumerState(
        delivered=Pair(n["delivered_consumer"], min(n["delivered_stream"], last_seq)),
        ack_floor=Pair(n["floor_consumer"], min(n["floor_stream"], last_seq)),
        pending={str(seq): Outstanding(number, now) for seq, number, _ in handed},
        redelivered={str(seq): times - 1 for seq, _, times in handed if times > 1},
    )
    config = printed_consumer(consumer)
    return {"config": config, "state": state}


def printed_consumer(consumer: Consumer) -> dict[str, Any]:
    """The configuration, with the name that ephemeral consumers have not been given by anybody."""
    config: dict[str, Any] = consumer.info(full=False)["config"]
    return config | {"name": consumer.record.name}


class StreamSource:
    """A stream that is read, as it is now: what is stored later is not in it."""

    def __init__(self, stream: Stream, *, consumers: bool) -> None:
        self.name = stream.name
        self._stream = stream
        self._next_seq, self._last_seq = 0, stream.log.last_seq
        self.state = stream.state()
        self._names = [c.record.name for c in stream.consumers.values() if not c.config.direct]
        if not consumers:
            self._names = []
            self.state["consumer_count"] = 0

    def documents(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """``state.json`` and the consumers."""
        found = [self._stream.consumers[name] for name in self._names if name in self._stream.consumers]
        yield STATE, self.state | {"consumer_count": len(found)}
        now = self._stream.system.clock.wall_ns()
        for consumer in found:
            name = CONSUMER + consumer.record.name.encode()
            yield name, consumer_document(consumer, self._last_seq, now)

    def entries(self, size: int) -> bytes:
        """The next messages, as they are written."""
        found, self._next_seq = archived(self._stream.log, self._next_seq, self._last_seq, size)
        return found


# --- in ----------------------------------------------------------------------------------------------------


class StreamTarget:
    """A stream that comes to be. ``rules`` says whether it may: before the first message, and again at the end."""

    def __init__(self, account: "AccountJetStream", config: StreamConfig, rules: Callable[[], None]) -> None:
        self.name = config.name
        self._account, self._config, self._rules = account, config, rules
        self._system = account.system
        self._stream: Stream | None = None
        self._state = State()
        self._consumers: dict[str, ConsumerDocument] = {}
        self._schedules: dict[
            bytes, tuple[Wishes, int, int]
        ] = {}  # subject: the last one, its sequence and time

    def begin(self, state: State) -> None:
        """A log of its own, and the first sequence of what is to come."""
        self._rules()
        self._state = state
        self._room(max(state.bytes, 0))
        ident = self._system.new_ident()
        self._system.store.put(self._account.restore_key(ident), b"\x01")
        record = StreamRecord(ident, self._system.clock.wall_ns(), self._config)
        self._stream = Stream(self._account, record)
        if state.first_seq > self._stream.log.last_seq + 1:
            self._stream.log.skip(state.first_seq - 1)

    def _room(self, size: int) -> None:
        quota = self._account.quota(self._config)
        if quota.used + size > quota.limit:
            raise error(10028 if self._config.storage == "memory" else 10047)

    def consumer(self, name: str, document: ConsumerDocument) -> None:
        """A consumer, made once all messages are there."""
        if (
            not name
            or len(name) > NAME_MAX
            or any(c in name for c in ".*>/\\ \t\r\n")
            or name in self._consumers
        ):
            raise ArchiveError(f'failed to add consumer "{name}": no name for a consumer')
        document.config.metadata = {
            key: value for key, value in document.config.metadata.items() if key not in RESERVED
        }
        self._consumers[name] = document

    def message(self, entry: Entry) -> None:
        """The next message; what has outlived its TTL leaves its sequence."""
        assert self._stream is not None
        seq, subject, header = entry.seq, entry.name, entry.header
        store = self._stream.log
        if seq <= store.last_seq or seq > limits.SEQUENCE_MAX:
            raise ArchiveError(f"message sequence {seq} out of order")
        size = len(header) + len(entry.body)
        if 0 <= self._config.max_msg_size < size:
            raise ArchiveError(f"message sequence {seq} exceeds maximum message size")
        self._check(seq, subject, header)
        self._room(store.bytes + size)
        wishes: Wishes = wishes_of(header) if header else {}
        ttl = parse_ttl(wishes[b"Nats-TTL"]) if b"Nats-TTL" in wishes else 0
        if ttl > 0 and entry.ts + ttl <= self._system.clock.wall_ns():
            store.skip(seq)
            return
        store.append(subject, header, entry.body, entry.ts, seq)
        if ttl:
            self._stream.expiry.add(seq, ttl, entry.ts)
        if self._config.allow_msg_schedules:
            self._schedules.pop(subject, None)
            if b"Nats-Schedule" in wishes:
                self._schedules[subject] = wishes, seq, entry.ts

    def remove(self, seq: int) -> None:
        """A message, if there is one, is gone."""
        if self._stream is not None:
            self._stream.log.remove(seq)

    @staticmethod
    def _check(seq: int, subject: bytes, header: bytes) -> None:
        """What would break the protocol for whoever reads it."""
        if len(subject) > SUBJECT_MAX or NO_SUBJECT.search(subject):
            raise ArchiveError(f"message sequence {seq} has no valid subject")
        fine = (
            header.startswith(b"NATS/1.0")
            and header.endswith(b"\r\n\r\n")
            and len(header) <= limits.HEADER_BLOCK
        )
        if header and not fine:
            raise ArchiveError(f"message sequence {seq} has no valid headers")

    def finish(self) -> dict[str, Any]:
        """The stream gets its name: it takes messages from now on."""
        stream, account = self._stream, self._account
        assert stream is not None
        self._rules()
        if stream.log.last_seq < self._state.last_seq:
            stream.log.skip(self._state.last_seq)
        made = [self._made(stream, name, document) for name, document in self._consumers.items()]
        account.keep(account.stream_key(self.name), stream.record)
        self._system.store.delete(account.restore_key(stream.record.ident))
        account.streams[self.name] = stream
        self._stream = None
        stream.engine.changed()
        for record, document in made:
            consumer = stream.add_consumer(record)
            consumer.adopt(document.state)
            consumer.keep_record()
        for subject, (wishes, seq, ts) in self._schedules.items():
            stream.schedules.restored(subject, wishes, seq, ts)
        if stream.config.storage == "file":
            stream.publish.duplicates.expect(self._system.clock.wall_ns())
        stream.start()
        stream.engine.changed()
        return stream.info()

    def _made(
        self, stream: Stream, name: str, document: ConsumerDocument
    ) -> tuple[ConsumerRecord, ConsumerDocument]:
        """What will be remembered of a consumer. Raises ApiError if it may not be."""
        options = self._system.options.limits
        most = max(options.max_ack_pending, self._account.options.max_ack_pending, 0)
        wanted = document.config
        wanted.name = name
        if wanted.durable_name:
            wanted.durable_name = name
        config = checked_consumer(
            wanted, stream.config, ConsumerLimits(most, options.max_request_batch), pedantic=False
        )
        last_as_long_as(config, durable=bool(config.durable_name))
        if stream.config.retention == "workqueue" and not config.sourcing:
            others = [d.config for other, d in self._consumers.items() if other != name]
            check_workqueue(config, others)
        return (
            ConsumerRecord(
                ident=self._system.new_ident(),
                stream=self.name,
                name=name,
                created_ns=self._system.clock.wall_ns(),
                start_seq=document.state.ack_floor.stream_seq + 1,
                config=config,
            ),
            document,
        )

    def abort(self) -> None:
        """Nothing of it stays."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        stream.close(b"")
        stream.publish.forget()
        if self._config.storage == "file":
            self._system.store.drop_log(stream.record.ident)
        self._system.store.delete(self._account.restore_key(stream.record.ident))
