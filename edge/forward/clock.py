"""What the true time is, as far as anything tells. Pure: told what the clocks and others say, at a monotonic time.

A boot of the machine has one monotonic clock, and the true time is that plus a constant, ``true_ahead``. What is known
of it is a ``Fix``, a value and how far it may be off. It comes from the system, if that says it is synchronised, and
from the hub, whose answer takes half a round trip at most. Where the two cannot both be right, the fix is the range
from one to the other.

Boots that ended before their time was known are fixed afterwards, as a range: they cannot have begun before the last
time that was known before them, and were over before the next one began.
"""

from collections.abc import Sequence

import msgspec

from phloem.shared.clock_quality import ESTIMATED, SYNCED, UNSYNCED, SystemSays
from phloem.shared.limits import CLOCK_EARLIEST_NS, CLOCK_LATEST_NS, SECOND_NS

BOOTS_KEPT = 16
DRIFT_PPM = 100  # of a quartz, between two words of the hub
BETTER = 2  # a fix replaces one that is so many times less exact
TOLERANCE_NS = SECOND_NS // 10  # two that differ by less do not contradict each other


class Fix(msgspec.Struct, array_like=True, frozen=True):
    """``wall - monotonic`` should be ``ahead_ns``, to within ``error_ns``."""

    ahead_ns: int
    error_ns: int

    def agrees(self, other: "Fix") -> bool:
        """Whether both can be right."""
        distance = abs(self.ahead_ns - other.ahead_ns)
        return distance <= self.error_ns + other.error_ns + TOLERANCE_NS


class Boot(msgspec.Struct, array_like=True):
    """One boot of the machine, in the order in which they were."""

    number: int
    before_ns: int = 0  # a time that was over when it began; 0: unknown
    lasted_ns: int = 0  # so much of its monotonic clock has been seen
    fix: Fix | None = None


class Known(msgspec.Struct, array_like=True):
    """What outlives the process."""

    boots: list[Boot] = []
    floor_ns: int = 0  # the latest time that is known to be over


def agreed(system: Fix | None, hub: Fix | None) -> Fix | None:
    """One fix from what both say."""
    if system is None or hub is None:
        return system or hub
    if system.agrees(hub):
        return min(system, hub, key=lambda fix: fix.error_ns)
    low = min(system.ahead_ns - system.error_ns, hub.ahead_ns - hub.error_ns)
    high = max(system.ahead_ns + system.error_ns, hub.ahead_ns + hub.error_ns)
    return Fix((low + high) // 2, (high - low + 1) // 2)


def bounded(boots: Sequence[Boot]) -> dict[int, Fix]:
    """Fixes for boots that have none and lie between times that are known, by their numbers."""
    lows: list[int] = []
    low = 0
    for boot in boots:
        low = max(low, boot.before_ns, boot.fix.ahead_ns - boot.fix.error_ns if boot.fix else 0)
        lows.append(low)
        low += boot.lasted_ns if low else 0
    found = {}
    high = 0  # the next one began then at the latest; 0: unknown
    for boot, low in zip(reversed(boots), reversed(lows), strict=True):
        if boot.fix is not None:
            high = boot.fix.ahead_ns + boot.fix.error_ns
        elif high:
            high -= boot.lasted_ns
            if low and high >= low:
                found[boot.number] = Fix((low + high) // 2, (high - low + 1) // 2)
    return found


class Clockwork:
    """The judge, for one boot."""

    def __init__(self, known: Known | None, boot: int, now_ns: int) -> None:
        self.known = known or Known()
        boots = self.known.boots
        if not boots or boots[-1].number != boot:
            boots.append(Boot(boot, self.known.floor_ns))
            del boots[:-BOOTS_KEPT]
        self._boot = boots[-1]
        self._boot.lasted_ns = max(self._boot.lasted_ns, now_ns)
        self._hub: Fix | None = None
        self._hub_ns = 0
        self.steps = 0
        self.contradicted = False  # system and hub say different things

    @property
    def fix(self) -> Fix | None:
        """Of this boot."""
        return self._boot.fix

    def hub_says(self, wall_ns: int, at_ns: int, error_ns: int) -> None:
        """The hub's time, at a monotonic time of ours. A hub may say anything; what cannot be is not heard."""
        if not CLOCK_EARLIEST_NS <= wall_ns <= CLOCK_LATEST_NS:
            return
        self._hub, self._hub_ns = Fix(wall_ns - at_ns, error_ns), at_ns

    def judge(self, now_ns: int, wall_ns: int, system: SystemSays) -> dict[int, Fix]:
        """Fixes that are new or much better than before, by boot."""
        own = Fix(wall_ns - now_ns, system.error_ns) if system.synchronised else None
        if wall_ns < CLOCK_EARLIEST_NS:
            own = None
        hub = self._hub
        if hub is not None:
            hub = Fix(hub.ahead_ns, hub.error_ns + (now_ns - self._hub_ns) * DRIFT_PPM // 1_000_000)
        self.contradicted = own is not None and hub is not None and not own.agrees(hub)
        fixes = {}
        fix, old = agreed(own, hub), self._boot.fix
        self._boot.lasted_ns = max(self._boot.lasted_ns, now_ns)
        if fix is not None and (old is None or self._replaces(fix, old)):
            self._boot.fix = fixes[self._boot.number] = fix
            for number, one in bounded(self.known.boots).items():
                fixes[number] = one
                next(boot for boot in self.known.boots if boot.number == number).fix = one
        self.goes_on(now_ns)
        return fixes

    def quality(self, now_ns: int, wall_ns: int, system: SystemSays) -> str:
        """The word for a time by the system's clock; ``est`` if that is as near to the fix as the fix is exact."""
        if system.synchronised and wall_ns >= CLOCK_EARLIEST_NS and not self.contradicted:
            return SYNCED
        fix = self._boot.fix
        return ESTIMATED if fix is not None and fix.agrees(Fix(wall_ns - now_ns, 0)) else UNSYNCED

    def _replaces(self, fix: Fix, old: Fix) -> bool:
        if self.contradicted and fix.error_ns > old.error_ns * BETTER:
            return True
        return fix.error_ns * BETTER < old.error_ns or not fix.agrees(old)

    def goes_on(self, now_ns: int) -> None:
        """So late it is now."""
        self._boot.lasted_ns = max(self._boot.lasted_ns, now_ns)
        if self._boot.fix is not None:
            self.known.floor_ns = now_ns + self._boot.fix.ahead_ns - self._boot.fix.error_ns

    def now_ns(self, now_ns: int) -> int | None:
        """The true time; None: nobody knows."""
        return now_ns + self._boot.fix.ahead_ns if self._boot.fix is not None else None
