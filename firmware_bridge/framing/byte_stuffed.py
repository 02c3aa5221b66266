"""COBS, SLIP and HDLC: framings that keep one byte out of the data, so that it can mark the ends."""

from abc import abstractmethod

import msgspec
from cobs import cobs  # type: ignore[import-untyped]

from phloem.firmware_bridge.framing.checks import CHECKS, Check
from phloem.firmware_bridge.framing.delimited import DelimitedFramer
from phloem.firmware_bridge.framing.framer import Frame, Framer

_COBS_END, _SLIP_END, _SLIP_ESC, _HDLC_FLAG, _HDLC_ESC = b"\0", b"\xc0", b"\xdb", b"\x7e", b"\x7d"


def _check(name: str) -> None:
    if name not in CHECKS:
        raise ValueError(f"check {name!r} is none of {', '.join(CHECKS)}")


class Cobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cobs"):
    """``framing: cobs``, or ``framing { type: cobs, check: crc32 }``. Frames end with a zero."""

    check: str = "none"
    """The checksum inside; it is taken off."""

    def __post_init__(self) -> None:
        _check(self.check)

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings."""
        return CobsFramer(CHECKS[self.check], max_frame_bytes, idle_gap_ns)


class Slip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="slip"):
    """``framing: slip`` (RFC 1055), or with a ``check`` inside."""

    check: str = "none"
    """The checksum inside; it is taken off."""

    def __post_init__(self) -> None:
        _check(self.check)

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings."""
        return SlipFramer(CHECKS[self.check], max_frame_bytes, idle_gap_ns)


class Hdlc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hdlc"):
    """``framing: hdlc``: flags of 0x7E, 0x7D escapes, and the frame check sequence of 16 bits (RFC 1662)."""

    check: str = "crc16_x25"
    """The checksum inside; it is taken off."""

    def __post_init__(self) -> None:
        _check(self.check)

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings."""
        return HdlcFramer(CHECKS[self.check], max_frame_bytes, idle_gap_ns)


class _Checked(DelimitedFramer):
    """What is on the wire is unstuffed, then checked."""

    def __init__(
        self, end: bytes, check: Check, max_frame_bytes: int, idle_gap_ns: int, wire_bytes_max: int
    ) -> None:
        super().__init__(end, max_frame_bytes, idle_gap_ns, wire_bytes_max)
        self._check = check

    def _open(self, piece: bytes) -> Frame | None:
        frame = self._unstuff(piece)
        if frame is None or not self._checked(self._check.holds(frame)):
            return None
        return frame[: len(frame) - self._check.size]

    @abstractmethod
    def _unstuff(self, piece: bytes) -> bytes | None:
        """What ``piece`` was before it was stuffed; None if nothing can have become it."""


class CobsFramer(_Checked):
    """Consistent overhead byte stuffing (Cheshire and Baker 1999)."""

    def __init__(self, check: Check, max_frame_bytes: int, idle_gap_ns: int = 0) -> None:
        most = max_frame_bytes + check.size
        super().__init__(_COBS_END, check, max_frame_bytes, idle_gap_ns, most + most // 254 + 1)

    def _unstuff(self, piece: bytes) -> bytes | None:
        try:
            return bytes(cobs.decode(piece))
        except cobs.DecodeError:
            return None


class SlipFramer(_Checked):
    """RFC 1055. An escape before anything but its two codes is damage."""

    def __init__(self, check: Check, max_frame_bytes: int, idle_gap_ns: int = 0) -> None:
        super().__init__(_SLIP_END, check, max_frame_bytes, idle_gap_ns, 2 * (max_frame_bytes + check.size))

    def _unstuff(self, piece: bytes) -> bytes | None:
        first, *rest = piece.split(_SLIP_ESC)
        codes = {0xDC: _SLIP_END, 0xDD: _SLIP_ESC}
        if any(part[:1] not in (b"\xdc", b"\xdd") for part in rest):
            return None
        return first + b"".join(codes[part[0]] + part[1:] for part in rest)


class HdlcFramer(_Checked):
    """Asynchronous HDLC as PPP has it: what follows an escape is inverted in bit 5. An escape before a flag aborts."""

    def __init__(self, check: Check, max_frame_bytes: int, idle_gap_ns: int = 0) -> None:
        super().__init__(_HDLC_FLAG, check, max_frame_bytes, idle_gap_ns, 2 * (max_frame_bytes + check.size))

    def _unstuff(self, piece: bytes) -> bytes | None:
        first, *rest = piece.split(_HDLC_ESC)
        if any(not part for part in rest):
            return None
        return first + b"".join(bytes([part[0] ^ 0x20]) + part[1:] for part in rest)
