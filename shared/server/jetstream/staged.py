"""The checks of a message that belongs to a batch: against the stream, and against what the batch has before it.

The order is that of nats-server for messages of batches, which is not the one for others (reference 3.2, 3.3): header
size, counter, expected stream, TTL, duplicate, expected sequences, schedule, rollup, limits.
"""

from typing import TYPE_CHECKING

from phloem.shared.jetstream.counters import body_of, value_of
from phloem.shared.jetstream.errors import error
from phloem.shared.jetstream.headers import Wishes
from phloem.shared.server.jetstream.prepared import Prepared

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.publish import Publish
    from phloem.shared.server.jetstream.stream import Stream

NOT_WITH_INCR = (
    b"Nats-Rollup",
    b"Nats-Expected-Stream",
    b"Nats-Expected-Last-Msg-Id",
    b"Nats-Expected-Last-Subject-Sequence",
    b"Nats-Expected-Last-Subject-Sequence-Subject",
    b"Nats-Expected-Last-Sequence",
)


class Duplicate(Exception):
    """A message with this id is there already, under this sequence; 0: in the batch itself."""

    def __init__(self, seq: int) -> None:
        super().__init__()
        self.seq = seq


class Staged:
    """What a batch has had so far."""

    def __init__(self, stream: "Stream", publish: "Publish") -> None:
        self._stream = stream
        self._publish = publish
        self._subjects: dict[bytes, int] = {}
        self._ids: set[bytes] = set()
        self._totals: dict[bytes, int] = {}
        self._messages = self._bytes = 0

    def check(self, raw_subject: bytes, header: bytes, payload: bytes, wishes: Wishes) -> Prepared:
        """The message as it may be stored. Raises ApiError, Duplicate."""
        publish, config = self._publish, self._stream.config
        subject = publish.renamed(raw_subject)
        publish.check_size(config, header, payload)
        publish.check_counter(config, wishes, payload)
        if b"Nats-Incr" in wishes and any(name in wishes for name in NOT_WITH_INCR):
            raise error(10171)
        publish.check_stream(wishes)
        ttl, header = publish.ttl(config, wishes, header)
        self._check_id(wishes)
        if b"Nats-Stream-Source" in wishes:
            raise error(10227)
        if config.allow_msg_counter:
            if b"Nats-Incr" not in wishes:
                raise error(10169)
            payload = self._count(subject, int(wishes[b"Nats-Incr"]))
        self._check_expected(subject, wishes)
        header = publish.check_schedule(subject, header, wishes)
        rollup = publish.rollup(config, wishes)
        self._check_rollup(subject, rollup)
        publish.check_room(
            config,
            subject,
            header,
            payload,
            rollup,
            (self._messages, self._bytes, self._subjects.get(subject, 0)),
        )
        self._messages += 1
        self._bytes += publish.size_of(config, subject, header, payload)
        self._subjects[subject] = self._subjects.get(subject, 0) + 1
        return Prepared(subject, header, payload, wishes, ttl, rollup)

    def _check_id(self, wishes: Wishes) -> None:
        ident = wishes.get(b"Nats-Msg-Id")
        if not ident:
            return
        if ident in self._ids:
            raise Duplicate(0)
        first = self._publish.duplicates.first(ident)
        if first:
            raise Duplicate(first)
        self._ids.add(ident)

    def _count(self, subject: bytes, increment: int) -> bytes:
        if subject not in self._totals:
            message = self._publish.last_message(subject)
            self._totals[subject] = value_of(message.payload) if message is not None else 0
        self._totals[subject] += increment
        return body_of(self._totals[subject])

    def _check_expected(self, subject: bytes, wishes: Wishes) -> None:
        last = wishes.get(b"Nats-Expected-Last-Sequence")
        if last is not None:
            actual = self._stream.log.last_seq + self._messages
            if not last.isdigit() or int(last) != actual:
                raise error(10071, seq=actual)
            if self._messages:
                raise error(10164)
        last = wishes.get(b"Nats-Expected-Last-Subject-Sequence")
        other = wishes.get(b"Nats-Expected-Last-Subject-Sequence-Subject")
        if last is not None:
            if (other or subject) in self._subjects:
                raise error(10164)
            actual = self._publish.last_on(other or subject)
            if not last.isdigit() or int(last) != actual:
                raise error(10071, seq=actual)
        elif other:
            raise error(10193)

    def _check_rollup(self, subject: bytes, rollup: bytes) -> None:
        if rollup == b"sub" and subject in self._subjects:
            raise error(10111, err="batch rollup sub invalid")
        if rollup == b"all" and self._subjects:
            raise error(10111, err="batch rollup all invalid")
