"""The word that stands beside a time: how far the wall clock can be trusted."""

from collections.abc import Callable
from typing import TypeAlias

from phloem.firmware_bridge import limits
from phloem.shared.clock import Clock, SystemClock

AskQuality: TypeAlias = Callable[[], str]
"""``synced``, ``est`` or ``unsynced``; empty: nobody can tell."""


class TimeQuality:
    """That of one clock, for all ports. Asked anew every ten seconds and not for each message, so it may be so old.

    ``ask`` is for who knows more than the system. A clock that is not the system's is nobody's.
    """

    def __init__(self, clock: Clock, ask: AskQuality | None = None) -> None:
        self._clock, self._ask = clock, ask or self._ask_system
        self._due_ns, self._word = -1, ""

    def __call__(self) -> str:
        """The word for now."""
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._due_ns:
            self._due_ns, self._word = now_ns + limits.QUALITY_NS, self._ask()
        return self._word

    def _ask_system(self) -> str:
        from phloem.shared.clock_quality import (  # noqa: PLC0415  (ctypes; an edge asks its time keeper)
            SystemSays,
            quality_of,
            system_says,
        )

        says = system_says() if isinstance(self._clock, SystemClock) else SystemSays()
        return quality_of(says, self._clock.wall_ns())
