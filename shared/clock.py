"""Time as the rest of the code sees it: integers of nanoseconds, handed in.

Only this module reads the machine's clocks. Whatever needs the time takes a ``Clock`` (or a plain
``now_ns``), so that tests hand in their own.
"""

import hashlib
import time
from pathlib import Path
from typing import Protocol

from phloem.shared.limits import CLOCK_EARLIEST_NS, SECOND_NS

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_number() -> int:
    """A number for this boot of the machine, within which the monotonic clock goes on; never 0."""
    text = BOOT_ID.read_bytes() if BOOT_ID.exists() else b""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1 | 1


def doubt(wall_ns: int) -> str:
    """For an error that a wrong clock may be the cause of: what the clock says, if that cannot be. Else empty."""
    if wall_ns >= CLOCK_EARLIEST_NS:
        return ""
    year = time.gmtime(max(wall_ns, 0) // SECOND_NS).tm_year
    return f"; the clock says {year}, certificates and tokens need it right"


def thread_cpu_ns() -> int:
    """Nanoseconds that this thread has had of a processor: what something costs, however busy the machine is."""
    return time.thread_time_ns()


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
