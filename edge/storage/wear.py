"""What a card has had to write, by class and day, and how long it will last. Pure.

Two things are written: the journal, in whole pages, and LMDB's file, later and in one go. Each is divided among the
classes as their messages' records are in the journal; what belongs to no message (states of consumers, configurations,
pages that would be written anyhow) has the share ``other`` when there are no messages at all.

What the file system and the card itself write for it comes on top and is not seen here. So the estimate of a life is
one to plan with, not to rely on.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

DAY_NS = 86_400 * 10**9
DAYS_KEPT = 31
OTHER = "other"
RATE_DAYS = 7  # the rate is that of the last days
LIFE_MOST_DAYS = 100 * 365


class History(msgspec.Struct, array_like=True):
    """What outlives the process: bytes by class for each of the last days, and of all days."""

    days: dict[int, dict[str, int]] = {}  # by days since 1970
    total: int = 0


class Wear:
    """Adds up; told now and then what has been written since the start."""

    def __init__(self, history: History | None = None, endurance: int = 0) -> None:
        """``endurance``: all bytes that the card can take; 0: unknown."""
        self.history = history or History()
        self.endurance = endurance
        self.since_start: Counter[str] = Counter()
        self._device = self._lmdb = 0
        self._shares: Counter[str] = Counter()  # of records since the journal was looked at
        self._moving: Counter[str] = Counter()  # and since the last move
        self._first_ns = 0
        self.changed = False  # since it was written down

    def written(self, journalled: Mapping[str, int], device: int, lmdb: int, day: int, now_ns: int) -> None:
        """``journalled``: bytes of messages' records by class since this was called last; ``device``: of the journal,
        in pages, and ``lmdb``: of LMDB's file, both since the start. ``day``: since 1970."""
        self._first_ns = self._first_ns or now_ns
        self._shares.update(journalled)
        self._moving.update(journalled)
        self._add(device - self._device, self._shares, day)
        self._device = device
        if lmdb != self._lmdb:
            self._add(lmdb - self._lmdb, self._moving, day)
            self._lmdb = lmdb

    def _add(self, size: int, shares: "Counter[str]", day: int) -> None:
        if size <= 0:
            return
        whole = sum(shares.values())
        today = self.history.days.setdefault(day, {})
        left = size
        for cls, share in shares.items():
            mine = size * share // whole
            left -= mine
            today[cls] = today.get(cls, 0) + mine
            self.since_start[cls] += mine
        if left:  # roundings go to a class as well
            cls = next(iter(shares), OTHER)
            today[cls] = today.get(cls, 0) + left
            self.since_start[cls] += left
        shares.clear()
        self.history.total += size
        self.changed = True
        for old in sorted(self.history.days)[:-DAYS_KEPT]:
            del self.history.days[old]

    def per_day(self, day: int, now_ns: int) -> int:
        """Bytes a day: of the last whole days if there are any, else as since the start."""
        whole = [sum(each.values()) for at, each in self.history.days.items() if day - RATE_DAYS <= at < day]
        if whole:
            return sum(whole) // len(whole)
        up = now_ns - self._first_ns
        return sum(self.since_start.values()) * DAY_NS // up if up > 0 else 0

    def life_days(self, day: int, now_ns: int) -> int:
        """How long the card lasts at this rate; -1: it is not known what it can take."""
        if not self.endurance:
            return -1
        rate = self.per_day(day, now_ns)
        left = max(self.endurance - self.history.total, 0)
        return min(left // rate, LIFE_MOST_DAYS) if rate else LIFE_MOST_DAYS

    def figures(self, day: int, now_ns: int) -> dict[str, Any]:
        """Bytes, and days."""
        return {
            "written": dict(self.since_start),
            "today": dict(self.history.days.get(day, {})),
            "per_day": self.per_day(day, now_ns),
            "total": self.history.total,
            "endurance": self.endurance,
            "life_days": self.life_days(day, now_ns),
        }
