"""A hub played by the test: a listener that a leaf server dials, one :class:`RawLeaf` per link.

The leaf's configuration names the listener's port, so every test that uses this starts a server of
its own. ``dialled`` gives links in the order in which they came, redials included.
"""

import asyncio
import socket
from types import TracebackType
from typing import Self

from tests.support.accepting import Accepting
from tests.support.brokers import Broker, Brokers
from tests.support.rawclient import TIMEOUT_S, Incoming
from tests.support.rawleaf import RawLeaf

# The least a leaf accepts as the first INFO of a hub (wire.md 2.2).
FIRST_INFO = (
    '{"client_id":1,"leafnode_urls":[],"headers":true,"max_payload":1048576,'
    '"server_id":"NHUB","server_name":"HUB"}'
)


class FakeHub:
    """Listens on a port of its own while it is entered."""

    def __init__(self) -> None:
        self._links: asyncio.Queue[RawLeaf] = asyncio.Queue()
        self._accepting = Accepting(self._accepted)

    @property
    def port(self) -> int:
        return self._accepting.port

    async def __aenter__(self) -> Self:
        self._accepting.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        await self._accepting.close()

    def leaf_server(self, broker: Brokers, remote: str = "", config: str = "") -> Broker:
        """Start a leaf that dials this hub; ``remote`` goes into the remote's block."""
        remotes = f'remotes: [ {{ url: "nats-leaf://127.0.0.1:{self.port}", {remote} }} ]'
        if "server_name" not in config:
            config += '\nserver_name: "LEAF"'
        return broker.own(f'leafnodes {{ reconnect: "50ms", {remotes} }}\n{config}')

    async def dialled(self, timeout_s: float = TIMEOUT_S) -> RawLeaf:
        """The next link that a leaf opens; TimeoutError if none does."""
        async with asyncio.timeout(timeout_s):
            return await self._links.get()

    async def linked(self, first_info: str = FIRST_INFO) -> RawLeaf:
        """A link with the handshake done: INFO sent, CONNECT and the leaf's interest read, in sync."""
        link = await self.dialled()
        link.send(f"INFO {first_info}\r\n")
        await link.expect_connect()
        await link.sync()
        return link

    async def _accepted(self, sock: socket.socket) -> None:
        transport, incoming = await asyncio.get_running_loop().connect_accepted_socket(Incoming, sock)
        self._links.put_nowait(RawLeaf(incoming))
        try:
            await asyncio.Event().wait()
        finally:
            transport.abort()
