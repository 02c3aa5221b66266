"""What is to be forwarded, and which of it has its turn: classes before one another, rates, hours, allowances."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Protocol

import msgspec

from phloem.shared.leaf.hours import Window, wait_s
from phloem.shared.limits import SECOND_NS


class Class(IntEnum):
    """What a message is worth, when not everything can be sent or kept. Lower goes first and is shed last."""

    ALARM = 0
    EVENT = 1
    TELEMETRY = 2
    DEBUG = 3


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of ``forward``."""

    name: str
    stream: str
    to: str = ""
    filters: tuple[str, ...] = ()
    cls: Class = Class.TELEMETRY
    rate: int = 0  # bytes a second; 0: as the link can
    hours: tuple[Window, ...] = ()  # () is always
    linger_ns: int = 0  # how long a message may wait for company
    replicas: int = 1  # of the stream, if it is made in a hub that is a cluster


class Allowance(Protocol):
    """What a metered link grants."""

    def wait_ns(self, cls: Class, now_ns: int) -> int:
        """0: something may be sent now; else how long to wait before asking again."""

    def room(self, cls: Class, most: int) -> int:
        """How many bytes may be sent now, at most so many."""


class Turn:
    """When an entry may send next: its hours and its rate."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._credit = float(entry.rate)
        self._at_ns = 0

    def wait_ns(self, now_ns: int, second_of_day: int | None) -> int:
        """0: now; else how long to wait before asking again. ``second_of_day``: None while the clock is not to be
        trusted, when hours mean nothing."""
        entry = self.entry
        closed_s = 0 if second_of_day is None else wait_s(entry.hours, second_of_day)
        if closed_s:
            return closed_s * SECOND_NS
        if not entry.rate:
            return 0
        if self._at_ns:
            self._credit += (now_ns - self._at_ns) * entry.rate / SECOND_NS
        self._credit = min(self._credit, float(entry.rate))  # a second's worth may come at once
        self._at_ns = now_ns
        return 0 if self._credit > 0 else int(-self._credit * SECOND_NS / entry.rate) + 1

    def spent(self, size: int) -> None:
        """So much was sent: more than there was may be, the debt is waited for."""
        if self.entry.rate:
            self._credit -= size


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """By class; within a class as they are configured."""
    return sorted(entries, key=lambda entry: entry.cls)
