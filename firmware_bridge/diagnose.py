"""What a person can do about a port that cannot be opened: the sentence behind the warning.

Reads ``/proc`` and the group database, which may take a while: for the first warning of an outage,
not for every attempt.
"""

import errno
import grp
import os
from pathlib import Path

from phloem.firmware_bridge.port_errors import PortError
from phloem.firmware_bridge.selector import HINT

_BUSY = (errno.EBUSY, errno.EAGAIN)  # exclusive mode of the tty, lock of a program like ours
_CURES = {
    "ModemManager": "which tries every new port for a modem; sudo phloem install tells it to leave them alone "
    "(ID_MM_DEVICE_IGNORE), or: sudo systemctl disable --now ModemManager",
    "brltty": "which takes USB adapters for braille displays; sudo apt remove brltty",
    "agetty": "a login console; sudo systemctl disable --now serial-getty@{tty}.service, and take console={tty} "
    "off the kernel's command line",
}
"""By what ``/proc/PID/comm`` says: who takes ports without being asked, and what to do."""


def explain(error: PortError, proc: Path = Path("/proc")) -> str:
    """One line: what is wrong and, where it is known, what mends it."""
    if error.code in (errno.EACCES, errno.EPERM):
        group = _group_of(error.device)
        return f"{error.reason}; let this user in: sudo usermod -aG {group} $USER, then log in again"
    if error.code in _BUSY:
        return _busy(error.device, proc)
    if error.code == errno.ENOTTY:
        return "not a serial port"
    if error.code == errno.EINVAL:
        return f"{error.reason}: the device does not do this baud rate, parity or frame size"
    if error.code == errno.ENOENT:
        return f"no such device; is it plugged in? {HINT}"
    return error.reason


def _busy(device: str, proc: Path) -> str:
    name, number = holder(device, proc)
    if not number:
        return "in use by a program that cannot be seen from here; as root: fuser -v " + device
    if number == os.getpid():
        return "in use by another port of this very process: two selectors mean the same device"
    text = f"in use by {name} (process {number})"
    cure = _CURES.get(name)
    return f"{text}, {cure.format(tty=os.path.basename(os.path.realpath(device)))}" if cure else text


def holder(device: str, proc: Path = Path("/proc")) -> tuple[str, int]:
    """Name and id of a process that has ``device`` open, empty and 0 if none can be seen.

    Other users' processes are visible to root only. This process is named only if no other has it.
    """
    target = os.path.realpath(device)
    ourselves = ("", 0)
    for process in sorted(proc.iterdir()):
        if not process.name.isdigit():
            continue
        try:
            if any(_is(entry, target) for entry in (process / "fd").iterdir()):
                found = ((process / "comm").read_text().strip(), int(process.name))
                if found[1] != os.getpid():
                    return found
                ourselves = found
        except OSError:  # gone meanwhile, or not ours to see
            continue
    return ourselves


def _is(entry: Path, target: str) -> bool:
    """By its name, and by itself: in another container the same name is another device."""
    return os.readlink(entry) == target and os.path.samefile(entry, target)


def _group_of(device: str) -> str:
    """The group that may open the device, where that can be told; Debian's ``dialout`` otherwise."""
    try:
        name = grp.getgrgid(os.stat(device).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"
    return "dialout" if name == "root" else name
