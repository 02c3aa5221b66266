"""Installing phloem as services: a list of steps, each of which knows whether there is anything to do.

Doing it again changes nothing. With a root other than ``/`` only files are written: users and ownership come from
sysusers.d and tmpfiles.d when that system boots, and links for enabled units are made as ``systemctl enable`` makes
them.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from phloem.edge.device.layout import (
    ADMINISTRATOR,
    CONFIG_FOLDER,
    MARK,
    PACKAGE,
    SECRET_FOLDER,
    UNITS,
    Place,
    Role,
    layout,
    ours,
    units_of_others,
)
from phloem.shared.errors import PhloemError

Run = Callable[[Sequence[str]], int]
"""Runs a command; its exit code. 127: there is no such command."""

_VERSION = re.compile(r"libsystemd-shared-(\d+)")


class InstallError(PhloemError):
    """It cannot be done; says what to do."""


class Step(NamedTuple):
    """One thing to do: what it is, in words, and what does it."""

    what: str
    act: Callable[[], None]


class Target(NamedTuple):
    """Where to install to. ``run`` is used for ``/`` only."""

    root: Path
    place: Place
    program: str
    run: Run

    @property
    def live(self) -> bool:
        """Whether it is this machine."""
        return self.root == Path("/")

    @property
    def booted(self) -> bool:
        """Whether its systemd runs: not in a chroot where a package is being installed, nor in most containers."""
        return self.live and self.at("run/systemd/system").is_dir()

    def at(self, path: str) -> Path:
        """A path below the root."""
        return self.root / path


def systemd_version(root: Path) -> int:
    """As the library's name says, so that it can be told of an image as well; 0: no systemd."""
    for folder in ("usr/lib/systemd", "lib/systemd", "usr/lib64/systemd"):
        for path in sorted((root / folder).glob("libsystemd-shared-*")):
            if found := _VERSION.match(path.name):
                return int(found[1])
    for path in sorted((root / "usr/lib").glob("*-linux-gnu*/systemd/libsystemd-shared-*")):
        if found := _VERSION.match(path.name):
            return int(found[1])
    return 0


def install_steps(
    target: Target, role: Role, *, start: bool, enable: bool = True, unpacked: bool = True
) -> list[Step]:
    """What is left to do. Without ``enable`` units stay enabled or disabled, and only enabled ones are started.
    ``unpacked``: the files of a package, if it is one, are new. Raises InstallError."""
    steps = []
    files = layout(role, target.place, target.program, systemd_version(target.root))
    for file in files:
        path = target.at(file.path)
        if _settled(path, file.text, theirs=file.theirs):
            continue
        verb = "replace" if path.exists() else "write"
        steps.append(Step(f"{verb} {path}", _writer(path, file.text, file.mode)))
    secrets = target.at(SECRET_FOLDER)
    if not secrets.is_dir():
        steps.append(Step(f"make {secrets}, for secrets (mode 0700)", _folder(secrets, 0o700)))
    changed = bool(steps) or (target.place is PACKAGE and unpacked)  # by somebody else
    yielding = _yielding(target, role) if enable and target.place is PACKAGE else []
    if not target.live:
        return steps + (yielding + _links(target, role) if enable else [])
    if changed:
        steps += _commands(
            target.run,
            ["systemd-sysusers", _below(target, "sysusers")],
            ["systemd-tmpfiles", "--create", _below(target, "tmpfiles")],
        )
    if not target.booted:
        return steps + (yielding + _links(target, role) if enable else [])
    if changed:
        steps += _commands(target.run, ["systemctl", "daemon-reload"])
        if role is Role.EDGE and target.at("run/udev").is_dir():
            steps += _commands(
                target.run,
                ["udevadm", "control", "--reload"],
                ["udevadm", "trigger", "--subsystem-match=usb"],
            )
    if not enable:
        return steps + _beginning(target, role, changed=changed, start=start)
    return steps + yielding + _enabling(target, role, changed=changed, start=start)


def uninstall_steps(target: Target, *, purge: bool) -> list[Step]:
    """What is left to remove. Configuration and store stay unless ``purge``."""
    steps = []
    units = [unit for role in Role for unit in UNITS[role]]
    there = [unit for unit in units if target.at(f"{target.place.units}/{unit}").exists()]
    if target.booted and there:
        steps += _commands(target.run, ["systemctl", "disable", "--now", *there])
    for path in (target.at(each) for each in ours(target.place)):
        if path.exists():
            if not path.read_text(errors="replace").startswith(MARK):
                raise InstallError(f"{path} was not written by phloem install; remove it yourself")
            steps.append(Step(f"remove {path}", _remover(path)))
    for link in _link_paths(target, units):
        if link.is_symlink():
            steps.append(Step(f"remove {link}", partial(link.unlink, missing_ok=True)))
    if purge:
        for folder in (target.at(CONFIG_FOLDER), target.at("var/lib/phloem")):
            if folder.exists():
                steps.append(Step(f"remove {folder} and all that is in it", partial(shutil.rmtree, folder)))
    if target.booted and steps:
        steps += _commands(target.run, ["systemctl", "daemon-reload"])
    return steps


def run_command(words: Sequence[str]) -> int:
    """On this machine, with its output on the terminal."""
    try:
        return subprocess.run(list(words), check=False).returncode
    except FileNotFoundError:
        return 127


def place_of(*, packaged: bool) -> Place:
    """Folders of packages, or of the administrator."""
    return PACKAGE if packaged else ADMINISTRATOR


def _settled(path: Path, text: str, *, theirs: bool) -> bool:
    """Whether nothing is to be written here. Raises InstallError for a file of somebody else's."""
    try:
        there = path.read_text(errors="replace")
    except FileNotFoundError:
        return False
    if theirs or there == text:
        return True
    if not there.startswith(MARK):
        raise InstallError(
            f"{path} was not written by phloem install; move it away, or put what is in it into a drop-in "
            "(systemctl edit)"
        )
    return False


def _writer(path: Path, text: str, mode: int) -> Callable[[], None]:
    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.phloem")
        scratch.write_text(text)
        scratch.chmod(mode)
        os.replace(scratch, path)

    return write


def _remover(path: Path) -> Callable[[], None]:
    def remove() -> None:
        path.unlink()
        if path.parent.name.endswith(".d") and path.parent.name.startswith("phloem-"):
            with suppress(OSError):  # an operator's drop-ins are there as well
                path.parent.rmdir()

    return remove


def _folder(path: Path, mode: int) -> Callable[[], None]:
    def make() -> None:
        path.mkdir(parents=True)
        path.chmod(mode)

    return make


def _commands(run: Run, *commands: Sequence[str]) -> list[Step]:
    def runner(words: Sequence[str]) -> Callable[[], None]:
        def act() -> None:
            code = run(words)
            if code:
                raise InstallError(
                    f"there is no {words[0]}: phloem's services need systemd"
                    if code == 127
                    else f"{' '.join(words)} ended with {code}; its own message is above"
                )

        return act

    return [Step(f"run {' '.join(words)}", runner(words)) for words in commands]


def _enabling(target: Target, role: Role, *, changed: bool, start: bool) -> list[Step]:
    units, run = UNITS[role], target.run
    steps = []
    there = all(target.at(f"{target.place.units}/{unit}").exists() for unit in units)
    if not there or any(run(["systemctl", "--quiet", "is-enabled", unit]) for unit in units):
        steps += _commands(run, ["systemctl", "enable", *units])
    if not start:
        return steps
    services = [unit for unit in units if unit.endswith(".service")]
    if not there or any(run(["systemctl", "--quiet", "is-active", unit]) for unit in units):
        steps += _commands(run, ["systemctl", "start", *units])
    elif changed:
        steps += _commands(run, ["systemctl", "restart", *services])
    return steps


def _yielding(target: Target, role: Role) -> list[Step]:
    """A package enables a device's units by itself; a machine that is a hub now needs their port."""
    others = units_of_others(role)
    there = [
        unit for unit, link in zip(others, _link_paths(target, others), strict=True) if link.is_symlink()
    ]
    if target.booted:
        return _commands(target.run, ["systemctl", "disable", "--now", *there]) if there else []
    links = _link_paths(target, there)
    return [Step(f"remove {link}", partial(link.unlink, missing_ok=True)) for link in links]


def _beginning(target: Target, role: Role, *, changed: bool, start: bool) -> list[Step]:
    """What is enabled runs, with the files that are there now."""
    run = target.run
    units = [unit for unit in UNITS[role] if not run(["systemctl", "--quiet", "is-enabled", unit])]
    if not start or not units:
        return []
    services = [unit for unit in units if unit.endswith(".service")]
    steps = _commands(run, ["systemctl", "start", *units])
    return steps + (_commands(run, ["systemctl", "restart", *services]) if changed and services else [])


def _links(target: Target, role: Role) -> list[Step]:
    """For an image: what ``systemctl enable`` would link."""
    steps = []
    for unit, link in zip(UNITS[role], _link_paths(target, UNITS[role]), strict=True):
        wanted = f"/{target.place.units}/{unit}"
        if not link.is_symlink() or os.readlink(link) != wanted:
            steps.append(Step(f"link {link}", _linker(link, wanted)))
    return steps


def _link_paths(target: Target, units: Sequence[str]) -> list[Path]:
    """Always the administrator's, as ``systemctl`` has it."""
    wants = {".socket": "sockets.target", ".service": "multi-user.target"}
    return [target.at(f"{ADMINISTRATOR.units}/{wants[Path(unit).suffix]}.wants/{unit}") for unit in units]


def _linker(link: Path, wanted: str) -> Callable[[], None]:
    def act() -> None:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(wanted)

    return act


def _below(target: Target, what: str) -> str:
    return f"/{getattr(target.place, what)}/phloem.conf"
