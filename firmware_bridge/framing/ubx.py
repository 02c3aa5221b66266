"""UBX: the binary protocol of u-blox receivers (Interface Description, "UBX Frame Structure")."""

import msgspec

from phloem.firmware_bridge.framing.framer import Frame, Framer
from phloem.firmware_bridge.framing.marked import MORE, NOISE, MarkedFramer

_SYNC, _HEAD_BYTES, _CHECK_BYTES = b"\xb5\x62", 6, 2


class Ubx(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="ubx"):
    """``framing: ubx``. A frame is class, id, length and payload; sync characters and checksum are taken off."""

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings."""
        return UbxFramer(_SYNC, max_frame_bytes, idle_gap_ns)


class UbxFramer(MarkedFramer):
    """Sync, class, id, two bytes of length, payload, and Fletcher's checksum of 8 bits over all but the sync."""

    def _measure(self, at: int) -> int:
        if len(self._buffer) - at < _HEAD_BYTES:
            return MORE
        length = int.from_bytes(self._buffer[at + 4 : at + 6], "little")
        return _HEAD_BYTES + length + _CHECK_BYTES if 4 + length <= self.max_frame_bytes else NOISE

    def _open(self, frame: bytes) -> Frame | None:
        body = frame[2:-_CHECK_BYTES]
        return body if self._checked(fletcher(body) == frame[-_CHECK_BYTES:]) else None


def fletcher(data: bytes) -> bytes:
    """The two bytes of RFC 1145's checksum."""
    a = b = 0
    for byte in data:
        a = (a + byte) & 0xFF
        b = (b + a) & 0xFF
    return bytes((a, b))
