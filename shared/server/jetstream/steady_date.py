"""The date as far as it may remove something.

A clock that is set forward makes every message old at once, and what is removed then does not come back when the clock
is set right again. So a jump forward is believed when it has lasted for a while; until then time goes on from where it
was. Small steps and jumps back are believed at once: they remove nothing. A clock that is far ahead of the last time
that was known is suspected from the start, and for longer: a device may have lain in a store room, or its battery may
be empty.

Where somebody knows the true time (a device that hears of it from its hub, say), that is what is believed or held. A
date that is certainly wrong, because it is before a time that is over, is given up for any other at once.
"""

from phloem.shared import limits
from phloem.shared.clock import Clock


class SteadyDate:
    """Of one server; whoever asks first after a jump notices it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ahead_ns = clock.wall_ns() - clock.monotonic_ns()
        self._since_ns = 0  # when a jump was noticed, monotonic; 0: there is none
        self._floor_ns = 0
        self._known_ns: int | None = None
        self.steps = 0  # how often the date has been another one, in either direction

    def begin(self, known_ns: int, floor_ns: int) -> None:
        """``known_ns``: the last time that was known when the server ran last; 0: none was. ``floor_ns``: it is
        certainly later than this."""
        now = self._clock.monotonic_ns()
        self._floor_ns = floor_ns
        if known_ns and self._clock.wall_ns() > known_ns + limits.CLOCK_AWAY_NS:
            self.ahead_ns, self._since_ns = known_ns - now, now

    def know(self, ahead_ns: int) -> None:
        """The true time is the monotonic one plus this."""
        self._known_ns = ahead_ns

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""
        now = self._clock.monotonic_ns()
        ahead = self._clock.wall_ns() - now if self._known_ns is None else self._known_ns
        by = ahead - self.ahead_ns
        jumped = by > limits.CLOCK_STEP_NS and now + self.ahead_ns >= self._floor_ns
        if jumped and not self._since_ns:
            self._since_ns = now
        if not jumped or now - self._since_ns >= self._hold_ns(by):
            self.steps += abs(by) > limits.CLOCK_STEP_NS
            self.ahead_ns, self._since_ns = ahead, 0
        return now + self.ahead_ns

    def _hold_ns(self, by: int) -> int:
        """A server that has been told the time once, or now, has somebody who can be wrong by years."""
        told = self._known_ns is not None or self._floor_ns > limits.CLOCK_EARLIEST_NS
        return limits.CLOCK_AWAY_HOLD_NS if told and by > limits.CLOCK_AWAY_NS else limits.CLOCK_HOLD_NS
