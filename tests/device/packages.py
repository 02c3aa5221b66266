"""Packages that differ from one that is there: a later version, and versions that do not serve."""

import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.support.programs import output

LIBRARY = "usr/lib/phloem/python"
AS_SERVICE = 'import os, time\n\nif "NOTIFY_SOCKET" in os.environ:\n    {does}\n'
"""What no look before it is installed can see: whoever starts it by hand finds it well."""
ENDS = AS_SERVICE.format(does='raise SystemExit("this version ends when it is started as a service")')
HANGS = AS_SERVICE.format(does="time.sleep(1e6)")
FALLS = 'raise SystemExit("this version ends whoever starts it")\n'

run = partial(output, packages="dpkg")
"""What a program prints. Raises ProgramError."""


def version_of(package: Path) -> str:
    """As dpkg has it. Raises ProgramError."""
    return run("dpkg-deb", "--field", package, "Version").strip()


def again(package: Path, to: Path, version: str, begins_with: str = "") -> Path:
    """``to``: the same package as another version, whose program does this first. Raises ProgramError."""
    stage = to.with_suffix(".stage")
    shutil.rmtree(stage, ignore_errors=True)
    run("dpkg-deb", "--raw-extract", package, stage)
    (stage / "DEBIAN/md5sums").unlink(missing_ok=True)  # dpkg makes them itself
    _change(stage / "DEBIAN/control", lambda text: re.sub(r"(?m)^Version: .*$", f"Version: {version}", text))
    its = stage / LIBRARY / "phloem/__init__.py"
    _change(its, lambda text: re.sub(r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"', text))
    words = ("-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash")
    run(sys.executable, *words, "-s", stage, "-p", "/", its)
    _change(stage / "usr/lib/phloem/start.py", lambda text: begins_with + text)
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", stage, to)
    shutil.rmtree(stage)
    return to


def _change(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))
