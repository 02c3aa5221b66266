"""The wheel: what is in it, and that what was installed from it runs by itself.

It is built from a copy of the sources, so that the tree stays as it is, and with the kernel's compiled modules that
the tests run with: whether the compiler works has been seen by then, and a minute is saved.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 170
TREE = (
    ".src",
    "shared",
    "edge",
    "hub",
    "firmware_bridge",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
)
COMPILED = [
    path.parent for path in (ROOT / "shared").glob("*/__init__.py") if list(path.parent.glob("*.pyx"))
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(TIMEOUT_S), pytest.mark.xdist_group("wheel")]


def run(*argv: str | Path, cwd: Path, **env: str) -> str:
    """What a program prints; it has to end well."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_of_the_sources(to: Path) -> None:
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
            shutil.copytree(source, to / name, symlinks=True, ignore=ignored)
        elif source.exists():
            shutil.copy2(source, to / name)
    for generated in (to / "shared").glob("*/*.c"):
        generated.touch()  # else Cython, installed after them, makes them again
    build = to / "build" / f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}" / "phloem"
    for folder in COMPILED:
        built = build / folder.relative_to(ROOT)
        built.mkdir(parents=True)
        for module in folder.glob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"):
            shutil.copy(module, built)  # newer than its source: taken as it is


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    copy_of_the_sources(sources)
    tools = all(importlib.util.find_spec(name) for name in ("Cython", "setuptools"))
    isolation = ["--no-build-isolation"] if tools else []
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check")
    run(*pip, *isolation, "--wheel-dir", folder, ".", cwd=sources)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder with the wheel's content and nothing else; dependencies are those of this environment."""
    target = wheel.parent / "installed"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--disable-pip-version-check", "--target", target, wheel, cwd=wheel.parent)
    return target


def test_content(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    (info,) = {name.split("/")[0] for name in names} - {"phloem"}
    assert info.startswith("phloem-")
    assert info.endswith(".dist-info")
    assert "phloem/py.typed" in names
    assert {"phloem/shared/kernel/reactor.pyi", "phloem/shared/kernel/sublist.pyi"} <= set(names)
    suffixes = {Path(name).suffix for name in names if name.startswith("phloem/")}
    # The last ones are what phloem install writes
    assert suffixes == {".py", ".pyi", ".so", ".typed"} | {".conf", ".rules", ".service", ".socket"}


def test_every_module_of_the_sources_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    folders = ("shared", "edge", "hub", "firmware_bridge")
    wanted = {
        f"phloem/{path.relative_to(ROOT)}"
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "boards" not in path.parts  # for microcontrollers
    }
    modules = {path.stem for folder in COMPILED for path in folder.glob("*.pyx")}
    assert wanted <= names
    assert {Path(name).name.split(".")[0] for name in names if name.endswith(".so")} == modules


def test_the_kernel_is_the_installed_one(installed: Path) -> None:
    program = (
        "import phloem.shared.kernel as kernel, phloem.shared.kernel.reactor as reactor, phloem\n"
        "print(kernel.BUILD, reactor.__file__, phloem.__file__, sep='\\n')"
    )
    printed = run(sys.executable, "-c", program, cwd=installed.parent, PYTHONPATH=str(installed))
    build, *files = printed.splitlines()
    assert build == "compiled"
    assert all(Path(file).is_relative_to(installed) for file in files), files


def test_the_command_runs(installed: Path) -> None:
    printed = run(installed / "bin" / "phloem", "--version", cwd=installed.parent, PYTHONPATH=str(installed))
    version, build = printed.splitlines()
    assert version.split()[0] == "phloem"
    assert build == "kernel: compiled"


def test_an_installed_server_serves(installed: Path) -> None:
    program = """
import asyncio, phloem
async def main():
    async with phloem.Server({"host": "127.0.0.1", "port": -1}) as server:
        nc = await server.connect()
        inbox = await nc.subscribe("a")
        await nc.publish("a", b"arrived")
        print((await inbox.next_msg(timeout=5)).data.decode())
        await nc.close()
asyncio.run(main())
"""
    assert run(sys.executable, "-c", program, cwd=installed.parent, PYTHONPATH=str(installed)) == "arrived\n"
