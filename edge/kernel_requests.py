"""The bridge's requests inside the server's own process: to JetStream and back without a connection.

What is to be stored goes into a stream's log at once where nobody has to decide about it, and an answer comes back when
the disk has it. A message is stored behind all before it or not at all: ``place`` ends with the first that the stream
does not take, and whoever calls it asks about that one.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from phloem.edge.line import NOBODY, Line
from phloem.firmware_bridge.headers import Encoded
from phloem.firmware_bridge.timers import CallLater, loop_call_later
from phloem.firmware_bridge.waiting import Waiting
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.limits import SECOND_NS
from phloem.shared.store.log import Log

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

ANSWER_NS = 10 * SECOND_NS  # a disk that takes longer than that is in trouble, and the stream is asked again


class KernelRequests:
    """Asks in one account of a running server: ``$G``, as ``KernelPublisher`` publishes."""

    def __init__(self, server: "Server", *, call_later: CallLater = loop_call_later) -> None:
        self._call_later = call_later
        self._line = Line(server, server.account(), "_INBOX.bridge")
        self._waiting = Waiting[Callable[[bytes | None], None]](
            ANSWER_NS, server.clock, call_later, self._late
        )
        self._turn: dict[Log, list[Callable[[bool], None]]] = {}  # who waits for what was placed in this turn

    def ask(self, messages: Sequence[Encoded], done: Callable[[bytes | None], None]) -> None:
        """As ``Requests`` has it."""
        reply = self._await(done)
        if not self._line.send_all(messages, reply):  # as a client would hear at once that nobody listens
            self._call_later(0, lambda: self._end(reply, None))

    def place(
        self, stream: str, pattern: str, after: int, messages: Sequence[Encoded], done: Callable[[bool], None]
    ) -> tuple[int, int]:
        """As ``Places`` has it."""
        server = self._line.server
        jetstream = server.jetstream
        account = jetstream.accounts.get(GLOBAL_ACCOUNT) if jetstream is not None else None
        found = account.streams.get(stream) if account is not None else None
        if found is None:
            return 0, 0
        server.kernel.set_now(server.clock.monotonic_ns())
        placed = found.groups.place(pattern, after, messages)
        # The next round does what follows from it, for all ports that are read in this turn of the loop: nobody
        # is called back from here, and one answer is enough for all of them.
        if placed is not None and placed[0] == len(messages):
            if not self._turn:
                self._call_later(0, self._ask_the_disk)
            self._turn.setdefault(found.log, []).append(done)
        return placed or (0, 0)

    def _ask_the_disk(self) -> None:
        jetstream, (turn, self._turn) = self._line.server.jetstream, (self._turn, {})
        for log, waiting in turn.items():

            def answered(answer: bytes | None, waiting: list[Callable[[bool], None]] = waiting) -> None:
                for done in waiting:
                    done(answer is not None)

            reply = self._await(answered)
            if jetstream is not None:
                jetstream.engine.answer(self._line.account, reply.encode(), b"", b"durable", log)

    def stop(self) -> None:
        """Nothing is answered any more."""
        self._line.close()
        self._waiting.clear()

    def _await(self, done: Callable[[bytes | None], None]) -> str:
        """The reply subject on which an answer is awaited."""

        def heard(_subject: bytes, _reply: bytes, header: bytes, body: bytes) -> None:
            self._end(reply, None if header.startswith(NOBODY) else body)

        reply = self._line.listen(heard)
        self._waiting.add(reply, done)
        return reply

    def _end(self, reply: str, answer: bytes | None) -> None:
        done = self._waiting.pop(reply)
        if done is not None:
            self._line.hush(reply)
            done(answer)

    def _late(self, reply: str, done: Callable[[bytes | None], None]) -> None:
        self._line.hush(reply)
        done(None)
