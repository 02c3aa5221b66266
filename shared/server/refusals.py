"""When somebody who is refused hears of it: at the same time after CONNECT, whatever was wrong.

What was looked at before somebody is refused depends on what was wrong. So a refusal is held until a whole number of
steps after CONNECT came, one step as a rule: a decision takes less than a tenth of that. What takes longer, a dear
hash or an auth callout, leaves with the next whole step. Looking for an account that is not known takes as long as
whoever is asked; all refusals are held for as long as the slowest such look has taken, at most the authentication
timeout.

Nobody else waits: a held connection costs an entry in a heap, and a timer of its own rings to the microsecond. With the
loop's, which count milliseconds from the end of the last work, the time of that work could be heard.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from phloem.shared.kernel.timer import Timer
from phloem.shared.limits import REFUSAL_STEP_NS
from phloem.shared.server.alarms import Alarm, Alarms

if TYPE_CHECKING:
    from phloem.shared.server.server import Server


def moment_ns(began_ns: int, now_ns: int, least_ns: int = 0) -> int:
    """When to refuse who began then, if it is decided now: whole steps later, after ``least_ns`` at least."""
    steps = -(-max(now_ns - began_ns, least_ns, 1) // REFUSAL_STEP_NS)
    return began_ns + steps * REFUSAL_STEP_NS


class Refusals:
    """Those of one server that are held."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._alarms = Alarms()
        self._held: dict[int, Alarm] = {}
        self._timer: Timer | None = None
        self._timer_ns = 0  # when it rings; 0: it does not
        self._slowest_look_ns = 0

    def __len__(self) -> int:
        return len(self._held)

    def looked_up(self, taken_ns: int) -> None:
        """So long took a look for an account; from now on no refusal is sooner."""
        self._slowest_look_ns = max(self._slowest_look_ns, taken_ns)

    def hold(self, cid: int, began_ns: int, leave: Callable[[], None]) -> int:
        """Call ``leave`` when its time has come, unless ``cid`` is forgotten before; when that is."""
        server = self._server
        least_ns = min(self._slowest_look_ns, server.options.auth_timeout_ns)
        due_ns = moment_ns(began_ns, server.clock.monotonic_ns(), least_ns)

        def ring() -> None:
            del self._held[cid]
            leave()

        self._held[cid] = self._alarms.at(due_ns, ring)
        self._set()
        return due_ns

    def forget(self, cid: int) -> None:
        """The connection is gone."""
        alarm = self._held.pop(cid, None)
        if alarm is not None:
            alarm.cancel()

    def run(self, now_ns: int) -> None:
        """Refuse all whose time has come."""
        if 0 < self._alarms.due_ns <= now_ns:
            self._server.do(lambda: self._alarms.run(now_ns))

    def stop(self) -> None:
        """Nobody is refused any more: all connections end."""
        if self._timer is not None:
            asyncio.get_running_loop().remove_reader(self._timer.fileno())
            self._timer.close()
            self._timer = None

    def _set(self) -> None:
        due_ns = self._alarms.due_ns
        if due_ns == 0 or 0 < self._timer_ns <= due_ns:
            return
        if self._timer is None:
            self._timer = Timer()
            asyncio.get_running_loop().add_reader(self._timer.fileno(), self._ring, self._timer)
        self._timer_ns = due_ns
        self._timer.set(max(due_ns - self._server.clock.monotonic_ns(), 0))

    def _ring(self, timer: Timer) -> None:
        timer.heard()
        self._timer_ns = 0
        self.run(self._server.clock.monotonic_ns())
        self._set()
