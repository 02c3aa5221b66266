"""phloem install and uninstall, into a folder and on a machine that is played."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phloem.commands import phloem_command
from phloem.edge.device import install_command
from phloem.edge.device.install import (
    InstallError,
    Target,
    install_steps,
    place_of,
    systemd_version,
    uninstall_steps,
)
from phloem.edge.device.layout import ADMINISTRATOR, MARK, PACKAGE, Role

PROGRAM = "/opt/phloem/bin/phloem"
ETC = "etc/systemd/system"


def phloem(*words: str) -> Result:
    return CliRunner().invoke(phloem_command, list(words))


def tree(root: Path) -> dict[str, str]:
    """All files and links below the root, with their text."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_a_device_in_an_image(tmp_path: Path) -> None:
    done = phloem("install", "--root", str(tmp_path), "--program", PROGRAM)
    assert done.exit_code == 0, done.output
    files = tree(tmp_path)
    assert set(files) == {
        "etc/phloem/bridge.conf",
        "etc/phloem/edge.conf",
        f"{ETC}/multi-user.target.wants/phloem-bridge.service",
        f"{ETC}/multi-user.target.wants/phloem-edge.service",
        f"{ETC}/phloem-bridge.service",
        f"{ETC}/phloem-edge.service",
        f"{ETC}/phloem-edge.socket",
        f"{ETC}/sockets.target.wants/phloem-edge.socket",
        "etc/sysusers.d/phloem.conf",
        "etc/tmpfiles.d/phloem.conf",
        "etc/udev/rules.d/70-phloem.rules",
    }
    assert files[f"{ETC}/multi-user.target.wants/phloem-edge.service"] == f"/{ETC}/phloem-edge.service"
    assert "ID_MM_DEVICE_IGNORE" in files["etc/udev/rules.d/70-phloem.rules"]
    assert (tmp_path / "etc/phloem/edge.conf").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "etc/credstore").stat().st_mode & 0o777 == 0o700
    again = phloem("install", "--root", str(tmp_path), "--program", PROGRAM)
    assert again.output == "Nothing to do: all is as it should be.\n"
    assert tree(tmp_path) == files


def test_a_hub_for_a_package(tmp_path: Path) -> None:
    done = phloem("install", "hub", "--root", str(tmp_path), "--packaged", "--program", PROGRAM)
    assert done.exit_code == 0, done.output
    files = set(tree(tmp_path))
    assert "usr/lib/systemd/system/phloem-hub.service" in files
    assert "etc/phloem/hub.conf" in files
    assert f"{ETC}/multi-user.target.wants/phloem-hub.service" in files
    assert not any("udev" in file for file in files)


def test_an_image_with_the_package_becomes_a_hub(tmp_path: Path) -> None:
    for role in ("edge", "hub"):
        done = phloem("install", role, "--root", str(tmp_path), "--packaged", "--program", PROGRAM)
        assert done.exit_code == 0, done.output
    links = [path.name for path in (tmp_path / ETC).rglob("*") if path.is_symlink()]
    assert links == ["phloem-hub.service"]
    again = phloem("install", "hub", "--root", str(tmp_path), "--program", PROGRAM)
    assert again.output == "Nothing to do: all is as it should be.\n", "the package has the units"
    assert not (tmp_path / ETC / "phloem-hub.service").exists()


def test_units_of_another_program_are_not_the_packages(tmp_path: Path) -> None:
    phloem("install", "hub", "--root", str(tmp_path), "--packaged", "--program", "/usr/bin/phloem")
    phloem("install", "hub", "--root", str(tmp_path), "--program", PROGRAM)
    assert f"ExecStart={PROGRAM} hub" in (tmp_path / ETC / "phloem-hub.service").read_text()


def test_a_dry_run_does_nothing(tmp_path: Path) -> None:
    done = phloem("install", "--root", str(tmp_path), "--dry-run")
    assert done.exit_code == 0
    assert f"would write {tmp_path}/{ETC}/phloem-edge.service" in done.output
    assert list(tmp_path.iterdir()) == []
    phloem("install", "--root", str(tmp_path))
    before = tree(tmp_path)
    done = phloem("uninstall", "--root", str(tmp_path), "--dry-run")
    assert f"would remove {tmp_path}/{ETC}/phloem-edge.service" in done.output
    assert tree(tmp_path) == before


def test_uninstall_leaves_what_is_the_operators(tmp_path: Path) -> None:
    (tmp_path / "usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/libsystemd-shared-257.so").touch()
    phloem("install", "--root", str(tmp_path))
    assert (tmp_path / ETC / "phloem-edge.service.d/10-notify-reload.conf").is_file()
    drop_in = tmp_path / ETC / "phloem-edge.service.d/override.conf"
    (tmp_path / "etc/phloem/edge.conf").write_text("mine")
    done = phloem("uninstall", "--root", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert set(tree(tmp_path)) == {
        "etc/phloem/bridge.conf",
        "etc/phloem/edge.conf",
        "usr/lib/systemd/libsystemd-shared-257.so",
    }
    assert not drop_in.parent.exists()
    assert phloem("uninstall", "--root", str(tmp_path)).output.startswith("Nothing to do")
    phloem("install", "--root", str(tmp_path))
    assert (tmp_path / "etc/phloem/edge.conf").read_text() == "mine"
    drop_in.write_text("[Service]\nMemoryMax=1G\n")
    done = phloem("uninstall", "--root", str(tmp_path), "--purge")
    assert done.exit_code == 0, done.output
    assert drop_in.is_file(), "an operator's drop-in stays"
    assert not (tmp_path / "etc/phloem").exists()


def test_files_of_somebody_else_are_not_touched(tmp_path: Path) -> None:
    unit = tmp_path / ETC / "phloem-edge.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/mine\n")
    for words in (["install"], ["uninstall"]):
        done = phloem(*words, "--root", str(tmp_path))
        assert done.exit_code == 1
        assert f"{unit} was not written by phloem install" in done.output
    assert list(tree(tmp_path)) == [f"{ETC}/phloem-edge.service"]


def test_a_newer_phloem_brings_its_units(tmp_path: Path) -> None:
    phloem("install", "--root", str(tmp_path))
    unit = tmp_path / ETC / "phloem-edge.service"
    now = unit.read_text()
    unit.write_text(f"{MARK}: an older one\n")
    done = phloem("install", "--root", str(tmp_path))
    assert done.output == f"replace {unit}\n"
    assert unit.read_text() == now


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_command.os, "geteuid", lambda: 1000)
    done = phloem("install")
    assert done.exit_code == 1
    assert "sudo phloem" in done.output


def test_a_relative_program_is_refused(tmp_path: Path) -> None:
    assert phloem("install", "--root", str(tmp_path), "--program", "phloem").exit_code == 2


# --- on a machine --------------------------------------------------------------------------------------------


class Machine:
    """Commands that are played; ``enabled`` and ``active`` are what systemctl says."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.enabled = self.active = False
        self.codes: dict[str, int] = {}

    def __call__(self, words: Sequence[str]) -> int:
        text = " ".join(words)
        if "is-enabled" in words:
            return 0 if self.enabled else 1
        if "is-active" in words:
            return 0 if self.active else 3
        self.ran.append(text)
        if text.startswith("systemctl enable"):
            self.enabled = True
        if text.startswith(("systemctl start", "systemctl restart")):
            self.active = True
        return self.codes.get(words[0], 0)


class Here(Target):
    """A folder that is taken for this machine."""

    @property
    def live(self) -> bool:
        return True


def here(root: Path, machine: Machine, *, packaged: bool = False) -> Target:
    return Here(root, place_of(packaged=packaged), PROGRAM, machine)


def boot(root: Path) -> None:
    (root / "run/systemd/system").mkdir(parents=True)
    (root / "run/udev").mkdir()


def carry_out(target: Target, *, start: bool = True) -> list[str]:
    steps = install_steps(target, Role.EDGE, start=start)
    for step in steps:
        step.act()
    return [step.what for step in steps]


def test_on_a_machine(tmp_path: Path) -> None:
    boot(tmp_path)
    machine = Machine()
    target = here(tmp_path, machine)
    carry_out(target)
    units = "phloem-edge.socket phloem-edge.service phloem-bridge.service"
    assert machine.ran == [
        "systemd-sysusers /etc/sysusers.d/phloem.conf",
        "systemd-tmpfiles --create /etc/tmpfiles.d/phloem.conf",
        "systemctl daemon-reload",
        "udevadm control --reload",
        "udevadm trigger --subsystem-match=usb",
        f"systemctl enable {units}",
        f"systemctl start {units}",
    ]
    assert carry_out(target) == [], "once is enough"
    (tmp_path / ETC / "phloem-bridge.service").write_text(f"{MARK}\n")
    machine.ran.clear()
    carry_out(target)
    assert machine.ran[-1] == "systemctl restart phloem-edge.service phloem-bridge.service"
    link = tmp_path / ETC / "multi-user.target.wants/phloem-edge.service"
    link.parent.mkdir()
    link.symlink_to(f"/{ETC}/phloem-edge.service")
    steps = uninstall_steps(target, purge=False)
    link.unlink()  # as systemctl disable does
    machine.ran.clear()
    for step in steps:
        step.act()
    assert machine.ran[0] == f"systemctl disable --now {units}"
    assert machine.ran[-1] == "systemctl daemon-reload"


def test_postinst_makes_users_though_all_files_are_there(tmp_path: Path) -> None:
    image = Target(tmp_path, PACKAGE, PROGRAM, Machine())
    for step in install_steps(image, Role.EDGE, start=False):
        step.act()
    boot(tmp_path)
    machine = Machine()
    machine.enabled = True
    carry_out(here(tmp_path, machine, packaged=True), start=False)
    assert machine.ran[0] == "systemd-sysusers /usr/lib/sysusers.d/phloem.conf"
    assert not any("start" in command for command in machine.ran)


def test_an_upgraded_package_enables_nothing_and_restarts_what_is_enabled(tmp_path: Path) -> None:
    boot(tmp_path)
    machine = Machine()
    target = here(tmp_path, machine, packaged=True)
    carry_out(target)
    for enabled, expected in ((False, []), (True, ["start", "restart"])):
        machine.enabled = enabled
        machine.ran.clear()
        for step in install_steps(target, Role.EDGE, start=True, enable=False):
            step.act()
        told = [words.split()[1] for words in machine.ran if words.startswith("systemctl")]
        assert told == ["daemon-reload", *expected]
    machine.ran.clear()
    for step in install_steps(target, Role.EDGE, start=False, enable=False):
        step.act()
    assert machine.ran[-1] != "systemctl restart phloem-edge.service phloem-bridge.service"


def test_a_machine_with_the_package_becomes_a_hub(tmp_path: Path) -> None:
    image = Target(tmp_path, PACKAGE, PROGRAM, Machine())
    for role in (Role.EDGE, Role.HUB):
        for step in install_steps(image, role, start=False, enable=role is Role.EDGE):
            step.act()
    boot(tmp_path)
    machine = Machine()
    for step in install_steps(here(tmp_path, machine, packaged=True), Role.HUB, start=True, unpacked=False):
        step.act()
    assert machine.ran == [
        "systemctl disable --now phloem-edge.socket phloem-edge.service phloem-bridge.service",
        "systemctl enable phloem-hub.service",
        "systemctl start phloem-hub.service",
    ]


def test_an_upgraded_package_in_a_chroot_leaves_what_is_enabled(tmp_path: Path) -> None:
    target = here(tmp_path, Machine(), packaged=True)
    for step in install_steps(target, Role.EDGE, start=False, enable=False):
        step.act()
    assert not (tmp_path / ETC / "multi-user.target.wants").exists()


def test_in_a_chroot_nothing_is_started(tmp_path: Path) -> None:
    machine = Machine()
    carry_out(here(tmp_path, machine, packaged=True))
    assert machine.ran == [
        "systemd-sysusers /usr/lib/sysusers.d/phloem.conf",
        "systemd-tmpfiles --create /usr/lib/tmpfiles.d/phloem.conf",
    ]
    link = tmp_path / ETC / "multi-user.target.wants/phloem-edge.service"
    assert os.readlink(link) == "/usr/lib/systemd/system/phloem-edge.service"


@pytest.mark.parametrize(("code", "text"), [(127, "need systemd"), (5, "ended with 5")])
def test_a_command_that_fails(tmp_path: Path, code: int, text: str) -> None:
    machine = Machine()
    machine.codes["systemd-sysusers"] = code
    with pytest.raises(InstallError, match=text):
        carry_out(here(tmp_path, machine))


def test_the_version_of_systemd(tmp_path: Path) -> None:
    assert systemd_version(tmp_path) == 0
    folder = tmp_path / "usr/lib/x86_64-linux-gnu/systemd"
    folder.mkdir(parents=True)
    (folder / "libsystemd-shared-252.so").touch()
    assert systemd_version(tmp_path) == 252
    assert ADMINISTRATOR.units == ETC
