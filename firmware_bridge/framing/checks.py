"""Checksums that frames end with.

zlib and binascii have two of them compiled; the two reflected CRCs with 16 bits are a table here: 60 ns a byte, a
twentieth of a core for eight saturated ports.
"""

import binascii
import zlib
from collections.abc import Callable, Mapping
from functools import reduce
from typing import NamedTuple


class Check(NamedTuple):
    """``size`` bytes at the end of a frame that ``compute`` makes of those before them."""

    size: int
    compute: Callable[[bytes], bytes]

    def holds(self, frame: bytes) -> bool:
        """Whether ``frame`` ends with the right bytes."""
        cut = len(frame) - self.size
        return cut >= 0 and self.compute(frame[:cut]) == frame[cut:]


def _table(polynomial: int) -> tuple[int, ...]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        return value

    return tuple(map(entry, range(256)))


MODBUS_TABLE, _X25 = _table(0xA001), _table(0x8408)


def crc16_modbus(data: bytes) -> int:
    """CRC-16/MODBUS: reflected 0x8005, begins with 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ MODBUS_TABLE[(crc ^ byte) & 0xFF]
    return crc


def crc16_x25(data: bytes) -> int:
    """CRC-16/X-25, the FCS of HDLC and PPP: reflected 0x1021, begins with 0xFFFF, inverted."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _X25[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF


def crc16_ccitt(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: 0x1021, begins with 0xFFFF."""
    return binascii.crc_hqx(data, 0xFFFF)


def _xor(data: bytes) -> int:
    return reduce(int.__xor__, data, 0)


CHECKS: Mapping[str, Check] = {
    "none": Check(0, lambda data: b""),
    "sum8": Check(1, lambda data: bytes([sum(data) & 0xFF])),
    "xor8": Check(1, lambda data: bytes([_xor(data)])),
    "crc16_modbus": Check(2, lambda data: crc16_modbus(data).to_bytes(2, "little")),
    "crc16_x25": Check(2, lambda data: crc16_x25(data).to_bytes(2, "little")),
    "crc16_ccitt": Check(2, lambda data: crc16_ccitt(data).to_bytes(2, "big")),
    "crc32": Check(4, lambda data: zlib.crc32(data).to_bytes(4, "little")),
}
"""By name. The order of bytes is the one in use with each: Modbus, HDLC and zlib's low byte first, CCITT high first."""
