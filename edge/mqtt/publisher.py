"""Puts messages into streams of this server, and hears when they are on the disk.

A publish with a reply subject, as any client does it: whichever stream keeps the subject acknowledges when its batch is
synced. Nothing is believed before that answer.
"""

import asyncio
from typing import Any

import msgspec

from phloem.edge.line import NOBODY, Line
from phloem.firmware_bridge.headers import FIRST_LINE
from phloem.firmware_bridge.mqtt.durable import Done, Headers, Refused, Stored
from phloem.firmware_bridge.timers import CallLater, loop_call_later
from phloem.firmware_bridge.waiting import Waiting
from phloem.shared import limits

ANSWER_NS = 10 * limits.SECOND_NS  # nothing: there is no stream, but somebody who listens; or the disk hangs
NO_STREAM = "no stream keeps this subject"
LATE = "no stream has answered: none keeps this subject, or the disk does not write"
TOO_LARGE = (10054,)  # maximum message size exceeded: trying again makes it no smaller


class StreamPublisher:
    """Publishes in the account of ``line``."""

    def __init__(self, line: Line, *, call_later: CallLater = loop_call_later) -> None:
        self._line = line
        self._waiting = Waiting[Done](ANSWER_NS, line.server.clock, call_later, self._late)  # by inbox

    def publish(self, subject: str, payload: bytes, headers: Headers, done: Done) -> None:
        """As ``DurablePublisher`` has it."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        header = FIRST_LINE + lines.encode() + b"\r\n" if lines else b""
        problem = self._problem(subject, header, payload)
        if problem:
            asyncio.get_running_loop().call_soon(done, Refused(problem, final=True))
            return

        def heard(_subject: bytes, _reply: bytes, header: bytes, body: bytes) -> None:
            self._answer(inbox, _outcome(header, body))

        inbox = self._line.listen(heard)
        self._waiting.add(inbox, done)
        if not self._line.send(subject, payload, header=header, reply=inbox):
            asyncio.get_running_loop().call_soon(self._answer, inbox, Refused(NO_STREAM))

    def close(self) -> None:
        """Nobody is told any more."""
        for inbox in self._waiting.clear():
            self._line.hush(inbox)

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
        done = self._waiting.pop(inbox)
        if done is not None:
            self._line.hush(inbox)
            done(outcome)

    def _late(self, inbox: str, done: Done) -> None:
        self._line.hush(inbox)
        done(Refused(LATE))


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
