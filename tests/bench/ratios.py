"""What a goal is, and what the samples of two servers say about it.

A sample pair is two runs that followed each other. The figure that counts is the median of the pairs'
ratios (candidate over baseline), not the ratio of medians: what slows the machine for a while slows
both runs of a pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median


class Unit(Enum):
    """What a figure counts; the value is how it is printed."""

    PER_SECOND = "/s"
    MICROSECONDS = "us"
    MEGABYTES = "MB"
    SECONDS = "s"
    BYTES = "B"

    def text(self, value: float) -> str:
        """A figure with three significant digits or so: ``3.21 M/s``, ``57.1 us``, ``18.2 MB``."""
        if self is Unit.BYTES:
            return f"{value:.0f} {self.value}"
        if self is Unit.SECONDS:
            return f"{value:.2f} {self.value}"
        if self is not Unit.PER_SECOND:
            return f"{value:.1f} {self.value}"
        for factor, letter in ((1e6, "M"), (1e3, "k")):
            if value >= factor:
                return f"{value / factor:.2f} {letter}{self.value}"
        return f"{value:.0f} {self.value}"


@dataclass(frozen=True)
class Goal:
    """A bound on the ratio or, with ``unit``, on the candidate's own median in that unit."""

    at_least: float | None = None
    at_most: float | None = None
    unit: Unit | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a goal has one bound: at_least or at_most")

    @property
    def text(self) -> str:
        """As in the table: ``>= 5.0x``, ``<= 40.0 MB``."""
        bound = self.at_most if self.at_least is None else self.at_least
        assert bound is not None
        sign = ">=" if self.at_most is None else "<="
        return f"{sign} {self.unit.text(bound) if self.unit else f'{bound:.1f}x'}"

    def reached(self, pairs: "Pairs") -> bool:
        """Whether the samples keep the bound; meeting it exactly is enough."""
        figure = pairs.candidate_median if self.unit else pairs.ratio
        if self.at_least is not None:
            return figure >= self.at_least
        assert self.at_most is not None
        return figure <= self.at_most


@dataclass(frozen=True)
class Pairs:
    """The samples of one row, in the order of the rounds."""

    baseline: Sequence[float]
    candidate: Sequence[float]

    def __post_init__(self) -> None:
        if not self.baseline or len(self.baseline) != len(self.candidate):
            raise ValueError("want as many samples of one server as of the other, and at least one")
        if min(self.baseline) <= 0:
            raise ValueError("a ratio to nothing")

    @property
    def baseline_median(self) -> float:
        return median(self.baseline)

    @property
    def candidate_median(self) -> float:
        return median(self.candidate)

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for theirs, ours in zip(self.baseline, self.candidate, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return median(self.ratios)
