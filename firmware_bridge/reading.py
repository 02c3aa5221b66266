"""What a frame says, once somebody has understood it: the word that decoders, shapers and outlets share."""

from collections.abc import Iterable
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


_ENCODER = msgspec.json.Encoder()
_TAILS_MAX = 1024  # units and qualities that are remembered; a device that invents units gets no more memory
_good_tails: dict[str, bytes] = {}  # by unit


def payloads(readings: Iterable[Reading]) -> list[bytes]:
    """Of each ``{"v":21.5,"u":"Cel"}``, with ``"q":"bad"`` unless it is good; bytes become base64. The time is in a
    header."""
    readings = list(readings)
    # One call for all values: a line has one each, as JSON has no line end inside.
    lines = _ENCODER.encode_lines([reading.value for reading in readings]).split(b"\n")  # and an empty one
    # Looked up here: a call for each would cost as much as the rest.
    good, tails = Quality.GOOD, _good_tails
    return [
        b'{"v":' + line + ((tails.get(reading.unit) if reading.quality is good else None) or _tail(reading))
        for reading, line in zip(readings, lines, strict=False)
    ]


def lines_of(values: list[Value]) -> list[bytes]:
    """Each value in JSON; bytes become base64. One call for all of them, as JSON has no line end inside."""
    return _ENCODER.encode_lines(values).split(b"\n")[:-1]


def tail_of(unit: str) -> bytes:
    """What stands behind the value of a good reading, whose payload is ``{"v":``, value and this."""
    tail = _good_tails.get(unit)
    if tail is None:
        if len(_good_tails) >= _TAILS_MAX:
            _good_tails.clear()
        tail = _good_tails[unit] = _make_tail(Reading("", 0, unit))
    return tail


def as_json(reading: Reading) -> bytes:
    """``payloads`` of one."""
    return b'{"v":' + _ENCODER.encode(reading.value) + _tail(reading)


def _tail(reading: Reading) -> bytes:
    """What stands behind the value."""
    return tail_of(reading.unit) if reading.quality is Quality.GOOD else _make_tail(reading)


def _make_tail(reading: Reading) -> bytes:
    unit = b',"u":' + _ENCODER.encode(reading.unit) if reading.unit else b""
    quality = b"" if reading.quality is Quality.GOOD else b',"q":' + _ENCODER.encode(reading.quality)
    return unit + quality + b"}"
