"""``t=21.5 h=40``: values with their names."""

from collections.abc import Sequence

import msgspec

from phloem.firmware_bridge.decoding.decoder import READINGS_MAX, DecodeError, Decoder
from phloem.firmware_bridge.decoding.fields import Field, Fields, as_text
from phloem.firmware_bridge.reading import Reading


class KeyValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="key_value"):
    """``decode { type: key_value, fields { t: Cel, h: "%" } }``."""

    pair: str = "="
    """Between a name and its value."""
    separator: str = " ,;\t"
    """Any of these characters, any number of them, part one pair from the next."""
    fields: dict[str, str | Field] = {}
    only: bool = False

    def __post_init__(self) -> None:
        if not self.pair or not self.separator or set(self.pair) & set(self.separator):
            raise ValueError("pair and separator must not be empty and must have no character in common")

    def decoder(self) -> Decoder:
        """A decoder with these settings."""
        return PairDecoder(Fields(fields=self.fields, only=self.only), self.pair, self.separator)


class PairDecoder:
    """Words without a value (a device's own name in front, say) are passed over if others have one."""

    def __init__(self, fields: Fields, pair: str, separator: str) -> None:
        self._fields, self._pair = fields, pair
        self._parting = str.maketrans(dict.fromkeys(separator, "\n"))

    def decode(self, frame: bytes, mono_ns: int) -> Sequence[Reading]:
        """As in ``Decoder``."""
        words = as_text(frame).translate(self._parting).split("\n")
        pairs = [word.partition(self._pair) for word in words if self._pair in word]
        if not pairs or len(pairs) > READINGS_MAX:
            raise DecodeError(f"{len(pairs)} pairs with {self._pair!r}, not 1 to {READINGS_MAX}")
        readings = []
        for name, _, value in pairs:
            field = self._fields.field_of(name.strip())
            if field is not None:
                readings.append(field.read(value, mono_ns))
        return readings
