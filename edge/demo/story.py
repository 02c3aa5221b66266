"""What the demo tells, and what of it has happened: the cable is cut, readings wait, alarms overtake them, all arrives.

Pure: it is told the time and what is where. Times are nanoseconds since the beginning of the story.
"""

from enum import IntEnum
from typing import NamedTuple

from phloem.shared.limits import SECOND_NS

CUT, ALARM, MEND = 0.2, 0.55, 0.6  # when, as parts of the time there is


class Act(IntEnum):
    """Where the story is."""

    TOGETHER = 0
    CUT = 1
    MENDED = 2
    CAUGHT_UP = 3


ABOUT = {
    Act.TOGETHER: "the link is up: what the edge reads is at the hub a moment later",
    Act.CUT: "the cable is cut: the edge goes on reading, and keeps everything on its disk",
    Act.MENDED: "the cable is mended: the backlog drains, behind any alarm",
    Act.CAUGHT_UP: "the hub has caught up: the edge frees its disk",
}


class Do(IntEnum):
    """What is due."""

    NOTHING = 0
    CUT = 1
    ALARM = 2
    MEND = 3


class Facts(NamedTuple):
    """What is where: readings at the edge, those at the hub and how many of them came marked as historical, alarms that
    were raised and that are at the hub."""

    read: int
    arrived: int
    historical: int
    raised: int
    alarms: int

    @property
    def waiting(self) -> int:
        """Readings that the hub does not have."""
        return max(self.read - self.arrived, 0)


class Story:
    """``total_ns``: how long sensor and show go on."""

    def __init__(self, total_ns: int) -> None:
        self.act = Act.TOGETHER
        self.overtaken = 0  # readings that waited when an alarm passed them
        self.peak = 0  # readings that waited at a time
        self.cut_ns = self.mended_ns = 0
        self._total_ns = total_ns
        self._alarms = 0
        self._told = 0  # alarms that are known to have arrived
        self._raised: list[tuple[int, int]] = []  # of each: when, readings at that time
        self._at_mend = Facts(0, 0, 0, 0, 0)
        self._first = False  # something has come since the cable was mended

    def due(self, now_ns: int, facts: Facts) -> Do:
        """What to do next. The second alarm is raised while the backlog drains."""
        part = now_ns / self._total_ns
        if self.act == Act.TOGETHER and part >= CUT:
            return Do.CUT
        if self.act == Act.CUT and self._alarms == 0 and part >= ALARM:
            return Do.ALARM
        if self.act == Act.CUT and part >= MEND:
            return Do.MEND
        if self.act == Act.MENDED and self._alarms == 1 and self._first and facts.waiting:
            return Do.ALARM
        return Do.NOTHING

    def cut(self, now_ns: int) -> str:
        """It was cut."""
        self.act, self.cut_ns = Act.CUT, now_ns
        return "the cable is cut: from here on the edge keeps what it reads"

    def raised(self, now_ns: int, facts: Facts) -> str:
        """An alarm is on the edge's disk."""
        self._alarms += 1
        self._raised.append((now_ns, facts.read))
        return f"an alarm is raised at the edge, behind {_readings(facts.waiting)}"

    def mended(self, now_ns: int, facts: Facts) -> str:
        """It was mended."""
        self.act, self.mended_ns, self._at_mend = Act.MENDED, now_ns, facts
        gone_s = (now_ns - self.cut_ns) / SECOND_NS
        return f"the cable is mended after {gone_s:.1f} s; {_readings(facts.waiting)} wait"

    def arrived(self, now_ns: int, facts: Facts) -> list[str]:
        """What is new, in words."""
        self.peak = max(self.peak, facts.waiting)
        said = []
        while self._told < min(facts.alarms, len(self._raised)):
            said.append(self._alarm(now_ns, facts))
        if self.act != Act.MENDED:
            return said
        since_s = (now_ns - self.mended_ns) / SECOND_NS
        if not self._first and facts.arrived > self._at_mend.arrived:
            self._first = True
            said.append(
                f"the first readings of the backlog are at the hub, {since_s:.1f} s after the mending"
            )
        if self._first and facts.arrived >= self._at_mend.read:
            self.act = Act.CAUGHT_UP
            late = facts.historical - self._at_mend.historical
            said.append(
                f"caught up {since_s:.1f} s after the mending: {_readings(late)} came marked as historical"
            )
        return said

    def _alarm(self, now_ns: int, facts: Facts) -> str:
        raised_ns, read = self._raised[self._told]
        self._told += 1
        passed = max(read - facts.arrived, 0)
        self.overtaken += passed
        ago = f"{(now_ns - raised_ns) / SECOND_NS:.1f} s after it was raised"
        if self.act == Act.MENDED and raised_ns < self.mended_ns:
            ago = f"{(now_ns - self.mended_ns) / SECOND_NS:.1f} s after the mending"
        return f"the alarm is at the hub, {ago}, before {passed:,} older readings"


def _readings(count: int) -> str:
    return f"{count:,} reading" if count == 1 else f"{count:,} readings"
