"""Requests that the edge itself makes: of its own JetStream, of the hub's, of programs on the device.

No client, no socket: messages go through the kernel. All answers come to one subscription, so that a link is told of
one interest and not of one for each request.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phloem.shared import limits
from phloem.shared.errors import PhloemError
from phloem.shared.jetstream.identity import text_of

if TYPE_CHECKING:
    from phloem.shared.kernel import Account
    from phloem.shared.server.server import Server

NOBODY = b"NATS/1.0 503"
Heard = Callable[[bytes, bytes, bytes, bytes], None]  # subject, reply, header, body


class NoAnswer(PhloemError):
    """Nobody is there, or nothing came in time."""


class Refused(PhloemError):
    """JetStream says no; ``code`` is its ``err_code``."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Answer(NamedTuple):
    """What came."""

    header: bytes
    body: bytes


class Line:
    """One account's messages, as the server itself sends and hears them. ``mailbox``: what its inboxes begin with."""

    def __init__(self, server: "Server", account: "Account", mailbox: str) -> None:
        self.server, self.account = server, account
        self._root = f"{mailbox}.{text_of(server.rng.randbytes(8), 8)}"
        self._numbers = itertools.count(1)
        self._open: dict[bytes, Heard] = {}
        self._alone: dict[str, int] = {}
        self._ident = server.kernel.subscribe(account, f"{self._root}.*".encode(), None, self._heard)
        server.schedule()

    def close(self) -> None:
        """Nothing is heard any more."""
        self._open.clear()
        for subject in list(self._alone):
            self.hush(subject)
        self.server.kernel.unsubscribe(self._ident)

    def listen(self, heard: Heard) -> str:
        """A new subject, and who hears what comes to it; ends with ``hush``."""
        subject = f"{self._root}.{next(self._numbers)}"
        self._open[subject.encode()] = heard
        return subject

    def listen_alone(self, heard: Heard) -> str:
        """The same with an interest of its own: nats-server holds a push consumer for idle whose deliver subject is
        listened to by a wildcard only."""
        subject = f"{self._root}.{next(self._numbers)}.d"
        self._alone[subject] = self.server.kernel.subscribe(self.account, subject.encode(), None, heard)
        return subject

    def hush(self, subject: str) -> None:
        """The end of a ``listen``."""
        self._open.pop(subject.encode(), None)
        if (ident := self._alone.pop(subject, None)) is not None:
            self.server.kernel.unsubscribe(ident)

    def _heard(self, subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
        heard = self._open.get(subject)
        if heard is not None:
            heard(subject, reply, header, body)

    def send(self, subject: str, body: bytes = b"", *, header: bytes = b"", reply: str = "") -> int:
        """A message; the number of receivers."""
        return self.send_all([(subject.encode(), header, body)], reply)

    def send_all(self, messages: Sequence[tuple[bytes, bytes, bytes]], reply: str = "") -> int:
        """Messages (subject, header, body), of which the last asks for the reply; the number of its receivers."""
        sent = 0
        *before, (subject, header, body) = messages

        def publish() -> None:
            nonlocal sent
            if before:
                self.server.kernel.publish_all(self.account, before)
            sent = self.server.kernel.publish(
                self.account, subject, reply=reply.encode(), header=header, body=body
            )

        self.server.do(publish)
        return sent

    def reaches(self, subject: str) -> bool:
        """Whether a message would reach anybody."""
        return self.server.kernel.interested(self.account, subject.encode())

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        *,
        header: bytes = b"",
        timeout_ns: int = limits.TWIN_ANSWER_NS,
    ) -> Answer:
        """The first answer.

        Raises:
            NoAnswer: There is none.
        """
        answer = asyncio.get_running_loop().create_future()

        def heard(_subject: bytes, _reply: bytes, header: bytes, body: bytes) -> None:
            if not answer.done():
                answer.set_result(Answer(header, body))

        inbox = self.listen(heard)
        try:
            if not self.send(subject, body, header=header, reply=inbox):
                raise NoAnswer(f"nobody is at {subject}")
            async with asyncio.timeout(timeout_ns / limits.SECOND_NS):
                found: Answer = await answer
        except TimeoutError:
            raise NoAnswer(f"no answer from {subject}") from None
        finally:
            self.hush(inbox)
        if found.header.startswith(NOBODY):
            raise NoAnswer(f"nobody is at {subject}")
        return found

    async def ask(self, subject: str, question: Any = None, *, header: bytes = b"") -> dict[str, Any]:
        """A request to JetStream, in JSON or, as bytes, as it is; its answer.

        Raises:
            NoAnswer: There is none.
            Refused: It is an error.
        """
        body = question if isinstance(question, bytes) else msgspec.json.encode(question) if question else b""
        found = await self.request(subject, body, header=header)
        try:
            answer = msgspec.json.decode(found.body, type=dict[str, Any])
        except (ValueError, RecursionError):
            raise NoAnswer(f"{subject}: the answer cannot be read") from None
        if (problem := answer.get("error")) is not None:
            raise Refused(int(problem.get("err_code", 0)), str(problem.get("description", problem)))
        return answer
