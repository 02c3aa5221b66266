"""``t=21.5 h=40``: values with their names."""

from collections.abc import Sequence

import msgspec

from phloem.firmware_bridge.decoding.decoder import READINGS_MAX, DecodeError, Decoder
from phloem.firmware_bridge.decoding.fields import (
    NAME_CHARS_MAX,
    NAMES_MAX,
    Field,
    Fields,
    Names,
    Row,
    as_text,
)
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
        self._names, self._pair = Names(fields), pair
        self._rows: dict[tuple[str, ...], Row] = {}  # devices say the same names again and again
        self._parting = str.maketrans(dict.fromkeys(separator, "\n"))

    def decode(self, frame: bytes, mono_ns: int) -> Sequence[Reading]:
        """As in ``Decoder``."""
        words = as_text(frame).translate(self._parting).split("\n")
        pairs = [word.partition(self._pair) for word in words if self._pair in word]
        if not pairs or len(pairs) > READINGS_MAX:
            raise DecodeError(f"{len(pairs)} pairs with {self._pair!r}, not 1 to {READINGS_MAX}")
        names = tuple([name.strip() for name, _, _ in pairs])
        values = [value for _, _, value in pairs]
        readings = self._row_of(names).read(values, mono_ns)
        if readings is not None:
            return readings
        fields = map(self._names.field_of, names)
        return [
            field.read(value, mono_ns)
            for field, value in zip(fields, values, strict=True)
            if field is not None
        ]

    def _row_of(self, names: tuple[str, ...]) -> Row:
        row = self._rows.get(names)
        if row is None:
            row = Row([self._names.field_of(name) for name in names])
            if max(map(len, names)) <= NAME_CHARS_MAX:
                if len(self._rows) * len(names) >= NAMES_MAX:
                    self._rows.clear()
                self._rows[names] = row
        return row
