"""What a soak does to a hub and a leaf, and what it reads of them while it does.

A Round is a burst of everything that makes and frees state: clients that come, subscribe, publish and leave (some in
the middle of an operation), subjects and queue groups that nobody uses again, and a leaf link that is cut. After it
both servers are as empty as before, which is when they are measured.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import nats
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from tests.support.accepting import Accepting, dialled, streams
from tests.support.server_process import ServerProcess

CLIENTS = 40
SUBJECTS = 25  # of each client
OFTEN = 200  # subjects that are published to again and again
TIMEOUT_S = 30.0
CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'


class Reading(NamedTuple):
    """What a process holds."""

    resident_bytes: int
    descriptors: int
    threads: int


def read(process: ServerProcess) -> Reading:
    folder = Path("/proc") / str(process.pid)
    fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    resident = int(fields["VmRSS"].split()[0]) * 1024
    return Reading(resident, len(os.listdir(folder / "fd")), int(fields["Threads"]))


class Cable:
    """A TCP connection to ``port`` that can be cut: the leaf's way to its hub."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._near = Accepting(self._serve)
        self._writers: set[asyncio.StreamWriter] = set()
        self.cuts = 0

    @property
    def port(self) -> int:
        return self._near.port

    def open(self) -> "Cable":
        self._near.listen()
        return self

    def cut(self) -> None:
        self.cuts += 1
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        await self._near.close()

    async def _serve(self, sock: socket.socket) -> None:
        async with streams(sock) as (reader, writer), dialled(self._port) as (far_reader, far_writer):
            ends = {writer, far_writer}
            self._writers |= ends
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                self._writers -= ends


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


async def visit(port: int, rng: Random) -> None:
    """One client: comes, makes state of every kind, leaves in one of three ways."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(CONNECT)
    for number in range(SUBJECTS):
        subject = f"soak.{rng.randrange(1 << 30)}.{rng.choice(('*', '>', 'x'))}"
        queue = f" q{rng.randrange(5)}" if rng.random() < 0.3 else ""
        writer.write(f"SUB {subject}{queue} {number}\r\n".encode())
        if rng.random() < 0.5:
            writer.write(f"UNSUB {number} {rng.randrange(3)}\r\n".encode())
        size = rng.choice((0, 16, 3000))
        once = subject.replace("*", "x").replace(">", "x")
        often = f"often.{rng.randrange(OFTEN)}"  # few: a cache that fills for hours is no leak, but looks like one
        for target in (once, often, often):
            writer.write(b"PUB %s reply.%d %d\r\n%s\r\n" % (target.encode(), number, size, b"x" * size))
    leave = rng.randrange(3)
    if leave == 0:
        writer.write(b"PUB unfinished 500000\r\n" + b"x" * rng.randrange(100_000))
    elif leave == 1:
        writer.write(b"nonsense\r\n")
    writer.write(b"PING\r\n")
    with contextlib.suppress(OSError):
        await writer.drain()
        if leave:
            async with asyncio.timeout(TIMEOUT_S):
                while data := await reader.read(65536):
                    if b"PONG\r\n" in data:
                        break
    writer.transport.abort()


async def until(question: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes; each question goes over the wire, which is what paces it."""
    async with asyncio.timeout(TIMEOUT_S):
        while not await question():
            pass


class Ends:
    """A client on either side of the link, for the whole soak."""

    def __init__(self, hub_port: int, leaf_port: int) -> None:
        self._ports = hub_port, leaf_port
        self.hub: Client
        self.leaf: Client

    async def open(self) -> None:
        self.hub, self.leaf = [await nats.connect(f"nats://127.0.0.1:{port}") for port in self._ports]

        async def answer(message: nats.aio.msg.Msg) -> None:
            await message.respond(message.data)

        await self.hub.subscribe("soak-echo", cb=answer)
        await self.hub.flush()

    async def close(self) -> None:
        await self.leaf.close()
        await self.hub.close()

    async def linked(self) -> bool:
        """Whether a request gets from the leaf to the hub and its answer back."""
        try:
            return (
                await self.leaf.request("soak-echo", b"there and back", timeout=1)
            ).data == b"there and back"
        except (NoRespondersError, NatsTimeoutError):
            return False
