"""What the programs at a shared port have in common: the device, its settings, and whose turn it is."""

from collections.abc import Callable

from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.port import Line
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.sharing.controls import Controls
from phloem.firmware_bridge.timers import CallLater
from phloem.firmware_bridge.turns import Turns
from phloem.shared.clock import Clock


class Host:
    """One port's."""

    def __init__(
        self, settings: SerialSettings, turns: Turns, clock: Clock, call_later: CallLater, counters: Counters
    ) -> None:
        self.turns, self.clock, self.call_later, self.counters = turns, clock, call_later, counters
        self.controls = Controls(settings)
        self._write: Callable[[bytes], bool] | None = None

    def opened(self, line: Line, write: Callable[[bytes], bool]) -> None:
        """The device is there."""
        self.controls.opened(line)
        self._write = write

    def closing(self) -> None:
        """It is not any more, or not for us: it gets its own settings back, if that can still be."""
        self.controls.closing()
        self._write = None

    def write(self, data: bytes) -> None:
        """To the device; what it does not take, or nobody is there to take, is dropped and counted."""
        if data and (self._write is None or not self._write(data)):
            self.counters.guest_dropped_bytes += len(data)
