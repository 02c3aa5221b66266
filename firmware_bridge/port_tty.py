"""Opening a tty: speed and format, who else may have it, and what the modem lines do.

pyserial configures (baud rates outside the POSIX list, parity, exclusive lock); from then on the descriptor is
driven by ``port.py``, because pyserial's own read and write wait in ``select``.

* Two locks keep others out: ``flock``, which serial programs ask, and TIOCEXCL, which the kernel applies to those
  that do not ask. Root passes the second.
* The kernel raises DTR and RTS when a tty is opened that nobody had open. ``off`` lowers them again, after
  microseconds; only ``keep`` spares a board that resets on DTR, by leaving the lines as they are when the port is
  closed (no HUPCL), so that they do not change when it is opened the next time.
* A pseudo-terminal has no modem lines and no counters and answers ENOTTY; it goes without.
"""

import fcntl
import os
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import serial

from phloem.firmware_bridge.port import LineErrors, PlainLine
from phloem.firmware_bridge.port_errors import ABSENT, PortAbsent, PortRefused
from phloem.firmware_bridge.selector import AtPath, Linked, Usb, find
from phloem.firmware_bridge.settings import SerialSettings

TIOCGICOUNT = 0x545D  # <asm-generic/ioctls.h>; Python's termios has it only from 3.13 on
_COUNTERS = struct.Struct("20i")  # struct serial_icounter_struct
_FRAME, _OVERRUN, _PARITY, _BREAK, _BUFFER_OVERRUN = 6, 7, 8, 9, 10  # places in it


class TtyLine(PlainLine):
    """An open tty; ``close`` is how its descriptor is closed."""

    def __init__(self, descriptor: int, device: str, close: Callable[[], None]) -> None:
        super().__init__(device)
        self._fd, self._close = descriptor, close
        self._is_left = False

    def fileno(self) -> int:
        """The tty's."""
        return self._fd

    def close(self) -> None:
        """Close; others may open it again, unless it is left to somebody."""
        if not self._is_left:
            with suppress(termios.error, OSError):
                fcntl.ioctl(self._fd, termios.TIOCNXCL)
            # Without this the kernel waits in close for up to 30 s when flow control holds bytes back.
            with suppress(termios.error, OSError):
                termios.tcflush(self._fd, termios.TCOFLUSH)
        with suppress(OSError):
            self._close()

    def leave(self) -> None:
        """Others stay out, and what is written is still sent."""
        self._is_left = True

    def configure(self, **settings: Any) -> None:
        """Other settings, in pyserial's words, while it is open. Raises ValueError if the device cannot do that."""
        changed = serial.Serial(timeout=0, inter_byte_timeout=0, **settings)
        changed.fd = self._fd
        try:
            changed._reconfigure_port(force_update=True)  # type: ignore[attr-defined]  # not in the stubs
        except (OSError, termios.error) as error:
            raise ValueError(str(error)) from error
        finally:
            changed.fd = None  # it is not for that object to close

    def errors(self) -> LineErrors | None:
        """The driver's counters, which go on from one opening to the next."""
        try:
            return read_counters(fcntl.ioctl(self._fd, TIOCGICOUNT, bytes(_COUNTERS.size)))
        except OSError:  # a driver that does not count, or a device that is gone
            return None


def read_counters(data: bytes) -> LineErrors:
    """``struct serial_icounter_struct``, as TIOCGICOUNT fills it."""
    counts = [count & 0xFFFFFFFF for count in _COUNTERS.unpack(data)]
    return LineErrors(
        counts[_FRAME], counts[_OVERRUN], counts[_PARITY], counts[_BREAK], counts[_BUFFER_OVERRUN]
    )


def open_tty(settings: SerialSettings, selector: AtPath | Linked | Usb) -> TtyLine:
    """Find, open and configure the device; may block for seconds where a USB device does not answer.

    Bytes that arrived before are discarded.

    Raises:
        PortAbsent: There is no such device.
        PortRefused: It may not be used, or not like this. Nothing stays open then.
    """
    device = find(settings.device, selector)
    opened = _Serial(settings)
    try:
        opened.port = device
        opened.open()
        if "keep" in (settings.dtr, settings.rts):
            _leave_lines_at_close(opened.fileno())
        with suppress(OSError):
            fcntl.ioctl(opened.fileno(), termios.TIOCEXCL)
    except (OSError, termios.error, ValueError) as error:  # SerialException is an OSError
        opened.close()
        code = _errno_of(error)
        kind = PortAbsent if code in ABSENT else PortRefused
        raise kind(device, code, "" if code else str(error)) from error
    return TtyLine(opened.fileno(), device, opened.close)


def kept_tty(descriptor: int, device: str) -> TtyLine:
    """A tty that somebody opened and configured before; the descriptor is ours from now on."""
    return TtyLine(descriptor, device, lambda: os.close(descriptor))


class _Serial(serial.Serial):
    """pyserial's, which has no word for leaving a modem line alone."""

    def __init__(self, settings: SerialSettings) -> None:
        super().__init__(
            baudrate=settings.baud,
            bytesize=settings.bytesize,
            parity=settings.parity[0].upper(),  # serial.PARITY_NONE is "N", and so on
            stopbits=settings.stopbits,
            xonxoff=settings.flow_control == "xonxoff",
            rtscts=settings.flow_control == "rtscts",
            exclusive=True,
            timeout=0,
            # Sets VMIN to 1. With 0, "no data" and "unplugged" would both be a read of no bytes.
            inter_byte_timeout=0,
        )
        self._kept = {name for name in ("dtr", "rts") if getattr(settings, name) == "keep"}
        self.dtr, self.rts = settings.dtr == "on", settings.rts == "on"

    def _update_dtr_state(self) -> None:
        if "dtr" not in self._kept:
            super()._update_dtr_state()  # type: ignore[misc]  # not in the stubs

    def _update_rts_state(self) -> None:
        if "rts" not in self._kept:
            super()._update_rts_state()  # type: ignore[misc]


def _leave_lines_at_close(fd: int) -> None:
    """Clear HUPCL, which lowers DTR and RTS when the last one closes the tty."""
    attributes = termios.tcgetattr(fd)
    attributes[2] &= ~termios.HUPCL
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _errno_of(error: BaseException | None) -> int:
    """The errno inside what pyserial raises: it wraps ``termios.error`` and then drops the number."""
    while error is not None:
        code = error.args[0] if error.args else None
        if isinstance(code, int):
            return code
        error = error.__context__
    return 0
