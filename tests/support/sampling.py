"""What ``make test`` looks at of long sweeps. The rest of each is marked ``slow``: ``make test-long`` has all of it."""

from collections.abc import Sequence
from typing import Any

import pytest

SHARES = pytest.mark.parametrize(
    "every", [pytest.param(5, id="a fifth"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
"""For a test of a long list: it looks at each ``every``-th."""


def rest(*values: Any, id: str | None = None) -> Any:
    """A case that is left to ``make test-long``."""
    return pytest.param(*values, id=id, marks=pytest.mark.slow)


def in_turn(cases: Sequence[tuple[Any, ...]], pairings: Sequence[tuple[str, str]]) -> list[Any]:
    """Parameters ``(*case, pairing)``: each case with one pairing after the other, of which ``make test`` has one, so
    that it has each case and each pairing."""
    return [
        pytest.param(
            *case,
            pairing,
            id="-".join([*("" if word is None else str(word) for word in case), *pairing]),
            marks=[] if number % len(pairings) == at else pytest.mark.slow,
        )
        for number, case in enumerate(cases)
        for at, pairing in enumerate(pairings)
    ]
