"""How much may be on its way: enough to fill the link, and no more, so that an alarm waits behind little.

Everything that was sent and is not acknowledged stands in some queue between the two ends: the kernel's, the modem's, a
satellite's. Acknowledgements tell how fast the link delivers and how long it takes when it is not crowded; twice their
product is the window. This is BBR's idea (Cardwell et al. 2016) without its timers: growth as long as more in flight
brings more throughput, then the best rate and the least delay of late. Growth ends as well when acknowledgements show a
queue, because an alarm would stand in it; and a queue that an alarm does not feel is always allowed, because hubs whose
disks take longer now and then would else look like slower and slower links.
"""

from collections import deque

from phloem.shared.limits import SECOND_NS

WINDOW_START = 32 << 10
WINDOW_MIN = 8 << 10
WINDOW_MAX = 4 << 20
ROUNDS = 10  # a rate counts for so many round trips
DELAY_KEPT_NS = 30 * SECOND_NS  # a shortest delay counts for so long
GROWN = 1.25  # less growth than this in so many rounds: the link is full
GROWTHLESS = 3
QUEUE_NS = SECOND_NS // 10  # what nobody feels


class Pace:
    """The window of one link. Bytes are those of parcels as sent."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.window = WINDOW_START
        self.delay_ns = 0  # shortest from sending to acknowledgement, of late
        self.rate = 0.0  # best bytes per second, of late
        self._delays: deque[tuple[int, int]] = deque()
        self._rates: deque[tuple[int, float]] = deque()  # round, rate
        self._delivered = 0
        self._round = 0
        self._round_ends = 0  # delivered bytes
        self._full = 0  # rounds without growth
        self._best = 0.0

    def room(self) -> int:
        """Bytes that may be sent now."""
        return max(self.window - self.in_flight, 0)

    def sent(self, size: int) -> tuple[int, int]:
        """Something leaves; to be handed back with its acknowledgement."""
        self.in_flight += size
        return self._delivered, size

    def acknowledged(self, ticket: tuple[int, int], sent_ns: int, now_ns: int, *, timed: bool) -> None:
        """It has arrived, and is on the hub's disk. ``timed``: the hub had been asked to say so at once."""
        before, size = ticket
        self.in_flight = max(self.in_flight - size, 0)
        self._delivered += size
        if not timed:
            return
        took = max(now_ns - sent_ns, 1)
        self._note_delay(took, now_ns)
        if before >= self._round_ends:
            self._round += 1
            self._round_ends = self._delivered
            self._look_for_growth()
        self._note_rate((self._delivered - before) * SECOND_NS / took)
        if took > 2 * self.delay_ns + QUEUE_NS:
            self._full = GROWTHLESS
        target = int(self.rate * (self.delay_ns + max(self.delay_ns, QUEUE_NS)) / SECOND_NS)
        if self._full < GROWTHLESS:
            target = max(target, self.window + size)
        self.window = min(max(target, WINDOW_MIN), WINDOW_MAX)

    def shrunk(self) -> None:
        """Nothing came back for long: whatever was believed of the link, less is tried."""
        self.window = max(self.window // 2, WINDOW_MIN)
        self._rates.clear()
        self.rate = 0.0

    def forgotten(self) -> None:
        """The link is gone, and all that was on its way with it."""
        self.__init__()  # type: ignore[misc]

    def _note_delay(self, took: int, now_ns: int) -> None:
        while self._delays and self._delays[-1][1] >= took:
            self._delays.pop()
        self._delays.append((now_ns, took))
        while self._delays[0][0] < now_ns - DELAY_KEPT_NS:
            self._delays.popleft()
        self.delay_ns = self._delays[0][1]

    def _note_rate(self, rate: float) -> None:
        while self._rates and self._rates[-1][1] <= rate:
            self._rates.pop()
        self._rates.append((self._round, rate))
        while self._rates[0][0] < self._round - ROUNDS:
            self._rates.popleft()
        self.rate = self._rates[0][1]

    def _look_for_growth(self) -> None:
        if self.rate > self._best * GROWN:
            self._best, self._full = self.rate, 0
        else:
            self._full += 1
