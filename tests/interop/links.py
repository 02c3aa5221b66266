"""What the tests of leaf links share: brokers of both kinds, clients, probes and a cable that can be cut.

Nothing here waits for time to pass. ``reachable`` asks until the other side answers, which also proves that
all interest announced before it has arrived; a message that must *not* come is followed by one that must.
"""

import asyncio
import contextlib
import itertools
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from phloem.shared.server.server import Server
from tests.support.accepting import Accepting, dialled, streams
from tests.support.real_server import RealServer

TIMEOUT_S = 20.0
_NUMBERS = itertools.count(1)


class LogWatch(logging.Handler):
    """Log lines of phloem, to wait for."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._grew = asyncio.Event()
        self._logger = logging.getLogger("phloem")

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._grew.set()

    def __enter__(self) -> Self:
        self._level = self._logger.level
        self._logger.setLevel(logging.DEBUG)
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    async def line(self, pattern: str, *, after: int = 0) -> str:
        """The first line from index ``after`` on that matches; TimeoutError if none comes."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                for line in self.lines[after:]:
                    if re.search(pattern, line):
                        return line
                self._grew.clear()
                await self._grew.wait()


class World:
    """The brokers and clients of one test; all end with it."""

    def __init__(self, folder: Path, stack: AsyncExitStack, log: LogWatch) -> None:
        self.folder = folder
        self._stack = stack
        self.log = log

    async def real(self, config: str = "", name: str = "HUB", **leaf_ports: object) -> RealServer:
        """A nats-server that accepts leafs; ``config`` is more of its configuration."""
        number = next(_NUMBERS)
        text = f'server_name: "{name}"\n{config}'
        if "leafnodes" not in config:
            text += '\nleafnodes { listen: "127.0.0.1:-1" }'
        server = await asyncio.to_thread(RealServer, text, self.folder / f"real{number}")
        self._stack.push_async_callback(asyncio.to_thread, server.end)
        return server

    async def ours(
        self, name: str = "EDGE", *, leafnodes: dict[str, Any] | None = None, **more: Any
    ) -> Server:
        """A phloem server; it accepts leafs unless ``leafnodes`` says otherwise."""
        block = {"listen": "127.0.0.1:-1", "reconnect": "20ms", **(leafnodes or {})}
        config = {"listen": "127.0.0.1:-1", "server_name": name, "leafnodes": block, **more}
        return await self._stack.enter_async_context(Server(config))

    async def run(self, server: Server) -> Server:
        """Another phloem server, which ends with the world."""
        return await self._stack.enter_async_context(server)

    async def client(self, server: RealServer | Server, **options: Any) -> Client:
        url = server.client_url if isinstance(server, Server) else f"nats://127.0.0.1:{server.port()}"
        client = await nats.connect(url, **options)
        self._stack.push_async_callback(client.close)
        return client

    async def cable(self, port: int) -> "Cable":
        """A proxy in front of a port of this machine."""
        return await self._stack.enter_async_context(Cable(port))


@asynccontextmanager
async def new_world(folder: Path) -> AsyncIterator[World]:
    with LogWatch() as log:
        async with AsyncExitStack() as stack:
            yield World(folder, stack, log)


def leaf_url(server: RealServer | Server, credentials: str = "") -> str:
    """Where leafs link to this server."""
    port = server.leaf_port if isinstance(server, Server) else server.port("leafnodes")
    return f"nats-leaf://{credentials}127.0.0.1:{port}"


async def reachable(requester: Client, responder: Client) -> None:
    """Return when a request gets from one client to the other and its answer back."""
    subject = f"probe.{next(_NUMBERS)}"

    async def answer(msg: Msg) -> None:
        await msg.respond(b"")

    subscription = await responder.subscribe(subject, cb=answer)
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                await requester.request(subject, b"", timeout=0.2)
                break
            except (NoRespondersError, NatsTimeoutError):
                continue
    await subscription.unsubscribe()


async def settled(client: Client) -> None:
    """Return when the server has read all that the client has sent, and the client what the server said to that.

    The first PING of nats-py may overtake operations that it has not written yet; the second one does not.
    """
    await client.flush()
    await client.flush()


class Inbox:
    """What a client receives on some subjects, in order."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Msg] = asyncio.Queue()

    @classmethod
    async def of(cls, client: Client, *subjects: str, queue: str = "") -> "Inbox":
        inbox = cls()

        async def take(msg: Msg) -> None:
            inbox._messages.put_nowait(msg)

        for subject in subjects:
            await client.subscribe(subject, queue=queue, cb=take)
        await settled(client)
        return inbox

    async def next(self) -> Msg:
        async with asyncio.timeout(TIMEOUT_S):
            return await self._messages.get()

    async def until(self, subject: str) -> list[str]:
        """Subjects of all messages before the first one on ``subject``."""
        before: list[str] = []
        while (msg := await self.next()).subject != subject:
            before.append(msg.subject)
        return before


class Cable:
    """A TCP proxy; ``cut`` ends all connections and refuses new ones until ``restore``.

    What else a way between two servers may do: ``up`` and ``down`` say what becomes of what the dialling side sends,
    and of what it gets. ``target`` is the port behind it, which may change.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.up = Way()
        self.down = Way()
        self._near = Accepting(self._connected)

    @property
    def port(self) -> int:
        return self._near.port

    async def __aenter__(self) -> Self:
        self.restore()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    def restore(self) -> None:
        self._near.listen()

    async def cut(self) -> None:
        await self._near.close()

    async def _connected(self, sock: socket.socket) -> None:
        async with (
            streams(sock) as (reader, writer),
            dialled(self.target) as (onward, back),
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._copy(reader, back, self.up))
            group.create_task(self._copy(onward, writer, self.down))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: "Way") -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await way.passes(len(data))
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


class Way:
    """One direction: ``delay_s`` for each piece, ``rate`` bytes a second (0: any), nothing at all while ``shut``."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.rate = 0
        self._open = asyncio.Event()
        self._open.set()

    def shut(self) -> None:
        """A black hole: what is sent is taken, and does not arrive until ``reopen``."""
        self._open.clear()

    def reopen(self) -> None:
        self._open.set()

    async def passes(self, size: int) -> None:
        """Return when so many bytes would have got through."""
        if wait := self.delay_s + (size / self.rate if self.rate else 0.0):
            await asyncio.sleep(wait)
        await self._open.wait()
