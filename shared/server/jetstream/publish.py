"""What a publish may ask of a stream beside being kept: everything that the engine's short way leaves to Python.

The order of the checks is nats-server's (reference 2.6), because it decides which error a client sees: sealed, counter,
expected stream, TTL, expected sequences, duplicate, expected id, rollup, size, limits. A duplicate stores nothing and
is acknowledged with the sequence of the first.

Message ids are kept for the stream's window, in the order in which they came. After a restart they are read from the
messages of the window when the first id is asked for.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from phloem.shared.jetstream.counters import body_of, sourced_count, value_of
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.stream_config import StreamConfig
from phloem.shared.jetstream.times import SECOND_NS, parse_go_duration, rfc3339
from phloem.shared.jetstream.transform import Transform
from phloem.shared.store.log import Damaged, Message

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream

HEADER_MAX = 65535
NEVER = -1  # a message that no age removes
INCREMENT = re.compile(rb"[+-]?\d{1,1000}")
NAMES = {
    b"Nats-Msg-Id",
    b"Nats-Expected-Stream",
    b"Nats-Expected-Last-Sequence",
    b"Nats-Expected-Last-Subject-Sequence",
    b"Nats-Expected-Last-Subject-Sequence-Subject",
    b"Nats-Expected-Last-Msg-Id",
    b"Nats-Rollup",
    b"Nats-TTL",
    b"Nats-Incr",
    b"Nats-Stream-Source",
    b"Nats-Batch-Id",
    b"Nats-Schedule",
}


def wishes_of(header: bytes) -> dict[bytes, bytes]:
    """The server's own headers that are in a block; names are case-sensitive."""
    found: dict[bytes, bytes] = {}
    for line in header.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon and name in NAMES and name not in found:
            found[name] = value.lstrip(b" ")
    return found


def parse_ttl(text: bytes) -> int:
    """Nanoseconds, ``NEVER``, or 0 for what is no TTL: whole seconds, a duration from a second on, or "never"."""
    if text == b"never":
        return NEVER
    if text.isdigit() and len(text) < 12:
        return int(text) * SECOND_NS
    try:
        ns = parse_go_duration(text.decode())
    except ValueError:
        return 0
    return ns // SECOND_NS * SECOND_NS if ns > 0 else 0


class Publish:
    """The publish rules of one stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self._ids: dict[bytes, tuple[int, int]] | None = None  # id: (sequence, time)
        self._last_id = b""
        self._transform: Transform | None = None
        self._again: Transform | None = None

    @staticmethod
    def always(config: StreamConfig) -> bool:
        """Whether every message has to come here."""
        return bool(
            config.subject_transform is not None or config.republish is not None or config.allow_msg_counter
        )

    def configure(self, config: StreamConfig) -> None:
        """Another configuration."""
        change, again = config.subject_transform, config.republish
        random = self._stream.system.server.rng.randrange
        self._transform = Transform(change.src or ">", change.dest, random) if change else None
        self._again = Transform(again.src or ">", again.dest, random) if again else None

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

    def _send(self, to: bytes, header: bytes, payload: bytes, *, safe: bool = False) -> None:
        stream = self._stream
        log = stream.log if safe else None
        stream.system.engine.answer(stream.account.kernel_account, to, header, payload, log)

    def _take(self, subject: bytes, reply: bytes, header: bytes, payload: bytes) -> None:
        stream = self._stream
        config, log = stream.config, stream.log
        if self._transform is not None:
            subject = self._renamed(subject)
        wishes = wishes_of(header) if header else {}
        if config.sealed:
            raise error(10109)
        self._check_counter(config, wishes, payload)
        self._check_unsupported(config, wishes)
        if wishes:
            self._check_expected(subject, wishes)
            first = self._duplicate(wishes)
            if first:
                self._acknowledge_duplicate(first, reply)
                return
            self._check_last_id(wishes)
        rollup = self._rollup(config, wishes)
        if config.allow_msg_counter and b"Nats-Incr" not in wishes:
            raise error(10169)
        self._check_size(config, header, payload)
        if config.retention == "interest" and not stream.engine.wanted(subject):
            log.skip(log.last_seq + 1)
            self._acknowledge(log.last_seq, reply)
            return
        ttl, header = self._ttl(config, wishes, header)
        extra = b""
        if config.allow_msg_counter:
            payload, extra = self._count(subject, wishes)
        self._check_room(config, subject, header, payload, rollup)
        self._store(subject, reply, header, payload, wishes, ttl, rollup, extra)

    def _renamed(self, subject: bytes) -> bytes:
        assert self._transform is not None
        changed = self._transform.apply(subject.decode(errors="surrogateescape"))
        return changed.encode(errors="surrogateescape") if changed else subject

    def _store(
        self,
        subject: bytes,
        reply: bytes,
        header: bytes,
        payload: bytes,
        wishes: dict[bytes, bytes],
        ttl: int,
        rollup: bytes,
        extra: bytes,
    ) -> None:
        stream = self._stream
        log, now = stream.log, stream.system.clock.wall_ns()
        before = log.subject(subject)[2] if self._again is not None else 0
        seq = stream.engine.store(subject, header, payload, now)
        if ident := wishes.get(b"Nats-Msg-Id"):
            self._remember(ident, seq, now)
        if ttl:
            stream.expiry.add(seq, ttl, now)
        elif stream.config.max_age:
            stream.expiry.stored(now)
        if rollup:
            log.purge((subject,) if rollup == b"sub" else (), keep=1)
            stream.engine.changed()
        self._acknowledge(seq, reply, extra)
        if self._again is not None:
            self._republish(subject, header, payload, seq, now, before)

    # --- from other streams --------------------------------------------------------------------------------

    def mirrored(self, message: Message, subject: bytes) -> None:
        """A message of the origin of a mirror. Raises ApiError for one that has to wait."""
        stream, config = self._stream, self._stream.config
        self._check_room(config, subject, message.header, message.payload, b"")
        before = stream.log.subject(subject)[2] if self._again is not None else 0
        stream.engine.store(subject, message.header, message.payload, message.ts, message.seq)
        self._rules_of_age(subject, message.header, message.seq, message.ts)
        if self._again is not None:
            self._republish(subject, message.header, message.payload, message.seq, message.ts, before)

    def sourced(self, subject: bytes, header: bytes, payload: bytes) -> None:
        """A message of a source. Raises ApiError for one that has to wait."""
        stream, config = self._stream, self._stream.config
        if self._transform is not None:
            subject = self._renamed(subject)
        wishes = wishes_of(header)
        if self._duplicate(wishes):
            return
        if config.retention == "interest" and not stream.engine.wanted(subject):
            stream.log.skip(stream.log.last_seq + 1)
            return
        if config.allow_msg_counter and b"Nats-Incr" in wishes:
            last = self._last_message(subject)
            header, payload = sourced_count(
                last.header if last is not None else b"",
                last.payload if last is not None else None,
                subject,
                header,
                payload,
            )
        self._check_room(config, subject, header, payload, b"")
        now = stream.system.clock.wall_ns()
        before = stream.log.subject(subject)[2] if self._again is not None else 0
        seq = stream.engine.store(subject, header, payload, now)
        if ident := wishes.get(b"Nats-Msg-Id"):
            self._remember(ident, seq, now)
        self._rules_of_age(subject, header, seq, now)
        if self._again is not None:
            self._republish(subject, header, payload, seq, now, before)

    def _rules_of_age(self, subject: bytes, header: bytes, seq: int, now: int) -> None:
        """TTL and rollup of a message that another stream has accepted: what this one does not do is ignored."""
        stream, config = self._stream, self._stream.config
        wishes = wishes_of(header) if b"\nNats-" in header else {}
        ttl = parse_ttl(wishes[b"Nats-TTL"]) if config.allow_msg_ttl and b"Nats-TTL" in wishes else 0
        if ttl:
            stream.expiry.add(seq, ttl, now)
        elif config.max_age:
            stream.expiry.stored(now)
        rollup = wishes.get(b"Nats-Rollup", b"").lower()
        if rollup in (b"sub", b"all") and config.allow_rollup_hdrs and not config.deny_purge:
            stream.log.purge((subject,) if rollup == b"sub" else (), keep=1)
            stream.engine.changed()

    def _acknowledge(self, seq: int, reply: bytes, extra: bytes = b"") -> None:
        stream = self._stream
        if not reply or stream.config.no_ack:
            return
        if extra:
            self._send(reply, b"", self._ack_head() + b"%d%b}" % (seq, extra), safe=True)
        else:
            stream.engine.ack(seq, reply)

    def _acknowledge_duplicate(self, seq: int, reply: bytes) -> None:
        if reply and not self._stream.config.no_ack:
            self._send(reply, b"", self._ack_head() + b'%d,"duplicate": true}' % seq, safe=True)

    def _ack_head(self) -> bytes:
        domain = self._stream.system.options.domain
        middle = f',"domain":"{domain}"' if domain else ""
        return f'{{"stream":"{self._stream.name}"{middle},"seq":'.encode()

    # --- what was expected -----------------------------------------------------------------------------

    def _check_expected(self, subject: bytes, wishes: dict[bytes, bytes]) -> None:
        stream = self._stream
        wanted = wishes.get(b"Nats-Expected-Stream")
        if wanted is not None and wanted != stream.name.encode():
            raise error(10060)
        if b"Nats-TTL" in wishes and not stream.config.allow_msg_ttl:
            raise error(10166)
        last = wishes.get(b"Nats-Expected-Last-Subject-Sequence")
        other = wishes.get(b"Nats-Expected-Last-Subject-Sequence-Subject")
        if last is not None:
            actual = self._last_on(other or subject)
            if not last.isdigit() or int(last) != actual:
                raise error(10071, seq=actual)
        elif other is not None:
            raise error(10193)
        last = wishes.get(b"Nats-Expected-Last-Sequence")
        if last is not None and (not last.isdigit() or int(last) != stream.log.last_seq):
            raise error(10071, seq=stream.log.last_seq)
        if b"Nats-Stream-Source" in wishes:
            raise error(10227)

    def _last_on(self, subject: bytes) -> int:
        if b"*" in subject or b">" in subject:
            return max(self._stream.log.last_of_subjects((subject,)), default=0)
        return self._stream.log.subject(subject)[2]

    def _check_last_id(self, wishes: dict[bytes, bytes]) -> None:
        wanted = wishes.get(b"Nats-Expected-Last-Msg-Id")
        if wanted is not None:
            self._known()
            if wanted != self._last_id:
                raise error(10070, id=self._last_id.decode(errors="replace"))

    @staticmethod
    def _check_unsupported(config: StreamConfig, wishes: dict[bytes, bytes]) -> None:
        if b"Nats-Batch-Id" in wishes:
            raise error(10174)
        if b"Nats-Schedule" in wishes:
            raise error(10188)

    # --- duplicates ------------------------------------------------------------------------------------

    def _known(self) -> dict[bytes, tuple[int, int]]:
        """Ids of the window, oldest first."""
        if self._ids is None:
            self._ids = {}
            log = self._stream.log
            since = self._stream.system.clock.wall_ns() - self._stream.config.duplicate_window
            seq = log.seq_from_time(since)
            while (message := log.next((), seq)) is not None:
                ident = wishes_of(message.header).get(b"Nats-Msg-Id") if message.header else None
                if ident:
                    self._ids[ident] = (message.seq, message.ts)
                    self._last_id = ident
                seq = message.seq + 1
        return self._ids

    def _duplicate(self, wishes: dict[bytes, bytes]) -> int:
        """The sequence of the first message with this id, 0: there was none in the window."""
        ident = wishes.get(b"Nats-Msg-Id")
        window = self._stream.config.duplicate_window
        if not ident or not window:
            return 0
        ids = self._known()
        oldest = self._stream.system.clock.wall_ns() - window
        while ids:
            first = next(iter(ids))
            if ids[first][1] >= oldest:
                break
            del ids[first]
        found = ids.get(ident)
        return found[0] if found else 0

    def _remember(self, ident: bytes, seq: int, now: int) -> None:
        if self._stream.config.duplicate_window:
            self._known()[ident] = (seq, now)
        self._last_id = ident

    # --- the rest --------------------------------------------------------------------------------------

    @staticmethod
    def _check_counter(config: StreamConfig, wishes: dict[bytes, bytes], payload: bytes) -> None:
        increment = wishes.get(b"Nats-Incr")
        if increment is None:
            return
        if not INCREMENT.fullmatch(increment):
            raise error(10171)
        if not config.allow_msg_counter:
            raise error(10168)
        if payload:
            raise error(10170)

    def _last_message(self, subject: bytes) -> Message | None:
        last = self._stream.log.subject(subject)[2]
        return self._stream.log.read(last) if last else None

    def _count(self, subject: bytes, wishes: dict[bytes, bytes]) -> tuple[bytes, bytes]:
        """The new total as a body, and for the acknowledgement."""
        total = int(wishes[b"Nats-Incr"])
        message = self._last_message(subject)
        if message is not None:
            total += value_of(message.payload)
        return body_of(total), b',"val":"%d"' % total

    @staticmethod
    def _rollup(config: StreamConfig, wishes: dict[bytes, bytes]) -> bytes:
        value = wishes.get(b"Nats-Rollup")
        if value is None:
            return b""
        if not config.allow_rollup_hdrs or config.deny_purge:
            raise error(10111, err="rollup not permitted")
        if value.lower() not in (b"sub", b"all"):
            raise error(10111, err=f'rollup value invalid: "{value.decode(errors="replace")}"')
        return value.lower()

    @staticmethod
    def _check_size(config: StreamConfig, header: bytes, payload: bytes) -> None:
        if 0 <= config.max_msg_size < len(header) + len(payload):
            raise error(10054)
        if len(header) > HEADER_MAX:
            raise error(10097)

    def _ttl(self, config: StreamConfig, wishes: dict[bytes, bytes], header: bytes) -> tuple[int, bytes]:
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

    def _check_room(
        self, config: StreamConfig, subject: bytes, header: bytes, payload: bytes, rollup: bytes
    ) -> None:
        stream = self._stream
        size = len(subject) + len(header) + len(payload) + (16 if config.storage == "memory" else 30)
        if config.storage == "file" and header:
            size += 4
        quota = stream.account.quota(config)
        if quota.used + size > quota.limit:
            raise error(10002)
        if config.storage == "file" and stream.system.store.stats["full"]:
            raise error(10077, err="insufficient storage resources available")
        if config.storage == "file" and stream.system.store.failed:
            raise error(
                10077, err="the disk has failed, nothing can be stored until the server is started again"
            )
        if config.discard != "new":
            return
        most = config.max_msgs_per_subject
        at_most = 0 < most <= stream.log.subject(subject)[0]
        if config.discard_new_per_subject and at_most and not rollup:
            raise error(10077, err="maximum messages per subject exceeded")
        broken = stream.engine.full(size)
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

    def interest_changed(self) -> None:
        """A consumer has gone: what only it wanted goes, if the retention is by interest."""
        if self._stream.config.retention == "interest":
            self._stream.engine.forget_unwanted()

    def forget(self) -> None:
        """The stream is deleted."""
        self._ids = {}
        self._stream.expiry.forget()


Take = Callable[[bytes, bytes, bytes, bytes], None]
