"""An open serial port on the event loop: reading, writing without blocking, noticing that it is gone.

pyserial opens and configures (baud rates outside the POSIX list, parity, exclusive lock); from then
on the file descriptor is driven here, because pyserial's own read and write wait in ``select``.

* A port that is gone says so once, through ``on_gone``, and is closed by then.
* Bytes to the device wait in a queue of at most ``WRITE_QUEUE_BYTES_MAX``; what does not fit is
  refused whole, never cut.
* The lock is advisory (``flock``): a second bridge is kept out, a program that ignores locks is not.
* A pseudo-terminal has no modem lines and answers ENOTTY to them; pyserial goes on without.
"""

import asyncio
import errno
import os
import termios
from collections.abc import Callable
from contextlib import suppress

import serial

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.handover import KeptLine
from phloem.firmware_bridge.settings import SerialSettings
from phloem.shared.errors import PhloemError

_ABSENT = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO, errno.ENOTDIR)


class PortError(PhloemError):
    """A serial port cannot be used; ``reason`` is one line, ``code`` an errno or 0."""

    def __init__(self, device: str, code: int, reason: str = "") -> None:
        self.device, self.code = device, code
        self.reason = reason or os.strerror(code)
        super().__init__(f"{device}: {self.reason}")


class PortAbsent(PortError):
    """There is no such device now; plugging it in mends that."""


class PortRefused(PortError):
    """The device is there and may not be used, or not like this; somebody has to change something."""


class PortLost(PortError):
    """An open port went away: unplugged, or the other end of a pseudo-terminal closed."""


def open_serial(settings: SerialSettings) -> serial.Serial:
    """Open and configure the device; may block for seconds where a USB device does not answer.

    Bytes that arrived before are discarded. Raises PortAbsent or PortRefused; nothing stays open then.
    """
    try:
        return serial.Serial(
            settings.device,
            baudrate=settings.baud,
            bytesize=settings.bytesize,
            parity=settings.parity[0].upper(),  # serial.PARITY_NONE is "N", and so on
            stopbits=settings.stopbits,
            exclusive=True,
            timeout=0,
            # Sets VMIN to 1. With 0, "no data" and "unplugged" would both be a read of no bytes.
            inter_byte_timeout=0,
        )
    except (OSError, termios.error, ValueError) as error:  # SerialException is an OSError
        code = _errno_of(error)
        kind = PortAbsent if code in _ABSENT else PortRefused
        raise kind(settings.device, code, "" if code else str(error)) from error


def _errno_of(error: BaseException | None) -> int:
    """The errno inside what pyserial raises: it wraps ``termios.error`` and then drops the number."""
    while error is not None:
        code = error.args[0] if error.args else None
        if isinstance(code, int):
            return code
        error = error.__context__
    return 0


class Port:
    """Owns an open ``serial.Serial`` until ``close`` or until the device is gone."""

    def __init__(
        self,
        opened: serial.Serial | KeptLine,
        on_data: Callable[[bytes], None],
        on_gone: Callable[[PortLost], None],
    ) -> None:
        self._serial = opened
        self._fd: int = opened.fileno()
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
        if self._closed or len(self._queue) + len(data) > limits.WRITE_QUEUE_BYTES_MAX:
            return False
        idle = not self._queue
        self._queue += data
        if idle:
            self._writable()
        return not self._closed

    def close(self) -> None:
        """Close at once; bytes that the device has not taken are discarded. Harmless when closed."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        # Without this the kernel waits in close for up to 30 s when flow control holds bytes back.
        with suppress(termios.error, OSError):
            termios.tcflush(self._fd, termios.TCOFLUSH)
        with suppress(OSError):
            self._serial.close()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, limits.READ_BYTES_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._gone(error.errno or 0)
            return
        if data:
            self._on_data(data)
        else:
            self._gone(errno.ENODEV)

    def _writable(self) -> None:
        try:
            del self._queue[: os.write(self._fd, self._queue)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._gone(error.errno or 0)
            return
        if self._queue:
            self._loop.add_writer(self._fd, self._writable)
        else:
            self._loop.remove_writer(self._fd)

    def _gone(self, code: int) -> None:
        self.close()
        self._on_gone(PortLost(self._serial.port or "", code, "unplugged" if code in _ABSENT else ""))
