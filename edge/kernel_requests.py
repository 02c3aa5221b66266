"""The bridge's requests inside the server's own process: to JetStream and back without a connection."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from phloem.edge.line import Line
from phloem.firmware_bridge.backlog import Message
from phloem.firmware_bridge.headers import encode_headers
from phloem.firmware_bridge.timers import CallLater, Timer, loop_call_later
from phloem.shared.limits import SECOND_NS

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

ANSWER_NS = 10 * SECOND_NS  # a disk that takes longer than that is in trouble, and the stream is asked again


class KernelRequests:
    """Asks in one account of a running server: ``$G``, as ``KernelPublisher`` publishes."""

    def __init__(self, server: "Server", *, call_later: CallLater = loop_call_later) -> None:
        self._call_later = call_later
        self._line = Line(server, server.account(), "_INBOX.bridge")
        self._waiting: dict[str, tuple[Callable[[bytes | None], None], Timer]] = {}

    def ask(self, messages: Sequence[Message], done: Callable[[bytes | None], None]) -> None:
        """As ``Requests`` has it."""

        def heard(_subject: bytes, _reply: bytes, _header: bytes, body: bytes) -> None:
            self._end(reply, body)

        reply = self._line.listen(heard)
        self._waiting[reply] = done, self._call_later(ANSWER_NS, lambda: self._end(reply, None))
        encoded = [(each.subject.encode(), encode_headers(each.headers), each.payload) for each in messages]
        receivers = self._line.send_all(encoded, reply)
        if not receivers:  # as a client would hear at once that nobody listens
            self._waiting[reply][1].cancel()
            self._waiting[reply] = done, self._call_later(0, lambda: self._end(reply, None))

    def stop(self) -> None:
        """Nothing is answered any more."""
        self._line.close()
        for _, timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()

    def _end(self, reply: str, answer: bytes | None) -> None:
        self._line.hush(reply)
        done, timer = self._waiting.pop(reply)
        timer.cancel()
        done(answer)
