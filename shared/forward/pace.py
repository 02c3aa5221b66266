"""How much may be on its way: enough to fill the link, and no more, so that an alarm waits behind little.

Everything that was sent and is not acknowledged stands in some queue between the two ends: the kernel's, the modem's, a
satellite's. Acknowledgements tell how fast the link delivers and how long it takes when it is not crowded; twice their
product is the window. This is BBR's idea (Cardwell et al. 2016) without its timers: growth as long as more in flight
brings more throughput, then the best rate and the least delay of late. Growth ends as well when acknowledgements show a
queue, because an alarm would stand in it; and a queue that an alarm does not feel is always allowed, because hubs whose
disks take longer now and then would else look like slower and slower links.

On a link that is always full each acknowledgement has stood in the queue that the window makes, and a window of twice
that delay makes a longer one. So the shortest delay is measured anew now and then, with one parcel alone.

The first window is what even a link of 10 KB/s carries in little more than a second, or, if the connection before has
shown how fast the link is, a second's worth. Its parcels leave together, so the time between their acknowledgements
is what the link needs for one: that says after one round trip whether the window is enough, or how much larger it may
be at once.
"""

from collections import deque
from typing import NamedTuple

from phloem.shared.limits import SECOND_NS

WINDOW_START = 12 << 10
WINDOW_KNOWN = 32 << 10  # the first one at most, of a link that was faster before: it may have become another
WINDOW_FIRST = 64 << 10  # at most after what the first window has shown: a modem may hand over in bursts
WINDOW_MIN = 8 << 10
WINDOW_MAX = 4 << 20
ROUNDS = 10  # a rate counts for so many round trips
DELAY_KEPT_NS = 30 * SECOND_NS  # a shortest delay counts for so long; then the link is asked
NEAR = 1.1  # times the shortest delay is as good
GROWN = 1.25  # less growth than this in so many rounds: the link is full
GROWTHLESS = 3
QUEUE_NS = SECOND_NS // 10  # what nobody feels
PAIR_NS = SECOND_NS // 500  # acknowledgements that are closer come from one sync of a disk


class Ticket(NamedTuple):
    """Of something that was sent: what had been delivered then, its size, and when the last of that had been."""

    delivered: int
    size: int
    delivered_ns: int
    alone: bool = False  # nothing else was on its way


class Pace:
    """The window of one link. Bytes are those of parcels as sent."""

    def __init__(self, known: float = 0.0) -> None:
        """``known``: bytes a second of the connection before; 0: not known."""
        self.in_flight = 0
        self.window = min(max(int(known), WINDOW_MIN), WINDOW_KNOWN) if known else WINDOW_START
        self._first: tuple[int, int] | None = (
            None  # what was delivered with the first acknowledgement, and when
        )
        self.delay_ns = 0  # shortest from sending to acknowledgement, of late
        self.rate = 0.0  # best bytes per second, of late
        self._delay_at_ns = 0  # when it was about that short last
        self._asks = (
            False  # how long the link takes: nothing leaves until all has arrived, and then one alone
        )
        self._rates: deque[tuple[int, float]] = deque()  # round, rate
        self._delivered = 0
        self._delivered_ns = 0
        self._round = 0
        self._round_ends = 0  # delivered bytes
        self._full = 0  # rounds without growth
        self._best = 0.0

    def began(self, took_ns: int, now_ns: int) -> None:
        """A session began, after a round trip of so long: there was little to queue behind."""
        self._asks = False
        self._note_delay(max(took_ns, 1), now_ns)

    def room(self) -> int:
        """Bytes that may be sent now."""
        return 0 if self._asks else max(self.window - self.in_flight, 0)

    def sent(self, size: int) -> Ticket:
        """Something leaves; to be handed back with its acknowledgement."""
        alone = self._asks and not self.in_flight
        self.in_flight += size
        return Ticket(self._delivered, size, self._delivered_ns, alone)

    def acknowledged(self, ticket: Ticket, sent_ns: int, now_ns: int, *, timed: bool) -> None:
        """It has arrived, and is on the hub's disk. ``timed``: the hub had been asked to say so at once."""
        before, size, before_ns, alone = ticket
        self.in_flight = max(self.in_flight - size, 0)
        self._delivered += size
        self._delivered_ns = now_ns
        if not timed:
            self._asks = self._asks and not alone
            return
        took = max(now_ns - sent_ns, 1)
        if alone:
            self._asks, self.delay_ns = False, 0
        self._note_delay(took, now_ns)
        if before >= self._round_ends:
            self._round += 1
            self._round_ends = self._delivered
            self._look_for_growth()
        # what was acknowledged between sending and now took the time since the acknowledgement before it was sent
        since_ns = max(took, now_ns - before_ns) if before_ns else took
        self._note_rate((self._delivered - before) * SECOND_NS / since_ns)
        if took > 2 * self.delay_ns + QUEUE_NS:
            self._full = GROWTHLESS
        target = self._fits(self.rate)
        if before == 0 and self._full < GROWTHLESS:
            target = self._look_at_first(now_ns)
        if self._full < GROWTHLESS:
            target = max(target, self.window + size)
        self.window = min(max(target, WINDOW_MIN), WINDOW_MAX)

    def _fits(self, rate: float) -> int:
        return int(rate * (self.delay_ns + max(self.delay_ns, QUEUE_NS)) / SECOND_NS)

    def _look_at_first(self, now_ns: int) -> int:
        """What the first window's acknowledgements say of the link."""
        if self._first is None:
            self._first = self._delivered, now_ns
            return 0
        delivered, since_ns = self._first
        if now_ns - since_ns < PAIR_NS:
            return 0
        target = self._fits((self._delivered - delivered) * SECOND_NS / (now_ns - since_ns))
        if target <= self.window:
            self._full = GROWTHLESS
        return min(target, WINDOW_FIRST)

    def shrunk(self) -> None:
        """Nothing came back for long: whatever was believed of the link, less is tried."""
        self.window = max(self.window // 2, WINDOW_MIN)
        self._rates.clear()
        self.rate = 0.0

    def forgotten(self) -> None:
        """The link is gone, and all that was on its way with it."""
        self.__init__(self.rate)  # type: ignore[misc]

    def _note_delay(self, took: int, now_ns: int) -> None:
        if not self.delay_ns or took <= self.delay_ns * NEAR:
            self.delay_ns, self._delay_at_ns = min(self.delay_ns or took, took), now_ns
        elif now_ns - self._delay_at_ns > DELAY_KEPT_NS:
            self._asks = True

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
