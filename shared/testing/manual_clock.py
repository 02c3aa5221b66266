"""A clock that stands still until it is told to move."""

from collections.abc import Callable


class ManualClock:
    """A ``Clock`` for tests: both readings move together with ``advance``; ``set_wall_ns`` sets the date alone.

    ``monotonic_ns`` starts at one second, because 0 means "never" to whoever keeps deadlines.
    """

    def __init__(
        self, *, monotonic_ns: int = 1_000_000_000, wall_ns: int = 1_600_000_000_000_000_000
    ) -> None:
        self._monotonic_ns, self._wall_ns = monotonic_ns, wall_ns
        self._watchers: list[Callable[[], None]] = []

    def monotonic_ns(self) -> int:
        """As in ``Clock``."""
        return self._monotonic_ns

    def wall_ns(self) -> int:
        """As in ``Clock``."""
        return self._wall_ns

    def advance(self, duration_ns: int) -> None:
        """Let this much time pass, then let every watcher look at what is due.

        Raises:
            ValueError: The duration is negative.
        """
        if duration_ns < 0:
            raise ValueError("time does not run backwards")
        self._monotonic_ns += duration_ns
        self._wall_ns += duration_ns
        for watcher in list(self._watchers):
            watcher()

    def set_wall_ns(self, wall_ns: int) -> None:
        """Set the date; durations are not affected, and nobody is woken."""
        self._wall_ns = wall_ns

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call ``watcher`` after each ``advance``; the result takes that back."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)
