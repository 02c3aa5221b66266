"""How full the disk is, and what is to be done about it. Pure; ``keeper.py`` measures and does it.

There are three lines. Above the *high* one messages are shed, least important first, until the *low* one is reached, so
that this does not happen for every message. Above *allowed*, or when the disk itself has no room, shedding has not been
fast enough or has nothing left: then only alarms are taken (*held*), until it is below the high line again. Before the
disk is full the reserve is given back, a file that stood for space.

LMDB's file never becomes smaller; what is free in it is used again. So what counts is what is on its pages, and space
on the file system is what is free there and what is free in the file.
"""

from typing import NamedTuple

import msgspec

FLOOR_MOST = 200_000_000
FLOOR_SHARE = 20  # of a small disk
BUDGET_SHARE = 0.75  # of what is free, where no budget is set
RESERVE_MOST = 16_000_000
RESERVE_SHARE = 64  # of a small budget
SLACK_SHARE = 4  # of the budget is the most that is kept free for what is under way
SHED_SHARE = 20  # of the budget is shed in one go: the way from the high line to the low one


class Limits(msgspec.Struct, frozen=True):
    """Bytes. ``slack``: what may be written between two looks and before a move has taken effect."""

    budget: int
    floor: int
    reserve: int
    slack: int


class Reading(NamedTuple):
    """What was measured, in bytes."""

    file: int  # of LMDB's file
    live: int  # of it what would be in use if everything in memory and all removals had been carried out
    journal: int
    reserve: int  # 0: it was given back
    free: int  # of the file system, for us
    full: bool  # the store has found no space

    @property
    def used(self) -> int:
        """What counts against the budget."""
        return self.live + self.journal + self.reserve


class Plan(NamedTuple):
    """What is to be done now."""

    shed: int  # so many bytes
    desperate: bool  # alarms may go as well
    give: bool  # the reserve back
    take: bool  # it again


def limits_of(
    budget: int, floor: int, reserve: int, *, total: int, free: int, own: int, slack: int
) -> Limits:
    """Options as bytes; -1 is the default. ``total`` and ``free`` of the file system, ``own``: what is ours of it."""
    if floor < 0:
        floor = min(FLOOR_MOST, total // FLOOR_SHARE)
    if budget < 0:
        budget = max(int((own + free) * BUDGET_SHARE), own)
    if reserve < 0:
        reserve = min(RESERVE_MOST, budget // RESERVE_SHARE)
    return Limits(budget, floor, reserve, min(slack, budget // SLACK_SHARE))


class Budget:
    """The state: whether messages are being shed, whether only alarms are taken."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.shedding = False
        self.held = ""  # why only alarms are taken
        self.allowed = limits.budget
        self.high = limits.budget - limits.slack
        self.low = self.high

    def look(self, now: Reading) -> Plan:
        """To be asked now and then, and after each step of shedding."""
        limits = self.limits
        own = now.file + now.journal + now.reserve
        self.allowed = min(limits.budget, own + max(now.free - limits.floor, 0))
        self.high = self.allowed - limits.slack
        self.low = self.high - self.allowed // SHED_SHARE
        if now.used > self.high:
            self.shedding = True
        elif now.used <= self.low:
            self.shedding = False
        room = now.free + max(now.file - now.live - limits.slack, 0)
        tight = now.full or room < limits.slack
        self._hold(now, tight=tight)
        return Plan(
            shed=max(now.used - self.low, 0) if self.shedding else 0,
            desperate=now.used > self.allowed or now.full,
            give=bool(now.reserve) and tight,
            take=not now.reserve
            and not self.held
            and now.free >= limits.floor + limits.reserve > limits.floor,
        )

    def _hold(self, now: Reading, *, tight: bool) -> None:
        if now.full or tight:
            self.held = "the disk has no space left"
        elif now.used > self.allowed:
            self.held = "the disk budget is used up"
        elif now.used <= self.high:
            self.held = ""
