"""JetStream as the place where frames become durable: the two questions of a ledger, as requests.

The stream is the one that has the board's subjects. If it is in this process it takes a group at once, and what it has
taken is known before it is durable. Else a group is an atomic batch where the stream allows that, or one message after
the other; either way the first says which message of the board it expects to be the last, so that a group whose answer
was lost cannot come twice however late it arrives. What a stream does not take at once, because it has to say why or
does more than to keep messages, goes that way as well.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from phloem.firmware_bridge.backlog import Message
from phloem.firmware_bridge.edgelink.ledger import Position
from phloem.firmware_bridge.edgelink.records import position_of
from phloem.firmware_bridge.headers import Encoded, decode_headers
from phloem.firmware_bridge.requests import Places, Requests

_BATCH_OFF = 10174
_NO_MESSAGE = 10037
_WRONG_LAST = (10071, 10164)  # with the number, and without
_NO_SUCH_STREAM = 10059
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
        self._requests.ask([Message("$JS.API.STREAM.NAMES", question, {})], named)

    def forget(self) -> None:
        """Which stream has what is asked again."""
        self._streams.clear()
        self._atomic.clear()

    def store(
        self, pattern: str, after: int, messages: Sequence[Encoded], done: Callable[[Kept], None]
    ) -> int | None:
        """Store ``messages`` if the last one of ``pattern`` is ``after`` (0: there is none). If the stream has taken
        all of them already, its number of the last one: what is stored from now on is not durable before them."""
        stream = self._streams.get(pattern)
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
        plain = [
            Message(subject.decode(), payload, decode_headers(header))
            for subject, header, payload in messages
        ]
        if len(plain) > 1 and self._atomic.get(pattern, True):
            self._store_batch(pattern, after, plain, done)
        else:
            self._store_next(pattern, after, plain, done)
        return None

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
        self._requests.ask([Message(f"$JS.API.STREAM.MSG.GET.{stream}", question, {})], got)

    def _store_batch(
        self, pattern: str, after: int, messages: Sequence[Message], done: Callable[[Kept], None]
    ) -> None:
        ident = self._batch_id()
        batch: list[Message] = []
        for number, message in enumerate(messages, 1):
            headers = {**message.headers, "Nats-Batch-Id": ident, "Nats-Batch-Sequence": str(number)}
            if number == 1:
                headers |= _expecting(pattern, after)
            if number == len(messages):
                headers["Nats-Batch-Commit"] = "1"
            batch.append(Message(message.subject, message.payload, headers))

        def answered(payload: bytes | None) -> None:
            answer = _parsed(payload)
            if answer is not None and answer.error is not None and answer.error.err_code == _BATCH_OFF:
                self._atomic[pattern] = False
                self._store_next(pattern, after, list(messages), done)
            else:
                _settle(answer, done)

        self._requests.ask(batch, answered)

    def _store_next(
        self, pattern: str, after: int, messages: list[Message], done: Callable[[Kept], None]
    ) -> None:
        first = messages.pop(0)

        def answered(payload: bytes | None) -> None:
            answer = _parsed(payload)
            if messages and answer is not None and answer.error is None and answer.seq:
                self._store_next(pattern, answer.seq, messages, done)
            else:
                _settle(answer, done)

        headers = {**first.headers, **_expecting(pattern, after)}
        self._requests.ask([first._replace(headers=headers)], answered)


def _expecting(pattern: str, after: int) -> dict[str, str]:
    return {_EXPECTED: str(after), f"{_EXPECTED}-Subject": pattern}


def _settle(answer: _Answer | None, done: Callable[[Kept], None]) -> None:
    if answer is not None and answer.error is None and answer.seq:
        done(Kept(answer.seq))
    else:
        overtaken = answer is not None and answer.error is not None and answer.error.err_code in _WRONG_LAST
        done(Kept(None, _why(answer), overtaken))


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
