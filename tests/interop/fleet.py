"""A deployment as ``phloem init`` and ``phloem enroll`` make it, with its hub, edges and clients running.

The files are used as they were generated, but for the ports: those that the system chooses.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nats
from click.testing import CliRunner
from nats.aio.client import Client

from phloem.hub.fleet.device_commands import devices, enroll, push, revoke
from phloem.hub.fleet.fleet_command import fleet
from phloem.hub.fleet.init_command import init
from phloem.shared.security.creds import credentials_in
from phloem.shared.security.tokens import encode_base64url
from phloem.shared.server.client_login import login_with
from phloem.shared.server.secret_files import read_secret
from phloem.shared.server.stream_command import stream
from tests.support.phloem_server import ForkedServer
from tests.support.real_server import BINARY
from tests.support.server_process import ServerProcess

TIMEOUT_S = 20.0
PROGRAMS = {
    "nats-server": ([str(BINARY)], [str(BINARY)]),
    "phloem": ([sys.executable, "-m", "phloem", "hub"], [sys.executable, "-m", "phloem", "edge"]),
}


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


# a process for each takes half a second; what is left to ``python -m phloem`` is which of them it calls
IN_PROCESS = {
    "fleet": fleet,
    "init": init,
    "enroll": enroll,
    "revoke": revoke,
    "push": push,
    "devices": devices,
    "stream": stream,
}


async def phloem(*words: str | Path) -> Done:
    """Run a command of phloem."""
    command, *rest = map(str, words)
    if command in IN_PROCESS:
        made = await asyncio.to_thread(CliRunner().invoke, IN_PROCESS[command], rest, prog_name=command)
        return Done(made.exit_code, made.stdout, made.stderr)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "phloem",
        *map(str, words),
        stdout=-1,
        stderr=-1,
        stdin=asyncio.subprocess.DEVNULL,
    )
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


class Fleet:
    """One deployment; ``hub_kind`` and ``edge_kind`` are keys of ``PROGRAMS``."""

    def __init__(self, place: Path, kinds: tuple[str, str], stack: AsyncExitStack) -> None:
        self.place, self.folder = place, place / "fleet"
        self._hub_program, self._edge_program = PROGRAMS[kinds[0]][0], PROGRAMS[kinds[1]][1]
        self._stack = stack
        self.hub: ServerProcess | None = None
        self._ports = ("-1", "-1")

    async def run(self, command: str, *words: str | Path) -> Done:
        """A command for this deployment and its hub, which has to succeed."""
        done = await self.attempt(command, *words)
        assert done.code == 0, done
        return done

    async def attempt(self, command: str, *words: str | Path) -> Done:
        """The same, however it ends."""
        asks = command in ("revoke", "push") or "--stream" in words
        asks = asks or ("--renew" in words and "--keep-old" not in words)
        server = ("--server", self.url) if asks else ()
        return await phloem(command, *words, "--config", self.folder, *server)

    @property
    def url(self) -> str:
        return f"tls://localhost:{self._ports[0]}"

    async def start_hub(self, folder: Path | None = None) -> ServerProcess:
        """Run the hub; the second time on the ports it had. ``folder``: its files are there instead."""
        text = ((folder or self.folder / "hub") / "hub.conf").read_text()
        text = text.replace("0.0.0.0:4222", f"127.0.0.1:{self._ports[0]}")
        text = text.replace("0.0.0.0:7422", f"127.0.0.1:{self._ports[1]}").replace(":8222", ":-1")
        if folder is not None:
            text = text.replace(str(self.folder / "hub"), str(folder))
        self.hub = await self._start(self._hub_program, text, "hub")
        self._ports = (str(self.hub.port()), str(self.hub.port("leafnodes")))
        return self.hub

    async def stop_hub(self) -> None:
        assert self.hub is not None
        await asyncio.to_thread(self.hub.stop)

    async def enroll(self, name: str, *words: str) -> Path:
        """Enroll a device; the folder with its files."""
        out = self.place / name
        await self.run("enroll", name, "-o", out, "--here", *words)
        return out

    async def edge(self, name: str) -> ServerProcess:
        """Run the edge of a device that was enrolled."""
        text = (self.place / name / "edge.conf").read_text()
        text = text.replace(":7422", f":{self._ports[1]}").replace("127.0.0.1:4222", "127.0.0.1:-1")
        text = text.replace("leafnodes {", 'leafnodes {\n  reconnect: "50ms"')
        return await self._start(self._edge_program, text, f"edge-{name}")

    async def client(self, creds: Path | str = "admin.creds", **options: Any) -> Client:
        """A client of the hub; with the credentials of the administrator, or of a device."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        login = login_with(self.folder / creds)
        options = {"allow_reconnect": False, "error_cb": _heard, **options}
        return await self._keep(await nats.connect(self.url, tls=context, **login, **options))

    async def local(self, edge: ServerProcess, **options: Any) -> Client:
        """A client on a device."""
        return await self._keep(await nats.connect(f"nats://127.0.0.1:{edge.port()}", **options))

    async def thief(self, folder: Path) -> "Wire":
        """A leaf link with a device's credentials and a program that keeps to no rule."""
        wire = await self._wire(folder / "device.creds", self.leaf_port)
        assert await wire.until(b"PONG")
        return wire

    async def is_refused(self, creds: Path) -> bool:
        """Whether the hub does not let a client in with these credentials."""
        assert self.hub is not None
        wire = await self._wire(creds, self.hub.port())
        *_, last = await wire.until(b"PONG", b"-ERR")
        if last.startswith(b"-ERR"):
            assert last == b"-ERR 'Authorization Violation'\r\n"
            await wire.until(b"closed")
        return last.startswith(b"-ERR")

    async def _wire(self, creds: Path, port: int) -> "Wire":
        wire = await Wire.connect(creds, port, self.folder / "ca.pem")
        self._stack.callback(wire.close)
        return wire

    @property
    def leaf_port(self) -> int:
        return int(self._ports[1])

    async def _keep(self, client: Client) -> Client:
        self._stack.push_async_callback(client.close)
        return client

    async def _start(self, program: list[str], text: str, name: str) -> ServerProcess:
        kind = ForkedServer if program[1:3] == ["-m", "phloem"] else ServerProcess
        server = await asyncio.to_thread(kind, program, text, self.place / f"run-{name}")
        self._stack.push_async_callback(asyncio.to_thread, server.end)
        return server


class Wire:
    """A connection whose protocol a test speaks by hand, after it has logged in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, creds: Path, port: int, authority: Path) -> "Wire":
        """INFO, TLS, CONNECT and PING; what the server says to that is not read yet."""
        reader, writer = await asyncio.open_connection("localhost", port)
        info = json.loads((await reader.readline()).removeprefix(b"INFO "))
        context = ssl.create_default_context(cafile=str(authority))
        await writer.start_tls(context, server_hostname="localhost")
        token, pair = credentials_in(read_secret(creds))
        signature = encode_base64url(pair.sign(info["nonce"].encode()))
        connect = {
            "jwt": token,
            "sig": signature,
            "name": "wire",
            "headers": True,
            "version": "2.15.1",
            "verbose": False,
        }
        wire = cls(reader, writer)
        wire.send(f"CONNECT {json.dumps(connect)}\r\nPING\r\n")
        return wire

    def send(self, text: str) -> None:
        self.send_bytes(text.encode())

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def until(self, *words: bytes) -> list[bytes]:
        """Lines up to the first that begins with one of ``words``; the connection's end is a line ``closed``."""
        lines: list[bytes] = []
        async with asyncio.timeout(TIMEOUT_S):
            while not lines or not lines[-1].startswith(words):
                lines.append(await self._line())
        return lines

    async def _line(self) -> bytes:
        try:
            return await self._reader.readline() or b"closed"
        except ConnectionError:
            return b"closed"

    def close(self) -> None:
        self._writer.transport.abort()


async def _heard(_problem: Exception) -> None:
    """Clients that are refused something are part of the tests."""


@asynccontextmanager
async def new_fleet(place: Path, kinds: tuple[str, str], *words: str) -> AsyncIterator[Fleet]:
    """A deployment with its hub running; ``words``: more for ``phloem init``."""
    async with AsyncExitStack() as stack:
        fleet = Fleet(place, kinds, stack)
        done = await phloem("init", fleet.folder, "--hub", "localhost", *words)
        assert done.code == 0, done
        await fleet.start_hub()
        yield fleet
