"""What is worth saying again: deadband, changes only, and how often at the least and at the most.

* A reading goes on if it differs from the last one that went on by more than the deadband, or its quality or type does.
* ``min_interval`` holds a reading that would go on back until so much time has passed since the last; of several only
  the newest goes on then.
* After ``max_interval`` the next reading goes on whatever it says. Nothing is made up: a device that is silent stays
  silent here.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeGuard

import msgspec

from phloem.firmware_bridge.reading import Reading, Value
from phloem.firmware_bridge.shaping.stage import CHANNELS_MAX, Stage


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For one channel, or for all that have none of their own."""

    deadband: float = 0.0
    """A difference of this or less is none; in the channel's unit."""
    deadband_percent: float = 0.0
    """The same, in hundredths of the last value."""
    on_change: bool = False
    """Whether an equal value is withheld; implied by a deadband."""
    min_interval_ns: int = 0
    max_interval_ns: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.deadband < float("inf") and 0 <= self.deadband_percent < float("inf")):
            raise ValueError("a deadband is a number of 0 or more")
        if self.min_interval_ns < 0 or self.max_interval_ns < 0:
            raise ValueError("an interval must not be below 0")
        if 0 < self.max_interval_ns < self.min_interval_ns:
            raise ValueError("max_interval is below min_interval")

    def differs(self, last: Reading, reading: Reading) -> bool:
        """Whether ``reading`` is worth saying after ``last``."""
        if not self._quiet or last.quality is not reading.quality or last.unit != reading.unit:
            return True
        was, value = last.value, reading.value
        if _is_number(was) and _is_number(value):
            return abs(value - was) > max(self.deadband, abs(was) * self.deadband_percent / 100)
        return type(was) is not type(value) or was != value

    @property
    def _quiet(self) -> bool:
        return self.on_change or self.deadband > 0 or self.deadband_percent > 0


def _is_number(value: Value) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Kept(NamedTuple):
    said: Reading
    said_ns: int
    held: Reading | None


class Changes(Stage):
    """Applies ``rules`` by channel, and ``default`` to channels without one."""

    def __init__(self, rules: Mapping[str, Rule], default: Rule) -> None:
        super().__init__()
        self._rules, self._default = dict(rules), default
        self._kept: dict[str, _Kept] = {}
        self._due: dict[str, int] = {}

    @property
    def due_ns(self) -> int | None:
        """When the first reading that is held back may go on."""
        return min(self._due.values(), default=None)

    def take(self, readings: Sequence[Reading], now_ns: int) -> Sequence[Reading]:
        """Those that are worth it, after those whose time has come."""
        passed = list(self.expire(now_ns))
        for reading in readings:
            judged = self._judged(reading, now_ns)
            if judged is not None:
                passed.append(judged)
        return passed

    def expire(self, now_ns: int) -> Sequence[Reading]:
        """What ``min_interval`` held back and lets go now."""
        ready = [channel for channel, due_ns in self._due.items() if due_ns <= now_ns]
        passed = []
        for channel in ready:
            del self._due[channel]
            held = self._kept[channel].held
            assert held is not None
            self._kept[channel] = _Kept(held, now_ns, None)
            passed.append(held)
        return passed

    def _judged(self, reading: Reading, now_ns: int) -> Reading | None:
        channel = reading.channel
        rule, kept = self._rules.get(channel, self._default), self._kept.get(channel)
        if kept is None:
            if len(self._kept) < CHANNELS_MAX:  # else every reading of the channels too many goes on
                self._kept[channel] = _Kept(reading, now_ns, None)
            return reading
        silent_ns = now_ns - kept.said_ns
        due = 0 < rule.max_interval_ns <= silent_ns
        if not (due or rule.differs(kept.said, reading)):
            # Back within the band: what was held back is no longer so, and was not long enough to be said.
            self.withheld += 1 + (kept.held is not None)
            self._due.pop(channel, None)
            self._kept[channel] = kept._replace(held=None)
            return None
        if silent_ns < rule.min_interval_ns:
            self.withheld += kept.held is not None
            self._due[channel] = kept.said_ns + rule.min_interval_ns
            self._kept[channel] = kept._replace(held=reading)
            return None
        self._due.pop(channel, None)
        self.withheld += kept.held is not None
        self._kept[channel] = _Kept(reading, now_ns, None)
        return reading
