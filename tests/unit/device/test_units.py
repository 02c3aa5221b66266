"""The units: as hardened as they say, right for systemd, and what install writes is what is in the folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phloem.edge.device.layout import ADMINISTRATOR, MARK, PROGRAM, UNITS, Role, layout, text_of
from phloem.edge.ports import port_settings
from phloem.shared.server.load import load, merge
from phloem.shared.server.validation import validate

ROOT = Path(__file__).parents[3]
SERVICES = ["phloem-edge.service", "phloem-bridge.service", "phloem-hub.service"]
EXPOSURE_MOST = 1.5
WORST_OF_BRIDGE = 1.0  # it has no network

analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed (apt-get install systemd)",
)


def run(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, env=env, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All units, with a program that exists."""
    folder = tmp_path_factory.mktemp("units")
    for role in Role:
        for unit in UNITS[role]:
            (folder / unit).write_text(text_of(unit).replace(PROGRAM, sys.executable))
    return folder


@analyze
@pytest.mark.parametrize("unit", SERVICES)
def test_exposure(units: Path, unit: str) -> None:
    told = run(
        "security", "--offline=true", f"--threshold={EXPOSURE_MOST * 10:.0f}", str(units / unit), folder=units
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told.stdout)
    assert found, told.stderr
    assert float(found[1]) <= (WORST_OF_BRIDGE if "bridge" in unit else EXPOSURE_MOST)
    assert told.returncode == 0


@analyze
def test_units_are_right(units: Path) -> None:
    paths = [str(units / unit) for role in Role for unit in UNITS[role]]
    told = run("verify", "--man=no", *paths, folder=units)
    ours = [line for line in told.stderr.splitlines() if "phloem" in line]
    assert ours == []
    assert told.returncode == 0


@pytest.mark.parametrize("unit", SERVICES)
def test_what_a_service_says(unit: str) -> None:
    lines = text_of(unit).splitlines()
    assert lines[0].startswith(MARK)
    for line in ("Type=notify", "Restart=always", "StartLimitIntervalSec=0", "ProtectSystem=strict"):
        assert line in lines
    keys = {line.partition("=")[0] for line in lines}
    assert keys >= {"WatchdogSec", "MemoryMax", "LogRateLimitBurst", "LoadCredential"}
    assert not any("time-sync" in line or "network-online" in line for line in lines)


def test_the_bridge_has_devices_and_no_network_and_the_broker_the_reverse() -> None:
    broker, bridge = text_of("phloem-edge.service"), text_of("phloem-bridge.service")
    assert "PrivateDevices=yes" in broker
    assert "DeviceAllow" not in broker
    assert "PrivateNetwork=yes" in bridge
    assert "RestrictAddressFamilies=AF_UNIX\n" in bridge
    assert "FileDescriptorStoreMax=" in bridge


def test_the_folder_shows_the_same_units() -> None:
    for role in Role:
        for unit in UNITS[role]:
            assert (ROOT / "systemd" / unit).read_text() == text_of(unit)


@pytest.mark.parametrize("name", ["edge.conf", "bridge.conf", "hub.conf"])
@pytest.mark.parametrize("everything", [False, True])
def test_examples_can_be_used(name: str, everything: bool, tmp_path: Path) -> None:
    text = text_of(name)
    if everything:  # with what is commented out
        text = re.sub(r"^# ?(?=( *[a-z_]+[ :{]|[ }]*[]}]))", "", text, flags=re.MULTILINE)
        text = "\n".join(
            line for line in text.splitlines() if not line.startswith(("systemctl", "says", "phloem-"))
        )
    (tmp_path / name).write_text(text)
    loaded = load(tmp_path / name)
    assert loaded.warnings == ()
    options = merge(loaded, {})
    validate(options)
    if everything:
        assert options.leafnodes.remotes or options.leafnodes.port or options.serial
        port_settings(options)


def test_the_program_and_reloading_follow_the_machine() -> None:
    before, since = (layout(Role.EDGE, ADMINISTRATOR, "/usr/bin/phloem", version) for version in (252, 253))
    assert all(PROGRAM not in file.text for file in before)
    (service,) = (file for file in before if file.path.endswith("phloem-edge.service"))
    assert "ExecStart=/usr/bin/phloem edge -c" in service.text
    more = {file.path for file in since} - {file.path for file in before}
    assert more == {
        "etc/systemd/system/phloem-edge.service.d/10-notify-reload.conf",
        "etc/systemd/system/phloem-bridge.service.d/10-notify-reload.conf",
    }
