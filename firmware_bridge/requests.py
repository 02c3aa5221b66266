"""Messages that are answered: what a port needs of messaging when it may not lose anything, beside ``publisher.py``."""

from collections.abc import Callable, Sequence
from typing import Protocol

from phloem.firmware_bridge.backlog import Message


class Requests(Protocol):
    """Called on the event loop; returns at once and raises nothing that a peer can cause."""

    def ask(self, messages: Sequence[Message], done: Callable[[bytes | None], None]) -> None:
        """Publish all of ``messages``, in order, the last one as a request. ``done`` is called once, later: with the
        answer, or with None if nobody knows what became of them."""
        ...
