"""phloem's compiled modules with AddressSanitizer and UBSan, beside the ordinary ones, and the process that runs them.

A module is compiled again only when its C file changes: it is kept under ``build/sanitized/modules`` by its hash. C
files that are newer than their sources are taken from the tree. Two sets are built: ``QUICK``, with little work for a
compiler, for ``make test-long``; the whole, faster when it runs, for ``make fuzz``. The child is another Python with
libasan loaded first; it imports ``phloem`` from a folder of links to what was built and to Python files. Modules that
are not in the set are the ordinary ones there.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BUILDS = ROOT / "build" / "sanitized"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
QUICK = ("kernel/*.pyx", "wire/*.pyx")
WHOLE = ("*/*.pyx",)
FLAGS = (
    *("-shared", "-fPIC", "-g1", "-fwrapv", "-w", "-fno-omit-frame-pointer"),
    "-fsanitize=address,undefined",
    # AddressSanitizer sees these, and they are most of what UBSan costs
    "-fno-sanitize=null,object-size,pointer-overflow,nonnull-attribute,returns-nonnull-attribute",
    "-fno-sanitize-recover=undefined",
)
RSS_MB, ONE_MB = 2_000, 700  # memory of a child, and what it may ask for at once


class NoSanitizer(RuntimeError):
    """There is no compiler here, or it has no AddressSanitizer."""


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def _library() -> str:
    """libasan of the C compiler; it has to be there before Python is."""
    if shutil.which(_compiler()[-1]) is None:
        raise NoSanitizer("no C compiler")
    found = subprocess.run(
        [*_compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    path = found.stdout.strip()
    if not Path(path).is_absolute():
        raise NoSanitizer("the C compiler has no libasan.so")
    return path


def _hash(parts: Iterable[bytes]) -> str:
    h = hashlib.sha256(sys.version.encode() + _library().encode())
    for part in parts:
        h.update(part + b"\0")
    return h.hexdigest()[:16]


def build(*, whole: bool) -> Path:
    """The folder to put in front of the import path. Takes some seconds when something has changed, else nothing.

    One process builds at a time; the others wait and find it done.
    """
    _library()
    (BUILDS / "modules").mkdir(parents=True, exist_ok=True)
    with (BUILDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = sorted(
            p for end in ("*.py", "*.pyx", "*.pxd", "*.pxi") for p in ROOT.glob(f"shared/*/{end}")
        )
        names = [
            f"{p.parent.name}/{p.name}".encode() + (p.read_bytes() if p.suffix != ".py" else b"")
            for p in sources
        ]
        kind = "whole" if whole else "quick"
        made = BUILDS / f"{kind}-{_hash([Path(__file__).read_bytes(), *names])}"
        if not made.exists():
            for old in BUILDS.glob(f"{kind}-*"):
                shutil.rmtree(old)
            _build(made, WHOLE if whole else QUICK, "-O1" if whole else "-O0")
    return made


def _build(made: Path, wanted: tuple[str, ...], level: str) -> None:
    modules = sorted(
        p.relative_to(ROOT / "shared") for pattern in wanted for p in ROOT.glob(f"shared/{pattern}")
    )
    tree, new = BUILDS / "tree", BUILDS / "new"
    for folder in (tree, new):
        shutil.rmtree(folder, ignore_errors=True)
    _make_c(tree, modules)
    found = sorted(modules, key=lambda m: -(tree / "shared" / m.with_suffix(".c")).stat().st_size)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, memory >> 30))) as pool:  # as in setup.py
        compiled = dict(
            zip(found, pool.map(lambda m: _compile(tree / "shared" / m, level), found), strict=True)
        )
    _link(new / "phloem", compiled)
    shutil.rmtree(tree)
    new.rename(made)


def _make_c(tree: Path, modules: list[Path]) -> None:
    """A copy of the sources, where Cython makes those C files that are older than any source."""
    (tree / ".src").mkdir(parents=True)
    (tree / ".src" / "phloem").symlink_to("..")
    shutil.copy(ROOT / "setup.py", tree / "setup.py")
    for package in sorted(
        {p.parent for p in ROOT.glob("shared/*/*.pxd")} | {ROOT / "shared" / m.parent for m in modules}
    ):
        (tree / "shared" / package.name).mkdir(parents=True)
        for path in (*package.glob("*.pxd"), *package.glob("*.pxi"), package / "__init__.py"):
            shutil.copy2(path, tree / "shared" / package.name)
    (tree / "shared" / "__init__.py").touch()
    (tree / "__init__.py").touch()
    changed = max(p.stat().st_mtime for end in ("pyx", "pxd", "pxi") for p in ROOT.glob(f"shared/*/*.{end}"))
    for module in modules:
        shutil.copy2(ROOT / "shared" / module, tree / "shared" / module.parent)
        c = (ROOT / "shared" / module).with_suffix(".c")
        if c.exists() and c.stat().st_mtime > changed:
            shutil.copy(
                c, tree / "shared" / module.parent
            )  # newer than a Cython that was installed after it, too
    _run([sys.executable, "setup.py", "-q", "--version"], tree)  # evaluating setup.py is what makes them


def _compile(source: Path, level: str) -> Path:
    c = source.with_suffix(".c")
    flags = [*FLAGS, level, f"-I{sysconfig.get_path('include')}"]
    digest = _hash([c.read_bytes(), *(flag.encode() for flag in flags)])
    name = f"{source.parent.name}.{source.stem}{level}-"
    made = BUILDS / "modules" / f"{name}{digest}.so"
    if not made.exists():
        for old in made.parent.glob(f"{name}*.so"):
            old.unlink()
        half = made.with_suffix(".half")
        _run([*_compiler(), *flags, "-o", str(half), str(c)], source.parent)
        half.rename(made)
    return made


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the sanitized build failed:\n{done.stdout[-4_000:]}{done.stderr[-4_000:]}")


def _link(package: Path, compiled: dict[Path, Path]) -> None:
    """The package as it is in the tree, with the modules that were built."""
    (package / "shared").mkdir(parents=True)
    for path in (ROOT / ".src" / "phloem").iterdir():
        if path.name != "shared":
            (package / path.name).symlink_to(path)
    for path in (ROOT / "shared").iterdir():
        if not any(path.glob("*.pyx")):
            (package / "shared" / path.name).symlink_to(path)
            continue
        (package / "shared" / path.name).mkdir()
        for file in path.iterdir():
            if file.suffix == ".py":
                (package / "shared" / path.name / file.name).symlink_to(file)
            elif file.suffix == ".pyx":
                module = Path(path.name, file.name)
                ordinary = file.with_name(file.stem + SUFFIX)
                there = package / "shared" / path.name / ordinary.name
                there.symlink_to(compiled.get(module, ordinary))


def child(*arguments: str, whole: bool) -> subprocess.Popen[str]:
    """Python with the sanitized modules, running ``python -m tests.fuzz.child``; its messages come over stdout."""
    asan = (
        "detect_leaks=0:abort_on_error=1:allocator_may_return_null=0:detect_stack_use_after_return=1"
        f":hard_rss_limit_mb={RSS_MB}:max_allocation_size_mb={ONE_MB}"
    )
    env = {
        **os.environ,
        "LD_PRELOAD": _library(),
        "PYTHONPATH": os.pathsep.join((str(build(whole=whole)), str(ROOT))),
        "PYTHONMALLOC": "malloc",
        "PYTHONHASHSEED": "0",
        "ASAN_OPTIONS": asan,
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
