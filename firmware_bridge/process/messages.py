"""What a bridge and the process with a user's function say to each other: one packet of msgpack each way for one call.

The packets keep their bounds (SOCK_SEQPACKET), so that nothing has to be cut, and whatever a process said before it
died can still be read, whole.
"""

from typing import Any, NamedTuple

import msgspec

from phloem.firmware_bridge.reading import Quality

PACKET_BYTES_MAX = 128 << 10  # twice the longest frame; the kernel's buffer of a socket is above that
STARTED = 0  # the number of a Done that says that the function was found, or why not


class Said(NamedTuple):
    """A ``Reading`` on its way: msgspec has no union of text and bytes."""

    channel: str
    value: Any
    unit: str = ""
    quality: Quality = Quality.GOOD
    mono_ns: int = 0


class Task(msgspec.Struct, array_like=True):
    """A call. Numbers count from 1; either a frame or a reading."""

    number: int
    frame: bytes | None
    reading: Said | None


class Done(msgspec.Struct, array_like=True):
    """What came of a call: readings, or why there are none."""

    number: int
    readings: list[Said] = []
    error: str = ""
