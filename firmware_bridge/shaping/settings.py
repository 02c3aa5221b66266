"""A port's ``shape`` block, and the stages that it means, in their order: units, ranges, windows, changes."""

from collections.abc import Mapping
from typing import Any

import msgspec

from phloem.firmware_bridge.shaping.aggregate import NUMBERS, Aggregate
from phloem.firmware_bridge.shaping.changes import Changes, Rule
from phloem.firmware_bridge.shaping.convert import UNITS, Convert
from phloem.firmware_bridge.shaping.ranges import Limits, Ranges
from phloem.firmware_bridge.shaping.stage import Stage
from phloem.shared.errors import ConfigError
from phloem.shared.server.durations import parse_duration

_DURATIONS = ("window", "min_interval", "max_interval")


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``shape { convert { t: K }, limits { t { possible: [-40, 85] } }, window: 10s, changes { deadband: 0.2 } }``."""

    convert: dict[str, str] = {}
    """By channel: the unit that it is to have."""
    limits: dict[str, Limits] = {}
    """By channel: what its values are."""
    closed: bool = False
    """Whether channels without limits are withheld."""
    drop_bad: bool = False
    """Whether bad readings are withheld; they go on with their mark otherwise."""
    window_ns: int = 0
    """Readings of so long a time become ``numbers``; 0: each goes on by itself."""
    numbers: tuple[str, ...] = ("mean", "min", "max", "last")
    changes: Rule | None = None
    """What is worth saying again, for channels without an entry in ``channels``."""
    channels: dict[str, Rule] = {}

    def __post_init__(self) -> None:
        for unit in self.convert.values():
            if unit not in UNITS:
                raise ValueError(f"convert: unit {unit!r} is none of {', '.join(UNITS)}")
        if self.window_ns < 0:
            raise ValueError("window must not be below 0")
        if not self.numbers or not set(self.numbers) <= NUMBERS.keys():
            raise ValueError(f"numbers {list(self.numbers)} are not some of {', '.join(NUMBERS)}")

    def stages(self) -> list[Stage]:
        """Fresh stages, in their order."""
        stages: list[Stage] = []
        if self.convert:
            stages.append(Convert(self.convert))
        if self.limits or self.closed:
            stages.append(Ranges(self.limits, closed=self.closed, drop_bad=self.drop_bad))
        if self.window_ns:
            stages.append(Aggregate(self.window_ns, self.numbers))
        if self.changes is not None or self.channels:
            stages.append(Changes(self.channels, self.changes or Rule()))
        return stages


def shape_of(fields: Mapping[str, object]) -> Shape:
    """The shape that ``fields``, as they are in a configuration, describe.

    Raises:
        ConfigError: There is no such setting, or a value that it cannot take.
    """
    try:
        return msgspec.convert(_in_ns(fields), Shape)
    except ValueError as error:  # msgspec's ValidationError is one
        raise ConfigError(f"shape: {error}") from None


def _in_ns(fields: Mapping[str, object]) -> dict[str, Any]:
    """``window: 10s`` is ``window_ns`` here, wherever it stands."""
    read: dict[str, Any] = {}
    for key, value in fields.items():
        if key in _DURATIONS and isinstance(value, str):
            read[f"{key}_ns"] = parse_duration(value)
        else:
            read[key] = _in_ns(value) if isinstance(value, Mapping) else value
    return read
