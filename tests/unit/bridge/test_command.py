"""``phloem bridge`` as people run it: a process, a device that comes and goes, the real nats-server."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import click
import pytest
from click.testing import CliRunner
from rich.console import Console
from serial.tools import list_ports, list_ports_common
from tests.unit.bridge.rig import WAIT_S, Bytes, NatsServer, StandingClock, listen

from phloem.firmware_bridge.command import bridge
from phloem.firmware_bridge.listing import print_ports
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.simulate import SimulatedSensor


class Process:
    """A running ``phloem bridge -v``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    async def says(self, text: str) -> None:
        """Read its log until ``text`` comes."""
        assert self._process.stderr is not None
        while line := await asyncio.wait_for(self._process.stderr.readline(), WAIT_S):
            self.lines.append(line.decode())
            if text in self.lines[-1]:
                return
        raise AssertionError("".join(self.lines))

    async def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        _, rest = await asyncio.wait_for(self._process.communicate(), WAIT_S)
        self.lines += rest.decode().splitlines()
        return self._process.returncode or 0


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "phloem", "bridge", "-v", *arguments), stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_sensor_to_server_and_back(nats_server: NatsServer, tmp_path: Path) -> None:
    received = Bytes()
    sensor = SimulatedSensor(tmp_path / "ttyUSB0", StandingClock(), Random(1), on_bytes=received)
    flags = ("--device", str(sensor.link), "--subject", "tele.a", "--command-subject", "cmd.a")
    async with listen(nats_server.url, "tele.a") as heard, running(*flags, "--server", nats_server.url) as it:
        await it.says("connected to")
        sensor.plug()
        await it.says(": open")
        for _ in range(100):
            sensor.emit()
        messages = [await heard.next() for _ in range(100)]
        assert [message.seq for message in messages] == list(range(1, 101))
        assert messages[-1].payload.startswith(b"sensor seq=100 ")
        assert messages[0].headers["Phloem-Port"] == "ttyUSB0"
        await heard.client.publish("cmd.a", b"led on\n")
        assert await received.read(7) == b"led on\n"

        sensor.unplug()
        await it.says("unplugged")
        sensor.plug()
        await it.says(": open")
        sensor.emit()
        assert (await heard.next()).seq == 101
        assert await it.end() == 0
    sensor.unplug()
    assert it.lines[-1].startswith(
        "101 frames, 0 resyncs, 0 dropped, 1 commands, 0 commands dropped, opened 2"
    )
    warnings = [line for line in it.lines if "WARNING" in line]
    assert len(warnings) == 2  # not there at the start, unplugged


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Missing option '--device'"),
        (["--device", "ttyUSB0", "--subject", "a"], "absolute path"),
        (["--device", "/dev/a", "--subject", "a", "--silent-after", "30"], "missing unit"),
        (["--device", "/dev/a", "--subject", "a", "--init", "pause:x"], "init: time"),
        (["--device", "socket://h:1", "--subject", "a", "--rts", "keep"], "rts means nothing for socket"),
        (["--device", "/dev/a", "--subject", "a b"], "not a valid subject"),
        (["--device", "/dev/a", "--subject", "a", "--framing", "zmodem"], "'line', 'raw'"),
        (["--device", "/dev/a", "--subject", "a", "--parity", "X"], "'none', 'even', 'odd'"),
        (["--device", "/dev/a", "--subject", "a", "--server", "http://x"], "is not like nats://"),
        (["--device", "/dev/a", "--subject", "a", "--server", "nats://"], "is not like nats://"),
    ],
)
def test_what_cannot_work_is_said_at_once(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(bridge, arguments)
    assert result.exit_code == 2
    assert text in result.output


def test_help_shows_how_and_names_every_setting() -> None:
    text = CliRunner().invoke(bridge, ["--help"]).output
    assert "phloem bridge --device /dev/ttyUSB0 --subject tele.greenhouse\n" in text
    assert r"$'speed 40\n'" in text
    flags = {parameter.name for parameter in bridge.params if isinstance(parameter, click.Option)}
    in_file_only = {"idle_gap_ns", "retry_min_ns", "retry_max_ns", "shape", "images", "poll", "modbus"}
    assert set(SerialSettings.__struct_fields__) - in_file_only <= flags


def test_list(monkeypatch: pytest.MonkeyPatch) -> None:
    port = list_ports_common.ListPortInfo("/dev/ttyUSB7")
    port.description, port.vid, port.pid = "CP2102 USB to UART", 0x10C4, 0xEA60
    monkeypatch.setattr(list_ports, "comports", lambda: [port])
    console = Console(width=100)
    with console.capture() as captured:
        print_ports(console)
    for word in ("/dev/ttyUSB7", "CP2102 USB to UART", "usb:10c4:ea60"):
        assert word in captured.get()
    monkeypatch.setattr(list_ports, "comports", list)
    with console.capture() as captured:
        print_ports(console)
    assert "No serial ports found" in captured.get()
