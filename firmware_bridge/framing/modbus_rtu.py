"""Modbus RTU, listened to: messages are parted by silence and end with a CRC.

The standard's silence of 3.5 characters (4 ms at 9,600 baud) is not to be had from a USB adapter, which hands bytes
over in packets of its own timing, nor from a kernel that wakes when it likes. So a longer silence ends a message, and
where two messages came without one, their CRCs part them.
"""

import msgspec

from phloem.firmware_bridge.framing.checks import MODBUS_TABLE, crc16_modbus
from phloem.firmware_bridge.framing.framer import Frame, Framer

GAP_NS = 20_000_000
_LEAST, _MOST, _CRC_BYTES = 4, 256, 2
_ADDRESS_MAX, _FUNCTION_MAX = 247, 43  # of the standard; private functions above it are not listened to


class ModbusRtu(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="modbus_rtu"):
    """``framing: modbus_rtu``. A frame is address, function and data; the CRC is taken off."""

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings; a gap of 20 ms unless the port has one."""
        return ModbusRtuFramer(min(max_frame_bytes, _MOST), idle_gap_ns or GAP_NS)


class ModbusRtuFramer(Framer):
    """What came without a pause is a message if its CRC is right, else the messages that it can be parted into."""

    def _cut(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        # Beyond what two messages take nobody waits for a pause. On a line that never rests a message is only looked
        # for where the last one ended: searching everywhere would cost a garbage-spitting port half a core.
        while len(self._buffer) > 2 * self.max_frame_bytes:
            window = bytes(self._buffer[: self.max_frame_bytes])
            length = _length(window)
            if self._checked(length > 0):
                frames.append(window[: length - _CRC_BYTES])
            else:
                self.resyncs += 1
                self.dropped_bytes += len(window)
            del self._buffer[: length or len(window)]
        return frames

    def _gap(self) -> list[Frame]:
        data, frames, at, lost = bytes(self._buffer), list[Frame](), 0, 0
        self._buffer.clear()
        if _LEAST <= len(data) <= self.max_frame_bytes and crc16_modbus(data) == 0:
            return [data[:-_CRC_BYTES]]
        while at < len(data):
            length = _length(data[at : at + self.max_frame_bytes])
            if length:
                frames.append(data[at : at + length - _CRC_BYTES])
            else:
                lost += 1
            at += length or 1
        self.resyncs += lost > 0
        self.damaged += lost > 0
        self.dropped_bytes += lost
        return frames


def _length(data: bytes) -> int:
    """Length of the message, CRC and all, that ``data`` begins with; 0 if none does."""
    if len(data) < _LEAST or data[0] > _ADDRESS_MAX or not 0 < data[1] & 0x7F <= _FUNCTION_MAX:
        return 0
    crc, table = 0xFFFF, MODBUS_TABLE
    for length, byte in enumerate(data, 1):
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
        if crc == 0 and length >= _LEAST:  # the CRC of a message with its own CRC behind it
            return length
    return 0
