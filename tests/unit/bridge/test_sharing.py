"""Programs that use a port while the bridge has it: over a pseudo-terminal, and over RFC 2217."""

import asyncio
import logging
import os
import socket
import termios
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from serial import serial_for_url
from tests.unit.bridge.rig import WAIT_S, open_files, until
from tests.unit.bridge.test_session import Rig, closed, opened

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.rfc2217 import Rfc2217, Settings
from phloem.firmware_bridge.selector import Pseudo
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.sharing.places import Served, place_of
from phloem.shared.errors import ConfigError

IAC, SB, SE, COM = b"\xff", b"\xfa", b"\xf0", b"\x2c"


@pytest.fixture
async def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.INFO, "phloem.bridge")
    rig = Rig(tmp_path)
    rig.sensor.plug()
    return rig


class Tool:
    """A program that opens the link."""

    def __init__(self, link: Path) -> None:
        self.fd = os.open(link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.fd, self._readable.set)

    async def read(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            await asyncio.wait_for(self._readable.wait(), WAIT_S)
            self._readable.clear()
            try:
                got += os.read(self.fd, size - len(got))
            except BlockingIOError:
                continue
        return got

    def write(self, data: bytes) -> None:
        assert os.write(self.fd, data) == len(data)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.fd)
        os.close(self.fd)


async def test_a_tool_at_a_pty_reads_and_writes_and_the_bridge_goes_on(rig: Rig, tmp_path: Path) -> None:
    before, link = open_files(), tmp_path / "shared"
    async with rig.bridge(export=(f"pty://{link}",)) as session:
        await opened(session)
        rig.sensor.write(b"for nobody\n")
        await rig.publisher.next()
        tool = Tool(link)
        rig.sensor.write(b"one\n")
        assert await tool.read(4) == b"one\n"  # and not what came before it was there
        assert (await rig.publisher.next()).payload == b"one"
        everything = bytes(range(256))
        tool.write(everything)
        assert await rig.received.read(256) == everything
        assert session.counters.bytes_written == 256
        tool.close()
        again = Tool(link)
        again.write(b"x")
        assert await rig.received.read(1) == b"x"
        rig.sensor.write(b"two\n")
        assert await again.read(4) == b"two\n"
        again.close()
        assert session.counters.guest_dropped_bytes == 0
    assert not link.is_symlink()
    assert open_files() <= before


async def test_a_tool_that_does_not_read_disturbs_nobody(rig: Rig, tmp_path: Path) -> None:
    async with rig.bridge(export=(f"pty://{tmp_path / 'shared'}",)) as session:
        await opened(session)
        tool = Tool(tmp_path / "shared")
        line = b"x" * 1023 + b"\n"
        for count in range(64):
            assert rig.sensor.write(line)
            assert (await rig.publisher.next()).seq == count + 1
        assert 0 < session.counters.guest_dropped_bytes < 64 * 1024
        tool.close()


async def test_one_writer_at_a_time(rig: Rig, tmp_path: Path) -> None:
    exports = (f"pty://{tmp_path / 'a'}", f"pty://{tmp_path / 'b'}")
    async with rig.bridge(export=exports) as session:
        await opened(session)
        first, second = Tool(tmp_path / "a"), Tool(tmp_path / "b")
        first.write(b"a1")
        assert await rig.received.read(2) == b"a1"
        hold = await rig.timers.waiting()
        assert hold.delay_ns == limits.GUEST_HOLD_NS
        rig.publisher.callbacks["cmd.temp"](b"c")
        second.write(b"b1")
        first.write(b"a2")
        assert await rig.received.read(2) == b"a2"
        rig.clock.now_ns += limits.GUEST_HOLD_NS - 5
        first.write(b"a3")
        assert await rig.received.read(2) == b"a3"
        await rig.timers.fire(5)  # it was silent for 5 ns
        assert session.counters.commands == 0
        first.close()  # which gives it up at once
        assert await rig.received.read(3) == b"cb1"
        second.write(b"b2")
        assert await rig.received.read(2) == b"b2"
        second.close()


async def test_without_a_device_nothing_is_kept_for_it(rig: Rig, tmp_path: Path) -> None:
    async with rig.bridge(export=(f"pty://{tmp_path / 'shared'}",)) as session:
        await opened(session)
        tool = Tool(tmp_path / "shared")
        rig.sensor.unplug()
        await closed(session)
        tool.write(b"lost")
        await until(lambda: session.counters.guest_dropped_bytes == 4)
        rig.sensor.plug()
        await fire_until_open(rig, session)
        tool.write(b"x")
        assert await rig.received.read(1) == b"x"
        rig.sensor.write(b"y")
        assert await tool.read(1) == b"y"
        tool.close()


async def fire_until_open(rig: Rig, session: Any) -> None:
    """Timers of the tool's turn may come before the one that opens the port again."""
    while (await rig.timers.fire()).delay_ns == limits.GUEST_HOLD_NS:
        pass
    await opened(session)


class Client:
    """The bridge's own client of RFC 2217, which has its settings tested elsewhere."""

    def __init__(self, connection: socket.socket, settings: Settings) -> None:
        self.connection, self.telnet = connection, Rfc2217(settings)
        self._rest = b""

    async def agree(self) -> None:
        await self.send_raw(self.telnet.start())
        while not self.telnet.ready:
            await self._take()
            assert self.telnet.trouble == ""

    async def _take(self) -> None:
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.connection, 4096), WAIT_S)
        assert data, "it hung up"
        self._rest += self.telnet.decode(data)
        if reply := self.telnet.take_reply():
            await self.send_raw(reply)

    async def send_raw(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.connection, data), WAIT_S)

    async def send(self, data: bytes) -> None:
        await self.send_raw(self.telnet.encode(data))

    async def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            await self._take()
        got, self._rest = self._rest[:size], self._rest[size:]
        return got

    async def hung_up(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            while await asyncio.wait_for(loop.sock_recv(self.connection, 4096), WAIT_S):
                pass
        except ConnectionError:
            pass
        return True


@asynccontextmanager
async def client_of(session: Any, settings: Settings) -> AsyncIterator[Client]:
    (place,) = session.exports.places
    host, _, port = place.removeprefix("rfc2217://").rpartition(":")
    with socket.socket() as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
        yield Client(connection, settings)


SETTINGS = Settings(115_200, 8, "none", 1, "none", "on", "on")


async def test_a_program_over_rfc2217_changes_settings_until_it_is_gone(rig: Rig) -> None:
    before = open_files()
    async with rig.bridge(export=("rfc2217://:0",)) as session:
        await opened(session)
        tty_fd = os.open(rig.sensor.link, os.O_RDWR | os.O_NOCTTY) if os.geteuid() == 0 else -1
        async with client_of(session, Settings(9600, 8, "none", 2, "xonxoff", "off", "on")) as client:
            await client.agree()
            assert session.exports._host.controls.baudrate == 9600
            if tty_fd >= 0:
                assert termios.tcgetattr(tty_fd)[tty.OSPEED] == termios.B9600
            everything = bytes(range(256))
            await client.send(everything)
            assert await rig.received.read(256) == everything
            rig.sensor.write(b"\xff one\n")
            assert await client.read(6) == b"\xff one\n"
            assert (await rig.publisher.next()).payload == b"\xff one"
        await until(lambda: session.exports._host.controls.baudrate == 115_200)
        if tty_fd >= 0:
            assert termios.tcgetattr(tty_fd)[tty.OSPEED] == termios.B115200
            os.close(tty_fd)
    assert open_files() <= before


@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")
async def test_pyserials_own_client(rig: Rig) -> None:
    """What vendors' tools in Python use; it blocks, so it has a thread."""
    async with rig.bridge(export=("rfc2217://:0",)) as session:
        await opened(session)
        port = await asyncio.to_thread(
            serial_for_url, session.exports.places[0], baudrate=19200, timeout=WAIT_S
        )
        try:
            await asyncio.to_thread(port.write, b"hello")
            assert await rig.received.read(5) == b"hello"
            assert session.exports._host.controls.baudrate == 19200
            rig.sensor.write(b"answer\n")
            assert await asyncio.to_thread(port.read, 7) == b"answer\n"
        finally:
            await asyncio.to_thread(port.close)


async def test_one_program_at_a_server_and_what_it_cannot_bear(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.bridge(export=("rfc2217://:0",)) as session:
        await opened(session)
        async with client_of(session, SETTINGS) as client:
            await client.agree()
            async with client_of(session, SETTINGS) as other:
                assert await other.hung_up()
            assert "127.0.0.1 is turned away: another program has the shared port" in caplog.text
            await client.send_raw(IAC + SB + COM + b"\x03\x63" + IAC + SE)  # parity 99
            assert await client.hung_up()
        for nonsense in (IAC + SE, IAC + SB + b"x" * 200, IAC + SB + COM + b"\x01" + IAC + SE):
            async with client_of(session, SETTINGS) as client:
                await client.send_raw(nonsense)
                assert await client.hung_up()
        async with client_of(session, SETTINGS) as client:
            await client.agree()


async def test_a_program_that_does_not_read_is_disconnected(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GUEST_BUFFER_BYTES_MAX", 8 << 10)
    async with rig.bridge(export=("rfc2217://:0",)) as session:
        await opened(session)
        async with client_of(session, SETTINGS) as client:
            await client.agree()
            seq = 0
            while session.exports._shared[0]._connection is not None:
                assert rig.sensor.write(b"x" * 4000 + b"\n")
                seq += 1
                assert (await rig.publisher.next()).seq == seq


async def test_settings_of_a_device_that_has_none_are_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    settings = SerialSettings(device=f"pty://{tmp_path / 'made'}", subject="tele.p", export=("rfc2217://:0",))
    from phloem.firmware_bridge.bridge import Bridge

    async with Bridge([settings], rig.publisher, rig.clock, Random(1), call_later=rig.timers) as bridge:
        (session,) = bridge.sessions
        await opened(session)
        async with client_of(session, Settings(9600, 8, "none", 1, "none", "keep", "keep")) as client:
            await client.send_raw(client.telnet.start())
            while not client.telnet.trouble:
                await client._take()
            assert client.telnet.trouble == "the other end does not do this speed"


async def test_an_address_that_is_taken_is_said_and_tried_again(rig: Rig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with rig.bridge(export=(f"rfc2217://:{port}",)) as session:
            await opened(session)
            assert rig.publisher.kinds == ["export_failed", "opened"]
            assert session.exports.places == []
            rig.sensor.unplug()
            await closed(session)
            taken.close()
            rig.sensor.plug()
            await rig.timers.fire()
            await opened(session)
            assert session.exports.places == [f"rfc2217://127.0.0.1:{port}"]


def test_places() -> None:
    assert place_of("pty://gps") == Pseudo("gps")
    assert place_of("rfc2217://:2217") == Served("127.0.0.1", 2217)
    assert place_of("rfc2217://0.0.0.0:2217") == Served("0.0.0.0", 2217)
    assert place_of("rfc2217://[::1]:2217") == Served("::1", 2217)


@pytest.mark.parametrize(
    "export", ["gps", "pty://", "rfc2217://host", "rfc2217://:65536", "socket://:1", "/dev/x"]
)
def test_no_places(export: str) -> None:
    with pytest.raises(ConfigError, match="is neither"):
        place_of(export)


def test_settings_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="same place twice"):
        SerialSettings(device="/dev/x", subject="a", export=("pty://x", "pty://x"))
    with pytest.raises(ConfigError, match="export means nothing with protocol"):
        SerialSettings(device="/dev/x", subject="a", protocol="edgelink", export=("pty://x",))
