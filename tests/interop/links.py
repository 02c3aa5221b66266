"""What the tests of leaf links share: brokers of both kinds, clients, probes and a cable that can be cut.

Nothing here waits for time to pass. ``reachable`` asks until the other side answers, which also proves that
all interest announced before it has arrived; a message that must *not* come is followed by one that must.
"""

import asyncio
import itertools
import logging
import re
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
        self._stack.push_async_callback(asyncio.to_thread, server.stop)
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
        await client.flush()
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
    """A TCP proxy; ``cut`` ends all connections and refuses new ones until ``restore``."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def restore(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, back}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, back))
                group.create_task(self._copy(onward, writer))
        finally:
            self._writers -= both
            for end in both:
                end.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        sink.transport.abort()
