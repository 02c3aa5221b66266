"""The kernel with AddressSanitizer and UBSan, built beside the ordinary one, and the process that runs it.

The build is kept under ``build/sanitized/<hash of the sources>`` and made again only when they change. The child is
another Python with libasan loaded first; it imports ``phloem`` from the kept build, whose Python files are links.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
KERNEL = ROOT / "shared" / "kernel"
BUILDS = ROOT / "build" / "sanitized"
SOURCES = ("*.pyx", "*.pxd", "*.pxi")


class NoSanitizer(RuntimeError):
    """There is no compiler here, or it has no AddressSanitizer."""


def _library() -> str:
    """libasan of the C compiler; it has to be there before Python is."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise NoSanitizer("no C compiler")
    found = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    path = found.stdout.strip()
    if not Path(path).is_absolute():
        raise NoSanitizer("the C compiler has no libasan.so")
    return path


def _digest() -> str:
    h = hashlib.sha256(sys.version.encode())
    for path in [ROOT / "setup.py", *sorted(p for pattern in SOURCES for p in KERNEL.glob(pattern))]:
        h.update(path.name.encode() + b"\0" + path.read_bytes())
    return h.hexdigest()[:16]


def build() -> Path:
    """The folder to put in front of the import path. Takes about 20 s when something has changed, else nothing.

    One process builds at a time; the others wait and find it done.
    """
    _library()
    BUILDS.mkdir(parents=True, exist_ok=True)
    with (BUILDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(BUILDS / _digest())


def _build(made: Path) -> Path:
    if (made / "done").exists():
        return made / "lib"
    shutil.rmtree(made, ignore_errors=True)
    tree = made / "tree"
    (tree / ".src").mkdir(parents=True)
    shutil.copytree(ROOT / ".src" / "phloem", tree / ".src" / "phloem", symlinks=True)
    shutil.copy(ROOT / "setup.py", tree / "setup.py")
    (tree / "shared").mkdir()
    (tree / "shared" / "__init__.py").touch()
    shutil.copytree(
        KERNEL, tree / "shared" / "kernel", ignore=shutil.ignore_patterns("*.c", "*.so", "__pycache__")
    )
    command = [sys.executable, "setup.py", "-q", "build_ext", "--parallel", "2"]
    env = {**os.environ, "PHLOEM_SANITIZE": "1"}
    done = subprocess.run(
        [*command, "--build-lib", str(made / "lib"), "--build-temp", str(made / "tmp")],
        cwd=tree,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the sanitized build failed:\n{done.stdout}{done.stderr}")
    _link_python(made / "lib" / "phloem")
    shutil.rmtree(tree)
    shutil.rmtree(made / "tmp", ignore_errors=True)
    (made / "done").touch()
    for old in BUILDS.iterdir():
        if old != made and old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
    return made / "lib"


def _link_python(package: Path) -> None:
    """Only what the kernel itself needs: the packages above it are empty."""
    (package / "__init__.py").touch()
    (package / "shared" / "__init__.py").touch()
    for source in KERNEL.glob("*.py"):
        (package / "shared" / "kernel" / source.name).symlink_to(source)


def child(*arguments: str) -> subprocess.Popen[str]:
    """Python with the sanitized kernel, running ``python -m tests.fuzz.child``; its messages come over stdout."""
    env = {
        **os.environ,
        "LD_PRELOAD": _library(),
        "PYTHONPATH": os.pathsep.join((str(build()), str(ROOT))),
        "PYTHONMALLOC": "malloc",
        "PYTHONHASHSEED": "0",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=0:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.fuzz.child", *arguments],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
