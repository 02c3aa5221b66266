"""The record of an upgrade, and what a boot makes of it, with a dpkg that is played."""

import os
import subprocess
from pathlib import Path

import pytest

from phloem.edge.upgrade.files import BOOT_UNIT, RESUME, Work
from phloem.edge.upgrade.machine import Phase, Record, UpgradeError

FAILS_TWICE = '#!/bin/sh\necho "$PHLOEM_INSTALL $*" >>"$0.ran"\n[ "$(wc -l <"$0.ran")" -gt 2 ]\n'
FAILS = '#!/bin/sh\necho x >>"$0.ran"\nexit 1\n'


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "root")


def boot(work: Work, dpkg: str, tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    """What the unit runs."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in (("dpkg", dpkg), ("sync", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "PHLOEM_PAUSE": "0"}
    words = ["/bin/sh", str(work.folder / "resume"), str(work.folder)]
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=30, check=False)


def test_a_record(work: Work) -> None:
    assert work.load() is None
    record = Record(Phase.SWITCHING, "0.4.0", "0.5.0~rc1")
    work.save(record)
    assert work.load() == record
    work.save(Record(Phase.PREPARING, "0.4.0", ""))
    assert work.load() == Record(Phase.PREPARING, "0.4.0", "")
    assert work.folder.stat().st_mode & 0o777 == 0o700
    work.clear()
    assert work.load() is None
    work.clear()


@pytest.mark.parametrize("text", ["", "switching", "flying\na\nb\n"])
def test_a_damaged_record_is_not_guessed_at(work: Work, text: str) -> None:
    work.make()
    work.state.write_text(text)
    with pytest.raises(UpgradeError, match="is damaged"):
        work.load()


def test_the_boot_is_armed_and_disarmed(work: Work, tmp_path: Path) -> None:
    work.make()
    for _ in range(2):
        work.arm()
    units = tmp_path / "root/etc/systemd/system"
    assert (
        units / "multi-user.target.wants/phloem-upgrade.service"
    ).resolve() == units / "phloem-upgrade.service"
    work.old.write_text("the way back by hand")
    work.tidy()
    assert [path.name for path in work.folder.iterdir()] == ["old.deb"]
    assert [path.name for path in units.iterdir()] == ["multi-user.target.wants"]
    assert not list((units / "multi-user.target.wants").iterdir())


def test_the_boot_unit_comes_before_the_services_and_after_the_disks() -> None:
    assert "Before=phloem-edge.service phloem-bridge.service phloem-hub.service" in BOOT_UNIT
    assert "RequiresMountsFor=/var/lib/phloem-upgrade /var/lib/dpkg" in BOOT_UNIT
    assert "phloem-edge.socket" not in BOOT_UNIT  # it comes before basic.target, and this after it


@pytest.mark.parametrize("phase", [Phase.SWITCHING, Phase.RETURNING])
def test_after_a_cut_the_old_package_is_installed(work: Work, tmp_path: Path, phase: Phase) -> None:
    work.save(Record(phase, "0.4.0", "0.5.0"))
    work.arm()
    done = boot(work, FAILS_TWICE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "installing 0.4.0 again" in done.stdout
    ran = (tmp_path / "bin/dpkg.ran").read_text().splitlines()
    assert len(ran) == 3, "another dpkg may be at work for a while"
    assert ran[0].startswith("no-start --force-confold")
    assert ran[0].endswith(f"--install {work.old}")
    assert work.load() is None


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.COPYING, Phase.REHEARSING])
def test_after_a_cut_before_the_switch_nothing_is_installed(work: Work, tmp_path: Path, phase: Phase) -> None:
    work.save(Record(phase, "0.4.0", "0.5.0"))
    work.arm()
    assert boot(work, FAILS, tmp_path).returncode == 0
    assert not (tmp_path / "bin/dpkg.ran").exists()
    assert work.load() is None


def test_a_dpkg_that_does_not_work_leaves_the_record(work: Work, tmp_path: Path) -> None:
    record = Record(Phase.SWITCHING, "0.4.0", "0.5.0")
    work.save(record)
    work.arm()
    done = boot(work, FAILS, tmp_path)
    assert done.returncode == 1
    assert "phloem upgrade tries again" in done.stdout
    assert work.load() == record
    assert boot(work, FAILS, tmp_path).returncode == 1


def test_every_phase_is_known_to_the_script() -> None:
    line = next(line for line in RESUME.splitlines() if line.endswith(")") and "|" in line)
    assert line.strip(")").split("|") == [Phase.SWITCHING, Phase.RETURNING]
