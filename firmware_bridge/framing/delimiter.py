"""Frames that end with bytes of the device's choice."""

import msgspec

from phloem.firmware_bridge.framing.delimited import DelimitedFramer
from phloem.firmware_bridge.framing.escapes import unescape
from phloem.firmware_bridge.framing.framer import Frame, Framer


class Delimiter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="delimiter"):
    r"""``framing { type: delimiter, delimiter: ";" }``. ``\r``, ``\x03`` and so on may stand in the text."""

    delimiter: str

    def __post_init__(self) -> None:
        unescape("delimiter", self.delimiter, 1, 8)

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings."""
        return PlainFramer(unescape("delimiter", self.delimiter, 1, 8), max_frame_bytes, idle_gap_ns)


class PlainFramer(DelimitedFramer):
    """What is between two delimiters is the frame."""

    def _open(self, piece: bytes) -> Frame:
        return piece
