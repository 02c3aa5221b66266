"""What time it is at least, on a device whose clock may be years behind.

The hub stamps what it stores. It cannot be earlier than the latest stamp that was seen, plus what has passed since by
the clock that never jumps. A clock that is ahead is not noticed here.
"""


class Floor:
    """Nanoseconds since 1970, never below what is known."""

    def __init__(self) -> None:
        self._known_ns = self._at_ns = 0

    def seen(self, stamp_ns: int, monotonic_ns: int) -> None:
        """It was ``stamp_ns`` by now."""
        if stamp_ns > self._at(monotonic_ns):
            self._known_ns, self._at_ns = stamp_ns, monotonic_ns

    def now(self, wall_ns: int, monotonic_ns: int) -> int:
        """The later of the device's clock and what is known."""
        return max(wall_ns, self._at(monotonic_ns))

    def _at(self, monotonic_ns: int) -> int:
        return self._known_ns + monotonic_ns - self._at_ns if self._known_ns else 0
