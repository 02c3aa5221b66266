"""Whose messages go first. Pure.

What the hub has already is lost by nobody, so the tails that are kept of it go before anything else. Then the classes,
least important first, and of one class the oldest message first. Alarms go only when nothing else is left.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from phloem.shared.forward.entries import Class


class Candidate(Protocol):
    """A stream that may lose messages."""

    @property
    def cls(self) -> Class | None:
        """None: never."""

    @property
    def messages(self) -> int:
        """How many there are."""

    @property
    def spare(self) -> int:
        """How many of the oldest the hub has, at least."""

    @property
    def oldest_ns(self) -> int:
        """When its oldest message was stored."""


C = TypeVar("C", bound=Candidate)


def next_victim(candidates: Iterable[C], *, desperate: bool) -> tuple[C, bool] | None:
    """The stream that gives the next messages, and whether the hub has those. None: nothing may go."""
    able = [one for one in candidates if one.cls is not None and one.messages]
    spare = [one for one in able if one.spare]
    pool = spare or [one for one in able if one.cls != Class.ALARM] or (able if desperate else [])
    if not pool:
        return None
    lowest = max(one.cls for one in pool if one.cls is not None)
    return min((one for one in pool if one.cls == lowest), key=lambda one: one.oldest_ns), bool(spare)
