"""Three nats-servers that are one hub. Each has an address of its own in 127.0.0.0/8, because a node that comes back
has to be where it was: so its ports can be the usual ones without being anybody else's."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.aio.client import Client

from tests.support.real_server import RealServer

NODES = 3
TIMEOUT_S = 30.0


class Cluster:
    """Nodes A, B, C; JetStream with the domain ``hub``; leafs are taken by each of them."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        pid = os.getpid()
        self._net = f"127.{100 + number * 4 + (pid >> 6 & 3)}.{pid >> 8 & 0xFF}"
        self._last = pid & 0x3F
        self.nodes: dict[str, RealServer] = {}

    def address(self, name: str) -> str:
        return f"{self._net}.{self._last * 4 + 'ABC'.index(name)}"

    def node_at(self, address: str) -> str:
        """The name of the node at an address."""
        return next(name for name in "ABC" if self.address(name) == address)

    def _config(self, name: str) -> str:
        ip = self.address(name)
        routes = ", ".join(f'"nats-route://{self.address(other)}:6222"' for other in "ABC")
        return f"""
            server_name: {name}
            listen: "{ip}:4222"
            jetstream {{ store_dir: "{self._folder}/{name}", domain: hub }}
            cluster {{ name: HUB, listen: "{ip}:6222", routes: [{routes}] }}
            leafnodes {{ listen: "{ip}:7422" }}
        """

    async def start(self, name: str) -> None:
        self.nodes[name] = await asyncio.to_thread(
            RealServer, self._config(name), self._folder / f"run-{name}"
        )

    async def kill(self, name: str) -> None:
        """As a power cut does, but that the operating system keeps what was written."""
        node = self.nodes.pop(name)
        node.signal(signal.SIGKILL)
        await asyncio.to_thread(node.stop)

    async def stop(self) -> None:
        for node in self.nodes.values():
            await asyncio.to_thread(node.stop)

    def leaf_urls(self) -> list[str]:
        return [f"nats-leaf://{self.address(name)}:7422" for name in "ABC"]

    async def client(self) -> Client:
        async def quiet(_: Exception) -> None:
            """Nodes go away; that is the test."""

        return await nats.connect(
            [f"nats://{self.address(name)}:4222" for name in "ABC"],
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
            error_cb=quiet,
        )

    async def ready(self, client: Client) -> None:
        """Return when it has a leader for JetStream."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    await client.jetstream(timeout=1).account_info()
                    return
                except Exception:
                    await asyncio.sleep(0.05)


@asynccontextmanager
async def new_cluster(folder: Path, number: int) -> AsyncIterator[Cluster]:
    """``number``: another one for each cluster of a process."""
    cluster = Cluster(folder, number)
    try:
        await asyncio.gather(*(cluster.start(name) for name in "ABC"))
        yield cluster
    finally:
        await cluster.stop()
