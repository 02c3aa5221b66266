"""Connections that a test accepts: a task for each one, and nothing is left of any when the listener closes.

asyncio's own server, when it closes, forgets who came in that moment: a socket without a transport, a transport
without a handler. They would stay open until they are collected, which is in another test.
"""

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Self


class Accepting:
    """Listens on a port of 127.0.0.1; ``serve`` owns a connection, a non-blocking socket, until it returns.

    ``OSError`` out of ``serve`` is a peer that left; any other error is raised by ``close``.
    """

    def __init__(self, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        self._listening: socket.socket | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        await self.close()

    def listen(self) -> None:
        """Begin, or begin again on the same port."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._listening.setblocking(False)
        self.port = self._listening.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listening, self._ready)

    async def close(self) -> None:
        """Refuse who comes, and end the tasks of those who are there."""
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._errors:
            raise self._errors.pop()

    def _ready(self) -> None:
        assert self._listening is not None
        with suppress(BlockingIOError, ConnectionAbortedError):
            sock, _ = self._listening.accept()
            sock.setblocking(False)
            sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )  # asyncio does it for what it dialled alone
            task = asyncio.ensure_future(self._served(sock))
            self._tasks.add(task)
            task.add_done_callback(functools.partial(self._ended, sock))

    async def _served(self, sock: socket.socket) -> None:
        with suppress(OSError):
            await self._serve(sock)

    def _ended(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        sock.close()  # for a task that was cancelled before it began
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)


@asynccontextmanager
async def streams(sock: socket.socket) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """asyncio's streams on a connected socket, which is cut when the block is left."""
    async with cut_at_the_end(*await asyncio.open_connection(sock=sock)) as both:
        yield both


@asynccontextmanager
async def dialled(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """asyncio's streams to a port of 127.0.0.1, which are cut when the block is left."""
    async with cut_at_the_end(*await asyncio.open_connection("127.0.0.1", port)) as both:
        yield both


@asynccontextmanager
async def cut_at_the_end(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is gone, and not only going, when the block is left."""
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
