"""A bare Debian 12 of any kind of machine in a folder, and programs inside it: without a network, in namespaces of
their own, so that nothing of them is left when they end.

Needs root, ``debootstrap``, and for a foreign machine ``qemu-user-static`` with its entries in binfmt_misc.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tests.support.programs import ProgramError, output
from tests.support.real_server import BINARY

MIRROR = "http://deb.debian.org/debian"
INCLUDED = "python3,systemd"  # as in any Debian that was installed; minbase alone has less
# Everything in Python, so that one wheel is for every machine; of hypothesis that are not the newest versions
TEST_LIBRARIES = (
    "hypothesis>=6.100",
    *(
        f"{name}=={version(name)}"
        for name in (
            "pymodbus",
            "pytest",
            "pytest-asyncio",
            "pytest-rerunfailures",
            "pytest-timeout",
            "pytest-xdist",
        )
    ),
)
FROM_SOURCE = f"nkeys=={version('nkeys')}"  # published as source alone, and what it needs is in the package
HOME = Path("opt/phloem-tests")
STOPPED = TOO_LONG, INTERRUPTED = 124, 130  # how a program ended that was not left to its end
MOUNTS = """\
set -e
ip link set lo up
mount --bind /dev "$ROOT/dev"
mkdir -p "$ROOT/dev/pts" "$ROOT/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$ROOT/dev/pts"
mount -t tmpfs tmpfs "$ROOT/dev/shm"
mount -t sysfs sysfs "$ROOT/sys" || true
exec chroot "$ROOT" "$@"
"""
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}


_output = partial(output, packages="debootstrap qemu-user-static util-linux iproute2")


class MachineError(ProgramError):
    """There is no such machine here; the text says why."""


def packages_architecture(package: Path) -> str:
    """What kind of machine a package is for. Raises ProgramError."""
    return _output("dpkg-deb", "--field", package, "Architecture").strip()


class Machine:
    """One of kind ``arch`` in the folder ``root``, made if it is not there."""

    def __init__(self, arch: str, root: Path) -> None:
        self.arch, self.root = arch, root.resolve()
        if os.geteuid():
            raise MachineError("only root can make a Debian, and run programs in it")
        if not (self.root / "usr/bin/python3.11").exists():
            _output(
                "debootstrap",
                f"--arch={arch}",
                "--variant=minbase",
                f"--include={INCLUDED}",
                "bookworm",
                self.root,
                MIRROR,
            )

    def command(self, *words: str, **environment: str) -> list[str]:
        """What runs a program inside: no network, its own processes, which end with it."""
        inside = [f"{name}={value}" for name, value in {**ENVIRONMENT, **environment}.items()]
        unshare = [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            f"--mount-proc={self.root}/proc",
        ]
        return [
            "env",
            "-i",
            f"ROOT={self.root}",
            f"PATH={ENVIRONMENT['PATH']}",
            *unshare,
            "sh",
            "-c",
            MOUNTS,
            "sh",
            "env",
            *inside,
            *words,
        ]

    def run(
        self, *words: str, log: Path, timeout_s: float | None = None, **environment: str
    ) -> tuple[int, str]:
        """How it ended (or one of ``STOPPED``) and what it printed, which is added to ``log`` as well."""
        with log.open("a") as file:
            file.write(f"$ {shlex.join(words)}\n")
        begin = log.stat().st_size
        with log.open("a") as file:
            process = subprocess.Popen(
                self.command(*words, **environment), stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
            try:
                code = process.wait(timeout_s)
            except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
                process.kill()
                process.wait()
                code = TOO_LONG if isinstance(error, subprocess.TimeoutExpired) else INTERRUPTED
        with log.open(errors="replace") as file:
            file.seek(begin)
            return code, file.read()

    def install(self, package: Path, log: Path) -> str:
        """The package, as on a machine without a network. Raises MachineError."""
        shutil.copy(package, self.root / "tmp/phloem.deb")
        code, said = self.run("dpkg", "-i", "/tmp/phloem.deb", log=log, DEBIAN_FRONTEND="noninteractive")
        if code:
            raise MachineError(f"dpkg -i: {said[-1500:]}")
        return said

    def furnish(self, tree: Path) -> None:
        """Tests and what they need, beside the package. Raises MachineError."""
        home = self.root / HOME
        self._libraries(tree, home / "lib")
        for old in home.iterdir():
            if old.is_dir() and old.name != "lib":
                shutil.rmtree(old)
        listed = _output("git", "-C", tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for name in listed.split("\0"):
            # A link's file, too: units have some. Those of .src are to folders
            if name and (tree / name).is_file():
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(tree / name, home / name)
        # Statically linked, so that this machine's own runs there: the peer of tests, not what is tested
        shutil.copy2(BINARY, self.root / "usr/bin/nats-server")
        hosts = "127.0.0.1 localhost\n::1 localhost\n"  # no installer has written them
        (self.root / "etc/hosts").write_text(hosts)
        self._precompile(home / "tests")

    def _libraries(self, tree: Path, to: Path) -> None:
        if (to / "complete").exists():
            return
        shutil.rmtree(to.parent, ignore_errors=True)
        to.mkdir(parents=True)
        pip = (tree / ".venv/bin/python", "-m", "pip")
        words = ["--quiet", "--no-compile", "--target", to, "--only-binary", ":all:"]
        words += ["--python-version", "3.11", "--implementation", "py", "--abi", "none", "--platform", "any"]
        _output(*pip, "install", *words, *TEST_LIBRARIES)
        with tempfile.TemporaryDirectory() as wheels:
            _output(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, FROM_SOURCE)
            for wheel in Path(wheels).glob("*.whl"):
                shutil.unpack_archive(wheel, to, "zip")
        self._precompile(to)
        (to / "complete").touch()

    def _precompile(self, folder: Path) -> None:
        """The same byte code as there, and here it costs a tenth; what cannot be compiled is not imported."""
        if sys.version_info[:2] == (3, 11):
            words = [sys.executable, "-m", "compileall", "-q", "-s", str(self.root), str(folder)]
            subprocess.run(words, check=False)
