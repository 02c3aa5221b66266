"""Compiled for a machine of another kind: phloem itself, and libraries that have no public wheel for it.

Debian's cross compiler does the work, with the headers of Debian's own Python for that machine. Those come through apt,
with lists of its own below ``build/cross``: the system's apt is asked nothing new, no architecture is added to it, and
nobody has to be root. A library is compiled from what its makers publish as source, in the newest version that phloem's
``pyproject.toml`` allows.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PYTHON = "3.11"  # Debian 12's; compiled modules are for one version
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCES = f"deb [signed-by={KEYRING}] http://deb.debian.org/debian bookworm main\n"
HEADERS = (
    f"libpython{PYTHON}-dev",
    f"libpython{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libffi-dev",
    "libffi8",
)
TOOLS = ("Cython>=3.1,<4", "cffi>=2", "packaging", "patch-ng", "setuptools>=80", "setuptools-scm>=8", "wheel")


class BuildError(Exception):
    """It cannot be built; the text says what to do."""


class Target(NamedTuple):
    """A machine that is compiled for: GNU's name of it and Python's, and libraries without a wheel for it."""

    triplet: str
    platform: str
    from_source: tuple[str, ...] = ()

    @property
    def compiler(self) -> str:
        """The program."""
        return f"{self.triplet}-gcc"


# armhf: what has no wheel for armv7l at PyPI (2026-11); cffi is what PyNaCl and cryptography need
TARGETS = {
    "arm64": Target("aarch64-linux-gnu", "linux-aarch64"),
    "armhf": Target(
        "arm-linux-gnueabihf",
        "linux-armv7l",
        ("cffi", "lmdb", "msgspec", "pynacl", "regex", "zstandard"),
    ),
}
OPTIMISED = "-O2 -g0 -DNDEBUG -fno-strict-overflow -fPIC"
OPTIONS = {"zstandard": ("--no-cffi-backend",)}  # of a library's setup.py: one backend is enough
BESIDES = {"cffi": "cffi>=2"}  # needed by what is needed, so that it is not in pyproject.toml


def run(*words: str | Path, **more: object) -> str:
    """What a program prints.

    Raises:
        BuildError: It failed, with the end of what it said, or is not there.
    """
    try:
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=False, **more
        )  # type: ignore[call-overload]
    except FileNotFoundError:
        raise BuildError(f"{words[0]} is missing") from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-8:]
        raise BuildError(f"{words[0]} failed:\n" + "\n".join(said))
    return str(done.stdout)


def missing(target: Target, which: "shutil._which" = shutil.which) -> list[str]:  # type: ignore[name-defined]
    """Debian's packages that have to be installed first."""
    needed = {target.compiler: f"gcc-{target.triplet}", "apt-get": "apt", "make": "make"}
    return [package for program, package in needed.items() if which(program) is None]


def apt_options(folder: Path, arch: str) -> list[str]:
    """apt with everything of its own in ``folder``, as on a machine of the kind ``arch`` that has nothing installed."""
    settings = {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Sandbox::User": "root",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def specifiers(names: Iterable[str], pyproject: str) -> dict[str, str]:
    """What pip is asked for, by name: as ``pyproject.toml`` says, or ``BESIDES``."""
    declared = {}
    for text in tomllib.loads(pyproject)["project"]["dependencies"]:
        name = text.split(">")[0].split("=")[0].split("<")[0].strip()
        declared[name] = text
    return {name: declared.get(name) or BESIDES[name] for name in names}


def environment(target: Target, root: Path, base: dict[str, str], ccache: bool = False) -> dict[str, str]:
    """What a build has to see so that Python's own tools compile for ``target``, whose headers lie in ``root``.

    The headers' place comes first on the command line: of this machine's that stand behind it none is found.
    Python's own flags are not asked when there are others, so that those that matter are here: ``-O2``, and
    ``-DNDEBUG``, without which its headers' assertions are compiled in, each with its place on this machine.
    ``host_alias`` says the same to configure scripts. Offsets of files are 64 bits wide on every machine.
    """
    data = f"_sysconfigdata__{target.triplet}"
    library = root / "usr/lib" / target.triplet
    include = root / "usr/include"
    compiler = ("ccache " if ccache else "") + target.compiler
    flags = f"-I{include}/python{PYTHON} -I{include} -I{include}/{target.triplet} {OPTIMISED}"
    return {
        **base,
        "_PYTHON_HOST_PLATFORM": target.platform,
        "_PYTHON_SYSCONFIGDATA_NAME": data,
        "PYTHONPATH": str(root / "sysconfig"),
        "CC": compiler,
        "LDSHARED": f"{compiler} -shared -Wl,-O1 -Wl,-z,relro",
        "CFLAGS": f"{flags} -D_FILE_OFFSET_BITS=64 -D_LARGEFILE_SOURCE",
        "LDFLAGS": f"-L{library}",
        "PKG_CONFIG_LIBDIR": str(library / "pkgconfig"),
        "PKG_CONFIG_SYSROOT_DIR": str(root),
        "host_alias": target.triplet,
        "SODIUM_INSTALL": "bundled",
        "LIBSODIUM_MAKE_ARGS": "TESTS= check_PROGRAMS=",  # its own tests are programs for that machine
    }


class Workshop:
    """Where things are compiled for one kind of machine; what it has fetched stays in ``folder`` for the next time."""

    def __init__(self, arch: str, folder: Path) -> None:
        self.arch = arch
        self.target = TARGETS[arch]
        self.folder = folder / arch
        self._tools = folder / "tools"

    def prepare(self) -> None:
        """Fetch headers and build tools, once.

        Raises:
            BuildError: A program is missing, or the network.
        """
        if packages := missing(self.target):
            raise BuildError(f"to compile for {self.arch}: apt-get install {' '.join(packages)}")
        if not (self.folder / "done").exists():
            self._headers()
            (self.folder / "done").touch()
        if not (self._tools / "done").exists():
            run(sys.executable, "-m", "venv", self._tools)
            run(self._tools / "bin/python", "-m", "pip", "install", "--quiet", *TOOLS)
            (self._tools / "done").touch()

    def _headers(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("lists/partial", "cache/archives/partial", "packages", "root/sysconfig"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "sources.list").write_text(SOURCES)
        (self.folder / "status").touch()
        options = apt_options(self.folder, self.arch)
        run("apt-get", *options, "update")
        run("apt-get", *options, "download", *HEADERS, cwd=self.folder / "packages")
        for package in (self.folder / "packages").glob("*.deb"):
            run("dpkg-deb", "--extract", package, self.folder / "root")
        name = f"_sysconfigdata__{self.target.triplet}.py"
        shutil.copy(self.folder / "root/usr/lib" / f"python{PYTHON}" / name, self.folder / "root/sysconfig")
        shutil.rmtree(self.folder / "lists")

    def wheel(self, what: str | Path, to: Path, options: Iterable[str] = ()) -> None:
        """Compile a source folder, or what pip calls ``what``, into a wheel in ``to``.

        Raises:
            BuildError: It failed.
        """
        words = ["--quiet", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--wheel-dir", to]
        words += [f"--config-settings=--global-option={option}" for option in options]
        base = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
        env = environment(self.target, self.folder / "root", base, shutil.which("ccache") is not None)
        run(self._tools / "bin/python", "-m", "pip", "wheel", *words, what, env=env)

    def libraries(self, pyproject: str) -> list[Path]:
        """Wheels of what has none for this machine; those that are there from the last time are taken again."""
        shelf = self.folder / "wheels"
        shelf.mkdir(exist_ok=True)
        for name, wanted in specifiers(self.target.from_source, pyproject).items():
            if not list(shelf.glob(f"{name}-*.whl")):
                print(f"compiling {name} for {self.arch}", flush=True)
                self.wheel(wanted, shelf, OPTIONS.get(name, ()))
        return sorted(shelf.glob("*.whl"))
