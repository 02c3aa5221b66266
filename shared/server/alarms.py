"""Things that happen at a time: credentials that expire, answers that do not come.

One heap beside the kernel's own deadlines; the server's timer wakes it, and tests wake it by hand. Times are those of
the clock's ``monotonic_ns``. What was cancelled stays in the heap until half of it is such.
"""

import heapq
import itertools
from collections.abc import Callable

SECOND_NS = 1_000_000_000


def whole_second(due_ns: int) -> int:
    """The one nearest to it. Whoever looks about once a second or less does so then, together with all others: an idle
    device wakes up once for all of them."""
    return (due_ns + SECOND_NS // 2) // SECOND_NS * SECOND_NS


_FEW = 64  # so many cancelled ones are never worth a new heap


class Alarm:
    """One of them. ``cancel`` may be called at any time, also when it has rung."""

    __slots__ = ("_alarms", "_ring")

    def __init__(self, alarms: "Alarms", ring: Callable[[], None]) -> None:
        self._alarms = alarms
        self._ring: Callable[[], None] | None = ring

    @property
    def set(self) -> bool:
        """Whether it will ring."""
        return self._ring is not None

    def cancel(self) -> None:
        """It will not ring."""
        if self._ring is not None:
            self._ring = None
            self._alarms.cancelled()

    def ring(self) -> None:
        """Do it, once."""
        ring, self._ring = self._ring, None
        if ring is not None:
            ring()


class Alarms:
    """All that are set, the next one first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Alarm]] = []
        self._numbers = itertools.count()
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def at(self, due_ns: int, ring: Callable[[], None]) -> Alarm:
        """Ring at this time, or as soon as it is over. Whoever sets it lets the server look at ``due_ns`` again."""
        alarm = Alarm(self, ring)
        heapq.heappush(self._heap, (due_ns, next(self._numbers), alarm))
        return alarm

    def cancelled(self) -> None:
        """One of them will not ring."""
        self._dead += 1
        if self._dead > max(_FEW, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if entry[2].set]
            heapq.heapify(self._heap)
            self._dead = 0

    @property
    def due_ns(self) -> int:
        """When the next one rings; 0: none is set."""
        while self._heap and not self._heap[0][2].set:
            heapq.heappop(self._heap)
            self._dead -= 1
        return self._heap[0][0] if self._heap else 0

    def run(self, now_ns: int) -> None:
        """Ring all that are due."""
        while 0 < self.due_ns <= now_ns:
            heapq.heappop(self._heap)[2].ring()
