"""What the driver of a session has to do, in the order in which it is told."""

from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from phloem.firmware_bridge.edgelink.messages import Hello
from phloem.firmware_bridge.edgelink.schema import Read, Sample


class Send(NamedTuple):
    """Write this to the line."""

    data: bytes


class Locate(NamedTuple):
    """Find the first sequence number of this ring that is not durable, and say it with ``Session.located``.

    Not before everything that was handed up for ``uid``, by whatever port, is durable or was given up.
    """

    uid: bytes
    epoch: int


class Taken(NamedTuple):
    """A frame to make durable, in order; then ``Session.durable``. ``read`` is None for a frame that says nothing
    that the schema knows. ``error_ns`` is None if ``mono_ns`` is when it came, for want of a clock."""

    uid: bytes
    epoch: int
    seq: int
    read: Read | None
    mono_ns: int
    error_ns: int | None

    @property
    def samples(self) -> list[Sample]:
        """What it says, one by one."""
        return self.read.samples if self.read is not None else []


class Gap(NamedTuple):
    """Frames from ``first`` on and before ``next`` are gone: to be made durable in order, as a frame ``next`` - 1."""

    uid: bytes
    epoch: int
    first: int
    next: int


class Joined(NamedTuple):
    """A board was welcomed; also one that was here, when it began anew."""

    hello: Hello


class Left(NamedTuple):
    """The board is gone: silent, or another one is on the line."""

    uid: bytes
    why: str


class Said(NamedTuple):
    """A line that the board printed, with no frame around it (``level`` and ``mono_ns`` None) or as a LOG."""

    text: str
    level: int | None = None
    mono_ns: int | None = None


class Outcome(NamedTuple):
    """How a command ended: with the board's ``status`` and result, or with None and ``why`` nobody knows it."""

    ticket: int
    status: int | None
    result: bytes = b""
    why: str = ""


class ImageProgress(NamedTuple):
    """How far an image is: bytes that the board has of ``size``. ``whole``: it has checked all of it, and starts it."""

    offset: int
    size: int
    whole: bool = False


class ImageEnd(Enum):
    """How an image ended."""

    RUNS = auto()
    RETURNED = auto()  # the board has gone back to its former image
    REFUSED = auto()  # the board runs what it did
    GONE = auto()  # the board is gone; what it has of the image it may still have


class ImageEnded(NamedTuple):
    """An image runs on the board (``why`` empty), or does not."""

    version: str
    how: ImageEnd
    why: str = ""


class Noticed(NamedTuple):
    """Something that is wrong with a board, for the log."""

    text: str


Upward: TypeAlias = Taken | Gap
Aside: TypeAlias = Send | Locate | Gap | Joined | Left | Said | Outcome | ImageProgress | ImageEnded | Noticed
"""All but the many."""
Effect: TypeAlias = Taken | Aside
