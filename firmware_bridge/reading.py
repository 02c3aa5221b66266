"""What a frame says, once somebody has understood it: the word that decoders, shapers and outlets share."""

from enum import StrEnum
from typing import NamedTuple, TypeAlias

import msgspec

Value: TypeAlias = bool | int | float | str | bytes


class Quality(StrEnum):
    """How far a value can be trusted; the words are those of OPC."""

    GOOD = "good"
    UNCERTAIN = "uncertain"  # out of its usual range, or made from fewer samples than it should be
    BAD = "bad"  # the device says itself that the value is wrong, or it is out of its physical range


class Reading(NamedTuple):
    """One value of one channel.

    ``channel`` names it within its port or board (one subject token: no dot, blank or wildcard); ``unit`` is UCUM
    where the device says one (``Cel``, ``hPa``, ``%``), empty where nobody knows; ``mono_ns`` is the edge's
    monotonic clock when the frame ended, or what the device's own stamp became on that clock.
    """

    channel: str
    value: Value
    unit: str = ""
    quality: Quality = Quality.GOOD
    mono_ns: int = 0


def as_json(reading: Reading) -> bytes:
    """``{"v":21.5,"u":"Cel"}``, with ``"q":"bad"`` unless it is good; bytes become base64. The time is in a header."""
    record = {"v": reading.value}
    if reading.unit:
        record["u"] = reading.unit
    if reading.quality is not Quality.GOOD:
        record["q"] = reading.quality.value
    return msgspec.json.encode(record)
