"""A hub that is at another address from one moment to the next: its name is asked for with each attempt."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from phloem.edge.app import Edge
from phloem.hub.app import Hub
from tests.interop.forward.test_forward import stored

NAME = "hub.example"


def hub(folder: Path, address: str, port: int = -1) -> Hub:
    return Hub(
        {
            "server_name": "HUB",
            "listen": "127.0.0.1:-1",
            "leafnodes": {"listen": f"{address}:{port}"},
            "jetstream": {"store_dir": str(folder / "hub"), "domain": "hub"},
        }
    )


async def test_a_hub_that_has_another_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = ["127.0.0.1"]
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def resolved(host: Any, port: Any, **more: Any) -> Any:
        return await resolve(now[0] if host == NAME else host, port, **more)

    monkeypatch.setattr(loop, "getaddrinfo", resolved)
    async with hub(tmp_path, "127.0.0.1") as first:
        port = first.leaf_port
        config = {
            "server_name": "dev1",
            "listen": "127.0.0.1:-1",
            "leafnodes": {
                "reconnect": "20ms",
                "remotes": [{"urls": [f"nats-leaf://{NAME}:{port}"], "ignore_discovered_servers": True}],
            },
            "jetstream": {"store_dir": str(tmp_path / "edge"), "domain": "dev1"},
            "forward": {"tele": {"subjects": ["tele.>"]}},
        }
        edge = Edge(config)
        await edge.start()
        client = await edge.connect()
        below = client.jetstream()
        for i in range(20):
            await below.publish("tele.a", b"%d" % i)
        at_hub = await first.connect()
        await stored(at_hub.jetstream(), "FLEET_tele", 20)
        await at_hub.close()
    for i in range(20, 40):
        await below.publish("tele.a", b"%d" % i)
    now[0] = "127.0.0.2"
    with socket.socket() as other:  # somebody else has the old address: nothing of the device is for him
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        async with hub(tmp_path, "127.0.0.2", port) as second:
            at_hub = await second.connect()
            found = await stored(at_hub.jetstream(), "FLEET_tele", 40)
            assert [data for _, data in found] == [b"%d" % i for i in range(40)]
            await at_hub.close()
            await client.close()
            await edge.stop()
