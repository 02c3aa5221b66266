"""A nats-py client of a server in the same process, over a socket pair instead of TCP."""

import asyncio
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import ParseResult

from nats.aio.client import Client
from nats.aio.transport import TcpTransport

if TYPE_CHECKING:
    from phloem.shared.server.clients import Clients


class SocketPairTransport(TcpTransport):
    """nats-py's transport with the connection made by the server itself; reconnecting makes another one."""

    def __init__(self, clients: "Clients") -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
        self._clients = clients

    def __bool__(self) -> bool:
        """nats-py replaces a transport that is false, as one is before it is connected."""
        return True

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Called by nats-py instead of dialling ``uri``."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._clients.adopt(ours)
        reader, writer = await asyncio.open_connection(sock=theirs, limit=buffer_size)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = writer


async def connect_in_process(clients: "Clients", **options: Any) -> Client:
    """``nats.connect`` without an address."""
    client = Client()
    client._transport = SocketPairTransport(clients)
    await client.connect(servers=["nats://in-process:4222"], **options)
    return client
