"""Whether what the hub says is still to come does come. Pure: whoever asks says what time it is.

While the hub owes nothing, its heartbeats tell that it is there. What it owes has to come sooner: its heartbeats may be
far apart, and one message that is lost, or counted twice, must not leave the device with half of what is wanted until
the second of them is missed. Each silence in a row is given twice the time, because the link may only be slow; where
asking again does not help, the link is made anew.
"""

PATIENCE_MAX = 64  # times ``answer_ns``: the largest value, 512 KB, at 1 KB a second
SILENCES_MAX = 2  # in a row; then the link is given up


class Progress:
    """What is followed, from one link to the next. Times are nanoseconds of the monotonic clock."""

    def __init__(self, answer_ns: int, heartbeat_ns: int) -> None:
        """``answer_ns``: what is owed comes within this, or something is wrong."""
        self._answer_ns, self._heartbeat_ns = answer_ns, heartbeat_ns
        self._owed = 0
        self._heard_ns = self._moved_ns = 0
        self._patience = 1
        self._silences = 0

    def opened(self, now_ns: int, owed: int) -> None:
        """The hub has said how many it will deliver."""
        self._owed = owed
        self._heard_ns = self._moved_ns = now_ns

    def heard(self, now_ns: int) -> None:
        """Something came, be it a heartbeat."""
        self._heard_ns = now_ns

    def delivered(self, now_ns: int, owed: int) -> None:
        """One of those that were owed, or a new one; how many are to follow."""
        self._owed = owed
        self._heard_ns = self._moved_ns = now_ns
        self._patience, self._silences = 1, 0

    @property
    def due_ns(self) -> int:
        """When silence is too long."""
        silent_ns = self._heard_ns + 2 * self._heartbeat_ns + self._answer_ns
        if not self._owed:
            return silent_ns
        return min(silent_ns, self._moved_ns + self._answer_ns * self._patience)

    def silent(self) -> bool:
        """It has been too long, and the hub is asked anew; whether over another link."""
        self._patience = min(2 * self._patience, PATIENCE_MAX)
        self._silences += 1
        if self._silences < SILENCES_MAX:
            return False
        self._silences = 0
        return True
