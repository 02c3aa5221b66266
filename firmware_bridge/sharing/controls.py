"""Settings and lines of an open port, under the names that pyserial's ``rfc2217.PortManager`` knows them by.

Only a tty of this machine has any that can be changed; elsewhere a change is refused, or where the manager knows no
refusal (flow control, lines) has no effect. When the program that changed something is gone the port gets its
configured settings back.
"""

import fcntl
import struct
import termios
from contextlib import suppress
from typing import Any

from phloem.firmware_bridge.port import Line
from phloem.firmware_bridge.port_tty import TtyLine
from phloem.firmware_bridge.settings import SerialSettings

TIOCSBRK, TIOCCBRK = 0x5427, 0x5428  # <asm-generic/ioctls.h>
_INT = struct.Struct("i")
_STOPS = (1, 1.5, 2)


class Controls:
    """One port's, whether it is open or not."""

    def __init__(self, settings: SerialSettings) -> None:
        self._settings = settings
        self._line: TtyLine | None = None
        self._moved = False  # a line, by a program
        self._configured: dict[str, Any] = {
            "baudrate": settings.baud,
            "bytesize": settings.bytesize,
            "parity": settings.parity[0].upper(),
            "stopbits": settings.stopbits,
            "xonxoff": settings.flow_control == "xonxoff",
            "rtscts": settings.flow_control == "rtscts",
        }
        self._now = self._configured

    def opened(self, line: Line) -> None:
        """With its configured settings."""
        self._line = line if isinstance(line, TtyLine) else None
        self._now, self._moved = self._configured, False

    def closing(self) -> None:
        """The port will be closed, or left to another bridge."""
        self.restore()
        self._line = None

    def restore(self) -> None:
        """As it is configured."""
        if self._now != self._configured:
            with suppress(ValueError):  # a device that is gone
                self._set(self._configured)
            self._now = self._configured
        if self._moved:
            self._moved = False
            for name, bit in (("dtr", termios.TIOCM_DTR), ("rts", termios.TIOCM_RTS)):
                if (wanted := getattr(self._settings, name)) != "keep":
                    self._move(bit, wanted == "on")

    def change(self, **wanted: Any) -> None:
        """Raises ValueError if the port cannot do that."""
        if (new := self._now | wanted) != self._now:
            self._set(new)
            self._now = new

    def _set(self, new: dict[str, Any]) -> None:
        if self._line is None:
            raise ValueError("there is no port that has settings")
        self._line.configure(**new)

    def _move(self, bit: int, on: bool) -> None:
        if self._line is not None:
            with suppress(OSError):  # a pseudo-terminal
                request = termios.TIOCMBIS if on else termios.TIOCMBIC
                fcntl.ioctl(self._line.fileno(), request, _INT.pack(bit))

    def _seen(self, bit: int) -> bool:
        if self._line is None:
            return False
        try:
            (lines,) = _INT.unpack(fcntl.ioctl(self._line.fileno(), termios.TIOCMGET, bytes(_INT.size)))
        except OSError:
            return False
        return bool(lines & bit)

    # -- pyserial's names -------------------------------------------------------------------------

    @property
    def baudrate(self) -> int:
        """Bits per second."""
        return int(self._now["baudrate"])

    @baudrate.setter
    def baudrate(self, baud: int) -> None:
        self.change(baudrate=baud)

    @property
    def bytesize(self) -> int:
        """Data bits."""
        return int(self._now["bytesize"])

    @bytesize.setter
    def bytesize(self, bits: int) -> None:
        if not 5 <= bits <= 8:
            raise ValueError("no such number of bits")
        self.change(bytesize=bits)

    @property
    def parity(self) -> str:
        """A letter."""
        return str(self._now["parity"])

    @parity.setter
    def parity(self, letter: str) -> None:
        self.change(parity=letter)

    @property
    def stopbits(self) -> float:
        """1, 1.5 or 2."""
        return float(self._now["stopbits"])

    @stopbits.setter
    def stopbits(self, bits: float) -> None:
        if bits not in _STOPS:
            raise ValueError("no such number of stop bits")
        self.change(stopbits=bits)

    @property
    def xonxoff(self) -> bool:
        """Whether characters control the flow."""
        return bool(self._now["xonxoff"])

    @xonxoff.setter
    def xonxoff(self, on: bool) -> None:
        with suppress(ValueError):
            self.change(xonxoff=on, rtscts=self.rtscts and not on)

    @property
    def rtscts(self) -> bool:
        """Whether lines do."""
        return bool(self._now["rtscts"])

    @rtscts.setter
    def rtscts(self, on: bool) -> None:
        with suppress(ValueError):
            self.change(rtscts=on, xonxoff=self.xonxoff and not on)

    def _set_dtr(self, on: bool) -> None:
        self._moved = True
        self._move(termios.TIOCM_DTR, on)

    def _set_rts(self, on: bool) -> None:
        self._moved = True
        self._move(termios.TIOCM_RTS, on)

    def _set_break(self, on: bool) -> None:
        if self._line is not None:
            with suppress(OSError):
                fcntl.ioctl(self._line.fileno(), TIOCSBRK if on else TIOCCBRK)

    dtr = property(fset=_set_dtr)
    rts = property(fset=_set_rts)
    break_condition = property(fset=_set_break)

    @property
    def cts(self) -> bool:
        """Clear to send."""
        return self._seen(termios.TIOCM_CTS)

    @property
    def dsr(self) -> bool:
        """Data set ready."""
        return self._seen(termios.TIOCM_DSR)

    @property
    def ri(self) -> bool:
        """Ring."""
        return self._seen(termios.TIOCM_RI)

    @property
    def cd(self) -> bool:
        """Carrier."""
        return self._seen(termios.TIOCM_CAR)

    def reset_input_buffer(self) -> None:
        """What has come is the bridge's as well, and is not thrown away."""

    def reset_output_buffer(self) -> None:
        """What was written is on its way."""
