"""What arrived, counted by the numbers that the sensor's lines carry.

The sensor counts its lines from 1 without a gap. A number seen twice is a duplicate; one that never comes is a
loss. Memory is bounded by what is missing at the moment, not by what has passed.
"""

from collections import deque
from statistics import median

LATENCIES_KEPT = 10_000  # the latest; enough for a median and a 99th percentile
RECENT = 200  # for the figure that is shown live


class Tally:
    """The lines that one subscriber received."""

    def __init__(self) -> None:
        self.lines = 0
        self.bytes = 0
        self.duplicated = 0
        self.disordered = 0  # came behind a higher number
        self.garbled = 0
        self.latest = ""
        self.latencies_ns: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self._highest = 0
        self._missing: set[int] = set()

    @property
    def distinct(self) -> int:
        """How many different lines arrived."""
        return self._highest - len(self._missing)

    def received(self, payload: bytes, now_ns: int) -> None:
        """One message, at ``now_ns`` of the wall clock that the sensor reads as well."""
        self.lines += 1
        self.bytes += len(payload)
        self.latest = payload.decode(errors="replace")
        fields = dict(word.partition("=")[::2] for word in self.latest.split())
        try:
            seq, sent_ns = int(fields["seq"]), int(fields["t"])
        except (KeyError, ValueError):
            self.garbled += 1
            return
        self.latencies_ns.append(now_ns - sent_ns)
        self._count(seq)

    def _count(self, seq: int) -> None:
        if seq > self._highest:
            self._missing.update(range(self._highest + 1, seq))
            self._highest = seq
        elif seq in self._missing:
            self._missing.discard(seq)
            self.disordered += 1
        else:
            self.duplicated += 1

    @property
    def latency_ns(self) -> int:
        """The median of the latest messages; 0 before the first."""
        recent = list(self.latencies_ns)[-RECENT:]
        return int(median(recent)) if recent else 0

    def percentile_ns(self, percent: int) -> int:
        """What ``percent`` of the latencies are not above; 0 without any."""
        ordered = sorted(self.latencies_ns)
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0


class Rate:
    """Events per second over the last seconds of a count that only grows."""

    WINDOW_NS = 2_000_000_000

    def __init__(self) -> None:
        self._points: deque[tuple[int, int]] = deque()

    def update(self, now_ns: int, count: int) -> float:
        """The rate, with ``count`` being the state at ``now_ns`` of a monotonic clock."""
        self._points.append((now_ns, count))
        while len(self._points) > 2 and now_ns - self._points[1][0] >= self.WINDOW_NS:
            self._points.popleft()
        first_ns, first = self._points[0]
        return (count - first) * 1e9 / (now_ns - first_ns) if now_ns > first_ns else 0.0
