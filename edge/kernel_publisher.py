"""The bridge's publisher inside the server's own process: frames go straight into the kernel.

Nothing is serialised and nothing waits in between: a frame is with every subscriber's and link's output when
``publish`` returns. What ``Publisher`` promises (it never waits, it raises nothing a peer can cause) holds because
a slow subscriber is the kernel's business, as with messages of any client.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from phloem.firmware_bridge.headers import Encoded, encode_headers
from phloem.firmware_bridge.limits import HEADERS_BYTES
from phloem.firmware_bridge.publisher import Respond

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

logger = logging.getLogger("phloem.edge")


class KernelPublisher:
    """Publishes and subscribes in one account of a running server: ``$G``, as clients without an account do."""

    def __init__(self, server: "Server") -> None:
        self.refused = 0
        self._server, self._account = server, server.account()

    @property
    def payload_max(self) -> int:
        """Bytes that the payload of a message with a few headers may have."""
        return max(0, self._server.options.max_payload - HEADERS_BYTES)

    def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """Deliver now. What is larger than ``max_payload`` is refused, as it would be from a client."""
        server = self._server
        header = encode_headers(headers)
        size, most = len(header) + len(payload), server.options.max_payload
        if size > most:
            self._refuse(subject, size, most)
            return
        server.kernel.set_now(server.clock.monotonic_ns())  # deadlines of what it writes count from here
        server.kernel.publish(self._account, _wire(subject), header=header, body=payload)
        server.schedule()

    def publish_all(self, messages: Sequence[Encoded]) -> None:
        """The same of many: what they cause happens once, behind the last of them."""
        server = self._server
        most = server.options.max_payload
        sizes = [len(header) + len(payload) for _, header, payload in messages]
        if max(sizes, default=0) > most:
            for (subject, _, _), size in zip(messages, sizes, strict=True):
                if size > most:
                    self._refuse(subject.decode(), size, most)
            messages = [message for message, size in zip(messages, sizes, strict=True) if size <= most]
        server.kernel.set_now(server.clock.monotonic_ns())
        server.kernel.publish_all(self._account, messages)
        server.schedule()

    def subscribe(self, subject: str, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """``callback`` gets payloads on the event loop, at the end of the turn that brought them."""
        return self._listen(subject, lambda body, _reply: callback(body))

    def serve(self, subject: str, callback: Callable[[bytes, Respond], None]) -> Callable[[], None]:
        """The same for requests."""

        def on_request(body: bytes, reply: str) -> None:
            if reply:
                callback(body, lambda answer, headers: self.publish(reply, answer, headers))

        return self._listen(subject, on_request)

    def _listen(self, subject: str, callback: Callable[[bytes, str], None]) -> Callable[[], None]:
        kernel = self._server.kernel

        def on_message(_subject: bytes, reply: bytes, _header: bytes, body: bytes) -> None:
            callback(body, reply.decode("utf-8", "surrogateescape"))

        ident = kernel.subscribe(self._account, _wire(subject), None, on_message)
        self._server.schedule()
        return lambda: kernel.unsubscribe(ident)

    def _refuse(self, subject: str, size: int, most: int) -> None:
        self.refused += 1
        if self.refused == 1:
            logger.warning(
                "%d bytes with headers for %s dropped: max_payload is %d; lower max_frame_bytes",
                size,
                subject,
                most,
            )


def _wire(subject: str) -> bytes:
    """A reply subject is of whatever bytes a client chose."""
    return subject.encode("utf-8", "surrogateescape")
