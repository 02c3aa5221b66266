"""Devices on pseudo-terminals that say as much as a line carries, and not more.

A pseudo-terminal has no speed: bytes are written when a line of ``LINE_BYTES_S`` would have carried them. What the edge
does not read in time waits here, and is measured. A tty keeps 64 KiB and a pseudo-terminal 12, so a device that has
more than the difference waiting would lose it.
"""

import os
import time
import tty
from random import Random

from tests.bench_serial.loads import LINE_BYTES_S, Load

BLOCK_FRAMES = 2000  # made once and said again and again: making them must not cost what is measured
TURN_S = 0.004
LATE_S = 0.02
KEPT_BYTES = 52 << 10


class Device:
    """One port's far end."""

    def __init__(self, load: Load, seed: int) -> None:
        assert load.line is not None
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.path = os.ttyname(self._theirs)
        frames = [load.line(Random(seed * BLOCK_FRAMES + number)) for number in range(BLOCK_FRAMES)]
        self._block = b"".join(frames)
        ends, at = [], 0
        for frame in frames:
            at += len(frame)
            ends.append(at)
        self._ends = ends
        self.written = 0
        self.behind_bytes_max = 0

    def say(self, until: int) -> bool:
        """Write what is due of the first ``until`` bytes; whether all of them are written."""
        while self.written < until:
            at = self.written % len(self._block)
            piece = self._block[at : at + min(until - self.written, 4096)]
            try:
                taken = os.write(self._ours, piece)
            except BlockingIOError:
                break
            self.written += taken
        return self.written == until

    def whole(self, size: int) -> int:
        """``size``, or as much more as ends a frame."""
        blocks, rest = divmod(size, len(self._block))
        return blocks * len(self._block) + next(end for end in self._ends if end >= rest)

    def frames_of(self, size: int) -> int:
        """How many frames the first ``size`` bytes are, which end with one."""
        blocks, rest = divmod(size, len(self._block))
        return blocks * BLOCK_FRAMES + (self._ends.index(rest) + 1 if rest else 0)

    def close(self) -> None:
        """Both ends."""
        os.close(self._ours)
        os.close(self._theirs)


def saturate(devices: list[Device], seconds: float) -> int:
    """All of them for so long; how many frames they have said in their lives. ``behind_bytes_max`` of each is what
    waited at most. Raises TimeoutError if nobody reads them."""
    size = int(seconds * LINE_BYTES_S)
    spans = [(device, device.written, device.whole(device.written + size)) for device in devices]
    carried, begin = 0.0, time.monotonic()
    last = begin
    while any(device.written < end for device, _, end in spans):
        now = time.monotonic()
        if now - begin > 10 * seconds:
            raise TimeoutError("the devices are not read")
        # Where the machine lets the devices wait, their lines rest: there is no burst afterwards.
        carried, last = carried + min(now - last, LATE_S) * LINE_BYTES_S, now
        for device, start, end in spans:
            due = min(start + int(carried), end)
            device.say(due)
            device.behind_bytes_max = max(device.behind_bytes_max, due - device.written)
        time.sleep(TURN_S)
    return sum(device.frames_of(device.written) for device in devices)
