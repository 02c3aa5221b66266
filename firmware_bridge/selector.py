"""What ``device`` may say, and which device that is at this moment.

=============================  =========================================================================
``/dev/ttyUSB0``               a path; those under ``/dev/serial`` stay the same whatever else is plugged in
``by-id:*FT232R*``             a name, or a pattern of names, in ``/dev/serial/by-id``
``by-path:*-usb-0:1.2:*``      the same for ``/dev/serial/by-path``: whatever is in this socket of the hub
``usb:VID:PID[:SERIAL]``       a USB device by its numbers, four hexadecimal digits each
``socket://host:port``         bytes over TCP
``rfc2217://host:port``        a serial port over TCP with its settings: ser2net, device servers
``pty://name``                 a pseudo-terminal that phloem makes for another program on this machine
=============================  =========================================================================

Reading a selector is pure; ``find`` looks at ``/dev`` and ``/sys``, which may take a while.
"""

import fnmatch
import os.path
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from phloem.firmware_bridge.port_errors import PortAbsent, PortAmbiguous
from phloem.shared.errors import ConfigError

if TYPE_CHECKING:
    from serial.tools.list_ports_common import ListPortInfo

DEV = "/dev"
BY_ID, BY_PATH = f"{DEV}/serial/by-id", f"{DEV}/serial/by-path"

_USB = re.compile(r"usb:([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})(?::(.+))?")
_NETWORK = re.compile(r"(socket|rfc2217)://(\[[0-9A-Fa-f:.]+\]|[^/:\[\]]+):(\d{1,5})")
_PTY = re.compile(r"pty://([A-Za-z0-9_][A-Za-z0-9_.-]*|/.*[^/])")


class AtPath(NamedTuple):
    """A path, which may be a link."""

    path: str

    @property
    def folders(self) -> tuple[str, ...]:
        """Where its coming shows, the innermost first."""
        return _upwards(os.path.dirname(self.path))


class Linked(NamedTuple):
    """The only link in ``folder`` whose name is ``pattern`` as a shell understands it."""

    folder: str
    pattern: str

    @property
    def folders(self) -> tuple[str, ...]:
        """Where its coming shows, the innermost first."""
        return _upwards(self.folder)


class Usb(NamedTuple):
    """The only serial port of a USB device with these numbers; any serial number if it is empty."""

    vendor: int
    product: int
    serial: str

    @property
    def folders(self) -> tuple[str, ...]:
        """Where its coming shows."""
        return (DEV,)


class Network(NamedTuple):
    """A port at the other end of a TCP connection; with ``rfc2217`` it takes settings."""

    host: str
    port: int
    rfc2217: bool


class Pseudo(NamedTuple):
    """A pseudo-terminal with a link of this name (in a folder of ours) or path."""

    name: str


Selector: TypeAlias = AtPath | Linked | Usb | Network | Pseudo


def selector_of(device: str) -> Selector:
    """What ``device`` selects.

    Raises:
        ConfigError: It is nothing that selects a device.
    """
    if "\0" in device:
        raise ConfigError(f"device {device!r} has a NUL in it")
    if device.startswith("/"):
        if device.endswith("/"):
            raise ConfigError(f"device {device!r} is a folder, not a serial port")
        return AtPath(device)
    for scheme, folder in (("by-id:", BY_ID), ("by-path:", BY_PATH)):
        name = device.removeprefix(scheme)
        if name != device and name and "/" not in name:
            return Linked(folder, name)
    if found := _USB.fullmatch(device):
        return Usb(int(found[1], 16), int(found[2], 16), found[3] or "")
    if (found := _NETWORK.fullmatch(device)) and 0 < int(found[3]) < 1 << 16:
        return Network(found[2].strip("[]"), int(found[3]), found[1] == "rfc2217")
    if found := _PTY.fullmatch(device):
        return Pseudo(found[1])
    raise ConfigError(
        f"device {device!r} is not an absolute path such as /dev/ttyUSB0, nor by-id:NAME, by-path:NAME, "
        "usb:VID:PID[:SERIAL], socket://HOST:PORT, rfc2217://HOST:PORT or pty://NAME"
    )


def find(device: str, selector: AtPath | Linked | Usb) -> str:
    """The path of what ``selector`` selects now; ``device`` is how it was written.

    Raises:
        PortAbsent: There is none.
        PortAmbiguous: There are several; the error names them.
    """
    match selector:
        case AtPath(path):
            return path
        case Linked(folder, pattern):
            found = [os.path.join(folder, name) for name in _names(folder) if fnmatch.fnmatch(name, pattern)]
        case Usb():
            found = [str(port.device) for port in usb_ports() if _is(port, selector)]
    if not found:
        raise PortAbsent(device, reason=f"nothing matches {device}; is it plugged in? {HINT}")
    if len(found) > 1:
        raise PortAmbiguous(device, reason=f"{device} is several devices: {', '.join(map(_shown, found))}")
    return found[0]


HINT = "(phloem bridge --list shows what is)"


def usb_ports() -> "list[ListPortInfo]":
    """The serial ports of this machine, in the order of their names."""
    from serial.tools import list_ports  # noqa: PLC0415  (only who selects by USB pays for it)

    try:
        return sorted(list_ports.comports())
    except (TypeError, ValueError):  # pyserial read the numbers of a device that went away meanwhile
        return []


def stable_names(folder: str = BY_ID) -> dict[str, str]:
    """Device path to the name in ``folder`` that stays the same whatever else is plugged in."""
    links = [os.path.join(folder, name) for name in _names(folder)]
    return {os.path.realpath(link): link for link in links}


def usb_selector(port: "ListPortInfo") -> str:
    """How a port is written as ``usb:``; empty for what is no USB device."""
    if port.vid is None or port.pid is None:
        return ""
    return f"usb:{port.vid:04x}:{port.pid:04x}" + (f":{port.serial_number}" if port.serial_number else "")


def _is(port: "ListPortInfo", wanted: Usb) -> bool:
    return (port.vid, port.pid) == (wanted.vendor, wanted.product) and (
        not wanted.serial or port.serial_number == wanted.serial
    )


def _shown(path: str) -> str:
    """A path with the name to select it by, where there is a better one."""
    stable = stable_names(BY_PATH).get(os.path.realpath(path), "")
    return f"{path} ({stable})" if stable and stable != path else path


def _names(folder: str) -> Sequence[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:  # without any device there is no such folder
        return ()


def _upwards(folder: str) -> tuple[str, ...]:
    """``folder`` and what it is in, up to the first that is always there: /dev, or what the root has."""
    found = [folder]
    while found[-1].count("/") > 1:
        found.append(os.path.dirname(found[-1]))
    return tuple(found)
