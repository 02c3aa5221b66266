"""The bridge's requests inside the server's own process: to JetStream and back without a connection.

What is to be stored goes into a stream's log at once where nobody has to decide about it, and an answer comes back when
the disk has it. A message is stored behind all before it or not at all: ``place`` ends with the first that the stream
does not take, and whoever calls it asks about that one.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from phloem.edge.line import Line
from phloem.firmware_bridge.backlog import Message
from phloem.firmware_bridge.headers import Encoded, encode_headers
from phloem.firmware_bridge.timers import CallLater, Timer, loop_call_later
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.limits import SECOND_NS
from phloem.shared.store.log import Log

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.server.server import Server

ANSWER_NS = 10 * SECOND_NS  # a disk that takes longer than that is in trouble, and the stream is asked again

PATTERNS_MAX = 1024  # whose last messages are remembered: boards that come and go fill no memory


class _Placed(NamedTuple):
    """What was placed in a stream, as long as nobody else stores there."""

    stream: "Stream"
    last_seq: int
    last_of: dict[str, int]  # by pattern


class KernelRequests:
    """Asks in one account of a running server: ``$G``, as ``KernelPublisher`` publishes."""

    def __init__(self, server: "Server", *, call_later: CallLater = loop_call_later) -> None:
        self._call_later = call_later
        self._line = Line(server, server.account(), "_INBOX.bridge")
        self._waiting: dict[str, tuple[Callable[[bytes | None], None], Timer]] = {}
        self._placed: dict[str, _Placed] = {}  # by the stream's name
        self._turn: dict[Log, list[Callable[[bool], None]]] = {}  # who waits for what was placed in this turn

    def ask(self, messages: Sequence[Message], done: Callable[[bytes | None], None]) -> None:
        """As ``Requests`` has it."""

        reply = self._await(done)
        encoded = [(each.subject.encode(), encode_headers(each.headers), each.payload) for each in messages]
        receivers = self._line.send_all(encoded, reply)
        if not receivers:  # as a client would hear at once that nobody listens
            self._waiting[reply][1].cancel()
            self._waiting[reply] = done, self._call_later(0, lambda: self._end(reply, None))

    def place(
        self, stream: str, pattern: str, after: int, messages: Sequence[Encoded], done: Callable[[bool], None]
    ) -> tuple[int, int]:
        """As ``Places`` has it."""
        server = self._line.server
        jetstream = server.jetstream
        account = jetstream.accounts.get(GLOBAL_ACCOUNT) if jetstream is not None else None
        found = account.streams.get(stream) if account is not None else None
        # A stream that keeps what somebody wants gives numbers to what it does not keep.
        if found is None or found.config.retention == "interest":
            return 0, 0
        lasts = self._lasts(found)
        known = lasts.get(pattern)
        if (found.publish.last_on(pattern.encode()) if known is None else known) != after:
            return 0, 0
        server.kernel.set_now(server.clock.monotonic_ns())
        count = found.engine.take_all(messages)
        last = found.log.last_seq
        if count:
            lasts[pattern] = last
            self._placed[stream] = _Placed(found, last, lasts)
        # The next round does what follows from it, for all ports that are read in this turn of the loop: nobody
        # is called back from here, and one answer is enough for all of them.
        if count == len(messages):
            if not self._turn:
                self._call_later(0, self._ask_the_disk)
            self._turn.setdefault(found.log, []).append(done)
        return (count, last) if count else (0, 0)

    def _ask_the_disk(self) -> None:
        jetstream, (turn, self._turn) = self._line.server.jetstream, (self._turn, {})
        for log, waiting in turn.items():

            def answered(answer: bytes | None, waiting: list[Callable[[bool], None]] = waiting) -> None:
                for done in waiting:
                    done(answer is not None)

            reply = self._await(answered)
            if jetstream is not None:
                jetstream.engine.answer(self._line.account, reply.encode(), b"", b"durable", log)

    def _lasts(self, stream: "Stream") -> dict[str, int]:
        """What is known of last messages: nothing, if anything was stored that was not placed here. What was removed
        meanwhile may be among them: nobody has stored anything behind it, which is what is asked."""
        placed = self._placed.get(stream.name)
        if placed is None or placed.stream is not stream or placed.last_seq != stream.log.last_seq:
            return {}
        return placed.last_of if len(placed.last_of) < PATTERNS_MAX else {}

    def stop(self) -> None:
        """Nothing is answered any more."""
        self._line.close()
        for _, timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()

    def _await(self, done: Callable[[bytes | None], None]) -> str:
        """The reply subject on which an answer is awaited."""

        def heard(_subject: bytes, _reply: bytes, _header: bytes, body: bytes) -> None:
            self._end(reply, body)

        reply = self._line.listen(heard)
        self._waiting[reply] = done, self._call_later(ANSWER_NS, lambda: self._end(reply, None))
        return reply

    def _end(self, reply: str, answer: bytes | None) -> None:
        self._line.hush(reply)
        done, timer = self._waiting.pop(reply)
        timer.cancel()
        done(answer)
