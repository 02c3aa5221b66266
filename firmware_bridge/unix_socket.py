"""nats-py over a Unix socket: ``unix:///run/phloem/nats.sock``, ``unix://user:password@/run/phloem/nats.sock``."""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import ParseResult, unquote, urlsplit

from nats.aio.client import Client
from nats.aio.transport import TcpTransport

SCHEME = "unix://"


class UnixTransport(TcpTransport):
    """nats-py's transport, connected to a path."""

    def __init__(self, path: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
        self._path = path

    def __bool__(self) -> bool:
        """nats-py replaces a transport that is false, as one is before it is connected."""
        return True

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Called by nats-py instead of dialling ``uri``."""
        opening = asyncio.open_unix_connection(self._path, limit=buffer_size)
        reader, writer = await asyncio.wait_for(opening, connect_timeout)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = writer


def client_of(servers: Sequence[str]) -> tuple[Client, dict[str, Any]]:
    """A client that has not connected yet, and what to connect it with. A Unix socket is the only server."""
    client = Client()
    if not servers[0].startswith(SCHEME):
        return client, {"servers": list(servers)}
    url = urlsplit(servers[0])
    client._transport = UnixTransport(url.path)
    options: dict[str, Any] = {"servers": ["nats://unix-socket:4222"]}
    if url.username:  # in a URL nats-py would take them as they are written, with their escapes
        options |= {"user": unquote(url.username), "password": unquote(url.password or "")}
    return client, options
