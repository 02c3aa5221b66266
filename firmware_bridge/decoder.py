"""From a frame to what is published: the seam where frames get a meaning.

A decoder is a plain function. It may add headers of its own; the session's headers win over them.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from phloem.firmware_bridge.framing.framer import Frame


class Decoded(NamedTuple):
    """Payload and extra headers of one message."""

    payload: bytes
    headers: Mapping[str, str] = MappingProxyType({})


Decoder: TypeAlias = Callable[[Frame], Decoded]


def as_bytes(frame: Frame) -> Decoded:
    """The frame as it came."""
    return Decoded(frame)
