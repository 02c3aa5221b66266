"""A Debian package of phloem with every library that it needs: installs without a network on Debian 12 and what
follows it (Raspberry Pi OS 12), where Python is 3.11.

    python systemd/debian/build.py                                  for this machine, into dist/
    python systemd/debian/build.py --arch armhf                     for another: cross.py compiles what it needs
    python systemd/debian/build.py --arch all                       for each
    python systemd/debian/build.py --arch arm64 --wheel FILE.whl    with a wheel of phloem that was built for it

The libraries come as wheels, which are what their makers tested, as far as there are any. They lie beside phloem in
``/usr/lib/phloem`` and are nobody else's business: the system's Python packages are not touched, and none of them is
asked. ``/usr/share/doc/phloem/LIBRARIES`` in the package says which ones they are, and where they come from.
"""

import argparse
import hashlib
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple

from cross import PYTHON, TARGETS, BuildError, Workshop, run, specifiers

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
KEEP = ROOT / "build/cross"
LIBRARY = Path("usr/lib/phloem")
SCRIPTS = ("postinst", "prerm", "postrm")
EXTRAS = "nmea"


class Machine(NamedTuple):
    """What Debian's name of a machine is for others: Python's, and the oldest to newest C library of wheels."""

    python: str
    glibc: tuple[int, ...] = (5, 12, 17, 24, 26, 27, 28, 31, 34, 35, 36)

    @property
    def platforms(self) -> list[str]:
        """Tags of wheels that run there, in pip's words."""
        old = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
        names = [f"manylinux_2_{minor}" for minor in self.glibc] + list(old.values()) + ["linux"]
        return [f"{name}_{self.python}" for name in names]


MACHINES = {"amd64": Machine("x86_64"), "arm64": Machine("aarch64"), "armhf": Machine("armv7l")}


def source_copy(folder: Path) -> Path:
    """phloem's sources: in the tree there may be modules of an earlier build, and setuptools would take those too.

    What Cython makes of them stays there, so that one copy is enough for several kinds of machines.
    """
    left_out = shutil.ignore_patterns(
        ".*venv*", ".git", "build", "dist", "__pycache__", "*.egg-info", "*.so", "tests"
    )
    source = folder / "source"
    shutil.copytree(ROOT, source, symlinks=True, ignore=left_out)
    return source


def native_environment(base: dict[str, str], linker: str) -> dict[str, str]:
    """What compilers are told on a machine of the package's own kind; ``linker`` is Python's own way to link a module.

    A Python that was installed beside the system's has its folder in there, as a place where modules look for libraries
    first. On a device that place is nobody's, or somebody else's.
    """
    compiler, *words = shlex.split(linker)
    kept = [word for word in words if not word.startswith("-Wl,-rpath")]
    return {"LDSHARED": " ".join([base.get("CC", compiler), *kept]), **base}


def native_wheel(what: str | Path, to: Path) -> None:
    """A source folder, or what pip calls ``what``, compiled into a wheel in ``to``."""
    env = native_environment(dict(os.environ), sysconfig.get_config_var("LDSHARED"))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", to, what, env=env)


def own_wheel(source: Path, folder: Path) -> Path:
    """phloem compiled for this machine, in ``folder``.

    Raises:
        BuildError: This Python is not the one that the package is for.
    """
    have = f"{sys.version_info.major}.{sys.version_info.minor}"
    if have != PYTHON:
        raise BuildError(
            f"this is Python {have}, and the package is for {PYTHON}: run it with python{PYTHON}, or give --wheel"
        )
    native_wheel(source, folder)
    return next(folder.glob("phloem-*.whl"))


def native_libraries(arch: str, keep: Path) -> list[Path]:
    """The same as ``Workshop.libraries`` on a machine of that kind."""
    shelf = keep / arch / "native"
    for name, wanted in specifiers(TARGETS[arch].from_source, (ROOT / "pyproject.toml").read_text()).items():
        if not list(shelf.glob(f"{name}-*.whl")):
            print(f"compiling {name}", flush=True)
            native_wheel(wanted, shelf)
    return sorted(shelf.glob("*.whl"))


def wheels(arch: str, here: str, source: Path, folder: Path, keep: Path) -> tuple[Path, list[Path]]:
    """phloem compiled for ``arch`` on a machine that is ``here``, and libraries that have no public wheel for it.

    ``folder`` gets phloem's wheel; ``keep`` has what is there from the last time.

    Raises:
        BuildError: It cannot be compiled here.
    """
    if arch == here:
        print("compiling phloem", flush=True)
        return own_wheel(source, folder), native_libraries(arch, keep) if arch in TARGETS else []
    if arch not in TARGETS:
        raise BuildError(f"this machine is {here}: give --wheel with a wheel of phloem for {arch}")
    workshop = Workshop(arch, keep)
    workshop.prepare()
    print(f"compiling phloem for {arch}", flush=True)
    workshop.wheel(source, folder)
    return next(folder.glob("phloem-*.whl")), workshop.libraries((ROOT / "pyproject.toml").read_text())


def install(wheel: Path, extra: Iterable[Path], to: Path, machine: Machine) -> None:
    """phloem and its libraries as files.

    Raises:
        BuildError: A library has no wheel for that machine, and ``extra`` has none either.
    """
    words = ["--quiet", "--target", to, "--only-binary", ":all:", "--python-version", PYTHON]
    words += ["--implementation", "cp", "--no-compile", "--no-warn-conflicts"]
    for platform in machine.platforms:
        words += ["--platform", platform]
    for folder in sorted({path.parent for path in extra}):
        words += ["--find-links", folder]
    run(sys.executable, "-m", "pip", "install", *words, f"phloem[{EXTRAS}] @ {wheel.resolve().as_uri()}")
    shutil.rmtree(to / "bin", ignore_errors=True)
    for note in to.glob("*.dist-info/direct_url.json"):
        note.unlink()  # where the wheel lay on this machine
    run(sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", to, "-p",
        f"/{LIBRARY / 'python'}", to)  # fmt: skip


def origin(library: Distribution) -> str:
    """Where it comes from: a wheel that was compiled here has no tag of an old C library."""
    tags = [line[5:] for line in (library.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
    own = any("-linux_" in tag for tag in tags)
    return f"{'compiled from source' if own else 'PyPI'}, {' '.join(tags)}"


def listing(libraries: Iterable[Distribution]) -> str:
    """The package's libraries, one a line: name, version, where from."""
    lines = {f"{each.metadata['Name']} {each.version} ({origin(each)})" for each in libraries}
    return "\n".join(sorted(lines, key=str.lower)) + "\n"


def lay_out(stage: Path) -> None:
    """Everything that is not Python: the command, units, users, rules of udev, an example."""
    command = stage / "usr/bin/phloem"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec /usr/bin/python{PYTHON} -I /{LIBRARY}/start.py "$@"\n')
    command.chmod(0o755)
    start = stage / LIBRARY / "start.py"
    start.write_text((HERE / "start.py").read_text())
    source = {**os.environ, "PYTHONPATH": str(ROOT / ".src")}
    for role in ("edge", "hub"):
        packaged = ("--root", stage, "--packaged", "--program", "/usr/bin/phloem")
        run(sys.executable, "-m", "phloem", "install", role, *packaged, env=source)
    shutil.rmtree(stage / "etc")  # postinst writes what is the operator's, and enables what is to run
    documents = stage / "usr/share/doc/phloem"
    documents.mkdir(parents=True)
    shutil.copy2(ROOT / "LICENSE", documents / "copyright")
    shutil.copy2(ROOT / "CHANGELOG.md", documents / "NEWS")
    (documents / "LIBRARIES").write_text(listing(distributions(path=[str(stage / LIBRARY / "python")])))


def control(version: str, arch: str, stage: Path) -> str:
    """The package's description."""
    size = sum(path.stat().st_size for path in stage.rglob("*") if path.is_file() and not path.is_symlink())
    text = (HERE / "control").read_text()
    return text.format(version=version, arch=arch, kilobytes=-(-size // 1024), python=PYTHON)


def sums(stage: Path) -> str:
    """What ``dpkg --verify`` compares."""
    lines = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(stage)}"
        for path in sorted(stage.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.relative_to(stage).parts[0] != "DEBIAN"
    ]
    return "\n".join(lines) + "\n"


def build(arch: str, wheel: Path | None, extra: list[Path], source: Path, out: Path) -> Path:
    """The package. ``source`` is compiled if there is no ``wheel``.

    Raises:
        BuildError: It cannot be built.
    """
    here = run("dpkg", "--print-architecture").strip()
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder) / "stage"
        stage.mkdir(mode=0o755)
        if wheel is None:
            wheel, more = wheels(arch, here, source, Path(folder), KEEP)
            extra = [*extra, *more]
        print("taking its libraries", flush=True)
        install(wheel, extra, stage / LIBRARY / "python", MACHINES[arch])
        lay_out(stage)
        version = wheel.name.split("-")[1]
        debian = stage / "DEBIAN"
        debian.mkdir(mode=0o755)
        (debian / "control").write_text(control(version, arch, stage))
        (debian / "md5sums").write_text(sums(stage))
        for name in SCRIPTS:
            shutil.copyfile(HERE / name, debian / name)
            (debian / name).chmod(0o755)
        out.mkdir(parents=True, exist_ok=True)
        package = out / f"phloem_{version}_{arch}.deb"
        print("packing", flush=True)
        run(
            "dpkg-deb",
            "--root-owner-group",
            "-Zxz",
            "--build",
            stage,
            package,
            env={**os.environ, "LC_ALL": "C"},
        )
    return package


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Build a Debian package of phloem with all its libraries.")
    parser.add_argument("--arch", choices=[*sorted(MACHINES), "all"],
                        help="this machine's, if not given; all: one package for each")  # fmt: skip
    parser.add_argument("--wheel", type=Path, help="phloem compiled for that machine")
    parser.add_argument("--library", type=Path, action="append", default=[], metavar="FILE.whl",
                        help="a library that has no public wheel for that machine; may be given again")  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the package")
    wish = parser.parse_args()
    if wish.arch == "all" and wish.wheel:
        parser.error("a wheel is for one kind of machine")
    try:
        here = run("dpkg", "--print-architecture").strip()
        arches = sorted(MACHINES) if wish.arch == "all" else [wish.arch or here]
        with tempfile.TemporaryDirectory() as folder:
            source = source_copy(Path(folder))
            if wish.wheel is None:
                # Before anything is compiled: Cython makes C again when Cython is newer than what it made
                for arch in set(arches) & set(TARGETS) - {here}:
                    Workshop(arch, KEEP).prepare()
            for arch in arches:
                package = build(arch, wish.wheel, wish.library, source, wish.out)
                print(f"{package} ({package.stat().st_size / 1e6:.1f} MB)", flush=True)
    except (BuildError, OSError) as error:
        print(f"no package: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
