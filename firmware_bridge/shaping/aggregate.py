"""Windows: many readings become a few numbers.

Windows lie end to end from the first reading on and all channels share them. The numbers of a window carry the time of
its end. Readings that are bad, and values that are no numbers, are not averaged: of those the last one of the window
goes on by itself, so that a text or a fault is not lost.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from phloem.firmware_bridge.reading import Quality, Reading
from phloem.firmware_bridge.shaping.stage import CHANNELS_MAX, Stage


@dataclass
class _Window:
    """Numbers of one channel so far."""

    unit: str
    count: int = 0
    mean: float = 0.0
    least: float = 0.0
    most: float = 0.0
    last: float = 0.0
    uncertain: bool = False

    def add(self, value: float, uncertain: bool) -> None:
        self.count += 1
        self.mean += (value - self.mean) / self.count  # a sum would lose the small digits of a long window
        self.least = value if self.count == 1 else min(self.least, value)
        self.most = value if self.count == 1 else max(self.most, value)
        self.last, self.uncertain = value, self.uncertain or uncertain


NUMBERS: Mapping[str, Callable[[_Window], float]] = {
    "mean": lambda window: window.mean,
    "min": lambda window: window.least,
    "max": lambda window: window.most,
    "last": lambda window: window.last,
    "count": lambda window: window.count,
}


class Aggregate(Stage):
    """For each channel and window one reading for each of ``what``: ``t_mean``, ``t_max``; of one alone just ``t``."""

    def __init__(self, window_ns: int, what: Sequence[str]) -> None:
        super().__init__()
        assert window_ns > 0
        assert what
        self._window_ns, self._what = window_ns, tuple(what)
        self._windows: dict[str, _Window] = {}
        self._others: dict[str, Reading] = {}
        self._end_ns = -window_ns  # long over

    @property
    def due_ns(self) -> int | None:
        """The end of the window, if it holds anything."""
        return self._end_ns if self._windows or self._others else None

    def take(self, readings: Sequence[Reading], now_ns: int) -> Sequence[Reading]:
        """What the windows that are over give."""
        done = self.expire(now_ns)
        if readings and self.due_ns is None:
            start_ns = self._end_ns if self._end_ns > now_ns - self._window_ns else now_ns
            self._end_ns = start_ns + self._window_ns
        for reading in readings:
            self._put(reading)
        return done

    def expire(self, now_ns: int) -> Sequence[Reading]:
        """The numbers of the window, if it is over."""
        if self.due_ns is None or now_ns < self._end_ns:
            return ()
        made = [
            Reading(
                channel if len(self._what) == 1 else f"{channel}_{name}",
                NUMBERS[name](window),
                "" if name == "count" else window.unit,
                Quality.UNCERTAIN if window.uncertain else Quality.GOOD,
                self._end_ns,
            )
            for channel, window in self._windows.items()
            for name in self._what
        ]
        made += self._others.values()
        self._windows.clear()
        self._others.clear()
        return made

    def _put(self, reading: Reading) -> None:
        value, channel = reading.value, reading.channel
        full = len(self._windows) + len(self._others) >= CHANNELS_MAX
        if isinstance(value, bool) or not isinstance(value, int | float) or reading.quality is Quality.BAD:
            if channel in self._others or full:
                self.withheld += 1
            if channel in self._others or not full:
                self._others[channel] = reading
            return
        window = self._windows.get(channel)
        if window is None:
            if full:
                self.withheld += 1
                return
            window = self._windows[channel] = _Window(reading.unit)
        window.add(value, reading.quality is Quality.UNCERTAIN)
