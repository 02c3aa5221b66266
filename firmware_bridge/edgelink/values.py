"""The kinds of values that channels have: from bytes and to bytes. Pure."""

import math
import struct
from typing import Final, TypeAlias

from phloem.firmware_bridge.edgelink.messages import Malformed

Value: TypeAlias = bool | int | float | str | bytes

KINDS: Final = ("bool", "u8", "i8", "u16", "i16", "u32", "i32", "f32", "u64", "i64", "f64", "bytes", "text")
"""By number."""

_CODES: Final = ("?", "B", "b", "H", "h", "I", "i", "f", "Q", "q", "d")
BYTES, TEXT = KINDS.index("bytes"), KINDS.index("text")
BOOL = KINDS.index("bool")
_LAYOUTS: Final = tuple(struct.Struct("<" + ("B" if code == "?" else code)) for code in _CODES)


def encode_value(kind: int, value: Value) -> bytes:
    """The bytes of ``value`` in a DATA frame, unscaled.

    Raises:
        ValueError: It is none of this kind.
    """
    if kind in (BYTES, TEXT):
        data = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[arg-type]
        if len(data) > 255:
            raise ValueError("more than 255 bytes do not fit behind a length byte")
        return bytes([len(data)]) + data
    try:
        return struct.pack("<" + _CODES[kind], value)
    except struct.error as error:
        raise ValueError(str(error)) from None


def take_value(kind: int, data: bytes, at: int) -> tuple[Value, int]:
    """The value that begins at ``at``, unscaled, and where the next one begins.

    Raises:
        Malformed: It is cut off, or not of its kind.
    """
    if kind in (BYTES, TEXT):
        start = at + 1
        end = start + data[at] if at < len(data) else start
        if end > len(data):
            raise Malformed("a value is cut off")
        raw = data[start:end]
        if kind == BYTES:
            return raw, end
        try:
            return raw.decode(), end
        except UnicodeDecodeError:
            raise Malformed("text is not UTF-8") from None
    layout = _LAYOUTS[kind]
    end = at + layout.size
    if end > len(data):
        raise Malformed("a value is cut off")
    (value,) = layout.unpack_from(data, at)
    return (value != 0 if kind == BOOL else value), end


def code_of(kind: int) -> str:
    """What ``struct`` calls a value of this kind on the line; empty for those that say their length."""
    return "" if kind in (BYTES, TEXT) else _LAYOUTS[kind].format[1:]


def is_whole(kind: int) -> bool:
    """Whether values of this kind are whole numbers."""
    return KINDS[kind][0] in "ui"


def scaled(kind: int, value: Value, exponent: int) -> Value:
    """``value`` times ten to the power of ``exponent``; a whole number stays one if ``exponent`` is not below 0.

    A number with decimals is the float nearest to them: 215 with -1 is 21.5, not 21.500000000000004.
    """
    if not exponent or isinstance(value, bool | str | bytes):
        return value
    if isinstance(value, int):
        return value * int(10**exponent) if exponent > 0 else value / int(10**-exponent)
    scale: float = 10.0 ** abs(exponent)
    return value * scale if exponent > 0 or not math.isfinite(value) else value / scale
