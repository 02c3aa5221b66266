"""CSV: values whose place says what they are."""

from collections.abc import Sequence

import msgspec

from phloem.firmware_bridge.decoding.decoder import READINGS_MAX, DecodeError, Decoder
from phloem.firmware_bridge.decoding.fields import Field, Row, as_text, fields_of
from phloem.firmware_bridge.reading import Reading


class Csv(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="csv"):
    """``decode { type: csv, columns: ["t:Cel", "h:%", "_"] }``; ``_`` skips a column."""

    columns: list[str | Field]
    separator: str = ","
    """Empty: blanks and tabs, any number of them."""
    spare: bool = False
    """Whether a frame may have more values than columns, or fewer."""

    def __post_init__(self) -> None:
        wanted = [field for field in fields_of(self.columns) if field is not None]
        if not wanted:
            raise ValueError("columns names no channel")
        if len(self.columns) > READINGS_MAX:
            raise ValueError(f"columns has {len(self.columns)} entries, {READINGS_MAX} are the most")
        names = [field.channel for field in wanted]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"columns has the channel {twice!r} twice")

    def decoder(self) -> Decoder:
        """A decoder with these settings."""
        return ColumnDecoder(fields_of(self.columns), self.separator or None, self.spare)


class ColumnDecoder:
    """One field for each column, None for one that is skipped. An empty value is a value that is missing."""

    def __init__(self, fields: Sequence[Field | None], separator: str | None, spare: bool) -> None:
        self._fields, self._separator, self._spare = fields, separator, spare
        self._row = Row(fields)

    def decode(self, frame: bytes, mono_ns: int) -> Sequence[Reading]:
        """As in ``Decoder``."""
        values = as_text(frame).split(self._separator)
        if len(values) == len(self._fields):
            readings = self._row.read(values, mono_ns)
            if readings is not None:
                return readings
        elif not self._spare:
            raise DecodeError(f"{len(values)} values for {len(self._fields)} columns")
        return [
            field.read(value, mono_ns)
            for field, value in zip(self._fields, values, strict=False)
            if field is not None and value.strip()
        ]
