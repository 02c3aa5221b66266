"""NMEA 0183: sentences of navigation instruments, ``$GPGGA,...*47``."""

import msgspec

from phloem.firmware_bridge.framing.checks import CHECKS
from phloem.firmware_bridge.framing.delimited import DelimitedFramer
from phloem.firmware_bridge.framing.framer import Frame, Framer


class Nmea(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="nmea"):
    """``framing: nmea``. A frame is a sentence from ``$`` or ``!`` to its checksum, without the line end."""

    require_checksum: bool = True
    """Whether a sentence without ``*hh`` is dropped; old instruments send none."""

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings."""
        return NmeaFramer(self.require_checksum, max_frame_bytes, idle_gap_ns)


class NmeaFramer(DelimitedFramer):
    """Lines, from their last ``$`` or ``!`` on: what is before it is the rest of a sentence whose end got lost."""

    def __init__(self, require_checksum: bool, max_frame_bytes: int, idle_gap_ns: int = 0) -> None:
        super().__init__(b"\n", max_frame_bytes, idle_gap_ns)
        self._require_checksum = require_checksum

    def _open(self, piece: bytes) -> Frame | None:
        line = piece.rstrip(b"\r")
        if not line:
            return line
        start = max(line.rfind(b"$"), line.rfind(b"!"))
        if start > 0:
            self.resyncs += 1
            self.dropped_bytes += start
        body, star, digits = line[start + 1 :].partition(b"*")
        if start < 0 or not body or (not star and self._require_checksum):
            return None
        right = CHECKS["xor8"].compute(body).hex().upper().encode()
        if star and not self._checked(digits.upper() == right):
            return None
        return line[start:]
