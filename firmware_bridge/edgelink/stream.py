"""JetStream as the place where frames become durable: the two questions of a ledger, as requests.

The stream is the one that has the board's subjects. If it is in this process it takes a group at once, and what it has
taken is known before it is durable. A server of phloem's takes groups from afar, each behind the one that was sent
before it, so that the next need not wait for the stream's numbers. Else a group is an atomic batch where the stream
allows that, or one message after the other. Always the first says which message of the board it expects to be the last,
so that a group whose answer was lost cannot come twice however late it arrives. What a stream does not take at once,
because it has to say why or does more than to keep messages, goes the last way as well.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from phloem.firmware_bridge.edgelink.ledger import BEHIND, Position
from phloem.firmware_bridge.edgelink.records import position_of
from phloem.firmware_bridge.headers import FIRST_LINE, Encoded, header_lines
from phloem.firmware_bridge.requests import Groups, Places, Requests

_BATCH_OFF = 10174
_NO_MESSAGE = 10037
_WRONG_LAST = (10071, 10164)  # with the number, and without
_NO_SUCH_STREAM = 10059
_UNGROUPED = 64  # groups that go the last way after one that the stream did not take at once
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Stored(msgspec.Struct):
    seq: int
    hdrs: str = ""


class _Answer(msgspec.Struct):
    error: _Error | None = None
    streams: list[str] | None = None
    message: _Stored | None = None
    seq: int = 0
    count: int | None = None  # of a group that was sent as one


class Found(NamedTuple):
    """``why`` nobody knows, or the last position, None if there is none."""

    position: Position | None
    why: str = ""


class Kept(NamedTuple):
    """The stream's number of the last message of a group; or None and ``why`` nobody knows what became of the group.

    ``overtaken``: nothing of it was stored, as another message than expected is the board's last: something of an
    earlier process, or none any more, because the stream gave back what was forwarded.
    """

    stream_seq: int | None
    why: str = ""
    overtaken: bool = False


_NOBODY_KNOWS = Kept(None, "JetStream does not answer")


class JetStream:
    """All answers come by callback, once. ``batch_id`` gives names that no batch had."""

    def __init__(self, requests: Requests, batch_id: Callable[[], str]) -> None:
        self._requests, self._batch_id = requests, batch_id
        self._here = requests if isinstance(requests, Places) else None
        self._there = requests if isinstance(requests, Groups) else None
        self._ungrouped: dict[str, int] = {}  # by pattern: how many more go the last way
        self._streams: dict[str, str] = {}  # by pattern
        self._atomic: dict[str, bool] = {}  # by pattern: False once a stream said no

    def last(self, pattern: str, done: Callable[[Found], None]) -> None:
        """The position that the last message of ``pattern`` says."""
        stream = self._streams.get(pattern)
        if stream is not None:
            self._last_of(stream, pattern, done)
            return

        def named(payload: bytes | None) -> None:
            answer = _parsed(payload)
            if answer is None or answer.error is not None:
                done(Found(None, _why(answer)))
            elif not answer.streams:
                done(Found(None, f"no stream has {pattern}"))
            else:
                self._streams[pattern] = answer.streams[0]
                self._last_of(answer.streams[0], pattern, done)

        question = msgspec.json.encode({"subject": pattern})
        self._requests.ask([(b"$JS.API.STREAM.NAMES", b"", question)], named)

    def forget(self) -> None:
        """Which stream has what is asked again."""
        self._streams.clear()
        self._atomic.clear()
        self._ungrouped.clear()

    def store(
        self, pattern: str, after: int, messages: Sequence[Encoded], done: Callable[[Kept], None]
    ) -> int | None:
        """Store ``messages`` if the last one of ``pattern`` is ``after`` (0: there is none; ``BEHIND``: the last one
        of the group before). If the stream has taken all of them already, its number of the last one, or ``BEHIND`` if
        it will be known later: what is stored from now on is not durable before them."""
        stream = self._streams.get(pattern)
        if self._grouped(stream, pattern, after, messages, done):
            return BEHIND
        if after == BEHIND:  # the way has changed, and its number did not come yet: the stream is asked
            done(Kept(None, "", overtaken=True))
            return None
        if stream is not None and self._here is not None:
            count, last = self._here.place(
                stream,
                pattern,
                after,
                messages,
                lambda durable: done(Kept(last) if durable else _NOBODY_KNOWS),
            )
            if count == len(messages):
                return last
            if count:
                after, messages = last, messages[count:]
        self._store_rest(pattern, after, messages, done)
        return None

    def _grouped(
        self,
        stream: str | None,
        pattern: str,
        after: int,
        messages: Sequence[Encoded],
        done: Callable[[Kept], None],
    ) -> bool:
        """Whether they were sent as one."""
        if stream is None or self._there is None:
            return False
        if (left := self._ungrouped.get(pattern, 0)) > 0:
            self._ungrouped[pattern] = left - 1
            return False

        def answered(payload: bytes | None) -> None:
            answer = _parsed(payload)
            if answer is None or answer.count == len(messages) or _overtaken(answer):
                _settle(answer, done)
                return
            self._ungrouped[pattern] = _UNGROUPED
            if answer.error is not None:
                _settle(answer, done)
            elif answer.count:
                self._store_rest(pattern, answer.seq, messages[answer.count :], done)
            elif after != BEHIND:
                self._store_rest(pattern, after, messages, done)
            else:
                done(Kept(None, "", overtaken=True))

        return self._there.group(stream, pattern, None if after == BEHIND else after, messages, answered)

    def _store_rest(
        self, pattern: str, after: int, messages: Sequence[Encoded], done: Callable[[Kept], None]
    ) -> None:
        if len(messages) > 1 and self._atomic.get(pattern, True):
            self._store_batch(pattern, after, messages, done)
        else:
            self._store_next(pattern, after, list(messages), done)

    def _last_of(self, stream: str, pattern: str, done: Callable[[Found], None]) -> None:
        def got(payload: bytes | None) -> None:
            answer = _parsed(payload)
            if answer is not None and answer.message is not None:
                position = position_of(_headers(answer.message.hdrs), answer.message.seq)
                done(
                    Found(position, "" if position else f"the last message of {pattern} is not the bridge's")
                )
                return
            if answer is not None and answer.error is not None and answer.error.err_code == _NO_MESSAGE:
                done(Found(None))
                return
            if answer is None or answer.error is None or answer.error.err_code == _NO_SUCH_STREAM:
                self._streams.pop(pattern, None)  # perhaps another one has the subjects by now
                self._atomic.pop(pattern, None)
            done(Found(None, _why(answer)))

        question = msgspec.json.encode({"last_by_subj": pattern})
        self._requests.ask([(f"$JS.API.STREAM.MSG.GET.{stream}".encode(), b"", question)], got)

    def _store_batch(
        self, pattern: str, after: int, messages: Sequence[Encoded], done: Callable[[Kept], None]
    ) -> None:
        head = f"Nats-Batch-Id: {self._batch_id()}\r\nNats-Batch-Sequence: ".encode()
        batch = [_with(message, b"%b%d\r\n" % (head, number)) for number, message in enumerate(messages, 1)]
        batch[0] = _with(batch[0], _expecting(pattern, after))
        batch[-1] = _with(batch[-1], b"Nats-Batch-Commit: 1\r\n")

        def answered(payload: bytes | None) -> None:
            answer = _parsed(payload)
            if answer is not None and answer.error is not None and answer.error.err_code == _BATCH_OFF:
                self._atomic[pattern] = False
                self._store_next(pattern, after, list(messages), done)
            else:
                _settle(answer, done)

        self._requests.ask(batch, answered)

    def _store_next(
        self, pattern: str, after: int, messages: list[Encoded], done: Callable[[Kept], None]
    ) -> None:
        first = messages.pop(0)

        def answered(payload: bytes | None) -> None:
            answer = _parsed(payload)
            if messages and answer is not None and answer.error is None and answer.seq:
                self._store_next(pattern, answer.seq, messages, done)
            else:
                _settle(answer, done)

        self._requests.ask([_with(first, _expecting(pattern, after))], answered)


def _expecting(pattern: str, after: int) -> bytes:
    return header_lines({_EXPECTED: str(after), f"{_EXPECTED}-Subject": pattern})


def _with(message: Encoded, lines: bytes) -> Encoded:
    """The message with more lines in its header block."""
    subject, header, payload = message
    return subject, (header[:-2] if header else FIRST_LINE) + lines + b"\r\n", payload


def _settle(answer: _Answer | None, done: Callable[[Kept], None]) -> None:
    if answer is not None and answer.error is None and answer.seq:
        done(Kept(answer.seq))
    else:
        done(Kept(None, _why(answer), _overtaken(answer)))


def _overtaken(answer: _Answer | None) -> bool:
    return answer is not None and answer.error is not None and answer.error.err_code in _WRONG_LAST


def _parsed(payload: bytes | None) -> _Answer | None:
    if not payload:
        return None
    try:
        return msgspec.json.decode(payload, type=_Answer)
    except msgspec.DecodeError:
        return None


def _why(answer: _Answer | None) -> str:
    if answer is None or answer.error is None:
        return "JetStream does not answer"
    return answer.error.description or f"error {answer.error.err_code}"


def _headers(encoded: str) -> dict[str, str]:
    """What stands in a stored message's header block."""
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return {}
    lines = (line.partition(":") for line in text.split("\r\n")[1:])
    return {name: value.strip() for name, found, value in lines if found}
