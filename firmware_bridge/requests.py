"""Messages that are answered: what a port needs of messaging when it may not lose anything, beside ``publisher.py``."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from phloem.firmware_bridge.headers import Encoded


class Requests(Protocol):
    """Called on the event loop; returns at once and raises nothing that a peer can cause."""

    def ask(self, messages: Sequence[Encoded], done: Callable[[bytes | None], None]) -> None:
        """Publish all of ``messages``, in order, the last one as a request. ``done`` is called once, later: with the
        answer, or with None if nobody knows what became of them, or nobody is there to answer."""
        ...


@runtime_checkable
class Places(Protocol):
    """What requests can do as well if streams are in this process."""

    def place(
        self,
        stream: str,
        pattern: str,
        after: int,
        messages: Sequence[Encoded],
        done: Callable[[bool], None],
    ) -> tuple[int, int]:
        """Put messages into a stream of this process, if its last one on ``pattern`` is ``after`` (0: there is none):
        as many, from the first on, as it takes at once. How many these are, and its number of the last of them; zeros:
        none. If they are all, ``done`` is called once, later: True when they and everything before them are durable,
        False if nobody knows."""
        ...


@runtime_checkable
class Groups(Protocol):
    """What requests can do as well if the server takes groups (``shared/server/jetstream/groups.py``)."""

    def group(
        self,
        stream: str,
        pattern: str,
        after: int | None,
        messages: Sequence[Encoded],
        done: Callable[[bytes | None], None],
    ) -> bool:
        """As ``place``, from afar: ``done`` is called once, later, as that of ``ask``. ``after`` None: they are to
        follow the group that was sent before for this pattern, whatever its number. False: this server does not take
        groups, and nothing was done."""
        ...
