"""Messages that are answered: what a port needs of messaging when it may not lose anything, beside ``publisher.py``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from phloem.firmware_bridge.backlog import Message

Respond: TypeAlias = Callable[[bytes, Mapping[str, str]], None]
"""Answers a request with a payload and headers; harmless when nobody waits for it."""


class Requests(Protocol):
    """All calls are made on the event loop, return at once and raise nothing that a peer can cause."""

    def ask(self, messages: Sequence[Message], done: Callable[[bytes | None], None]) -> None:
        """Publish all of ``messages``, in order, the last one as a request. ``done`` is called once, later: with the
        answer, or with None if nobody knows what became of them."""
        ...

    def serve(self, subject: str, callback: Callable[[bytes, Respond], None]) -> Callable[[], None]:
        """Call ``callback`` with the payload of each request on ``subject`` and with what answers it; the result takes
        that back."""
        ...
