"""``poll``: what is asked of which device, how often, and what the answer means.

poll: [{ unit: 3, function: input_registers, address: 0, every: 5s
         names: [voltage, _, energy], types: [u16, u16, f32], scale: [0.1, 1, 1], units: [V, "", kW.h] }]
"""

import importlib.util
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.decoding.fields import CHANNEL, SKIPPED
from phloem.firmware_bridge.reading import Reading, Value
from phloem.shared.errors import ConfigError
from phloem.shared.server.durations import parse_duration

FUNCTIONS = {"coils": 1, "discrete_inputs": 2, "holding_registers": 3, "input_registers": 4}
_TYPES = {
    "u16": ">H",
    "i16": ">h",
    "u32": ">I",
    "i32": ">i",
    "u64": ">Q",
    "i64": ">q",
    "f32": ">f",
    "f64": ">d",
}
_BITS_MAX, _REGISTERS_MAX = 2000, 125  # of one answer, as the standard has it
_ORDERS = ("big", "little")


class Poll(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question. ``names``, ``types``, ``scale`` and ``units`` go along the registers; one type, scale or unit
    alone is that of all of them."""

    every_ns: int
    names: tuple[str, ...]
    """Channels in the order of the registers; ``_`` has no meaning."""
    function: str = "holding_registers"
    unit: int = 1
    """The device's address on the bus."""
    address: int = 0
    """The first register or bit as it is on the wire: from 0, not 40001."""
    count: int = 0
    """How many; as many as the names take unless given."""
    types: tuple[str, ...] = ("u16",)
    scale: tuple[float, ...] = (1.0,)
    units: tuple[str, ...] = ("",)
    word_order: str = "big"
    """Whether the first register of two or four is the high one."""

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"function {self.function!r} is none of {', '.join(FUNCTIONS)}")
        if not self.every_ns >= limits.POLL_EVERY_MIN_NS:
            raise ValueError("every must be at least 10ms")
        if not (0 <= self.unit <= 255 and 0 <= self.address <= 0xFFFF):
            raise ValueError("unit is not between 0 and 255, or address not between 0 and 65535")
        if self.word_order not in _ORDERS:
            raise ValueError(f"word_order {self.word_order!r} is none of big, little")
        self._check_names()
        if not self.size <= (self.count or self.size) <= (_BITS_MAX if self.bits else _REGISTERS_MAX):
            raise ValueError(
                f"count {self.count} is not what {self.size} registers of the names need, or too many"
            )

    def _check_names(self) -> None:
        for name in self.names:
            if name not in SKIPPED and not CHANNEL.fullmatch(name):
                raise ValueError(f"name {name!r} is not one token of a subject")
        if not self.channels:
            raise ValueError("names has no name")
        for field in ("types", "scale", "units"):
            if len(getattr(self, field)) not in (1, len(self.names)):
                raise ValueError(
                    f"{field} has {len(getattr(self, field))} entries for {len(self.names)} names"
                )
        if self.bits and (self.types != ("u16",) or self.scale != (1.0,)):
            raise ValueError(f"{self.function} are bits: they have no types and no scale")
        if unknown := next((each for each in self.types if each not in _TYPES), None):
            raise ValueError(f"type {unknown!r} is none of {', '.join(_TYPES)}")
        if not all(math.isfinite(scale) and scale for scale in self.scale):
            raise ValueError("scale must be a number other than 0")

    @property
    def bits(self) -> bool:
        """Whether it asks for bits, not registers."""
        return FUNCTIONS[self.function] <= 2

    @property
    def channels(self) -> list[str]:
        """What it makes readings of."""
        return [name for name in self.names if name not in SKIPPED]

    @property
    def size(self) -> int:
        """Registers or bits that the names take."""
        return sum(self._width(place) for place in range(len(self.names)))

    def __str__(self) -> str:
        return f"unit {self.unit}, {self.function} {self.address}"

    def read(self, values: Sequence[int | bool], mono_ns: int) -> list[Reading]:
        """What the registers or bits of an answer say; a float that is no number says nothing."""
        readings, at = [], 0
        for place, name in enumerate(self.names):
            width = self._width(place)
            if name not in SKIPPED:
                value = self._value(place, values[at : at + width])
                if not isinstance(value, float) or math.isfinite(value):
                    readings.append(Reading(name, value, _at(self.units, place), mono_ns=mono_ns))
            at += width
        return readings

    def _value(self, place: int, words: Sequence[int | bool]) -> Value:
        if self.bits:
            return bool(words[0])
        ordered = words if self.word_order == "big" else words[::-1]
        (value,) = struct.unpack(self._type(place), b"".join(int(word).to_bytes(2) for word in ordered))
        scale = _at(self.scale, place)
        return value if scale == 1.0 else value * scale  # type: ignore[no-any-return]

    def _width(self, place: int) -> int:
        return 1 if self.bits else struct.calcsize(self._type(place)) // 2

    def _type(self, place: int) -> str:
        return _TYPES[_at(self.types, place)]


def _at(values: Sequence[Any], place: int) -> Any:
    return values[place if len(values) > 1 else 0]


def polls_of(values: Sequence[Mapping[str, object]]) -> tuple[Poll, ...]:
    """The polls that ``values``, as they are in a configuration, describe.

    Raises:
        ConfigError: A setting that is none, or that cannot work; two readings of one name; no pymodbus.
    """
    if not values:
        return ()
    if importlib.util.find_spec("pymodbus") is None:
        raise ConfigError("poll needs pymodbus; install phloem[modbus]")
    if len(values) > limits.POLLS_MAX:
        raise ConfigError(f"poll has more than {limits.POLLS_MAX} entries")
    try:
        polls = tuple(msgspec.convert(_plain(value), Poll) for value in values)
    except ValueError as error:  # msgspec's ValidationError is one
        raise ConfigError(f"poll: {error}") from None
    names = [name for poll in polls for name in poll.channels]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"poll: two readings have the name {twice!r}")
    return polls


def _plain(value: Mapping[str, object]) -> dict[str, Any]:
    """``every: 5s`` is ``every_ns``, and one value alone is a list of one."""
    fields = dict(value)
    every = fields.pop("every", None)
    if not isinstance(every, str):
        raise ValueError('every must be a duration in quotes, as "5s"')
    for field in ("names", "types", "scale", "units"):
        if field in fields and not isinstance(fields[field], list | tuple):
            fields[field] = [fields[field]]
    return fields | {"every_ns": parse_duration(every)}
