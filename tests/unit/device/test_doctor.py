"""phloem doctor on machines that are played in a folder: what it finds, what it says to do."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from phloem.commands import phloem_command
from phloem.edge.device import disk_checks, doctor_command, machine_checks, way_checks
from phloem.edge.device.finding import Finding, Level, worst
from phloem.edge.device.patient import Patient
from phloem.shared.limits import CLOCK_EARLIEST_NS
from phloem.shared.testing import ManualClock

MOUNTS = """\
22 1 179:2 / / {options} shared:1 - ext4 /dev/root rw
30 22 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=1000k
31 22 179:3 / /var/lib/phloem {data} shared:6 - {kind} /dev/mmcblk0p3 rw
"""


class Device:
    """A folder that looks like a machine; files are given by their paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write(
            "etc/phloem/edge.conf", 'listen: "127.0.0.1:4222"\njetstream { store_dir: "/var/lib/phloem" }\n'
        )
        self.write("etc/phloem/bridge.conf", 'phloem { unix_socket: "/run/phloem/nats.sock" }\n')
        self.mount()

    def write(self, path: str, text: str, mode: int = 0o640) -> None:
        at = self.root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
        at.chmod(mode)

    def mount(self, *, kind: str = "ext4", options: str = "rw", data: str = "rw") -> None:
        self.write("proc/self/mountinfo", MOUNTS.format(kind=kind, options=options, data=data))

    @property
    def patient(self) -> Patient:
        return Patient(self.root)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def one(findings: Any, text: str) -> Finding:
    (found,) = [each for each in findings if text in each.what]
    if found.level in (Level.WARN, Level.BAD):
        assert found.do, "who finds something says what to do"
    return found


def test_a_store_on_a_card(device: Device) -> None:
    found = one(
        disk_checks.storage(device.patient), "is on ext4 (/dev/mmcblk0p3, mounted at /var/lib/phloem)"
    )
    assert found.level is Level.OK


@pytest.mark.parametrize(
    ("mount", "level", "text"),
    [
        ({"kind": "tmpfs"}, Level.BAD, "empty after the next boot"),
        ({"kind": "overlay"}, Level.BAD, "empty after the next boot"),
        ({"data": "ro,noatime"}, Level.BAD, "read-only"),
        ({"kind": "vfat"}, Level.WARN, "may not keep"),
        ({"options": "ro"}, Level.OK, "is on ext4"),  # a root that is read-only is meant
    ],
)
def test_where_the_store_is(device: Device, mount: dict[str, str], level: Level, text: str) -> None:
    device.mount(**mount)
    assert one(disk_checks.storage(device.patient), text).level is level


def test_a_root_that_is_read_only_needs_a_tmp(device: Device) -> None:
    assert list(disk_checks.scratch(device.patient)) == []
    device.mount(options="ro")
    assert one(disk_checks.scratch(device.patient), "/tmp is read-only").level is Level.BAD
    mounts = device.root / "proc/self/mountinfo"
    mounts.write_text(f"{mounts.read_text()}40 1 0:30 / /tmp rw - tmpfs tmpfs rw\n")
    assert list(disk_checks.scratch(device.patient)) == []


@pytest.mark.parametrize(
    ("space", "level"),
    [
        ((10**10, 3 * 10**10, 10**6), Level.OK),
        ((10**8, 10**10, 10**6), Level.WARN),
        ((10**7, 10**10, 10**6), Level.BAD),
        ((10**10, 10**10, 3), Level.BAD),
    ],
)
def test_room(device: Device, space: tuple[int, int, int], level: Level) -> None:
    patient = device.patient
    patient.space = lambda _path: space  # type: ignore[method-assign]
    assert worst(list(disk_checks.storage(patient))) is level


def test_nothing_is_kept_without_jetstream(device: Device) -> None:
    device.write("etc/phloem/edge.conf", "port: 4222\n")
    assert one(disk_checks.storage(device.patient), "nothing is kept").level is Level.WARN


@pytest.mark.parametrize(
    ("life", "spare", "level"),
    [("0x01 0x02", "0x01", Level.OK), ("0x09 0x02", "0x01", Level.WARN), ("0x02 0x02", "0x02", Level.WARN),
     ("0x0b 0x01", "0x01", Level.BAD), ("0x01 0x01", "0x03", Level.BAD)],
)  # fmt: skip
def test_the_age_of_an_emmc(device: Device, life: str, spare: str, level: Level) -> None:
    device.write("sys/block/mmcblk0/device/life_time", f"{life}\n")
    device.write("sys/block/mmcblk0/device/pre_eol_info", f"{spare}\n")
    assert one(disk_checks.card(device.patient), "mmcblk0").level is level


def test_an_sd_card_says_nothing_and_the_broker_does(device: Device) -> None:
    device.write("sys/block/mmcblk0/device/name", "SD32G\n")
    patient = device.patient
    assert one(disk_checks.card(patient), "does not say").level is Level.UNKNOWN
    pages: dict[str, Any] = {"device": {"wear": {"life_days": 100, "per_day": 5_000_000_000}}}
    patient.page = lambda _path: pages  # type: ignore[method-assign]
    found = one(disk_checks.card(patient), "at 5.0 GB written a day it lasts 0 years and 100 days")
    assert found.level is Level.WARN
    pages["device"]["wear"]["life_days"] = 4000
    assert one(disk_checks.card(patient), "10 years").level is Level.OK


def test_the_clock(device: Device) -> None:
    now = ManualClock()
    now.set_wall_ns(CLOCK_EARLIEST_NS - 1)
    assert one(machine_checks.clock(device.patient, now), "years behind").level is Level.BAD
    now.set_wall_ns(CLOCK_EARLIEST_NS + 1)
    assert one(machine_checks.clock(device.patient, now), "nobody says").level is Level.WARN
    assert one(machine_checks.clock(device.patient, now), "battery-backed").level is Level.WARN
    device.write("run/systemd/timesync/synchronized", "")
    device.write("sys/class/rtc/rtc0/name", "ds3231")
    (found,) = machine_checks.clock(device.patient, now)
    assert found.level is Level.OK


def test_memory(device: Device) -> None:
    assert one(machine_checks.memory(device.patient), "cannot be read").level is Level.UNKNOWN
    device.write("proc/meminfo", "MemTotal:  500000 kB\nMemAvailable:  300000 kB\n")
    assert one(machine_checks.memory(device.patient), "307 MB of 512 MB").level is Level.OK
    device.write("proc/meminfo", "MemTotal:  500000 kB\nMemAvailable:  30000 kB\n")
    device.write("sys/fs/cgroup/system.slice/phloem-edge.service/memory.events", "low 0\noom_kill 2\n")
    device.write(
        "proc/swaps",
        "Filename Type Size Used Priority\n/var/swap file 100 0 -2\n/dev/zram0 partition 1 0 5\n",
    )
    found = list(machine_checks.memory(device.patient))
    assert one(found, "available").level is Level.WARN
    assert one(found, "phloem-edge was killed 2 times").level is Level.BAD
    assert one(found, "swap on").what == "swap on /var/swap wears the card out"


def test_the_kernel(device: Device) -> None:
    device.write("proc/sys/kernel/osrelease", "6.6.51+rpt-rpi-v8\n")
    device.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    device.write("sys/class/hwmon/hwmon2/name", "rpi_volt\n")
    device.write("sys/class/hwmon/hwmon2/in0_lcrit_alarm", "1\n")
    found = list(machine_checks.kernel(device.patient))
    assert one(found, "Linux 6.6").level is Level.OK
    assert "cgroup_enable=memory" in one(found, "MemoryMax=").do
    assert one(found, "voltage").level is Level.BAD
    device.write("proc/sys/kernel/osrelease", "4.19.0-27-amd64\n")
    assert one(machine_checks.kernel(device.patient), "is old").level is Level.WARN


def test_who_may_read_secrets(device: Device) -> None:
    assert one(machine_checks.permissions(device.patient), "not open").level is Level.OK
    device.write("etc/credstore/store-key", "secret", mode=0o644)
    found = one(machine_checks.permissions(device.patient), "store-key")
    assert found.level is Level.WARN
    assert found.do == f"sudo chmod o= {device.root}/etc/credstore/store-key"


UNIT = "LoadState=loaded\nActiveState={}\nUnitFileState={}\nNRestarts={}\nStatusText=1 client\n"


@pytest.mark.parametrize(
    ("told", "level", "text"),
    [
        (UNIT.format("active", "enabled", 0), Level.OK, "phloem-edge.service runs: 1 client"),
        (UNIT.format("active", "disabled", 0), Level.WARN, "not after a reboot"),
        (UNIT.format("active", "enabled", 9), Level.WARN, "restarted 9 times"),
        (UNIT.format("activating", "enabled", 0), Level.BAD, "is activating"),
        ("LoadState=not-found\nActiveState=inactive\n", Level.BAD, "is not installed"),
    ],
)
def test_units(device: Device, told: str, level: Level, text: str) -> None:
    patient = device.patient
    patient.run = lambda *_words: told  # type: ignore[method-assign]
    found = [each for each in machine_checks.units(patient) if "phloem-edge.service" in each.what]
    assert one(found, text).level is level


def test_units_cannot_be_asked_of_an_image(device: Device) -> None:
    (found,) = machine_checks.units(device.patient)
    assert found.level is Level.UNKNOWN


def test_configurations(device: Device) -> None:
    found = list(way_checks.configuration(device.patient))
    assert [each.level for each in found] == [Level.OK, Level.OK]
    device.write("etc/phloem/bridge.conf", 'serial { a { device: "tty", subject: "a" } }\n')
    assert one(way_checks.configuration(device.patient), "device").level is Level.BAD
    device.write("etc/phloem/edge.conf", "no_such_key: 1\n")
    assert one(way_checks.configuration(device.patient), "no_such_key").level is Level.BAD
    (device.root / "etc/phloem/edge.conf").unlink()
    assert one(way_checks.configuration(device.patient), "edge.conf is not there").do == "sudo phloem install"


def serial(device: str, subject: str = "a") -> str:
    return f'serial {{ a {{ device: "{device}", subject: "{subject}" }} }}\n'


def test_ports(device: Device) -> None:
    device.write("proc/cmdline", "console=ttyS0,115200 root=/dev/sda1 quiet")
    device.write("etc/phloem/bridge.conf", serial("/dev/ttyS0"))
    found = list(way_checks.ports(device.patient))
    assert one(found, "not there").level is Level.WARN
    assert one(found, "the kernel writes its messages to ttyS0").level is Level.BAD
    device.write("dev/ttyS0", "")
    assert one(way_checks.ports(device.patient), "not a serial port").level is Level.BAD


def test_a_port_that_is_there(device: Device) -> None:
    """A character device that every machine has stands for a port."""
    (device.root / "dev").mkdir()
    for name in ("ttyUSB0", "climate"):
        (device.root / "dev" / name).symlink_to("/dev/null")
    for process, name in (("40", "systemd"), ("41", "minicom")):
        device.write(f"proc/{process}/comm", f"{name}\n")
        (device.root / f"proc/{process}/fd").mkdir()
    device.write("etc/phloem/bridge.conf", serial("/dev/ttyUSB0"))
    assert one(way_checks.ports(device.patient), "another device").do.startswith(
        "use the name in /dev/serial/by-id"
    )
    device.write("etc/phloem/bridge.conf", serial("usb:0403:6001"))
    assert not list(way_checks.ports(device.patient))  # the opening finds it
    device.write("etc/phloem/bridge.conf", serial("/dev/climate"))
    assert one(way_checks.ports(device.patient), "there").level is Level.OK
    (device.root / "proc/41/fd/7").symlink_to("/dev/null")
    assert one(way_checks.ports(device.patient), "in use by minicom").level is Level.BAD


def test_ports_in_the_wrong_file(device: Device) -> None:
    device.write("etc/phloem/edge.conf", "port: 4222\n" + serial("/dev/ttyS9"))
    assert one(way_checks.ports(device.patient), "may open no devices").level is Level.WARN


def test_the_link(device: Device) -> None:
    assert one(way_checks.link(device.patient), "no hub").level is Level.WARN
    device.write("etc/phloem/edge.conf", 'leafnodes { remotes: [ { url: "nats-leaf://hub:7422" } ] }\n')
    patient = device.patient
    assert one(way_checks.link(patient), "does not answer").level is Level.UNKNOWN
    uplink = {"name": "hub:7422", "state": "up", "for_ms": 180_000, "rtt_ns": 25_000_000, "attempts": 0}
    patient.page = lambda _path: {"phloem": {"uplinks": [uplink]}}  # type: ignore[method-assign]
    assert one(way_checks.link(patient), "to hub:7422 up for 3 min, 25 ms").level is Level.OK
    uplink |= {"state": "waiting", "attempts": 7}
    found = one(way_checks.link(patient), "down for 3 min after 7 attempts")
    assert found.level is Level.BAD
    assert "nc -vz hub 7422" in found.do


def test_health(device: Device) -> None:
    patient = device.patient
    assert list(way_checks.health(patient)) == []
    patient.page = lambda _path: {"status": "ok"}  # type: ignore[method-assign]
    assert one(way_checks.health(patient), "healthy").level is Level.OK
    patient.page = lambda _path: {"status": 503, "error": "stream lost messages"}  # type: ignore[method-assign]
    assert one(way_checks.health(patient), "stream lost messages").level is Level.BAD


def test_the_command(device: Device) -> None:
    device.mount(kind="tmpfs")
    run = CliRunner().invoke(phloem_command, ["doctor", "--root", str(device.root)], env={"COLUMNS": "200"})
    assert run.exit_code == 1, run.output
    assert "empty after the next boot" in run.output
    assert "→ mount a partition" in run.output
    run = CliRunner().invoke(phloem_command, ["doctor", "--root", str(device.root), "--json"])
    told = json.loads(run.output)
    assert told["level"] == "bad"
    assert {finding["area"] for finding in told["findings"]} >= {"storage", "clock", "memory", "link"}
    device.mount()
    assert CliRunner().invoke(phloem_command, ["doctor", "--root", str(device.root)]).exit_code == 0


def test_square_brackets_are_shown(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    doctor_command._show([Finding("memory", Level.BAD, "[a]", "[Service] MemoryMax=")], Console(width=100))
    assert "[a]" in (out := capsys.readouterr().out)
    assert "[Service] MemoryMax=" in out
