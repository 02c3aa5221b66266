"""Streams as the bridge sees them: somewhere to put messages, and somewhere commands come from.

The words between a bridge that knows MQTT and whoever has the streams: an edge, in its own process. All calls are made
on the event loop and return at once.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

Headers: TypeAlias = Sequence[tuple[str, str]]


class Stored(NamedTuple):
    """It is on the disk."""

    stream: str
    seq: int


class Refused(NamedTuple):
    """It is not. ``final``: it can never be, so there is no use in trying again."""

    why: str
    final: bool = False


Done: TypeAlias = Callable[[Stored | Refused], None]


class DurablePublisher(Protocol):
    """Puts messages into streams."""

    def publish(self, subject: str, payload: bytes, headers: Headers, done: Done) -> None:
        """``done`` is called once, later: when the message is on the disk, or when it is certain that it is not."""
        ...


class Verdict(Enum):
    """What became of a command."""

    DONE = "done"
    AGAIN = "again"  # soon
    LATER = "later"  # after a pause: it was refused
    NEVER = "never"


class Command(NamedTuple):
    """A message of the commands' stream. ``ident``: stream and sequence, the same each time it comes."""

    subject: str
    payload: bytes
    headers: Headers
    ident: str
    attempt: int  # 1 for the first time
    settle: Callable[[Verdict], None]


class CommandSource(Protocol):
    """A durable consumer: what is not settled as done comes again."""

    def begin(self, heard: Callable[[Command], None]) -> None:
        """Hand out commands from now on."""
        ...

    def end(self) -> None:
        """Hand out no more."""
        ...


class Memory(Protocol):
    """A few bytes that are there after a restart."""

    def read(self) -> bytes:
        """What was written last; empty if nothing was."""
        ...

    def write(self, content: bytes) -> None:
        """Keep this; it is on the disk soon."""
        ...
