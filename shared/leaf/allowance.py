"""What a metered link has cost today and this month, by class, and whether it may cost more. Pure.

A day and a month end when the date says so. The date of a device may be wrong: while it is not to be trusted no day
ends and windows do not count, so that a clock that starts in 1970 or leaps ahead gives nobody a second allowance.
When a trusted date is before the day that is being counted, the count goes on under the new date.

What counts is what was charged; whoever sends asks ``may_send`` before. Bytes of a link that nobody asks for, such as
those of plain messages, are counted and held against the others, but cannot be stopped here.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from phloem.shared.errors import ConfigError
from phloem.shared.leaf.hours import DAY_S, Window, wait_s

FOREVER = -1  # ``Answer.wait_s``: nothing that is known makes it possible
SOON_S = 60


class When(NamedTuple):
    """The time as people there see it: local, or UTC."""

    day: int  # YYYYMMDD
    second: int  # of the day
    days_left: int  # of the month, today included
    trusted: bool = True

    @property
    def month(self) -> int:
        """YYYYMM."""
        return self.day // 100


class Plan(NamedTuple):
    """What is allowed. Bytes of 0: as much as there is."""

    per_day: int = 0
    per_month: int = 0
    emergency_percent: int = 0  # of both, kept for the classes in ``emergency``
    emergency: frozenset[str] = frozenset()
    shares: Mapping[str, int] = {}  # percent of both that a class may have
    hours: tuple[Window, ...] = ()


class Answer(NamedTuple):
    """Whether something may be sent; if not, why, and in how many seconds it is worth asking again."""

    ok: bool
    wait_s: int = 0
    why: str = ""


YES = Answer(True)


class Account(msgspec.Struct):
    """What is kept over a restart."""

    day: int = 0
    month: int = 0
    today: dict[str, int] = {}
    this_month: dict[str, int] = {}
    total: dict[str, int] = {}


class Allowance:
    """The account of one link."""

    def __init__(self, plan: Plan, account: Account | None = None) -> None:
        self.plan = plan
        self.account = account or Account()

    def charge(self, what: str, size: int, when: When) -> None:
        """``size`` bytes of a class have gone over the link, either way; negative: so many fewer than was said."""
        self.turn(when)
        a = self.account
        for sums in (a.today, a.this_month, a.total):
            sums[what] = max(sums.get(what, 0) + size, 0)

    def turn(self, when: When) -> bool:
        """Begins a new day, or month, if there is one; whether there was."""
        a = self.account
        if a.day == 0:
            a.day, a.month = when.day, when.month
            return False
        if not when.trusted or when.day == a.day:
            return False
        ahead = when.day > a.day
        if ahead:
            a.today = {}
        if when.month > a.month:
            a.this_month = {}
        a.day, a.month = when.day, when.month
        return ahead

    def may_send(self, what: str, when: When, size: int = 0) -> Answer:
        """Whether ``size`` more bytes of a class may go now."""
        self.turn(when)
        urgent = what in self.plan.emergency
        if not urgent and when.trusted:
            wait = wait_s(self.plan.hours, when.second)
            if wait:
                return Answer(False, wait, "outside of hours")
        midnight_s = DAY_S - when.second if when.trusted else SOON_S
        a, p = self.account, self.plan
        for limit, sums, word, until_s in (
            (p.per_month, a.this_month, "month", midnight_s + (when.days_left - 1) * DAY_S),
            (p.per_day, a.today, "day", midnight_s),
        ):
            if limit <= 0:
                continue
            until_s = until_s if when.trusted else SOON_S
            if size > limit:
                return Answer(False, FOREVER, f"more than the allowance of a {word}")
            free = limit if urgent else limit * (100 - p.emergency_percent) // 100
            if sum(sums.values()) + size > free:
                return Answer(False, until_s, f"the allowance of this {word} is used up")
            share = p.shares.get(what)
            if share is not None and sums.get(what, 0) + size > limit * share // 100:
                return Answer(False, until_s, f"its share of this {word} is used up")
        return YES

    def room(self, what: str, when: When, most: int) -> int:
        """How many bytes of a class may go now, at most so many; hours are not looked at."""
        self.turn(when)
        a, p = self.account, self.plan
        for limit, sums in ((p.per_month, a.this_month), (p.per_day, a.today)):
            if limit <= 0:
                continue
            free = limit if what in p.emergency else limit * (100 - p.emergency_percent) // 100
            most = min(most, free - sum(sums.values()))
            if (share := p.shares.get(what)) is not None:
                most = min(most, limit * share // 100 - sums.get(what, 0))
        return max(most, 0)

    def used_up(self) -> str:
        """``"day"`` or ``"month"`` if the whole allowance of it is used up; else nothing."""
        a, p = self.account, self.plan
        if 0 < p.per_month <= sum(a.this_month.values()):
            return "month"
        return "day" if 0 < p.per_day <= sum(a.today.values()) else ""


def shares(texts: Mapping[str, str]) -> dict[str, int]:
    """``{telemetry: "60%"}`` as numbers.

    Raises:
        ConfigError: One is no percentage.
    """
    found = {}
    for name, text in texts.items():
        number = text.removesuffix("%").strip()
        if not number.isdecimal() or int(number) > 100:
            raise ConfigError(f'the share of "{name}" is no percentage: "{text}"')
        found[name] = int(number)
    return found
