"""How long to wait before the next attempt. Pure: the random numbers are handed in."""

from random import Random


class Backoff:
    """Doubling waits between ``min_ns`` and ``max_ns``.

    Each wait is drawn from the upper half of its step, so that ports (or bridges) which lost the same
    thing at the same moment do not come back at the same moment.
    """

    def __init__(self, min_ns: int, max_ns: int, rng: Random) -> None:
        assert 0 < min_ns <= max_ns
        self._min_ns, self._max_ns, self._rng = min_ns, max_ns, rng
        self._step_ns = min_ns

    def next_ns(self) -> int:
        """The wait before the next attempt, at least ``min_ns`` and at most ``max_ns``."""
        step_ns = self._step_ns
        self._step_ns = min(step_ns * 2, self._max_ns)
        return self._rng.randint(max(self._min_ns, step_ns // 2), step_ns)

    def reset(self) -> None:
        """It worked: the next wait is short again."""
        self._step_ns = self._min_ns
