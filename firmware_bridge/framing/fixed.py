"""Frames that all have one length, as small devices with binary records send them."""

import msgspec

from phloem.firmware_bridge.framing.checks import CHECKS
from phloem.firmware_bridge.framing.escapes import unescape
from phloem.firmware_bridge.framing.framer import Frame, Framer
from phloem.firmware_bridge.framing.marked import MarkedFramer


class Fixed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fixed"):
    r"""``framing { type: fixed, size: 32, start: "\x42\x4d", check: sum8 }``.

    Without ``start`` or a ``check`` nothing tells where a frame begins, and one lost byte shifts all that follow:
    then the port needs an ``idle_gap``, which makes a fresh start after each pause.
    """

    size: int
    """Bytes of a frame, with ``start`` and the checksum."""
    start: str = ""
    """Bytes that each frame begins with."""
    check: str = "none"
    """The checksum at its end; ``checks.py`` has them."""

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise ValueError(f"check {self.check!r} is none of {', '.join(CHECKS)}")
        least = len(unescape("start", self.start, 0, 16)) + CHECKS[self.check].size
        if not max(1, least) <= self.size <= 65536:
            raise ValueError(f"size {self.size} is not between {max(1, least)} and 65536")

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings.

        Raises:
            ValueError: ``size`` is above ``max_frame_bytes``, or nothing would tell where a frame begins.
        """
        if self.size > max_frame_bytes:
            raise ValueError(f"size {self.size} is above max_frame_bytes {max_frame_bytes}")
        if not (self.start or idle_gap_ns or CHECKS[self.check].size):
            raise ValueError("a fixed framing needs a start, a check, or an idle_gap at the port")
        return FixedFramer(self, max_frame_bytes, idle_gap_ns)


class FixedFramer(MarkedFramer):
    """Frames of ``settings.size`` bytes."""

    def __init__(self, settings: Fixed, max_frame_bytes: int, idle_gap_ns: int = 0) -> None:
        super().__init__(unescape("start", settings.start, 0, 16), max_frame_bytes, idle_gap_ns)
        self._size, self._check = settings.size, CHECKS[settings.check]

    def _measure(self, at: int) -> int:
        return self._size

    def _open(self, frame: bytes) -> Frame | None:
        return frame if self._checked(self._check.holds(frame)) else None
