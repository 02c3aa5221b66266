"""Frames that are one text or one number."""

from collections.abc import Sequence

import msgspec

from phloem.firmware_bridge.decoding.decoder import Decoder
from phloem.firmware_bridge.decoding.fields import Field, as_text
from phloem.firmware_bridge.reading import Reading


class Text(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="text"):
    """``decode: text``. The whole frame is one text."""

    channel: str = "text"

    def __post_init__(self) -> None:
        Field(channel=self.channel)

    def decoder(self) -> Decoder:
        """A decoder with these settings."""
        return OneValue(Field(channel=self.channel, kind="text"))


class Number(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="number"):
    """``decode { type: number, channel: level, unit: mm }``. The whole frame is one number."""

    channel: str = "value"
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        self._field()

    def decoder(self) -> Decoder:
        """A decoder with these settings."""
        return OneValue(self._field())

    def _field(self) -> Field:
        return Field(
            channel=self.channel, unit=self.unit, kind="number", scale=self.scale, offset=self.offset
        )


class OneValue:
    """The frame is one field."""

    def __init__(self, field: Field) -> None:
        self._field = field

    def decode(self, frame: bytes, mono_ns: int) -> Sequence[Reading]:
        """As in ``Decoder``."""
        return (self._field.read(as_text(frame), mono_ns),)
