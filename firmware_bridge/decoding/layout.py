"""Binary records, as a C struct describes them."""

import math
import struct
from collections.abc import Sequence

import msgspec

from phloem.firmware_bridge.decoding.decoder import READINGS_MAX, DecodeError, Decoder
from phloem.firmware_bridge.decoding.fields import Field, fields_of
from phloem.firmware_bridge.reading import Quality, Reading, Value

_BYTES_MAX = 64 << 10  # of the longest frame


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="struct"):
    """``decode { type: struct, layout: "<xhHB", fields: [{ channel: t, unit: Cel, scale: 0.01 }, "h:%", "_"] }``.

    ``layout`` is that of Python's struct: ``<`` little and ``>`` big endian, ``x`` a byte without a meaning, b h i q
    signed and B H I Q unsigned numbers of 1 to 8 bytes, f d floating point, ``8s`` bytes.
    """

    layout: str
    fields: list[str | Field]

    def __post_init__(self) -> None:
        if self.layout[:1] not in ("<", ">"):
            raise ValueError(f"layout {self.layout!r} has to begin with < (little endian) or > (big endian)")
        try:
            size = struct.calcsize(self.layout)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"layout {self.layout!r}: {error}") from None
        if size > _BYTES_MAX:
            raise ValueError(f"layout {self.layout!r} has {size} bytes, {_BYTES_MAX} are the most")
        count = len(struct.unpack(self.layout, bytes(size)))
        if not 1 <= count <= READINGS_MAX or count != len(self.fields):
            raise ValueError(f"layout {self.layout!r} has {count} values, fields {len(self.fields)}")
        fields_of(self.fields)

    def decoder(self) -> Decoder:
        """A decoder with these settings."""
        return LayoutDecoder(struct.Struct(self.layout), fields_of(self.fields))


class LayoutDecoder:
    """The frame is exactly the struct."""

    def __init__(self, layout: struct.Struct, fields: Sequence[Field | None]) -> None:
        self._layout, self._fields = layout, fields

    def decode(self, frame: bytes, mono_ns: int) -> Sequence[Reading]:
        """As in ``Decoder``."""
        if len(frame) != self._layout.size:
            raise DecodeError(f"{len(frame)} bytes for a layout of {self._layout.size}")
        return [
            Reading(field.channel, _value(field, value), field.unit, Quality.GOOD, mono_ns)
            for field, value in zip(self._fields, self._layout.unpack(frame), strict=True)
            if field is not None
        ]


def _value(field: Field, value: Value) -> Value:
    if isinstance(value, bytes):
        return value.rstrip(b"\0").decode("ascii", "backslashreplace") if field.kind == "text" else value
    if isinstance(value, bool) or field.kind == "bool":
        return bool(value)
    assert isinstance(value, int | float)
    if not math.isfinite(value):
        raise DecodeError(f"{field.channel}: {value} is no number")
    return field.scaled(value)
