"""Why a port cannot be used."""

import errno
import os

from phloem.shared.errors import PhloemError

ABSENT = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO, errno.ENOTDIR)


class PortError(PhloemError):
    """A serial port cannot be used; ``reason`` is one line, ``code`` an errno or 0."""

    def __init__(self, device: str, code: int = 0, reason: str = "") -> None:
        self.device, self.code = device, code
        self.reason = reason or os.strerror(code)
        super().__init__(f"{device}: {self.reason}")


class PortAbsent(PortError):
    """There is no such device now; plugging it in mends that."""


class PortRefused(PortError):
    """The device is there and may not be used, or not like this; somebody has to change something."""


class PortAmbiguous(PortRefused):
    """Several devices are what was asked for."""


class PortLost(PortError):
    """An open port went away: unplugged, or the other end of a pseudo-terminal or connection closed."""


class PortSilent(PortError):
    """An open port said nothing for too long and was closed for that."""


class PortLent(PortError):
    """An open port was closed because a program that phloem runs wants it for a while."""
