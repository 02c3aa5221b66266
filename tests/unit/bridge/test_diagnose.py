"""What the warning tells a person to do."""

import errno
import os
from pathlib import Path

import pytest
import serial

from phloem.firmware_bridge.diagnose import explain, holder
from phloem.firmware_bridge.port_errors import PortAbsent, PortError, PortRefused
from phloem.firmware_bridge.port_tty import open_tty
from phloem.firmware_bridge.selector import AtPath
from phloem.firmware_bridge.settings import PARITIES, SerialSettings


def process(proc: Path, number: int, name: str, *open_paths: Path) -> None:
    (proc / str(number) / "fd").mkdir(parents=True)
    (proc / str(number) / "comm").write_text(name + "\n")
    for at, path in enumerate(open_paths):
        (proc / str(number) / "fd" / str(at)).symlink_to(path)


def test_who_holds_it(tmp_path: Path) -> None:
    device, proc = tmp_path / "ttyUSB0", tmp_path / "proc"
    device.touch()
    (tmp_path / "by-id").symlink_to(device)
    process(proc, 7, "sh", tmp_path / "other")
    assert holder(str(device), proc) == ("", 0)
    process(proc, 42, "ModemManager", tmp_path / "log", device)
    (proc / "99" / "fd").mkdir(parents=True)  # a process that is just ending
    (proc / "meminfo").touch()
    assert holder(str(tmp_path / "by-id"), proc) == ("ModemManager", 42)
    for code in (errno.EBUSY, errno.EAGAIN):
        text = explain(PortError(str(device), code), proc)
        assert text.startswith(
            "in use by ModemManager (process 42), which tries every new port for a modem; sudo"
        )
        assert "systemctl disable --now ModemManager" in text
    hidden = explain(PortError(str(tmp_path / "other2"), errno.EBUSY), proc)
    assert hidden == f"in use by a program that cannot be seen from here; as root: fuser -v {tmp_path}/other2"


def test_a_console_is_named_with_its_unit(tmp_path: Path) -> None:
    device, proc = tmp_path / "ttyS0", tmp_path / "proc"
    device.touch()
    process(proc, 42, "agetty", device)
    assert "sudo systemctl disable --now serial-getty@ttyS0.service" in explain(
        PortError(str(device), errno.EBUSY), proc
    )


def test_another_process_is_named_before_ourselves(tmp_path: Path) -> None:
    device, proc = tmp_path / "ttyS0", tmp_path / "proc"
    device.touch()
    process(proc, os.getpid(), "phloem", device)
    assert holder(str(device), proc) == ("phloem", os.getpid())
    assert "another port of this very process" in explain(PortError(str(device), errno.EAGAIN), proc)
    process(proc, 9_999_999, "minicom", device)
    assert explain(PortError(str(device), errno.EAGAIN), proc) == "in use by minicom (process 9999999)"


def test_no_permission_names_the_group(tmp_path: Path) -> None:
    text = explain(PortError(str(tmp_path / "gone"), errno.EACCES))
    assert text == "Permission denied; let this user in: sudo usermod -aG dialout $USER, then log in again"


@pytest.mark.parametrize(
    ("path", "kind", "code", "text"),
    [
        ("nothing", PortAbsent, errno.ENOENT, "no such device"),
        ("file", PortRefused, errno.ENOTTY, "not a serial port"),
        ("file/under", PortAbsent, errno.ENOTDIR, "Not a directory"),
        ("folder", PortRefused, errno.EISDIR, "Is a directory"),
    ],
)
def test_what_opening_raises(tmp_path: Path, path: str, kind: type[PortError], code: int, text: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    place = os.path.join(tmp_path, path)
    with pytest.raises(kind) as caught:
        open_tty(SerialSettings(device=place, subject="x"), AtPath(place))
    assert caught.value.code == code
    assert explain(caught.value).startswith(text)


def test_the_line_is_set_up_as_configured() -> None:
    """A pseudo-terminal has no wire, but the kernel keeps what was asked for."""
    import termios

    device, host = os.openpty()
    settings = SerialSettings(
        device=os.ttyname(host), subject="x", baud=9600, bytesize=7, parity="even", stopbits=2
    )
    opened = open_tty(settings, AtPath(settings.device))
    try:
        iflag, _, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(opened.fileno())
    finally:
        opened.close()
        os.close(device)
        os.close(host)
    assert (ispeed, ospeed) == (termios.B9600, termios.B9600)
    assert cflag & termios.CSTOPB
    assert not iflag & (termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON)
    assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG)
    # VMIN 1: a read of no bytes then always means that the device is gone.
    assert cc[termios.VMIN] in (1, b"\x01")


def test_every_parity_is_one_that_pyserial_has() -> None:
    assert {parity[0].upper() for parity in PARITIES} == set(serial.Serial.PARITIES)
