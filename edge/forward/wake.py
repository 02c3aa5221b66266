"""The one timer of who sends: the earliest of what it was asked for."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from phloem.shared.limits import SECOND_NS
from phloem.shared.server.alarms import whole_second

if TYPE_CHECKING:
    import asyncio

    from phloem.shared.server.server import Server


LOOK_NS = 10 * SECOND_NS  # how often it is looked whether there is a hub, if no tick has told


class Wake:
    """Calls ``work`` once, at the earliest of the times it was given since the last call."""

    def __init__(self, server: "Server", work: Callable[[], None]) -> None:
        self._server, self._work = server, work
        self._timer: asyncio.TimerHandle | None = None
        self._at_ns = 0

    def at(self, ns: int) -> None:
        """No later than this, monotonic; 0: nothing is due."""
        now_ns = self._server.clock.monotonic_ns()
        if ns == 0 or (self._timer is not None and now_ns < self._at_ns <= ns):
            return
        self.cancel()
        self._at_ns = ns
        self._timer = self._server.call_later(max(ns - now_ns, 0) / SECOND_NS, self._due)

    def within(self, wait_ns: int) -> None:
        """As ``at``, counted from now."""
        self.at(self._server.clock.monotonic_ns() + wait_ns)

    @property
    def look_ns(self) -> int:
        """When to look whether all is as it was, which every tick tells as well: with all others who look now and then,
        because each time an idle device wakes up costs it something."""
        return whole_second(self._server.clock.monotonic_ns() + LOOK_NS)

    def _due(self) -> None:
        self._timer = None
        self._work()

    def cancel(self) -> None:
        """Nothing is due any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
