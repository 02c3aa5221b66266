"""An open serial line on the event loop: reading, writing without blocking, noticing that it is gone.

Whoever opened it (``port_tty.py``, ``port_network.py``, ``port_pty.py``) hands in a ``Line``; here its
descriptor is driven.

* A port that is gone says so once, through ``on_gone``, and is closed by then.
* Bytes to the device wait in a queue of at most ``WRITE_QUEUE_BYTES_MAX``; what does not fit is
  refused whole, never cut.
* One read of at most ``READ_BYTES_MAX`` in a turn of the loop, so that no port keeps others waiting.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from typing import NamedTuple, Protocol

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.port_errors import ABSENT, PortLost


class LineErrors(NamedTuple):
    """What the hardware saw go wrong on the wire, in counts.

    ``frame`` (no stop bit: a wrong speed), ``parity``, ``brk`` (a break), ``overrun`` (the chip had no room),
    ``buffer_overrun`` (the kernel had none).
    """

    frame: int = 0
    overrun: int = 0
    parity: int = 0
    brk: int = 0
    buffer_overrun: int = 0

    def plus(self, other: "LineErrors") -> "LineErrors":
        """The sums."""
        return LineErrors(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def since(self, other: "LineErrors") -> "LineErrors":
        """What has come since ``other``; a counter that went back began anew."""
        pairs = zip(self, other, strict=True)
        return LineErrors(*(mine - theirs if mine >= theirs else mine for mine, theirs in pairs))


class Line(Protocol):
    """An open way to a device. ``PlainLine`` has what most of them do."""

    device: str
    """What was opened in the end: a path, or host and port."""

    def fileno(self) -> int:
        """The descriptor to read and write, non-blocking."""
        ...

    def close(self) -> None:
        """Close at once; bytes that the device has not taken are discarded. Called once."""
        ...

    def leave(self) -> None:
        """Somebody has a copy of the descriptor, and goes on with it when this one is closed."""
        ...

    def decode(self, data: bytes) -> bytes:
        """What ``data``, read from the descriptor, says of the device's bytes."""
        ...

    def encode(self, data: bytes) -> bytes:
        """What to write for ``data``."""
        ...

    def take_reply(self) -> bytes:
        """What has to be written because of what was decoded; asking takes it away."""
        ...

    @property
    def suspended(self) -> bool:
        """Whether nothing may be written until something has been read."""
        ...

    def errors(self) -> LineErrors | None:
        """Counts since any moment before now; None where nobody counts."""
        ...


class PlainLine:
    """A line whose descriptor carries the device's bytes and nothing else."""

    suspended = False

    def __init__(self, device: str) -> None:
        self.device = device

    def leave(self) -> None:
        """It makes no difference."""

    def decode(self, data: bytes) -> bytes:
        """As they came."""
        return data

    def encode(self, data: bytes) -> bytes:
        """As they are."""
        return data

    def take_reply(self) -> bytes:
        """Nothing."""
        return b""

    def errors(self) -> LineErrors | None:
        """Nobody counts."""
        return None


class Port:
    """Owns an open line until ``close`` or until the device is gone."""

    def __init__(
        self, line: Line, on_data: Callable[[bytes], None], on_gone: Callable[[PortLost], None]
    ) -> None:
        self.line = line
        self._fd = line.fileno()
        self._on_data, self._on_gone = on_data, on_gone
        self._queue = bytearray()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._loop.add_reader(self._fd, self._readable)

    @property
    def write_queue_bytes(self) -> int:
        """Bytes that the device has not taken yet."""
        return len(self._queue)

    def write(self, data: bytes) -> bool:
        """Send ``data`` to the device, all or nothing; False if the device is too far behind or gone."""
        return self._queued(self.line.encode(data))

    def close(self) -> None:
        """Close at once; bytes that the device has not taken are discarded. Harmless when closed."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self.line.close()

    def _queued(self, encoded: bytes) -> bool:
        if self._closed or len(self._queue) + len(encoded) > limits.WRITE_QUEUE_BYTES_MAX:
            return False
        idle = not self._queue
        self._queue += encoded
        if idle:
            self._writable()
        return not self._closed

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, limits.READ_BYTES_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._gone(error.errno or 0)
            return
        if not data:
            self._gone(errno.ENODEV)
            return
        was_suspended = self.line.suspended
        payload = self.line.decode(data)
        if reply := self.line.take_reply():
            self._queued(reply)  # a peer that asks and does not read goes without
        if was_suspended and self._queue and not self._closed:
            self._writable()
        if payload and not self._closed:
            self._on_data(payload)

    def _writable(self) -> None:
        if not self.line.suspended:
            try:
                del self._queue[: os.write(self._fd, self._queue)]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._gone(error.errno or 0)
                return
        if self._queue and not self.line.suspended:
            self._loop.add_writer(self._fd, self._writable)
        else:
            self._loop.remove_writer(self._fd)

    def _gone(self, code: int) -> None:
        self.close()
        self._on_gone(PortLost(self.line.device, code, "unplugged" if code in ABSENT else ""))
