"""What a publish may ask of a stream beside being kept: everything that the engine's short way leaves to Python.

The order of the checks is nats-server's (reference 2.6), because it decides which error a client sees: sealed, size,
counter, expected stream, TTL, expected sequences, duplicate, expected id, rollup, limits. A duplicate stores nothing
and is acknowledged with the sequence of the first.

A message with no more than an id does not come here unless something comes before it that does. Message ids are
``duplicates.py``'s, batches ``batches.py``'s and ``fast_batches.py``'s.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from phloem.shared.jetstream.counters import counted
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.headers import Wishes, wishes_of
from phloem.shared.jetstream.schedule import check_schedule
from phloem.shared.jetstream.stream_config import StreamConfig
from phloem.shared.jetstream.times import SECOND_NS, rfc3339
from phloem.shared.jetstream.ttl import parse_ttl
from phloem.shared.server.jetstream.batches import Batches
from phloem.shared.server.jetstream.duplicates import Duplicates
from phloem.shared.server.jetstream.fast_batches import SUFFIX, FastBatches
from phloem.shared.server.jetstream.prepared import Prepared
from phloem.shared.store.log import Damaged, Message
from phloem.shared.wire.transform import Transform

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream

HEADER_MAX = 65535
FILE_RECORD_MAX = 32 << 20  # of a message on disk, as nats-server bounds it
INCREMENT = re.compile(rb"[+-]?\d{1,1000}")
BESIDE_NO_INCREMENT = (  # headers that a counter has no use for
    b"Nats-Rollup",
    b"Nats-Expected-Stream",
    b"Nats-Expected-Last-Msg-Id",
    b"Nats-Expected-Last-Subject-Sequence-Subject",
)
LASTS = (b"Nats-Expected-Last-Sequence", b"Nats-Expected-Last-Subject-Sequence")


class Publish:
    """The publish rules of one stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self.duplicates = Duplicates(stream)
        self._batches = Batches(stream, self)
        self._fast = FastBatches(stream, self)
        self._transform: Transform | None = None
        self._again: Transform | None = None

    @staticmethod
    def always(config: StreamConfig) -> bool:
        """Whether every message has to come here."""
        return bool(
            config.subject_transform is not None
            or config.republish is not None
            or config.allow_msg_counter
            or config.allow_batched
        )

    def configure(self, config: StreamConfig) -> None:
        """Another configuration."""
        change, again = config.subject_transform, config.republish
        self.duplicates.configure(config.duplicate_window)
        random = self._stream.system.server.rng.randrange
        self._transform = Transform(change.src or ">", change.dest, random) if change else None
        self._again = Transform(again.src or ">", again.dest, random) if again and again.dest else None

    # --- taking ----------------------------------------------------------------------------------------

    def take(self, subject: bytes, reply: bytes, header: bytes, payload: bytes) -> None:
        """A message for the stream, in its turn."""
        try:
            self._take(subject, reply, header, payload)
        except ApiError as problem:
            self._refuse(reply, problem)
        except Damaged as problem:
            self._refuse(reply, error(10077, err=str(problem)))

    def _refuse(self, reply: bytes, problem: ApiError) -> None:
        config = self._stream.config
        if reply and not config.no_ack:
            answer = {"error": problem.as_dict(), "stream": config.name, "seq": 0}
            self._send(reply, b"", msgspec.json.encode(answer))

    def answer(self, reply: bytes, payload: bytes) -> None:
        """An answer that promises nothing."""
        if reply and not self._stream.config.no_ack:
            self._send(reply, b"", payload)

    def _send(self, to: bytes, header: bytes, payload: bytes, *, safe: bool = False) -> None:
        stream = self._stream
        log = stream.log if safe else None
        stream.system.engine.answer(stream.account.kernel_account, to, header, payload, log)

    def _take(self, subject: bytes, reply: bytes, header: bytes, payload: bytes) -> None:
        stream = self._stream
        config = stream.config
        wishes = wishes_of(header) if header else {}
        if wishes.get(b"Nats-Batch-Id"):
            self._batches.take(subject, reply, header, payload, wishes)
            return
        if reply.endswith(SUFFIX):
            self._fast.take(subject, reply, header, payload, wishes)
            return
        subject = self.renamed(subject)
        if config.storage == "file" and self.size_of(config, subject, header, payload) > FILE_RECORD_MAX:
            raise error(10077, err="message too large")
        if config.sealed:
            raise error(10109)
        self.check_size(config, header, payload)
        self.check_counter(config, wishes, payload)
        if wishes:
            self._check_expected(subject, wishes)
            header = self.check_schedule(subject, header, wishes)
            if b"Nats-Stream-Source" in wishes:
                raise error(10227)
            first = self.duplicates.first(wishes.get(b"Nats-Msg-Id"))
            if first:
                self._acknowledge_duplicate(first, reply)
                return
            self.duplicates.check_last(wishes.get(b"Nats-Expected-Last-Msg-Id"))
        rollup = self.rollup(config, wishes)
        if config.allow_msg_counter and b"Nats-Incr" not in wishes:
            raise error(10169)
        if config.retention == "interest" and not stream.engine.wanted(subject):
            self._acknowledge(self._pass_over(wishes), reply)
            return
        ttl, header = self.ttl(config, wishes, header)
        extra = b""
        if config.allow_msg_counter:
            last = self.last_message(subject)
            known = (last.header, last.payload) if last is not None else (b"", None)
            header, payload, extra = counted(known[0], known[1], wishes[b"Nats-Incr"], header)
        self.check_room(config, subject, header, payload, rollup)
        seq = self.put(Prepared(subject, header, payload, wishes, ttl, rollup))
        self._acknowledge(seq, reply, extra)

    def renamed(self, subject: bytes) -> bytes:
        """The subject under which it is stored."""
        if self._transform is None:
            return subject
        changed = self._transform.apply(subject.decode(errors="surrogateescape"))
        return changed.encode(errors="surrogateescape") if changed else subject

    def put(self, message: Prepared, ts: int = 0, seq: int = 0) -> int:
        """Store what has been checked; its sequence."""
        stream = self._stream
        subject, header, payload, wishes, ttl, rollup = message
        log, now = stream.log, ts or stream.system.clock.wall_ns()
        before = log.subject(subject)[2] if self._again is not None else 0
        seq = stream.engine.store(subject, header, payload, now, seq)
        self.duplicates.remember(wishes.get(b"Nats-Msg-Id"), seq, now)
        if ttl:
            stream.expiry.add(seq, ttl, now)
        elif stream.config.max_age:
            stream.expiry.stored(now)
        if rollup:
            log.purge((subject,) if rollup == b"sub" else (), keep=1)
            stream.engine.changed()
        if stream.config.allow_msg_schedules:
            stream.schedules.stored(subject, wishes, seq, now)
        if self._again is not None:
            self._republish(subject, header, payload, seq, now, before)
        return seq

    def _acknowledge(self, seq: int, reply: bytes, extra: bytes = b"") -> None:
        stream = self._stream
        if not reply or stream.config.no_ack:
            return
        if extra:
            self._send(reply, b"", self._ack_head() + b"%d%b}" % (seq, extra), safe=True)
        else:
            stream.engine.ack(seq, reply)

    def keep(self, message: Prepared) -> int:
        """Store a message of a batch, unless nobody wants it; its sequence."""
        stream = self._stream
        if stream.config.retention == "interest" and not stream.engine.wanted(message.subject):
            return self._pass_over(message.wishes)
        return self.put(message)

    def _pass_over(self, wishes: Wishes) -> int:
        """Nobody wants a message: its sequence, under which there is nothing but its id."""
        log = self._stream.log
        seq = log.last_seq + 1
        log.skip(seq)
        self.duplicates.remember(wishes.get(b"Nats-Msg-Id"), seq, self._stream.system.clock.wall_ns())
        return seq

    def acknowledge_batch(
        self, seq: int, reply: bytes, ident: bytes, count: int, *, duplicate: bool = False
    ) -> None:
        """The end of a batch."""
        if reply and not self._stream.config.no_ack:
            again = b',"duplicate": true' if duplicate else b""
            name = msgspec.json.encode(ident.decode(errors="replace"))
            text = b'%b%d%b,"batch":%b,"count":%d}' % (self._ack_head(), seq, again, name, count)
            self._send(reply, b"", text, safe=True)

    def _acknowledge_duplicate(self, seq: int, reply: bytes) -> None:
        if reply and not self._stream.config.no_ack:
            self._stream.engine.ack(seq, reply, duplicate=True)

    def _ack_head(self) -> bytes:
        domain = self._stream.system.options.domain
        middle = f',"domain":"{domain}"' if domain else ""
        return f'{{"stream":"{self._stream.name}"{middle},"seq":'.encode()

    # --- what was expected -----------------------------------------------------------------------------

    def check_stream(self, wishes: Wishes) -> None:
        """What depends on the stream's configuration alone. Raises ApiError."""
        wanted = wishes.get(b"Nats-Expected-Stream")
        if wanted is not None and wanted != self._stream.name.encode():
            raise error(10060)
        ttl = wishes.get(b"Nats-TTL")
        if ttl and not self._stream.config.allow_msg_ttl and parse_ttl(ttl):
            raise error(10166)

    def check_schedule(self, subject: bytes, header: bytes, wishes: Wishes) -> bytes:
        """What is said of schedules; the header to be stored. Raises ApiError."""
        if (
            b"Nats-Schedule" not in wishes
            and b"Nats-Scheduler" not in wishes
            and b"Nats-Schedule-Next" not in wishes
            and b"Nats-Schedule-Time-Zone" not in wishes
        ):
            return header
        now = self._stream.system.clock.wall_ns()
        return check_schedule(self._stream.config, subject, header, wishes, now, self._last_header)

    def _last_header(self, subject: bytes) -> bytes | None:
        message = self.last_message(subject)
        return message.header if message is not None else None

    def _check_expected(self, subject: bytes, wishes: Wishes) -> None:
        stream = self._stream
        self.check_stream(wishes)
        last = wishes.get(b"Nats-Expected-Last-Subject-Sequence")
        other = wishes.get(b"Nats-Expected-Last-Subject-Sequence-Subject")
        if last is not None:
            actual = self.last_on(other or subject)
            if not last.isdigit() or int(last) != actual:
                raise error(10071, seq=actual)
        elif other is not None:
            raise error(10193)
        last = wishes.get(b"Nats-Expected-Last-Sequence")
        if last is not None and (not last.isdigit() or int(last) != stream.log.last_seq):
            raise error(10071, seq=stream.log.last_seq)

    def last_on(self, subject: bytes) -> int:
        """The sequence of the last message on a subject, or on any that a pattern matches."""
        if b"*" in subject or b">" in subject:
            return max(self._stream.log.last_of_subjects((subject,)), default=0)
        return self._stream.log.subject(subject)[2]

    # --- the rest --------------------------------------------------------------------------------------

    @staticmethod
    def check_counter(config: StreamConfig, wishes: Wishes, payload: bytes) -> None:
        """``Nats-Incr`` as such. Raises ApiError."""
        increment = wishes.get(b"Nats-Incr")
        if increment is None:
            return
        if not INCREMENT.fullmatch(increment):
            raise error(10171)
        if not config.allow_msg_counter:
            raise error(10168)
        if payload:
            raise error(10170)
        if any(wishes.get(name) for name in BESIDE_NO_INCREMENT) or any(n in wishes for n in LASTS):
            raise error(10171)

    def last_message(self, subject: bytes) -> Message | None:
        """The last message on a subject."""
        last = self._stream.log.subject(subject)[2]
        return self._stream.log.read(last) if last else None

    @staticmethod
    def rollup(config: StreamConfig, wishes: Wishes) -> bytes:
        """``sub``, ``all`` or nothing. Raises ApiError."""
        value = wishes.get(b"Nats-Rollup")
        if value is None:
            return b""
        if not config.allow_rollup_hdrs or config.deny_purge:
            raise error(10111, err="rollup not permitted")
        if value.lower() not in (b"sub", b"all"):
            raise error(10111, err=f'rollup value invalid: "{value.decode(errors="replace")}"')
        return value.lower()

    @staticmethod
    def check_size(config: StreamConfig, header: bytes, payload: bytes) -> None:
        """Raises ApiError."""
        if 0 <= config.max_msg_size < len(header) + len(payload):
            raise error(10054)
        if len(header) > HEADER_MAX:
            raise error(10097)

    def ttl(self, config: StreamConfig, wishes: Wishes, header: bytes) -> tuple[int, bytes]:
        """The TTL in nanoseconds (0: none), and the header, rewritten where a marker has to outlive it."""
        text = wishes.get(b"Nats-TTL")
        if text is None:
            return 0, header
        ttl = parse_ttl(text)
        if ttl == 0:
            raise error(10165)
        least = config.subject_delete_marker_ttl
        if 0 < ttl < least and config.max_msgs_per_subject != 1:
            ttl = least
            seconds = b"%d" % (least // SECOND_NS)
            header = re.sub(rb"\r\nNats-TTL: *[^\r]*", b"\r\nNats-TTL: " + seconds, header, count=1)
        return ttl, header

    @staticmethod
    def size_of(config: StreamConfig, subject: bytes, header: bytes, payload: bytes) -> int:
        """What a message counts towards limits."""
        size = len(subject) + len(header) + len(payload) + (16 if config.storage == "memory" else 30)
        return size + 4 if config.storage == "file" and header else size

    def check_room(
        self,
        config: StreamConfig,
        subject: bytes,
        header: bytes,
        payload: bytes,
        rollup: bytes,
        staged: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        """Raises ApiError for what the limits leave no room for; ``staged``: messages and bytes of the batch before
        this message, and its messages on the same subject."""
        stream = self._stream
        size = staged[1] + self.size_of(config, subject, header, payload)
        quota = stream.account.quota(config)
        if quota.used + size > quota.limit:
            stream.system.look_again()
            if quota.used + size > quota.limit:
                raise error(10002)
        if config.storage == "file" and stream.system.store.full:
            raise error(10077, err="insufficient storage resources available")
        if config.storage == "file" and stream.system.store.failed:
            raise error(
                10077, err="the disk has failed, nothing can be stored until the server is started again"
            )
        if stream.held:
            stream.held_messages += 1
            raise error(10077, err=f"insufficient storage resources available: {stream.held}")
        if lost := stream.lost():
            raise error(10077, err=lost)
        if config.discard != "new":
            return
        most = config.max_msgs_per_subject
        at_most = 0 < most <= stream.log.subject(subject)[0] + staged[2]
        if config.discard_new_per_subject and at_most and not rollup:
            raise error(10077, err="maximum messages per subject exceeded")
        broken = stream.engine.full(size)
        if not broken and 0 <= config.max_msgs < stream.log.messages + staged[0] + 1:
            broken = 1
        if broken and not (at_most and not config.discard_new_per_subject):
            raise error(10077, err="maximum messages exceeded" if broken == 1 else "maximum bytes exceeded")

    def _republish(
        self, subject: bytes, header: bytes, payload: bytes, seq: int, now: int, before: int
    ) -> None:
        assert self._again is not None
        config = self._stream.config.republish
        dest = self._again.apply(subject.decode(errors="surrogateescape"))
        if dest is None or config is None:
            return
        head = header[:-2] if header else b"NATS/1.0\r\n"
        fields = [
            b"Nats-Stream: " + self._stream.name.encode(),
            b"Nats-Subject: " + subject,
            b"Nats-Sequence: %d" % seq,
            b"Nats-Time-Stamp: " + rfc3339(now).encode(),
            b"Nats-Last-Sequence: %d" % before,
        ]
        if config.headers_only:
            fields.append(b"Nats-Msg-Size: %d" % len(payload))
            payload = b""
        block = head + b"\r\n".join(fields) + b"\r\n\r\n"
        self._send(dest.encode(errors="surrogateescape"), block, payload, safe=True)

    def close(self) -> None:
        """Batches that are open are over."""
        self._batches.close()
        self._fast.close()

    def interest_changed(self) -> None:
        """A consumer has gone: what only it wanted goes, if the retention is by interest."""
        if self._stream.config.retention == "interest":
            self._stream.engine.forget_unwanted()

    def forget(self) -> None:
        """The stream is deleted."""
        self.duplicates.forget()
        self._stream.expiry.forget()
        self._stream.schedules.forget()


Take = Callable[[bytes, bytes, bytes, bytes], None]
