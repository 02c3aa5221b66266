"""Whose turn it is to write to a port: commands, requests, polls, and programs that share it.

One has the turn until it gives it back; who asks meanwhile waits in a queue, in order, and only for so long: what
is written to a device much later than it was meant is worse than what is not written at all.
"""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from phloem.firmware_bridge.limits import TURNS_WAITING_MAX
from phloem.firmware_bridge.timers import CallLater, Timer

Begin: TypeAlias = "Callable[[Turn], None]"
Refuse: TypeAlias = Callable[[str], None]
"""Gets one line that says why."""


class Turn:
    """One writer's. ``end`` gives it back, or takes back that one waits for it."""

    def __init__(self, turns: "Turns", begin: Begin, refuse: Refuse) -> None:
        self._turns, self.begin, self.refuse = turns, begin, refuse
        self.timer: Timer | None = None

    @property
    def waits(self) -> bool:
        """Whether it has neither begun nor been refused."""
        return self._turns.is_waiting(self)

    def end(self) -> None:
        """Harmless when it is over already."""
        self._turns.end(self)


class Turns:
    """One port's."""

    def __init__(self, call_later: CallLater) -> None:
        self._call_later = call_later
        self._holder: Turn | None = None
        self._waiting: deque[Turn] = deque()
        self._going = False

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def is_waiting(self, turn: Turn) -> bool:
        """As in ``Turn``."""
        return turn in self._waiting

    def take(self, begin: Begin, refuse: Refuse, wait_ns: int) -> Turn:
        """Call ``begin`` with the turn when it comes, at once if nobody has it; else, after ``wait_ns`` or if too many
        wait, ``refuse``. One of the two is called, and once, unless the turn is ended before."""
        turn = Turn(self, begin, refuse)
        if len(self._waiting) >= TURNS_WAITING_MAX:
            refuse("too many wait for the port")
            return turn
        self._waiting.append(turn)
        self._go()
        if turn in self._waiting:
            turn.timer = self._call_later(wait_ns, lambda: self._late(turn))
        return turn

    def end(self, turn: Turn) -> None:
        """As in ``Turn``."""
        if turn is self._holder:
            self._holder = None
            self._go()
        elif turn in self._waiting:
            self._leave(turn)

    def clear(self, reason: str) -> None:
        """The port is gone: nobody has it, and who waits is refused."""
        self._holder = None
        while self._waiting:
            turn = self._waiting[0]
            self._leave(turn)
            turn.refuse(reason)

    def _late(self, turn: Turn) -> None:
        turn.timer = None
        self._leave(turn)
        turn.refuse("another has the port")

    def _leave(self, turn: Turn) -> None:
        self._waiting.remove(turn)
        if turn.timer is not None:
            turn.timer.cancel()
            turn.timer = None

    def _go(self) -> None:
        if self._going:  # one that ends while it begins; the loop below goes on
            return
        self._going = True
        try:
            while self._holder is None and self._waiting:
                turn = self._waiting[0]
                self._leave(turn)
                self._holder = turn
                turn.begin(turn)
        finally:
            self._going = False
