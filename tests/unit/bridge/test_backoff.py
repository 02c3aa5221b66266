"""Waits stay between their bounds, grow, and start over after success."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.backoff import Backoff


@given(st.integers(), st.integers(1, 10**10), st.integers(0, 10**11))
def test_bounds(seed: int, min_ns: int, more_ns: int) -> None:
    backoff = Backoff(min_ns, min_ns + more_ns, Random(seed))
    assert all(min_ns <= backoff.next_ns() <= min_ns + more_ns for _ in range(50))


def test_it_doubles_up_to_the_maximum_and_starts_over() -> None:
    backoff = Backoff(limits.RETRY_MIN_NS, limits.RETRY_MAX_NS, Random(1))
    for step in range(4):
        assert backoff.next_ns() <= limits.RETRY_MIN_NS << step
    waits = [backoff.next_ns() for _ in range(20)]
    assert min(waits[2:]) >= limits.RETRY_MAX_NS // 2
    assert len(set(waits[2:])) > 1
    backoff.reset()
    assert backoff.next_ns() == limits.RETRY_MIN_NS
