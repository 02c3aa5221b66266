"""JSON objects, nested or not."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from phloem.firmware_bridge.decoding.decoder import READINGS_MAX, DecodeError, Decoder
from phloem.firmware_bridge.decoding.fields import Field, Fields, Names
from phloem.firmware_bridge.reading import Quality, Reading

_DEPTH_MAX = 8
_DECODER = msgspec.json.Decoder()


class Json(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="json"):
    """``decode: json``. ``{"imu": {"x": 1}, "t": [20, 21]}`` has the channels ``imu_x``, ``t_0`` and ``t_1``."""

    fields: dict[str, str | Field] = {}
    """By the joined name."""
    only: bool = False

    def decoder(self) -> Decoder:
        """A decoder with these settings."""
        return JsonDecoder(Fields(fields=self.fields, only=self.only))


class JsonDecoder:
    """Numbers, texts and booleans become readings; null is a value that is missing."""

    def __init__(self, fields: Fields) -> None:
        self._names = Names(fields)

    def decode(self, frame: bytes, mono_ns: int) -> Sequence[Reading]:
        """As in ``Decoder``."""
        try:
            decoded = _DECODER.decode(frame)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"not JSON: {error}") from None
        if not isinstance(decoded, dict | list):
            raise DecodeError("JSON, but neither an object nor an array")
        readings: list[Reading] = []
        good, field_of = Quality.GOOD, self._names.field_of
        for name, value in _leaves("", decoded, 0):
            field = field_of(name)
            if field is None or value is None:
                continue
            if len(readings) == READINGS_MAX:
                raise DecodeError(f"more than {READINGS_MAX} values")
            if type(value) in (int, float):
                value = field.scaled(value)
            readings.append(Reading(field.channel, value, field.unit, good, mono_ns))
        return readings


def _leaves(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield name, value
        return
    if depth == _DEPTH_MAX:
        raise DecodeError(f"nested more than {_DEPTH_MAX} deep")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if depth == 0 and not isinstance(item, dict | list):  # most are: no generator for each
            yield str(key), item
            continue
        yield from _leaves(f"{name}_{key}" if name else str(key), item, depth + 1)
