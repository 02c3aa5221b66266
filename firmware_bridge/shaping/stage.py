"""What every stage between decoder and disk promises.

A stage takes readings and gives those that go on, changed or not, now or later. Stages are pure: the monotonic clock's
time is handed in, and a stage that holds something back says when it wants to be asked again. Every reading that a
stage withholds for good is counted by it (``withheld``), and memory is bounded by ``CHANNELS_MAX`` channels a port.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from phloem.firmware_bridge.reading import Reading

CHANNELS_MAX = 1024  # of one port; a device that invents names without end gets no more memory


class Stage(ABC):
    """One step of shaping."""

    def __init__(self) -> None:
        self.withheld = 0

    @abstractmethod
    def take(self, readings: Sequence[Reading], now_ns: int) -> Sequence[Reading]:
        """What goes on of ``readings`` (and of what was held back) at ``now_ns``; in order of each channel."""

    @property
    def due_ns(self) -> int | None:
        """When ``expire`` wants to be called if nothing comes before; None while nothing is held back."""
        return None

    def expire(self, now_ns: int) -> Sequence[Reading]:
        """What time alone lets go; calling it early is harmless."""
        return ()
