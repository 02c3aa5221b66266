"""How much is sent before it is waited for, when a stream's next group needs the answer to the one before.

A group should take about a second, on any link: then an alarm, or the end of a connection, waits a second at most for
what is under way, and on a long link the waiting in between costs little.
"""

from phloem.shared.limits import SECOND_NS

SIZE_START = 16 << 10
SIZE_MIN = 4 << 10
SIZE_MAX = 1 << 20
TARGET_NS = SECOND_NS


class Rounds:
    """Bytes under way on one link, all streams together."""

    def __init__(self) -> None:
        self.size = SIZE_START  # that may be under way
        self.in_flight = 0
        self.took_ns = 0  # the last group, from sending to acknowledgement

    def room(self) -> int:
        """Bytes that may be sent now."""
        return max(self.size - self.in_flight, 0)

    def sent(self, size: int) -> None:
        """A group leaves."""
        self.in_flight += size

    def forgotten(self, size: int) -> None:
        """Nobody knows what became of a group."""
        self.in_flight = max(self.in_flight - size, 0)

    def done(self, size: int, took_ns: int) -> None:
        """A group was acknowledged."""
        full = self.in_flight >= self.size // 2
        self.forgotten(size)
        self.took_ns = max(took_ns, 1)
        if took_ns > TARGET_NS:
            self.size = max(self.size * TARGET_NS // took_ns, SIZE_MIN)
        elif full and took_ns < TARGET_NS // 2:
            self.size = min(self.size * 2, SIZE_MAX)

    def late(self) -> None:
        """A group was not acknowledged in time."""
        self.size = max(self.size // 2, SIZE_MIN)

    def patience_ns(self, size: int) -> int:
        """How long to wait for a group of this size, at the least: four times as long as the link should take."""
        return 4 * self.took_ns * max(size + self.in_flight, SIZE_MIN) // max(self.size, SIZE_MIN)
