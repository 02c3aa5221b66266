"""A schema: which channels there are, what their values are, and where they can be.

A value outside of ``usual`` is uncertain; one outside of ``possible``, or of another type, is bad: the sensor is broken
or the wire is. Bad readings go on with their mark unless ``drop_bad`` says otherwise, because that a sensor broke is
news as well.
"""

from collections.abc import Mapping, Sequence

import msgspec

from phloem.firmware_bridge.reading import Quality, Reading
from phloem.firmware_bridge.shaping.stage import Stage

_TYPES: Mapping[str, tuple[type, ...]] = {
    "any": (bool, int, float, str, bytes),
    "number": (int, float),
    "integer": (int,),
    "bool": (bool,),
    "text": (str,),
    "bytes": (bytes,),
}


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one channel's values are. Bounds belong to the range; a bound that is not given is open."""

    type: str = "any"
    possible: tuple[float | None, float | None] = (None, None)
    usual: tuple[float | None, float | None] = (None, None)

    def __post_init__(self) -> None:
        if self.type not in _TYPES:
            raise ValueError(f"type {self.type!r} is none of {', '.join(_TYPES)}")
        for name, (low, high) in (("possible", self.possible), ("usual", self.usual)):
            if low is not None and high is not None and low > high:
                raise ValueError(f"{name}: {low} is above {high}")

    def quality_of(self, reading: Reading) -> Quality:
        """The reading's own quality, or a worse one."""
        value = reading.value
        if not isinstance(value, _TYPES[self.type]) or (
            isinstance(value, bool) and self.type not in ("any", "bool")
        ):
            return Quality.BAD
        if reading.quality is Quality.BAD or isinstance(value, bool) or not isinstance(value, int | float):
            return reading.quality
        if not _inside(value, self.possible):
            return Quality.BAD
        return reading.quality if _inside(value, self.usual) else Quality.UNCERTAIN


class Ranges(Stage):
    """Marks readings by their channel's limits. With ``closed`` channels without limits are withheld."""

    def __init__(self, limits: Mapping[str, Limits], *, closed: bool = False, drop_bad: bool = False) -> None:
        super().__init__()
        self._limits, self._closed, self._drop_bad = dict(limits), closed, drop_bad
        self.bad = 0

    def take(self, readings: Sequence[Reading], now_ns: int) -> Sequence[Reading]:
        """Those that the schema lets through, with their quality."""
        passed = []
        for reading in readings:
            limits = self._limits.get(reading.channel)
            if limits is None:
                if self._closed:
                    self.withheld += 1
                else:
                    passed.append(reading)
                continue
            quality = limits.quality_of(reading)
            if quality is Quality.BAD:
                self.bad += 1
                if self._drop_bad:
                    self.withheld += 1
                    continue
            passed.append(reading if quality is reading.quality else reading._replace(quality=quality))
        return passed


def _inside(value: float, bounds: tuple[float | None, float | None]) -> bool:
    low, high = bounds
    return (low is None or value >= low) and (high is None or value <= high)
