"""Time as the rest of the code sees it: integers of nanoseconds, handed in.

Only this module reads the machine's clocks. Whatever needs the time takes a ``Clock`` (or a plain
``now_ns``), so that tests hand in their own.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings that never mix: durations from ``monotonic_ns``, dates from ``wall_ns``."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never runs backwards."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC; may jump when the clock is set."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC, the clock that asyncio's loop uses."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Nanoseconds of CLOCK_REALTIME."""
        return time.time_ns()
