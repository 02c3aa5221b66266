"""How much ``make test`` looks at of what ``make test-long`` looks at as a whole: examples of Hypothesis (the profiles
in ``tests/conftest.py`` are where that is said), steps of a sweep, kinds of a case."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

WHOLE = 100  # what a test without a count of its own gets from the profile that leaves nothing out


def examples(count: int) -> int:
    """Of ``count`` examples, what the profile leaves: all in ``make test-long``."""
    return max(1, count * settings.default.max_examples // WHOLE)


sampled = pytest.mark.parametrize(
    "whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["sample", "whole"]
)  # a test takes ``whole``: whether it is all of a sweep, or what there is time for


def few_of(kinds: Iterable[Any], *few: Any) -> list[Any]:
    """Parameters of a test, values or tuples of them: all kinds, of which all but these few are left to
    ``make test-long``."""
    kinds = list(kinds)
    assert set(few) <= set(kinds)
    return [
        kind
        if kind in few
        else pytest.param(*(kind if isinstance(kind, tuple) else (kind,)), marks=pytest.mark.slow)
        for kind in kinds
    ]
