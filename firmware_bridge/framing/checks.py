"""Checksums that frames end with.

zlib and binascii have two of them compiled, and a third with its bits the other way round. CRC-16/MODBUS nobody has: it
takes two bytes a step, from a table of 128 KB that is made when the first frame is checked.
"""

import binascii
import struct
import zlib
from array import array
from collections.abc import Callable, Mapping
from functools import cache, reduce
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


MODBUS_TABLE = _table(0xA001)
_TURNED = bytes(
    int(f"{value:08b}"[::-1], 2) for value in range(256)
)  # of each byte, its bits the other way round


@cache
def _modbus_pairs() -> "array[int]":
    """By the register, two bytes of data already in it: what it becomes."""

    def step(value: int) -> int:
        return (value >> 8) ^ MODBUS_TABLE[value & 0xFF]

    return array("H", (step(step(value)) for value in range(1 << 16)))


def crc16_modbus(data: bytes) -> int:
    """CRC-16/MODBUS: reflected 0x8005, begins with 0xFFFF."""
    crc, pairs = 0xFFFF, _modbus_pairs()
    for pair in struct.unpack_from(f"<{len(data) // 2}H", data):
        crc = pairs[crc ^ pair]
    if len(data) % 2:
        crc = (crc >> 8) ^ MODBUS_TABLE[(crc ^ data[-1]) & 0xFF]
    return crc


def crc16_x25(data: bytes) -> int:
    """CRC-16/X-25, the FCS of HDLC and PPP: reflected 0x1021, begins with 0xFFFF, inverted."""
    high, low = crc16_ccitt(data.translate(_TURNED)).to_bytes(2, "big")
    return (_TURNED[low] << 8 | _TURNED[high]) ^ 0xFFFF


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
