"""Debian packages: the installed one as a file again, and what is refused."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from phloem.edge.upgrade import package
from phloem.edge.upgrade.machine import UpgradeError
from phloem.edge.upgrade.package import Said

needs_dpkg = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed (a Debian system has it)"
)

STATUS = """\
Package: phloem
Status: install ok installed
Conffiles:
 /etc/phloem/x 0123
Version: 0.4.0
Architecture: all
Maintainer: nobody <nobody@example.invalid>
Description: one line
 and another
 .
"""


def make(folder: Path, name: str = "phloem", architecture: str = "all", version: str = "0.4.0") -> Path:
    stage = folder / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    (stage / "DEBIAN").mkdir(parents=True)
    (stage / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nInstalled-Size: 12\n"
        "Maintainer: nobody <nobody@example.invalid>\nDescription: one line\n"
    )
    command = stage / "usr/bin/phloem"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\nexec /bin/sh -e /usr/lib/phloem/start.py "$@"\n')
    made = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--build", stage, made], check=True, capture_output=True)
    return made


@needs_dpkg
def test_what_a_package_says_of_itself(tmp_path: Path) -> None:
    found = package.fields(package.run_program, make(tmp_path))
    assert found == package.Fields("phloem", "0.4.0", "all", 12)


@needs_dpkg
@pytest.mark.parametrize(
    ("name", "architecture", "text"),
    [("nano", "all", "a package of nano"), ("phloem", "s390x", "is for s390x, and this machine is")],
)
def test_what_is_refused(tmp_path: Path, name: str, architecture: str, text: str) -> None:
    with pytest.raises(UpgradeError, match=text):
        package.fields(package.run_program, make(tmp_path, name, architecture))


@needs_dpkg
def test_what_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_text("no package")
    with pytest.raises(UpgradeError, match=r"reading .*x\.deb failed"):
        package.fields(package.run_program, tmp_path / "x.deb")


@needs_dpkg
def test_the_program_of_an_unpacked_package(tmp_path: Path) -> None:
    package.unpack(package.run_program, make(tmp_path), tmp_path / "new")
    assert package.program_in(tmp_path / "new") == [
        "/bin/sh",
        "-e",
        f"{tmp_path}/new/usr/lib/phloem/start.py",
    ]
    command = tmp_path / "new/usr/bin/phloem"
    command.write_text('#!/bin/sh\nexec /usr/bin/python9.9 "$@"\n')
    with pytest.raises(UpgradeError, match=r"needs /usr/bin/python9\.9"):
        package.program_in(tmp_path / "new")
    command.write_text("#!/bin/sh\n")
    with pytest.raises(UpgradeError, match="does not say"):
        package.program_in(tmp_path / "new")


@needs_dpkg
def test_the_installed_package_as_a_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "lib").mkdir(parents=True)
    (root / "lib/file").write_text("as it is now")
    (root / "lib/link").symlink_to("file")
    scripts = tmp_path / "info"
    scripts.mkdir()
    for name in ("phloem:all.postinst", "phloem.md5sums"):
        (scripts / name).write_text("#!/bin/sh\n")
        (scripts / name).chmod(0o755)
    answers = {
        "--listfiles": "\n".join(
            ["/.", f"{root}/lib", f"{root}/lib/file", f"{root}/lib/link", f"{root}/gone"]
        ),
        "--control-path": "\n".join(str(path) for path in scripts.iterdir()),
        "--status": STATUS,
    }

    def run(words: Sequence[str], more: Mapping[str, str]) -> Said:
        return Said(0, answers[words[1]]) if words[0] == "dpkg-query" else package.run_program(words, more)

    work = tmp_path / "work"
    work.mkdir()
    package.keep(run, work, work / "old.deb")
    assert [path.name for path in work.iterdir()] == ["old.deb"]
    assert package.fields(package.run_program, work / "old.deb")[:3] == ("phloem", "0.4.0", "all")
    subprocess.run(["dpkg-deb", "--raw-extract", work / "old.deb", tmp_path / "out"], check=True)
    inside = tmp_path / "out" / str(root).lstrip("/")
    assert (inside / "lib/file").read_text() == "as it is now"
    assert (inside / "lib/link").readlink() == Path("file")
    assert sorted(path.name for path in (tmp_path / "out/DEBIAN").iterdir()) == [
        "control",
        "md5sums",
        "postinst",
    ]


def test_a_control_file_of_what_dpkg_says() -> None:
    text = package.control_of(STATUS)
    assert "Status" not in text
    assert "0123" not in text
    assert text.startswith("Package: phloem\nVersion: 0.4.0\n")
    assert text.endswith("Description: one line\n and another\n .\n")


@pytest.mark.parametrize(
    "said", [Said(1, "no packages found"), Said(0, "\nun \n"), Said(127, "no dpkg-query")]
)
def test_what_is_no_debian_package_is_not_upgraded(said: Said) -> None:
    with pytest.raises(UpgradeError, match="upgraded with pip"):
        package.installed(lambda *_: said)


def test_the_installed_version() -> None:
    assert package.installed(lambda *_: Said(0, "0.4.0\nii \n")) == "0.4.0"


def test_postinst_starts_nothing_while_a_package_is_installed() -> None:
    ran: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def run(words: Sequence[str], more: Mapping[str, str]) -> Said:
        ran.append((words, more))
        return Said(1, "one\ntwo\n")

    with pytest.raises(UpgradeError, match=r"installing new\.deb failed \(1\): one\ntwo"):
        package.install(run, Path("/x/new.deb"))
    words, more = ran[0]
    assert words[-2:] == ["--install", "/x/new.deb"]
    assert more["PHLOEM_INSTALL"] == "no-start"


@pytest.mark.parametrize(
    ("depends", "missing"),
    [
        ("python3.11, adduser | systemd", []),
        ("libc6 (>= 2.30), mail-agent", []),
        ("nothing (>= 2) | other", ["nothing (>= 2) | other"]),
        ("libc6 (>= 3), python3.11", ["libc6 (>= 3)"]),
        ("gone", ["gone"]),
        ("mail-agent (>= 1)", ["mail-agent (>= 1)"]),
        ("python3.11:any", []),
        ("", []),
    ],
)
def test_what_it_depends_on(depends: str, missing: list[str]) -> None:
    have = (
        "installed\tpython3.11\t3.11.2-6\t\ninstalled\tsystemd\t252\t\n"
        "installed\tlibc6\t2.36-9\tlibc\ninstalled\texim\t4\tmail-agent\nconfig-files\tgone\t1\t\n"
    )

    def run(words: Sequence[str], more: Mapping[str, str]) -> Said:
        if words[1] == "--compare-versions":
            assert words[3] == ">="
            return Said(int(float(words[2].split("-")[0]) < float(words[4])), "")
        return Said(0, depends if words[0] == "dpkg-deb" else have)

    assert package.missing(run, Path("x.deb")) == missing


def test_a_program_that_is_not_there() -> None:
    assert package.run_program(["/nowhere/dpkg"], {}) == Said(127, "there is no /nowhere/dpkg")
