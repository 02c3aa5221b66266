"""What the package's build decides: which machine is compiled for, with what, and what is said of the libraries."""

import importlib.util
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[3] / "systemd/debian"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """``cross`` and ``build``, which are no part of a package."""
    found = {}
    for name in ("cross", "build"):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        found[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    yield found
    for name in found:
        del sys.modules[name]


@pytest.fixture
def cross(modules: dict[str, ModuleType]) -> ModuleType:
    """How things are compiled for another machine."""
    return modules["cross"]


@pytest.fixture
def build(modules: dict[str, ModuleType]) -> ModuleType:
    """The package."""
    return modules["build"]


def test_what_is_missing_is_named_as_debian_names_it(cross: ModuleType) -> None:
    target = cross.TARGETS["armhf"]
    assert cross.missing(target, lambda program: None) == ["gcc-arm-linux-gnueabihf", "apt", "make"]
    assert cross.missing(target, lambda program: f"/usr/bin/{program}") == []


def test_nothing_is_fetched_without_a_compiler(
    cross: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(cross.BuildError, match="apt-get install gcc-aarch64-linux-gnu apt make"):
        cross.Workshop("arm64", tmp_path).prepare()
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_a_compiler_is_said_to_be_that(build: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(build.BuildError, match="this machine is arm64: give --wheel"):
        build.wheels("amd64", "arm64", tmp_path, tmp_path, tmp_path)


def test_apt_looks_at_nothing_of_the_systems(cross: ModuleType, tmp_path: Path) -> None:
    options = cross.apt_options(tmp_path, "armhf")
    assert options[::2] == ["-o"] * (len(options) // 2)
    settings = dict(option.split("=") for option in options[1::2])
    assert settings["APT::Architectures"] == "armhf"
    places = {value for name, value in settings.items() if name.startswith("Dir::")}
    assert all(place == "/dev/null" or place.startswith(str(tmp_path)) for place in places)


def test_libraries_are_asked_for_as_phloem_declares_them(cross: ModuleType) -> None:
    project = '[project]\ndependencies = ["lmdb>=3.0,<4", "regex>=2024.5", "click"]\n'
    assert cross.specifiers(("lmdb", "cffi"), project) == {"lmdb": "lmdb>=3.0,<4", "cffi": "cffi>=2"}
    with pytest.raises(KeyError):
        cross.specifiers(("unknown",), project)


@pytest.mark.parametrize("arch", ["arm64", "armhf"])
def test_every_library_from_source_is_declared(cross: ModuleType, arch: str) -> None:
    names = cross.TARGETS[arch].from_source
    project = (FOLDER.parents[1] / "pyproject.toml").read_text()
    assert list(cross.specifiers(names, project)) == list(names)


def test_a_build_sees_the_other_machines_headers_first(cross: ModuleType, tmp_path: Path) -> None:
    env = cross.environment(cross.TARGETS["armhf"], tmp_path, {"PATH": "/usr/bin", "CFLAGS": "-march=native"})
    assert env["CC"] == "arm-linux-gnueabihf-gcc"
    assert env["CFLAGS"].split()[0] == f"-I{tmp_path}/usr/include/python3.11"
    assert "-march=native" not in env["CFLAGS"]
    assert {"-D_FILE_OFFSET_BITS=64", "-DNDEBUG", "-O2"} <= set(env["CFLAGS"].split())
    assert env["_PYTHON_HOST_PLATFORM"] == "linux-armv7l"
    assert env["_PYTHON_SYSCONFIGDATA_NAME"] == "_sysconfigdata__arm-linux-gnueabihf"
    assert env["PATH"] == "/usr/bin"
    cached = cross.environment(cross.TARGETS["arm64"], tmp_path, {}, ccache=True)
    assert cached["CC"] == "ccache aarch64-linux-gnu-gcc"
    assert cached["LDSHARED"].startswith("ccache aarch64-linux-gnu-gcc -shared")


def test_modules_look_for_nothing_where_the_builders_python_is(build: ModuleType) -> None:
    linker = "gcc -pthread -shared -L/home/a/lib -Wl,-rpath,/home/a/lib -Wl,-O1"
    assert build.native_environment({"PATH": "/bin"}, linker) == {
        "PATH": "/bin",
        "LDSHARED": "gcc -pthread -shared -L/home/a/lib -Wl,-O1",
    }
    assert build.native_environment({"CC": "ccache gcc"}, linker)["LDSHARED"].startswith(
        "ccache gcc -pthread"
    )
    assert build.native_environment({"LDSHARED": "ld"}, linker) == {"LDSHARED": "ld"}


def test_every_machine_has_wheels_tags_of_its_own(build: ModuleType) -> None:
    assert "manylinux_2_31_armv7l" in build.MACHINES["armhf"].platforms
    assert "manylinux2014_aarch64" in build.MACHINES["arm64"].platforms
    assert not any(tag.startswith("manylinux_2_37") for tag in build.MACHINES["armhf"].platforms)


def test_the_package_says_where_its_libraries_come_from(build: ModuleType, tmp_path: Path) -> None:
    for name, version, tags in (
        ("Lmdb", "3.0.0", ["cp311-cp311-linux_armv7l"]),
        ("bcrypt", "5.0.0", ["cp39-abi3-manylinux_2_28_armv7l", "cp39-abi3-manylinux_2_31_armv7l"]),
    ):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "WHEEL").write_text("Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags))
    assert build.listing(distributions(path=[str(tmp_path)])).splitlines() == [
        "bcrypt 5.0.0 (PyPI, cp39-abi3-manylinux_2_28_armv7l cp39-abi3-manylinux_2_31_armv7l)",
        "Lmdb 3.0.0 (compiled from source, cp311-cp311-linux_armv7l)",
    ]
