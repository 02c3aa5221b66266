"""The bridge's requests inside the server's own process: to JetStream and back without a connection."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

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
        self._server, self._account, self._call_later = server, server.account(), call_later
        self._inbox = f"_INBOX.bridge{server.rng.getrandbits(64):016x}."
        self._waiting: dict[bytes, tuple[Callable[[bytes | None], None], Timer]] = {}
        self._asked = 0
        self._subscription = server.kernel.subscribe(
            self._account, self._inbox.encode() + b">", None, self._heard
        )

    def ask(self, messages: Sequence[Message], done: Callable[[bytes | None], None]) -> None:
        """As ``Requests`` has it."""
        server = self._server
        self._asked += 1
        reply = f"{self._inbox}{self._asked}".encode()
        self._waiting[reply] = done, self._call_later(ANSWER_NS, lambda: self._end(reply, None))
        server.kernel.set_now(server.clock.monotonic_ns())
        encoded = [
            (message.subject.encode(), encode_headers(message.headers), message.payload)
            for message in messages
        ]
        subject, header, payload = encoded.pop()
        if encoded:
            server.kernel.publish_all(self._account, encoded)
        receivers = server.kernel.publish(self._account, subject, reply, header, payload)
        server.schedule()
        if not receivers:  # as a client would hear at once that nobody listens
            self._waiting[reply][1].cancel()
            self._waiting[reply] = done, self._call_later(0, lambda: self._end(reply, None))

    def stop(self) -> None:
        """Nothing is answered any more."""
        self._server.kernel.unsubscribe(self._subscription)
        for _, timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()

    def _heard(self, subject: bytes, _reply: bytes, _header: bytes, body: bytes) -> None:
        self._end(subject, body)

    def _end(self, reply: bytes, answer: bytes | None) -> None:
        waiting = self._waiting.pop(reply, None)
        if waiting is not None:
            done, timer = waiting
            timer.cancel()
            done(answer)
