"""A program that uses a shared port: what it writes goes to the device while it has the turn.

It has the turn from its first byte until it has been silent for ``GUEST_HOLD_NS``, or is gone. Until it gets it nothing
more is read from it, so that it is the program that waits.
"""

from collections.abc import Callable

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.timers import CallLater, Timer
from phloem.firmware_bridge.turns import Turn, Turns
from phloem.shared.clock import Clock


class Guest:
    """One program. ``carry_out`` gets its bytes, ``more`` is called when it may be read again."""

    def __init__(
        self,
        turns: Turns,
        clock: Clock,
        call_later: CallLater,
        carry_out: Callable[[bytes], None],
        more: Callable[[], None],
    ) -> None:
        self._turns, self._clock, self._call_later = turns, clock, call_later
        self._carry_out, self._more = carry_out, more
        self._turn: Turn | None = None
        self._held = False
        self._waiting = b""
        self._heard_ns = 0
        self._timer: Timer | None = None

    @property
    def waits(self) -> bool:
        """Whether it may not be read."""
        return self._turn is not None and not self._held

    def heard(self, data: bytes) -> None:
        """It has written ``data``."""
        assert not self.waits
        self._heard_ns = self._clock.monotonic_ns()
        if self._held:
            self._carry_out(data)
            return
        self._waiting = data
        turn = self._turns.take(self._begin, lambda _reason: self._refused(), limits.GUEST_WAIT_NS)
        if not self._held and self._waiting:
            self._turn = turn

    def gone(self) -> None:
        """It is not there any more, or the device is not."""
        turn, self._turn, self._held, self._waiting = self._turn, None, False, b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if turn is not None:
            turn.end()

    def _begin(self, turn: Turn) -> None:
        waited = self._turn is not None
        self._turn, self._held = turn, True
        self._heard_ns = self._clock.monotonic_ns()
        self._timer = self._call_later(limits.GUEST_HOLD_NS, self._look)
        data, self._waiting = self._waiting, b""
        self._carry_out(data)
        if waited and self._held:
            self._more()

    def _refused(self) -> None:
        """What it wrote is too old by now."""
        waited = self._turn is not None
        self._turn, self._waiting = None, b""
        if waited:
            self._more()

    def _look(self) -> None:
        self._timer = None
        quiet_ns = self._clock.monotonic_ns() - self._heard_ns
        if quiet_ns >= limits.GUEST_HOLD_NS:
            self.gone()
        else:
            self._timer = self._call_later(limits.GUEST_HOLD_NS - quiet_ns, self._look)
