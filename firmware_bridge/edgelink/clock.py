"""The board's clock on the edge's: exchanges, and what a board's stamp is in the edge's monotonic time. Pure.

A board's clock counts milliseconds modulo 2^32 (49.7 days) and drifts; one exchange ties a moment of it to one of the
edge's, give or take half of the time on the way. The exchange that is surest now is the anchor.

What is claimed has to be true of any board: how far two exchanges bound the drift depends on how far apart they are,
and before that it may be that of the worst oscillator that a line works with. Exchanges soon after the start, further
and further apart, make that short. If an exchange is not where it has to be, the drift has changed: from then on it is
taken for one that does.
"""

from typing import NamedTuple

from phloem.firmware_bridge.edgelink import limits
from phloem.firmware_bridge.edgelink.messages import Clock

_WRAP_MS = 1 << 32
# An RC oscillator; a UART that is further off is not understood. A crystal: 50e-6, ceramic: 5e-3.
_DRIFT_MOST = 0.02
_DRIFT_CHANGES = 5e-6  # by temperature, of a crystal; more once an exchange has shown that
_FIRST_NS = limits.SECOND_NS  # the surest exchange of this time is what the drift is measured from


class Stamp(NamedTuple):
    """A moment of the edge's monotonic clock, give or take ``error_ns``."""

    mono_ns: int
    error_ns: int


class _Tie(NamedTuple):
    """At ``board_ns`` of the board's clock, unwrapped, it was ``mono_ns``, give or take ``error_ns``."""

    board_ns: int
    mono_ns: int
    error_ns: int


class BoardClock:
    """One start of one board. ``rate`` is how much faster than the edge's its clock runs, 0 until it is known."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._anchor: _Tie | None = None
        self._first: _Tie | None = None
        self._doubt = _DRIFT_MOST  # how far ``rate`` may be off
        self._changes = _DRIFT_CHANGES

    @property
    def known(self) -> bool:
        """Whether there was an exchange."""
        return self._anchor is not None

    def exchanged(self, asked_ns: int, answered_ns: int, answer: Clock) -> bool:
        """Take an exchange in; False if it cannot be one."""
        inside_ms = (answer.sent_ms - answer.got_ms) % _WRAP_MS
        way_ns = answered_ns - asked_ns - inside_ms * limits.MILLISECOND_NS
        if way_ns < -2 * limits.MILLISECOND_NS or inside_ms > limits.CLOCK_WAIT_NS // limits.MILLISECOND_NS:
            return False
        mono_ns = (asked_ns + answered_ns) // 2
        middle_ns = answer.got_ms * limits.MILLISECOND_NS + inside_ms * limits.MILLISECOND_NS // 2
        # Both stamps are rounded down: half a millisecond later on average, and as much uncertain.
        middle_ns += limits.MILLISECOND_NS // 2
        tie = _Tie(self._unwrapped(middle_ns, mono_ns), mono_ns, max(0, way_ns) // 2 + limits.MILLISECOND_NS)
        self._judge(tie)
        self._measure(tie)
        if self._anchor is None or tie.error_ns <= self._error(self._anchor, mono_ns - self._anchor.mono_ns):
            self._anchor = tie
        first = self._first
        if first is None or (mono_ns - first.mono_ns < _FIRST_NS and tie.error_ns < first.error_ns):
            self._first = tie
        return True

    def stamp(self, board_ms: int, now_ns: int) -> Stamp | None:
        """When ``board_ms``, not after now, was; None without an exchange."""
        anchor = self._anchor
        if anchor is None:
            return None
        board_ns = self._board_at(anchor, now_ns)
        back_ms = (board_ns // limits.MILLISECOND_NS - board_ms) % _WRAP_MS
        if back_ms > _WRAP_MS - 60_000:  # a little after now: the two clocks are not told apart so finely
            back_ms -= _WRAP_MS
        then_ns = board_ns // limits.MILLISECOND_NS * limits.MILLISECOND_NS - back_ms * limits.MILLISECOND_NS
        away_ns = then_ns - anchor.board_ns
        mono_ns = anchor.mono_ns + round(away_ns / (1 + self.rate))
        return Stamp(min(mono_ns, now_ns), self._error(anchor, away_ns))

    def board_ms(self, now_ns: int) -> int | None:
        """What the board's clock says now; None without an exchange."""
        if self._anchor is None:
            return None
        return self._board_at(self._anchor, now_ns) // limits.MILLISECOND_NS % _WRAP_MS

    def _board_at(self, anchor: _Tie, mono_ns: int) -> int:
        return anchor.board_ns + round((mono_ns - anchor.mono_ns) * (1 + self.rate))

    def _unwrapped(self, board_ns: int, mono_ns: int) -> int:
        if self._anchor is None:
            return board_ns
        wrap_ns = _WRAP_MS * limits.MILLISECOND_NS
        return board_ns + round((self._board_at(self._anchor, mono_ns) - board_ns) / wrap_ns) * wrap_ns

    def _judge(self, tie: _Tie) -> None:
        """Whether it is where it has to be. If not, the drift is another one since the anchor."""
        anchor = self._anchor
        if anchor is None or (away_ns := tie.mono_ns - anchor.mono_ns) <= 0:
            return
        off_ns = abs(tie.board_ns - self._board_at(anchor, tie.mono_ns))
        if off_ns > tie.error_ns + self._error(anchor, away_ns):
            changed = (off_ns - tie.error_ns - anchor.error_ns) / away_ns
            self._changes = min(max(self._changes, 2 * changed), _DRIFT_MOST)
            self._first, self._doubt = anchor, _DRIFT_MOST

    def _measure(self, tie: _Tie) -> None:
        """The drift, from the first exchange to this one."""
        first = self._first
        if first is None or (apart_ns := tie.mono_ns - first.mono_ns) <= 0:
            return
        rate = (tie.board_ns - first.board_ns) / apart_ns - 1
        # Board and edge differ by up to 2 % in how long ``apart_ns`` is, which is nothing beside the rest.
        doubt = (tie.error_ns + first.error_ns) / apart_ns * (1 + _DRIFT_MOST) + self._changes
        if doubt <= self._doubt and abs(rate) <= _DRIFT_MOST + doubt:
            self.rate, self._doubt = rate, doubt

    def _error(self, anchor: _Tie, away_ns: int) -> int:
        return anchor.error_ns + round(abs(away_ns) * self._doubt)


class Exchanges:
    """When to ask for the board's clock: some times at once, then after pauses that double. One question is open at a
    time."""

    def __init__(self, clock: BoardClock, first_token: int) -> None:
        self.clock = clock
        self.token = first_token
        self._left = limits.CLOCK_FIRST
        self._pause_ns = limits.CLOCK_SOON_NS
        self._asked_ns: int | None = None
        self.due_ns = 0

    @property
    def tried(self) -> bool:
        """Whether the first question was answered, or was not for as long as one waits."""
        return self.clock.known or self._left < limits.CLOCK_FIRST

    def ask(self, now_ns: int) -> int:
        """The token of a question that leaves now; a question that is open is given up."""
        if self._asked_ns is not None:
            self._left -= self._left > 0
        self.token = (self.token + 1) & 0xFFFF
        self._asked_ns = now_ns
        self.due_ns = now_ns + limits.CLOCK_WAIT_NS
        return self.token

    def answered(self, answer: Clock, now_ns: int) -> bool:
        """An answer; False if it is to no open question, or cannot be right."""
        if self._asked_ns is None or answer.token != self.token:
            return False
        right = self.clock.exchanged(self._asked_ns, now_ns, answer)
        self._asked_ns = None
        self._left -= self._left > 0
        self.due_ns = now_ns
        if not self._left:
            self.due_ns += self._pause_ns
            self._pause_ns = min(2 * self._pause_ns, limits.CLOCK_EVERY_NS)
        return right
