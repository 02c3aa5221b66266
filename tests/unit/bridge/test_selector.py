"""What ``device`` may say, and which device that is."""

import os
from pathlib import Path

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from phloem.firmware_bridge import selector
from phloem.firmware_bridge.port_errors import PortAbsent, PortAmbiguous
from phloem.firmware_bridge.selector import (
    AtPath,
    Linked,
    Network,
    Pseudo,
    Usb,
    find,
    selector_of,
    stable_names,
    usb_selector,
)
from phloem.shared.errors import ConfigError


@pytest.mark.parametrize(
    ("device", "selected"),
    [
        ("/dev/ttyUSB0", AtPath("/dev/ttyUSB0")),
        ("by-id:usb-FTDI*", Linked("/dev/serial/by-id", "usb-FTDI*")),
        ("by-path:*-usb-0:1.2:1.0-port0", Linked("/dev/serial/by-path", "*-usb-0:1.2:1.0-port0")),
        ("usb:0403:6001", Usb(0x0403, 0x6001, "")),
        ("usb:10c4:EA60:00:1F", Usb(0x10C4, 0xEA60, "00:1F")),
        ("socket://plc.lan:4001", Network("plc.lan", 4001, rfc2217=False)),
        ("rfc2217://[::1]:2217", Network("::1", 2217, rfc2217=True)),
        ("pty://sensor", Pseudo("sensor")),
        ("pty:///run/x/sensor", Pseudo("/run/x/sensor")),
    ],
)
def test_read(device: str, selected: object) -> None:
    assert selector_of(device) == selected


@pytest.mark.parametrize(
    "device",
    [
        *(
            "",
            "ttyUSB0",
            "/dev/",
            "by-id:",
            "by-id:a/b",
            "by-name:a",
            "usb:0403",
            "usb:403:6001",
            "usb:0403:6001:",
        ),
        *(
            "socket://host",
            "socket://:1",
            "socket://h:0",
            "socket://h:65536",
            "rfc2217://a/b:1",
            "http://h:1",
        ),
        *("pty://", "pty://../x", "pty://a/b", "pty:///", "/dev/a\0b"),
    ],
)
def test_refused(device: str) -> None:
    with pytest.raises(ConfigError):
        selector_of(device)


def port(device: str, serial: str | None, vid: int = 0x0403) -> ListPortInfo:
    made = ListPortInfo(device)
    made.vid, made.pid, made.serial_number = vid, 0x6001, serial
    return made


def test_usb_by_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [port("/dev/ttyUSB1", "B"), port("/dev/ttyUSB0", "A"), port("/dev/ttyACM0", None, 0x2341)]
    monkeypatch.setattr(list_ports, "comports", lambda: ports)
    assert find("", Usb(0x0403, 0x6001, "B")) == "/dev/ttyUSB1"
    assert find("", Usb(0x2341, 0x6001, "")) == "/dev/ttyACM0"
    with pytest.raises(PortAbsent, match="nothing matches usb:0403:6001:C; is it plugged in"):
        find("usb:0403:6001:C", Usb(0x0403, 0x6001, "C"))
    with pytest.raises(PortAmbiguous, match="usb:0403:6001 is several devices: /dev/ttyUSB0, /dev/ttyUSB1"):
        find("usb:0403:6001", Usb(0x0403, 0x6001, ""))
    assert usb_selector(ports[0]) == "usb:0403:6001:B"
    assert usb_selector(ports[2]) == "usb:2341:6001"
    assert usb_selector(ListPortInfo("/dev/ttyS0")) == ""


def test_a_device_that_goes_away_while_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> list[ListPortInfo]:
        return [port("/dev/ttyUSB0", str(int(None, 16)))]  # type: ignore[call-overload]  # as pyserial does

    monkeypatch.setattr(list_ports, "comports", gone)
    with pytest.raises(PortAbsent):
        find("usb:0403:6001", Usb(0x0403, 0x6001, ""))


def test_links_by_name_and_by_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_path = tmp_path / "by-path"
    for number, place in enumerate(("0:1.1:1.0", "0:1.2:1.0")):
        (tmp_path / f"ttyUSB{number}").touch()
        by_path.mkdir(exist_ok=True)
        (by_path / f"pci-usb-{place}").symlink_to(tmp_path / f"ttyUSB{number}")
    monkeypatch.setattr(selector, "BY_PATH", str(by_path))
    assert find("", Linked(str(by_path), "*-0:1.2:*")) == f"{by_path}/pci-usb-0:1.2:1.0"
    assert find("", Linked(str(by_path), "pci-usb-0:1.1:1.0")) == f"{by_path}/pci-usb-0:1.1:1.0"
    with pytest.raises(PortAmbiguous) as several:
        find("by-path:*", Linked(str(by_path), "*"))
    assert several.value.reason == (
        f"by-path:* is several devices: {by_path}/pci-usb-0:1.1:1.0, {by_path}/pci-usb-0:1.2:1.0"
    )
    ports = [port(str(tmp_path / "ttyUSB0"), None), port(str(tmp_path / "ttyUSB1"), None)]
    monkeypatch.setattr(list_ports, "comports", lambda: ports)
    with pytest.raises(
        PortAmbiguous, match=r"ttyUSB1 \(.*by-path/pci-usb-0:1.2:1.0\)"
    ):  # how to tell them apart
        find("usb:0403:6001", Usb(0x0403, 0x6001, ""))
    with pytest.raises(PortAbsent):
        find("by-id:*", Linked(str(tmp_path / "by-id"), "*"))


def test_where_a_device_is_seen_to_come() -> None:
    assert AtPath("/dev/serial/by-id/x").folders == ("/dev/serial/by-id", "/dev/serial", "/dev")
    assert AtPath("/dev/ttyUSB0").folders == ("/dev",)
    assert Linked("/dev/serial/by-path", "*").folders == ("/dev/serial/by-path", "/dev/serial", "/dev")
    assert Usb(1, 2, "").folders == ("/dev",)


def test_stable_names(tmp_path: Path) -> None:
    (tmp_path / "ttyUSB0").touch()
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "usb-Silicon_Labs").symlink_to("../ttyUSB0")
    device = os.path.realpath(tmp_path / "ttyUSB0")
    assert stable_names(str(tmp_path / "by-id")) == {device: str(tmp_path / "by-id" / "usb-Silicon_Labs")}
    assert stable_names(str(tmp_path / "missing")) == {}
