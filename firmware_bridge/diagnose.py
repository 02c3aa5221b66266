"""What a person can do about a port that cannot be opened: the sentence behind the warning.

Reads ``/proc`` and the group database, which may take a while: for the first warning of an outage,
not for every attempt.
"""

import errno
import grp
import os
from pathlib import Path

from phloem.firmware_bridge.port import PortError

_BUSY = (errno.EBUSY, errno.EAGAIN)  # exclusive mode of the tty, lock of a program like ours


def explain(error: PortError, proc: Path = Path("/proc")) -> str:
    """One line: what is wrong and, where it is known, what mends it."""
    if error.code in (errno.EACCES, errno.EPERM):
        group = _group_of(error.device)
        return f"{error.reason}; let this user in: sudo usermod -aG {group} $USER, then log in again"
    if error.code in _BUSY:
        return f"in use by {holder(error.device, proc) or 'another program'}"
    if error.code == errno.ENOTTY:
        return "not a serial port"
    if error.code == errno.EINVAL:
        return f"{error.reason}: the device does not do this baud rate, parity or frame size"
    if error.code == errno.ENOENT:
        return "no such device; is it plugged in? (phloem bridge --list shows what is)"
    return error.reason


def holder(device: str, proc: Path = Path("/proc")) -> str:
    """Name and id of a process that has ``device`` open, empty if none can be seen.

    Other users' processes are visible to root only.
    """
    target = os.path.realpath(device)
    for process in sorted(proc.iterdir()):
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if any(os.readlink(entry) == target for entry in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:  # gone meanwhile, or not ours to see
            continue
    return ""


def _group_of(device: str) -> str:
    """The group that may open the device, where that can be told; Debian's ``dialout`` otherwise."""
    try:
        name = grp.getgrgid(os.stat(device).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"
    return "dialout" if name == "root" else name
