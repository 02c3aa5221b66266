"""What ``phloem install`` puts where: the files that a device or a hub needs to run phloem as services. Pure but for
reading the texts that come with the package.

Files that are phloem's begin with ``MARK`` and are written anew by each install; configurations are the operator's and
are written only where there is none.
"""

import enum
from importlib.resources import files
from typing import NamedTuple

MARK = "# phloem install writes this file"
PROGRAM = "/opt/phloem/bin/phloem"  # in the texts; replaced by the program that installs
NOTIFY_RELOAD_SINCE = 253  # of systemd; before that the unit's own ExecReload= serves


class Role(enum.Enum):
    """What a machine is."""

    EDGE = "edge"
    HUB = "hub"


class Place(NamedTuple):
    """Folders below the root: the administrator's, or those of packages."""

    units: str
    sysusers: str
    tmpfiles: str
    udev: str


ADMINISTRATOR = Place("etc/systemd/system", "etc/sysusers.d", "etc/tmpfiles.d", "etc/udev/rules.d")
PACKAGE = Place("usr/lib/systemd/system", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "usr/lib/udev/rules.d")

UNITS = {
    Role.EDGE: ("phloem-edge.socket", "phloem-edge.service", "phloem-bridge.service"),
    Role.HUB: ("phloem-hub.service",),
}


CONFIGS = {Role.EDGE: ("edge.conf", "bridge.conf"), Role.HUB: ("hub.conf",)}
CONFIG_FOLDER = "etc/phloem"
SECRET_FOLDER = "etc/credstore"  # where LoadCredential= of the units looks

NOTIFY_RELOAD = f"""\
{MARK}, and phloem uninstall removes it
[Service]
Type=notify-reload
ExecReload=
"""


class Written(NamedTuple):
    """A file: path below the root, text, whether it is the operator's once it is there, mode."""

    path: str
    text: str
    theirs: bool = False
    mode: int = 0o644


def units_of_others(role: Role) -> list[str]:
    """What a machine of this role has no use for."""
    return [unit for other in Role if other is not role for unit in UNITS[other]]


def text_of(name: str) -> str:
    """A file that comes with the package."""
    return (files("phloem.edge.device") / "files" / name).read_text()


def layout(role: Role, place: Place, program: str, systemd: int) -> list[Written]:
    """All files, in the order in which they are written. ``systemd``: its version, 0 if nobody knows."""
    found = [
        Written(f"{place.sysusers}/phloem.conf", text_of("sysusers.conf")),
        Written(f"{place.tmpfiles}/phloem.conf", text_of("tmpfiles.conf")),
    ]
    if role is Role.EDGE:
        found.append(Written(f"{place.udev}/70-phloem.rules", text_of("udev.rules")))
    for name in CONFIGS[role]:
        found.append(Written(f"{CONFIG_FOLDER}/{name}", text_of(name), theirs=True, mode=0o640))
    for unit in UNITS[role]:
        found.append(Written(f"{place.units}/{unit}", text_of(unit).replace(PROGRAM, program)))
        if unit.endswith(".service") and systemd >= NOTIFY_RELOAD_SINCE:
            found.append(Written(f"{place.units}/{unit}.d/10-notify-reload.conf", NOTIFY_RELOAD))
    return found


def ours(place: Place) -> list[str]:
    """Every path that an install may have written and that is phloem's, whatever the role."""
    found: dict[str, None] = {}
    for role in Role:
        for file in layout(role, place, PROGRAM, NOTIFY_RELOAD_SINCE):
            if not file.theirs:
                found[file.path] = None
    return list(found)
