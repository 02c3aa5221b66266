"""Delta debugging: the shortest input that still fails, first in Steps, then in the bytes of each Step."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.fuzz.steps import Steps

Item = TypeVar("Item")


def ddmin(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool]) -> Sequence[Item]:
    """A part of ``items`` that still fails and of which no single item can be left out."""
    size = max(len(items) // 2, 1)
    while items:
        at, shorter = 0, items
        while at < len(shorter):
            candidate = [*shorter[:at], *shorter[at + size :]]
            if fails(candidate):
                shorter = candidate
            else:
                at += size
        if size == 1 and len(shorter) == len(items):
            break
        items, size = shorter, max(size // 2, 1)
    return items


def minimise(steps: Steps, fails: Callable[[Steps], bool]) -> Steps:
    """``fails`` is asked often; it may answer False when its time is over, then the best so far is it."""
    steps = tuple(ddmin(steps, lambda part: fails(tuple(part))))
    for index in range(len(steps)):
        steps = _shorten(steps, index, fails)
    return steps


def _shorten(steps: Steps, index: int, fails: Callable[[Steps], bool]) -> Steps:
    """The same with as little data in one Step as will do."""

    def with_data(data: Sequence[int]) -> Steps:
        return (*steps[:index], steps[index]._replace(data=bytes(data)), *steps[index + 1 :])

    return with_data(ddmin(steps[index].data, lambda data: fails(with_data(data))))
