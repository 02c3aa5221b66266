"""Debian packages: what one says of itself, its files beside the installed ones, and the installed one as a file."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from phloem.edge.upgrade.machine import UpgradeError

NAME = "phloem"
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
NO_START = {"PHLOEM_INSTALL": "no-start"}  # for postinst: who upgrades says when programs start
DATABASE_ONLY = (
    "Status",
    "Config-Version",
    "Conffiles",
)  # what dpkg adds to a control file
_ALTERNATIVE = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]+)(:\w+)?(\s*\(\s*(?P<relation>[<>=]+)\s*(?P<version>[^\s)]+)\s*\))?"
)
SAID = 8  # lines of a program that failed


class Said(NamedTuple):
    """A program has ended."""

    code: int
    text: str


Run = Callable[[Sequence[str], Mapping[str, str]], Said]
"""Runs a program with more in its environment, until it ends; 127: there is no such program."""


def run_program(words: Sequence[str], more: Mapping[str, str]) -> Said:
    """On this machine. It gets no interrupt from the terminal: what has begun shall end."""
    env = {**os.environ, **more}
    try:
        done = subprocess.run(
            list(words),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            check=False,
        )
    except FileNotFoundError:
        return Said(127, f"there is no {words[0]}")
    return Said(done.returncode, done.stdout)


def must(said: Said, what: str) -> str:
    """What it said. Raises UpgradeError if it failed."""
    if said.code:
        end = "\n".join(said.text.strip().splitlines()[-SAID:])
        raise UpgradeError(f"{what} failed ({said.code}): {end}")
    return said.text


class Fields(NamedTuple):
    """What is asked of a package."""

    name: str
    version: str
    architecture: str
    kilobytes: int


def fields(run: Run, package: Path) -> Fields:
    """Of a file. Raises UpgradeError: it is no package of phloem's for this machine."""
    form = "--showformat=${Package}\n${Version}\n${Architecture}\n${Installed-Size}\n"
    text = must(run(["dpkg-deb", "--show", form, str(package)], QUIET), f"reading {package}")
    name, version, architecture, kilobytes = (text.splitlines() + [""] * 4)[:4]
    here = must(run(["dpkg", "--print-architecture"], QUIET), "dpkg").strip()
    if name != NAME:
        raise UpgradeError(f"{package} is a package of {name}, not of {NAME}")
    if architecture not in (here, "all"):
        raise UpgradeError(f"{package} is for {architecture}, and this machine is {here}")
    return Fields(name, version, architecture, int(kilobytes or 0))


def missing(run: Run, package: Path) -> list[str]:
    """What it depends on and what is not installed, which dpkg would say after it has replaced the files."""
    words = ["dpkg-deb", "--field", str(package), "Depends"]
    wanted = [
        part.strip() for part in must(run(words, QUIET), f"reading {package}").split(",") if part.strip()
    ]
    form = "--showformat=${db:Status-Status}\t${Package}\t${Version}\t${Provides}\n"
    have: dict[str, list[str]] = {}  # versions by name; "" where it is only provided
    for line in must(run(["dpkg-query", "--show", form], QUIET), "listing packages").splitlines():
        status, name, version, provides = (line.split("\t") + [""] * 4)[:4]
        if status == "installed":
            have.setdefault(name, []).append(version)
            for provided in _ALTERNATIVE.finditer(provides):
                have.setdefault(provided["name"], []).append(provided["version"] or "")
    return [group for group in wanted if not any(_has(run, have, each.strip()) for each in group.split("|"))]


def _has(run: Run, have: Mapping[str, Sequence[str]], alternative: str) -> bool:
    found = _ALTERNATIVE.fullmatch(alternative)
    if found is None:
        return True  # a form that is not known: dpkg will say
    versions = have.get(found["name"], ())
    if not found["version"]:
        return bool(versions)
    compare = ["dpkg", "--compare-versions"]
    return any(
        version and not run([*compare, version, found["relation"], found["version"]], QUIET).code
        for version in versions
    )


def installed(run: Run) -> str:
    """The version. Raises UpgradeError: it did not come as a package."""
    said = run(["dpkg-query", "--show", "--showformat=${Version}\n${db:Status-Abbrev}\n", NAME], QUIET)
    version, _, status = said.text.partition("\n")
    if said.code or not version or status.strip()[:1] not in "ihup":
        raise UpgradeError(
            "phloem is not installed as a Debian package here; a virtual environment is upgraded with pip, and then "
            "phloem install"
        )
    return version


def keep(run: Run, work: Path, to: Path) -> None:
    """The installed package as a file, on the disk when this returns; made of its files as they are. Raises
    UpgradeError and OSError."""
    stage = work / "old"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(mode=0o755)
    os.chmod(stage, 0o755)
    for line in must(
        run(["dpkg-query", "--listfiles", NAME], QUIET), "listing what is installed"
    ).splitlines():
        path = Path(line)
        if line.startswith("/") and path != Path("/"):
            _take(path, stage / line.lstrip("/"))
    control = stage / "DEBIAN"
    control.mkdir(mode=0o755)
    for line in must(run(["dpkg-query", "--control-path", NAME], QUIET), "its scripts").splitlines():
        path = Path(line)
        shutil.copy2(path, control / path.name.rpartition(".")[2])
    (control / "control").write_text(
        control_of(must(run(["dpkg-query", "--status", NAME], QUIET), "its description"))
    )
    made = to.with_suffix(".new")
    words = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(stage), str(made)]
    must(run(words, QUIET), "packing the installed version")
    durable(made)
    os.replace(made, to)
    durable(to.parent)
    shutil.rmtree(stage, ignore_errors=True)


def control_of(status: str) -> str:
    """A control file of what dpkg says of an installed package."""
    kept, skipping = [], False
    for line in status.splitlines():
        if not line.startswith(" "):
            skipping = line.partition(":")[0] in DATABASE_ONLY
        if line and not skipping:
            kept.append(line)
    return "\n".join(kept) + "\n"


def unpack(run: Run, package: Path, to: Path) -> None:
    """Its files in a folder of their own."""
    shutil.rmtree(to, ignore_errors=True)
    must(run(["dpkg-deb", "--extract", str(package), str(to)], QUIET), f"unpacking {package}")


def program_in(folder: Path) -> list[str]:
    """The words that run ``phloem`` out of an unpacked package. Raises UpgradeError."""
    command = folder / "usr/bin/phloem"
    try:
        line = next(line for line in command.read_text().splitlines() if line.startswith("exec "))
    except (OSError, StopIteration):
        raise UpgradeError(f"{command} does not say how phloem is run") from None
    words = [word for word in shlex.split(line)[1:] if word != "$@"]
    python, *rest = words
    if not os.access(python, os.X_OK):
        raise UpgradeError(f"the new version needs {python}, which is not there")
    return [python, *(f"{folder}{word}" if word.startswith("/") else word for word in rest)]


def install(run: Run, package: Path) -> None:
    """Files and scripts, nothing is started. Raises UpgradeError."""
    words = ["dpkg", "--force-confold", "--force-confdef", "--force-downgrade", "--install", str(package)]
    must(run(words, {**QUIET, **NO_START}), f"installing {package.name}")


def durable(path: Path) -> None:
    """What is in a file, or which files a folder has, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take(path: Path, to: Path) -> None:
    """Linked where that can be, which costs nothing; dpkg replaces files and never writes into them."""
    if path.is_dir() and not path.is_symlink():
        to.mkdir(parents=True, exist_ok=True)
        shutil.copystat(path, to)
    elif path.is_symlink():
        to.parent.mkdir(parents=True, exist_ok=True)
        to.symlink_to(os.readlink(path))
    elif path.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, to)
        except OSError:
            shutil.copy2(path, to)
