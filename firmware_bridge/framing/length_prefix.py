"""Frames that say how long they are."""

import msgspec

from phloem.firmware_bridge.framing.checks import CHECKS
from phloem.firmware_bridge.framing.escapes import unescape
from phloem.firmware_bridge.framing.framer import Frame, Framer
from phloem.firmware_bridge.framing.marked import MORE, NOISE, MarkedFramer

_WIDTHS = {"u8": 1, "u16le": 2, "u16be": 2, "u32le": 4, "u32be": 4}


class LengthPrefix(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="length_prefix"
):
    r"""``framing { type: length_prefix, start: "\xaa", offset: 1, length: u16be, counts: rest, check: crc32 }``.

    A frame is ``start``, then the length ``offset`` bytes from its beginning, then the rest. ``counts`` says what the
    number means: ``rest``, all bytes behind it; ``payload``, those without the checksum; ``frame``, the whole frame.
    """

    length: str = "u8"
    """``u8``, ``u16le``, ``u16be``, ``u32le`` or ``u32be``."""
    start: str = ""
    """Bytes that each frame begins with."""
    offset: int = -1
    """Where the length is; right after ``start`` unless given."""
    counts: str = "rest"
    check: str = "none"
    """The checksum at the end, over everything before it; ``checks.py`` has them."""

    def __post_init__(self) -> None:
        for field, value, choices in (
            ("length", self.length, tuple(_WIDTHS)),
            ("counts", self.counts, ("rest", "payload", "frame")),
            ("check", self.check, tuple(CHECKS)),
        ):
            if value not in choices:
                raise ValueError(f"{field} {value!r} is none of {', '.join(choices)}")
        start = unescape("start", self.start, 0, 16)
        if self.offset != -1 and not len(start) <= self.offset <= 64:
            raise ValueError(f"offset {self.offset} is not between {len(start)} and 64")

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings."""
        return LengthPrefixFramer(self, max_frame_bytes, idle_gap_ns)


class LengthPrefixFramer(MarkedFramer):
    """Frames of the length that stands in them."""

    def __init__(self, settings: LengthPrefix, max_frame_bytes: int, idle_gap_ns: int = 0) -> None:
        start = unescape("start", settings.start, 0, 16)
        super().__init__(start, max_frame_bytes, idle_gap_ns)
        self._from = len(start) if settings.offset == -1 else settings.offset
        self._to = self._from + _WIDTHS[settings.length]
        self._big_endian = settings.length.endswith("be")
        self._check = CHECKS[settings.check]
        self._more = {"rest": self._to, "payload": self._to + self._check.size, "frame": 0}[settings.counts]

    def _measure(self, at: int) -> int:
        if len(self._buffer) - at < self._to:
            return MORE
        number = self._buffer[at + self._from : at + self._to]
        length = int.from_bytes(number, "big" if self._big_endian else "little") + self._more
        fits = self._to + self._check.size <= length <= self.max_frame_bytes
        return length if fits else NOISE

    def _open(self, frame: bytes) -> Frame | None:
        return frame if self._checked(self._check.holds(frame)) else None
