"""What the warning tells a person to do."""

import errno
import os
from pathlib import Path

import pytest
import serial

from phloem.firmware_bridge.diagnose import explain, holder
from phloem.firmware_bridge.port import PortAbsent, PortError, PortRefused, open_serial
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
    assert holder(str(device), proc) == ""
    process(proc, 42, "ModemManager", tmp_path / "log", device)
    (proc / "99" / "fd").mkdir(parents=True)  # a process that is just ending
    (proc / "meminfo").touch()
    assert holder(str(tmp_path / "by-id"), proc) == "ModemManager (process 42)"
    for code in (errno.EBUSY, errno.EAGAIN):
        error = PortError(str(device), code)
        assert explain(error, proc) == "in use by ModemManager (process 42)"
    assert explain(PortError(str(tmp_path / "other2"), errno.EBUSY), proc) == "in use by another program"


def test_no_permission_names_the_group(tmp_path: Path) -> None:
    text = explain(PortError(str(tmp_path / "gone"), errno.EACCES))
    assert text == "Permission denied; let this user in: sudo usermod -aG dialout $USER, then log in again"


@pytest.mark.parametrize(
    ("path", "kind", "code", "text"),
    [
        ("nothing", PortAbsent, errno.ENOENT, "no such device"),
        ("file", PortRefused, errno.ENOTTY, "not a serial port"),
        ("file/under", PortAbsent, errno.ENOTDIR, "Not a directory"),
        (".", PortRefused, errno.EISDIR, "Is a directory"),
    ],
)
def test_what_opening_raises(tmp_path: Path, path: str, kind: type[PortError], code: int, text: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(kind) as caught:
        open_serial(SerialSettings(device=f"{tmp_path}/{path}", subject="x"))
    assert caught.value.code == code
    assert explain(caught.value).startswith(text)


def test_the_line_is_set_up_as_configured() -> None:
    """A pseudo-terminal has no wire, but the kernel keeps what was asked for."""
    import termios

    device, host = os.openpty()
    settings = SerialSettings(
        device=os.ttyname(host), subject="x", baud=9600, bytesize=7, parity="even", stopbits=2
    )
    opened = open_serial(settings)
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
