"""Puts messages into streams of this server, and hears when they are on the disk.

A publish with a reply subject, as any client does it: whichever stream keeps the subject acknowledges when its batch is
synced. Nothing is believed before that answer.
"""

import asyncio
from collections import deque
from typing import Any

import msgspec

from phloem.edge.line import NOBODY, Line
from phloem.firmware_bridge.headers import FIRST_LINE
from phloem.firmware_bridge.mqtt.durable import Done, Headers, Refused, Stored
from phloem.firmware_bridge.timers import CallLater, Timer, loop_call_later
from phloem.shared import limits

ANSWER_NS = 10 * limits.SECOND_NS  # nothing: there is no stream, but somebody who listens; or the disk hangs
NO_STREAM = "no stream keeps this subject"
TOO_LARGE = (10054,)  # maximum message size exceeded: trying again makes it no smaller


class StreamPublisher:
    """Publishes in the account of ``line``."""

    def __init__(self, line: Line, *, call_later: CallLater = loop_call_later) -> None:
        self._line, self._call_later = line, call_later
        self._waiting: dict[str, Done] = {}  # by inbox
        self._deadlines: deque[tuple[int, str]] = deque()
        self._timer: Timer | None = None

    def publish(self, subject: str, payload: bytes, headers: Headers, done: Done) -> None:
        """As ``DurablePublisher`` has it."""
        server = self._line.server
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        header = FIRST_LINE + lines.encode() + b"\r\n" if lines else b""
        problem = self._problem(subject, header, payload)
        if problem:
            asyncio.get_running_loop().call_soon(done, Refused(problem, final=True))
            return

        def heard(_subject: bytes, _reply: bytes, header: bytes, body: bytes) -> None:
            self._answer(inbox, _outcome(header, body))

        inbox = self._line.listen(heard)
        self._waiting[inbox] = done
        self._deadlines.append((server.clock.monotonic_ns() + ANSWER_NS, inbox))
        if self._timer is None:
            self._timer = self._call_later(ANSWER_NS, self._due)
        if not self._line.send(subject, payload, header=header, reply=inbox):
            asyncio.get_running_loop().call_soon(self._answer, inbox, Refused(NO_STREAM))

    def close(self) -> None:
        """Nobody is told any more."""
        for inbox in self._waiting:
            self._line.hush(inbox)
        self._waiting.clear()
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _problem(self, subject: str, header: bytes, payload: bytes) -> str:
        options, size = self._line.server.options, len(header) + len(payload)
        if size > options.max_payload:
            return f"{size} bytes with headers, and max_payload is {options.max_payload}"
        if len(header) > limits.HEADER_BLOCK:
            return f"{len(header)} bytes of headers, and a stream takes {limits.HEADER_BLOCK}"
        if (size := len(subject.encode())) > options.max_control_line // 2:
            return f"a subject of {size} bytes, and max_control_line is {options.max_control_line}"
        return ""

    def _answer(self, inbox: str, outcome: Stored | Refused) -> None:
        self._line.hush(inbox)
        done = self._waiting.pop(inbox, None)
        while self._deadlines and self._deadlines[0][1] not in self._waiting:
            self._deadlines.popleft()
        if done is not None:
            done(outcome)

    def _due(self) -> None:
        self._timer = None
        now = self._line.server.clock.monotonic_ns()
        late = Refused("no stream has answered: none keeps this subject, or the disk does not write")
        while self._deadlines and self._deadlines[0][0] <= now:
            self._answer(self._deadlines[0][1], late)
        if self._deadlines and self._timer is None:
            self._timer = self._call_later(self._deadlines[0][0] - now, self._due)


def _outcome(header: bytes, body: bytes) -> Stored | Refused:
    if header.startswith(NOBODY):
        return Refused(NO_STREAM)
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return Refused("the answer cannot be read: somebody who is no stream answers on this subject")
    if (problem := answer.get("error")) is not None:
        final = problem.get("err_code") in TOO_LARGE
        return Refused(str(problem.get("description", problem)), final=final)
    stream, seq = answer.get("stream"), answer.get("seq")
    if not isinstance(stream, str) or not isinstance(seq, int):
        return Refused("the answer has no stream and no sequence: somebody who is no stream answers")
    return Stored(stream, seq)
