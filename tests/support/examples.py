"""How many examples Hypothesis looks at; the profiles in ``tests/conftest.py`` are where that is said."""

from hypothesis import settings

WHOLE = 100  # what a test without a count of its own gets from the profile that leaves nothing out


def examples(count: int) -> int:
    """Of ``count`` examples, what the profile leaves: all in ``make test-long``."""
    return max(1, count * settings.default.max_examples // WHOLE)
