"""A sensor that is not there: a pseudo-terminal with a device on its other end, for tests and demos.

What passes through is real: the kernel's tty layer with its 16 KiB of buffer, an exclusive lock, the
end of file of an unplugged device, and a symbolic link that comes and goes as udev's do. Given the
same clock and random numbers the device says the same, byte for byte.

A line is ``<name> seq=<n> t=<unix ns> v=<value>``; ``seq`` starts at 1 and runs on when the device is
plugged in again, so that whoever reads the lines can tell what was lost.
"""

import asyncio
import os
import tty
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import TracebackType

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.timers import CallLater, Timer, loop_call_later
from phloem.shared.clock import Clock


class SimulatedSensor:
    """Use as ``async with SimulatedSensor(link, clock, rng) as sensor``: plugged in inside the block.

    ``link`` becomes the path of the device. Every ``interval_ns`` a line is sent; 0 leaves that to
    calls of ``emit``. ``on_bytes`` gets what the host writes, in pieces as they come.
    """

    def __init__(
        self,
        link: Path,
        clock: Clock,
        rng: Random,
        *,
        name: str = "sensor",
        interval_ns: int = 0,
        on_bytes: Callable[[bytes], None] | None = None,
        call_later: CallLater = loop_call_later,
    ) -> None:
        self.link, self.name, self.interval_ns = link, name, interval_ns
        self.sent = 0
        self.bytes_sent = 0
        self.lost = 0
        self._clock, self._rng, self._call_later = clock, rng, call_later
        self._on_bytes = on_bytes
        self._value = 20.0
        self._seq = 0
        self._rest = b""
        self._ends: tuple[int, int] | None = None
        self._timer: Timer | None = None

    async def __aenter__(self) -> "SimulatedSensor":
        self.plug()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    @property
    def plugged(self) -> bool:
        """Whether the device can be seen at ``link``."""
        return self._ends is not None

    def plug(self) -> None:
        """The device appears at ``link``. Raises FileExistsError if something that is no link is there."""
        if self._ends is not None:
            return
        if self.link.exists() and not self.link.is_symlink():
            raise FileExistsError(f"{self.link} is in the way of a simulated sensor")
        device, host = os.openpty()
        # The host's end stays open here as well: otherwise the device reads errors until a host comes.
        self._ends = device, host
        tty.setraw(host)
        os.set_blocking(device, False)
        beside = self.link.with_name(f".{self.link.name}.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(os.ttyname(host))
        beside.replace(self.link)
        asyncio.get_running_loop().add_reader(device, self._readable)
        self._start_timer()

    def unplug(self) -> None:
        """The device is gone, with everything the host has not read."""
        if self._ends is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.link.unlink(missing_ok=True)
        asyncio.get_running_loop().remove_reader(self._ends[0])
        for end in self._ends:
            os.close(end)
        self._ends = None
        self._rest = b""

    def emit(self) -> int:
        """Send the next line and return its ``seq``. A host that does not read loses the line."""
        self._seq += 1
        self._value += self._rng.uniform(-0.1, 0.1)
        line = f"{self.name} seq={self._seq} t={self._clock.wall_ns()} v={self._value:.3f}\n"
        if self.write(line.encode()):
            self.sent += 1
            self.bytes_sent += len(line)
        else:
            self.lost += 1
        return self._seq

    def write(self, data: bytes) -> bool:
        """Send any bytes; False, and none of them sent, if the host is too far behind or nothing is plugged.

        What the kernel takes only in part is finished before the next line, as a UART would.
        """
        self._flush()
        if self._ends is None or self._rest:
            return False
        try:
            taken = os.write(self._ends[0], data)
        except BlockingIOError:
            return False
        self._rest = data[taken:]
        return True

    def _flush(self) -> None:
        if self._rest and self._ends is not None:
            try:
                self._rest = self._rest[os.write(self._ends[0], self._rest) :]
            except BlockingIOError:
                return

    def _readable(self) -> None:
        assert self._ends is not None
        try:
            data = os.read(self._ends[0], limits.READ_BYTES_MAX)
        except BlockingIOError:
            return
        if self._on_bytes is not None:
            self._on_bytes(data)

    def _start_timer(self) -> None:
        if self.interval_ns:
            self._timer = self._call_later(self.interval_ns, self._tick)

    def _tick(self) -> None:
        self.emit()
        self._start_timer()
