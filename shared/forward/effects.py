"""What the driver of a sender has to do."""

from typing import NamedTuple

from phloem.shared.forward.entries import Class


class Send(NamedTuple):
    """Publish this to the device's subject; ``cls`` is for the meter."""

    data: bytes
    cls: Class | None


class Confirmed(NamedTuple):
    """The hub has everything of a stream up to here: remember it, free the space."""

    stream: str
    seq: int


class Noticed(NamedTuple):
    """Something for the log and for people."""

    stream: str
    text: str


class Bounce(NamedTuple):
    """The link says it is up, and nothing comes of it."""

    why: str


class Alarm(NamedTuple):
    """Messages wait, the link is up or comes and goes, and nothing helps; empty: it moves again."""

    why: str


class HubTime(NamedTuple):
    """The hub's wall time when the device's monotonic clock was at ``monotonic_ns``, give or take ``error_ns``."""

    wall_ns: int
    monotonic_ns: int
    error_ns: int


Effect = Send | Confirmed | Noticed | Bounce | Alarm | HubTime
