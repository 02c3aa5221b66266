"""Direct get: reading a stream without its API queue (reference 5.1): one message, a batch, the last of many subjects.

A message that is not on the disk yet is not shown: the answer waits for its batch, like an acknowledgement.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import msgspec

from phloem.shared.jetstream.strict_json import UNREADABLE
from phloem.shared.jetstream.times import parse_rfc3339, rfc3339
from phloem.shared.store.log import Damaged, Message
from phloem.shared.wire.info import API_LEVEL

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream

SUBJECTS_MAX = 1024  # of multi_last
LEVEL = re.compile(rb"[+-]?\d{1,18}")


class GetRequest(msgspec.Struct):
    """What may be asked for; also the body of STREAM.MSG.GET."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0
    last_by_subj: str = ""
    next_by_subj: str = ""
    batch: int = 0
    max_bytes: int = 0
    start_time: str | None = None
    multi_last: list[str] = []
    up_to_seq: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0
    up_to_time: str | None = None
    no_hdr: bool = False


class NotThere(Exception):
    """The status that answers instead of a message."""


_decode = msgspec.json.Decoder(GetRequest).decode
QUEUE = b"_sys_"


class DirectGet:
    """The subscriptions ``$JS.API.DIRECT.GET.<stream>`` and below of one stream."""

    def __init__(
        self, stream: "Stream", name: str = "", better: "Callable[[], DirectGet | None] | None" = None
    ) -> None:
        """``name``: of the stream that is asked, when it is a mirror that answers; ``better``: who knows more now."""
        self._stream = stream
        self._better = better
        self._name = name or stream.name
        self._subject = f"$JS.API.DIRECT.GET.{self._name}".encode()
        self._idents: list[int] = []

    @property
    def listening(self) -> bool:
        """Whether somebody answers."""
        return bool(self._idents)

    def listen(self, *, on: bool) -> None:
        """Serve them or not."""
        kernel, account = self._stream.system.server.kernel, self._stream.account.kernel_account
        if on == bool(self._idents):
            return
        if on:
            prefixes = [self._subject, *self._domain_subject()]
            for prefix in prefixes:
                self._idents.append(kernel.subscribe(account, prefix, QUEUE, self._asked))
                ident = kernel.subscribe(account, prefix + b".>", QUEUE, self._asked)
                self._idents.append(ident)
                if self._name == self._stream.name:
                    self._stream.engine.serve_direct(ident)
        else:
            for ident in self._idents:
                kernel.unsubscribe(ident)
            self._idents = []

    def _domain_subject(self) -> list[bytes]:
        domain = self._stream.system.options.domain
        return [f"$JS.{domain}.API.DIRECT.GET.{self._name}".encode()] if domain else []

    def _send(self, reply: bytes, header: bytes, payload: bytes, *, safe: bool = False) -> None:
        log = self._stream.log if safe else None
        self._stream.system.engine.answer(self._stream.account.kernel_account, reply, header, payload, log)

    def _asked(self, subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
        if not reply:
            return
        better = self._better() if self._better is not None else None
        if better is not None:
            better._asked(subject, reply, header, body)
            return
        try:
            if b"Nats-Required-Api-Level" in header and not level_is_known(header):
                raise NotThere("412 Required Api Level")
            self._serve(subject, reply, body)
        except NotThere as problem:
            self._send(reply, b"NATS/1.0 " + str(problem).encode() + b"\r\n\r\n", b"")
        except Damaged as problem:
            self._send(reply, b"NATS/1.0 500 " + str(problem).encode() + b"\r\n\r\n", b"")

    def _serve(self, subject: bytes, reply: bytes, body: bytes) -> None:
        at = subject.find(b".DIRECT.GET.") + 12 + len(self._name) + 1
        wanted = subject[at:]
        if wanted and not body:
            self._one(reply, self._last(wanted), headers=True)
            return
        if not body.strip():
            raise NotThere("408 Empty Request")
        try:
            request = _decode(body)
        except UNREADABLE:
            raise NotThere("408 Malformed Request") from None
        for time in (request.start_time, request.up_to_time):
            if time:
                _time(time)
        if wanted:
            if request != GetRequest(no_hdr=request.no_hdr, max_bytes=request.max_bytes):
                raise NotThere("408 Bad Request")
            request.last_by_subj = wanted.decode(errors="surrogateescape")
        if not (request.seq or request.last_by_subj or request.next_by_subj or request.start_time) and (
            not request.multi_last
        ):
            raise NotThere("408 Empty Request")
        if (
            (request.last_by_subj and (request.seq or request.next_by_subj or request.start_time))
            or (request.last_by_subj and (request.batch > 0 or request.multi_last))
            or (request.next_by_subj and request.multi_last)
            or (request.seq and request.start_time)
            or (request.up_to_seq and request.up_to_time)
        ):
            raise NotThere("408 Bad Request")
        if request.multi_last:
            self._many(reply, request)
        elif request.batch:
            self._batch(reply, request)
        else:
            self._one(reply, find(self._stream, request), headers=not request.no_hdr)

    def _last(self, pattern: bytes) -> Message | None:
        return last_on(self._stream, pattern)

    def _head(self, message: Message, *extra: bytes) -> bytes:
        return (message.header[:-2] if message.header else b"NATS/1.0\r\n") + b"\r\n".join(
            (
                b"Nats-Stream: " + self._stream.name.encode(),
                b"Nats-Subject: " + message.subject,
                b"Nats-Sequence: %d" % message.seq,
                b"Nats-Time-Stamp: " + rfc3339(message.ts).encode(),
                *extra,
                b"",
                b"",
            )
        )

    def _one(self, reply: bytes, message: Message | None, *, headers: bool) -> None:
        if message is None:
            raise NotThere("404 Message Not Found")
        safe = message.seq > self._stream.log.visible_seq
        self._send(reply, self._head(message) if headers else b"", message.payload, safe=safe)

    def _batch(self, reply: bytes, request: GetRequest) -> None:
        log = self._stream.log
        filters = (request.next_by_subj.encode(),) if request.next_by_subj else ()
        start = max(request.seq, 1)
        if request.start_time:
            start = log.seq_from_time(_time(request.start_time))
        end = log.visible_seq
        left = log.count(filters, start, end)
        if not left:
            raise NotThere("404 Message Not Found")
        most = request.max_bytes or self._stream.system.server.options.max_pending
        sent, size, last = 0, 0, 0
        while sent < request.batch and size < most and (message := log.next(filters, start, end)) is not None:
            size += len(message.header) + len(message.payload) + len(message.subject)
            left -= not request.no_hdr  # nats-server counts only where it tells
            head = self._head(message, b"Nats-Num-Pending: %d" % left, b"Nats-Last-Sequence: %d" % last)
            self._send(reply, b"" if request.no_hdr else head, message.payload)
            sent, last, start = sent + 1, message.seq, message.seq + 1
        self._end(reply, left, last)

    def _many(self, reply: bytes, request: GetRequest) -> None:
        """The last message of each subject."""
        log = self._stream.log
        end = request.up_to_seq or log.visible_seq
        if request.up_to_time:
            end = log.seq_from_time(_time(request.up_to_time)) - 1
        end = min(end, log.visible_seq)
        filters = tuple(one.encode() for one in request.multi_last)
        seqs = [seq for seq in log.last_of_subjects(filters, end) if seq >= request.seq]
        if len(seqs) > SUBJECTS_MAX:
            raise NotThere("413 Too Many Results")
        if not seqs:
            raise NotThere("404 No Results")
        most = request.max_bytes or self._stream.system.server.options.max_pending
        last, left, size = 0, len(seqs), 0
        for seq in seqs[: request.batch if request.batch > 0 else None]:
            message = log.read(seq)
            left -= 1
            if message is not None:
                head = self._head(message, b"Nats-Num-Pending: %d" % left, b"Nats-Last-Sequence: %d" % last)
                self._send(reply, head, message.payload)
                last = seq
                size += len(message.header) + len(message.payload) + len(message.subject)
                if size >= most:
                    break
        self._end(reply, left, last, b"Nats-UpTo-Sequence: %d\r\n" % end)

    def _end(self, reply: bytes, left: int, last: int, extra: bytes = b"") -> None:
        text = b"NATS/1.0 204 EOB\r\nNats-Num-Pending: %d\r\nNats-Last-Sequence: %d\r\n%b\r\n"
        self._send(reply, text % (left, last, extra), b"")


def _time(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise NotThere("408 Malformed Request") from None


def level_is_known(header: bytes) -> bool:
    """Whether ``Nats-Required-Api-Level`` asks for no more than there is."""
    for line in header.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"Nats-Required-Api-Level":
            text = value.strip()
            return not text or (LEVEL.fullmatch(text) is not None and int(text) <= API_LEVEL)
    return True


def last_on(stream: "Stream", pattern: bytes) -> Message | None:
    """The last message on a subject, or on any that a pattern matches."""
    log = stream.log
    if b"*" in pattern or b">" in pattern:
        seq = max(log.last_of_subjects((pattern,)), default=0)
    else:
        seq = log.subject(pattern)[2]
    return log.read(seq) if seq else None


def find(stream: "Stream", request: GetRequest) -> Message | None:
    """The one message that is asked for. Raises NotThere for what makes no sense."""
    log = stream.log
    if request.last_by_subj:
        return last_on(stream, request.last_by_subj.encode(errors="surrogateescape"))
    start = request.seq
    if request.start_time:
        start = log.seq_from_time(_time(request.start_time))
    if request.next_by_subj:
        return log.next((request.next_by_subj.encode(errors="surrogateescape"),), start)
    if request.start_time:
        return log.next((), start)
    return log.read(start) if start > 0 else None
