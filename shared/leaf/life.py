"""The life of one remote: waiting, dialling, shaking hands, up, and again, for ever. Pure.

The rule that everything here serves: **while a remote is wanted and its link is not up, there is a time at which
something happens.** ``due_ns`` is that time: of the next attempt while waiting, of giving the attempt up while one is
under way. Any event may come in any state, late, twice or never; the rule holds afterwards, and a test says so for
arbitrary sequences. What is told of an attempt that is over is not believed: each has a number.
"""

import enum


class State(enum.Enum):
    """Where a remote is. The value is what monitoring shows."""

    WAITING = "waiting"  # for ``due_ns``
    DIALLING = "dialling"
    SHAKING = "handshake"
    UP = "up"
    ENDED = "ended"  # not wanted any more


class Life:
    """One remote. Times are those of the monotonic clock; the first attempt is due at once."""

    def __init__(self, now_ns: int) -> None:
        self.state = State.WAITING
        self.due_ns: int | None = now_ns
        self.since_ns = now_ns  # of ``state`` UP, or of not being up
        self.attempt = 0  # its number; 0 before the first

    @property
    def is_up(self) -> bool:
        """Whether the link is up."""
        return self.state is State.UP

    def begin(self, now_ns: int, guard_ns: int) -> int:
        """An attempt begins, whatever was before; its number. It is over at ``guard_ns`` from now at the latest."""
        if self.state is State.ENDED:
            return 0
        self._leave_up(now_ns)
        self.attempt += 1
        self.state, self.due_ns = State.DIALLING, now_ns + max(guard_ns, 1)
        return self.attempt

    def connected(self, attempt: int) -> bool:
        """There is a TCP connection; whether that is news. The guard stays what it was."""
        if attempt != self.attempt or self.state is not State.DIALLING:
            return False
        self.state = State.SHAKING
        return True

    def up(self, attempt: int, now_ns: int) -> bool:
        """The handshake is over; whether that is news."""
        if attempt != self.attempt or self.state not in (State.DIALLING, State.SHAKING):
            return False
        self.state, self.due_ns, self.since_ns = State.UP, None, now_ns
        return True

    def over(self, attempt: int, now_ns: int, pause_ns: int) -> bool:
        """The attempt, or the link that came of it, has ended, for whatever reason; whether that is news. The next
        attempt follows after the pause."""
        if attempt != self.attempt or self.state in (State.WAITING, State.ENDED):
            return False
        self._leave_up(now_ns)
        self.state, self.due_ns = State.WAITING, now_ns + max(pause_ns, 0)
        return True

    def crashed(self, now_ns: int, pause_ns: int) -> None:
        """A bug: whatever was under way is forgotten, and the next attempt follows after the pause."""
        if self.state is not State.ENDED:
            self._leave_up(now_ns)
            self.attempt += 1
            self.state, self.due_ns = State.WAITING, now_ns + max(pause_ns, 0)

    def hurry(self, now_ns: int, within_ns: int = 0) -> bool:
        """There is reason to try sooner; whether that brings the next attempt forward."""
        if self.state is not State.WAITING or self.due_ns is None or self.due_ns <= now_ns + within_ns:
            return False
        self.due_ns = now_ns + within_ns
        return True

    def end(self) -> None:
        """The remote is not wanted any more."""
        self.state, self.due_ns = State.ENDED, None

    def _leave_up(self, now_ns: int) -> None:
        if self.state is State.UP:
            self.since_ns = now_ns
