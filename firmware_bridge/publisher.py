"""Where frames go and commands come from: all that a session knows about messaging.

A serial line cannot be asked to wait, so ``publish`` never waits either: a publisher keeps what it
cannot pass on at once in a bounded queue of its own and says what it had to drop.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from phloem.firmware_bridge.headers import Encoded

Respond: TypeAlias = Callable[[bytes, Mapping[str, str]], None]
"""Answers a request with a payload and headers; harmless when nobody waits for it."""


class Publisher(Protocol):
    """All calls are made on the event loop, return at once and raise nothing that a peer can cause."""

    @property
    def payload_max(self) -> int:
        """Bytes that the payload of a message with a few headers may have."""
        ...

    def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """Pass a message on, or keep it for later, or drop it and count that."""
        ...

    def publish_all(self, messages: Sequence[Encoded]) -> None:
        """The same of many, in order, as they stand on the wire: for what comes in thousands."""
        ...

    def subscribe(self, subject: str, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """Call ``callback`` with each payload published to ``subject``; the result takes that back."""
        ...

    def serve(self, subject: str, callback: Callable[[bytes, Respond], None]) -> Callable[[], None]:
        """The same for requests: ``callback`` gets the payload, and what answers it."""
        ...
