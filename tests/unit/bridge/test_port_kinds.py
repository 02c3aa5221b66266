"""Ports that are no tty of this machine: over TCP, with RFC 2217, and pseudo-terminals that phloem makes."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.unit.bridge.rig import WAIT_S, ManualTimers, MemoryPublisher, StandingClock, open_files
from tests.unit.bridge.test_rfc2217 import Server

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.port_pty import folder
from phloem.firmware_bridge.session import Session
from phloem.firmware_bridge.settings import SerialSettings


class Rig:
    def __init__(self) -> None:
        self.clock, self.publisher = StandingClock(), MemoryPublisher()
        self.timers = ManualTimers(self.clock)

    @asynccontextmanager
    async def bridge(self, device: str, **fields: Any) -> AsyncIterator[Session]:
        settings = SerialSettings(device=device, subject="tele.p", command_subject="cmd.p", **fields)
        bridge = Bridge([settings], self.publisher, self.clock, Random(2), call_later=self.timers)
        async with bridge:
            yield bridge.sessions[0]

    async def opened(self, session: Session) -> None:
        await asyncio.wait_for(session.wait_open(), WAIT_S)

    async def closed(self, session: Session) -> None:
        await asyncio.wait_for(session.wait_closed(), WAIT_S)

    def command(self, data: bytes) -> None:
        self.publisher.callbacks["cmd.p"](data)


class DeviceServer:
    """A serial device server: takes one connection after the other."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.connection: socket.socket | None = None

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    async def accept(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        self.hang_up()
        self.connection, _ = await asyncio.wait_for(loop.sock_accept(self._listening), WAIT_S)
        self.connection.setblocking(False)
        return self.connection

    async def send(self, data: bytes) -> None:
        assert self.connection is not None
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.connection, data), WAIT_S)

    async def receive(self, size: int) -> bytes:
        assert self.connection is not None
        got = b""
        while len(got) < size:
            piece = await asyncio.wait_for(
                asyncio.get_running_loop().sock_recv(self.connection, size - len(got)), WAIT_S
            )
            assert piece
            got += piece
        return got

    async def agree(self) -> Server:
        """Speak RFC 2217 until the port has its settings."""
        assert self.connection is not None
        server, loop = Server(), asyncio.get_running_loop()
        await self.send(server.take(b""))
        while not server.serial.purged:  # the last thing that a client asks for
            await self.send(
                server.take(await asyncio.wait_for(loop.sock_recv(self.connection, 4096), WAIT_S))
            )
        return server

    def hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


@pytest.fixture
def server() -> Iterator[DeviceServer]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        made = DeviceServer(listening)
        yield made
        made.hang_up()


@pytest.fixture
def rig(caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.WARNING, "phloem.bridge")
    return Rig()


async def test_bytes_over_tcp(rig: Rig, server: DeviceServer) -> None:
    async with rig.bridge(f"socket://{server.place}") as session:
        await server.accept()
        await rig.opened(session)
        await server.send(b"one\ntw")
        await server.send(b"o\n")
        assert [(await rig.publisher.next()).payload for _ in range(2)] == [b"one", b"two"]
        rig.command(b"\xffon\n")
        assert await server.receive(4) == b"\xffon\n"
        assert session.figures()["path"] == server.place
        server.hang_up()
        await rig.closed(session)
        await rig.timers.fire()  # and it calls again
        await server.accept()
        await rig.opened(session)
    assert rig.publisher.kinds == ["opened", "lost", "opened", "closed"]


async def test_nobody_listens(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        place = f"127.0.0.1:{gone.getsockname()[1]}"
    async with rig.bridge(f"socket://{place}") as session:
        await rig.publisher.happened("absent")
        assert not session.is_open
    assert [r.getMessage() for r in caplog.records] == [
        f"serial port {place} (socket://{place}): Connection refused; retrying every 0.2 to 5.0 s"
    ]


async def test_rfc2217_sets_the_port_and_escapes_bytes(rig: Rig, server: DeviceServer) -> None:
    everything = bytes(range(256))
    async with rig.bridge(f"rfc2217://{server.place}", baud=19_200, dtr="off", framing="raw") as session:
        await server.accept()
        remote = await server.agree()
        await rig.opened(session)
        assert (remote.serial.baudrate, remote.serial.dtr, remote.serial.rts) == (19_200, False, True)
        await server.send(remote.escaped(everything))
        got = b""
        while len(got) < len(everything):
            got += (await rig.publisher.next()).payload
        assert got == everything
        rig.command(everything)
        remote.take(await server.receive(257))
        assert remote.received == everything
        await server.send(b"\xff\xfa\x2c\x6a\x08\xff\xf0.")  # a framing error on its line
        await rig.publisher.next()
        assert session.figures()["line_errors"]["frame"] == 1


async def test_a_server_that_suspends_gets_nothing_until_it_resumes(rig: Rig, server: DeviceServer) -> None:
    async with rig.bridge(f"rfc2217://{server.place}") as session:
        await server.accept()
        await server.agree()
        await rig.opened(session)
        await server.send(b"\xff\xfa\x2c\x6c\xff\xf0suspended\n")
        assert (await rig.publisher.next()).payload == b"suspended"
        rig.command(b"later")
        port = session._port
        assert port is not None
        assert port.write_queue_bytes == 5
        await server.send(b"\xff\xfa\x2c\x6d\xff\xf0")
        assert await server.receive(5) == b"later"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"\xff\xfe\x2c", "does not speak RFC 2217; is it socket://?"),
        (b"", "the other end closed the connection"),
    ],
)
async def test_no_rfc2217_there(
    rig: Rig, server: DeviceServer, caplog: pytest.LogCaptureFixture, said: bytes, text: str
) -> None:
    async with rig.bridge(f"rfc2217://{server.place}") as session:
        await server.accept()
        await server.send(said)
        await server.receive(15)
        server.hang_up()
        await rig.publisher.happened("refused")
        assert not session.is_open
    assert text in caplog.text
    assert rig.publisher.kinds == ["refused"]


async def test_a_server_that_says_nothing(
    rig: Rig, server: DeviceServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.bridge(f"rfc2217://{server.place}") as session:
        await server.accept()
        assert (await rig.timers.fire()).delay_ns == limits.NETWORK_OPEN_NS
        await rig.publisher.happened("absent")
        assert not session.is_open
    assert "no answer" in caplog.text


async def test_network_ports_leave_nothing_behind(rig: Rig, server: DeviceServer) -> None:
    await asyncio.to_thread(os.getpid)
    before, tasks = open_files(), asyncio.all_tasks()
    for scheme in ("socket", "rfc2217"):
        async with rig.bridge(f"{scheme}://{server.place}"):
            await server.accept()  # RFC 2217 is still agreeing when it is cancelled
    server.hang_up()
    assert asyncio.all_tasks() == tasks
    assert open_files() == before


@contextmanager
def program(link: Path) -> Iterator[int]:
    """Another program that opens the pseudo-terminal."""
    fd = os.open(link, os.O_RDWR | os.O_NOCTTY)
    try:
        yield fd
    finally:
        os.close(fd)


async def test_a_pseudo_terminal_for_another_program(rig: Rig, tmp_path: Path) -> None:
    before, link = open_files(), tmp_path / "sub" / "sensor"
    async with rig.bridge(f"pty://{link}") as session:
        await rig.opened(session)
        place = os.readlink(link)
        for said in (b"one", b"two"):  # programs come and go
            with program(link) as fd:
                os.write(fd, said + b"\n")
                assert (await rig.publisher.next()).payload == said
                rig.command(b"\x03\r\n")
                assert os.read(fd, 10) == b"\x03\r\n"
        assert os.readlink(link) == place
        assert session.counters.opens == 1
    assert not link.is_symlink()
    assert open_files() == before


async def test_a_link_that_a_killed_run_left_is_replaced_and_a_file_is_not(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = tmp_path / "sensor"
    link.symlink_to("/dev/pts/none")
    async with rig.bridge(f"pty://{link}") as session:
        await rig.opened(session)
        assert os.readlink(link).startswith("/dev/pts/")
    link.write_text("precious")
    async with rig.bridge(f"pty://{link}"):
        await rig.publisher.happened("refused")
    assert link.read_text() == "precious"
    assert "in the way" in caplog.text


def test_where_links_without_a_path_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/phloem:/run/other")
    assert folder() == Path("/run/phloem/pty")
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert folder() == Path("/run/user/7/phloem/pty")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert folder().name == "pty"
    assert str(os.getuid()) in folder().parent.name
