"""nats-py over a Unix socket: ``unix:///run/phloem/nats.sock``, ``unix://user:password@/run/phloem/nats.sock``."""

import asyncio
from collections.abc import Sequence
from urllib.parse import ParseResult, urlsplit

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


def client_of(servers: Sequence[str]) -> tuple[Client, list[str]]:
    """A client that has not connected yet, and the servers as nats-py takes them. A Unix socket is the only one."""
    client = Client()
    if not servers[0].startswith(SCHEME):
        return client, list(servers)
    url = urlsplit(servers[0])
    client._transport = UnixTransport(url.path)
    login = f"{url.netloc.rpartition('@')[0]}@" if "@" in url.netloc else ""
    return client, [f"nats://{login}unix-socket:4222"]
