"""The date as far as it may remove something.

A clock that is set forward makes every message old at once, and what is removed then does not come back when the clock
is set right again. So a jump forward is believed when it has lasted for a while; until then time goes on from where it
was. Small steps and jumps back are believed at once: they remove nothing.
"""

from phloem.shared import limits
from phloem.shared.clock import Clock


class SteadyDate:
    """Of one server; whoever asks first after a jump notices it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ns = clock.wall_ns() - clock.monotonic_ns()
        self._since_ns = 0  # when a jump was noticed, monotonic; 0: there is none
        self.steps = 0  # how often the date has been another one, in either direction

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""
        now = self._clock.monotonic_ns()
        ahead = self._clock.wall_ns() - now
        jumped = ahead > self._ahead_ns + limits.CLOCK_STEP_NS
        if jumped and not self._since_ns:
            self._since_ns = now
        if not jumped or now - self._since_ns >= limits.CLOCK_HOLD_NS:
            self.steps += abs(ahead - self._ahead_ns) > limits.CLOCK_STEP_NS
            self._ahead_ns, self._since_ns = ahead, 0
        return now + self._ahead_ns
