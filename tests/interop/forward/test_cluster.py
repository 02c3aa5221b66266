"""Devices that forward to three nats-servers with a replicated stream, of which one after the other dies: nothing is
lost, nothing comes twice, each device's messages are in order."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from phloem.edge.app import Edge
from tests.interop.forward.cluster import TIMEOUT_S, Cluster, new_cluster
from tests.interop.links import World

STREAM = "FLEET_tele"


class Device:
    """An edge and a program on it that publishes numbers without end."""

    def __init__(self, edge: Edge, client: Client) -> None:
        self.edge = edge
        self.name = edge.name
        self.stored = 0
        self._client = client
        self._running = True
        self._task = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        js = self._client.jetstream()
        while self._running:
            numbers = range(self.stored + 1, self.stored + 21)
            await asyncio.gather(*(js.publish(f"{self.name}.tele.{i % 3}", b"%d" % i) for i in numbers))
            self.stored += 20
            await asyncio.sleep(0.01)

    @property
    def confirmed(self) -> int:
        return self.edge.publishers[0].streams["tele"].confirmed

    async def _until(self, seq: int) -> None:
        while True:
            if self.confirmed >= seq:
                return
            await asyncio.sleep(0.01)

    async def progress(self) -> None:
        """Return when the hub has confirmed something that is stored from now on."""
        mark = self.stored + 20
        async with asyncio.timeout(TIMEOUT_S):
            await self._until(mark)

    async def finish(self) -> int:
        """Return when the hub has confirmed everything; how many that is."""
        self._running = False
        await self._task
        async with asyncio.timeout(TIMEOUT_S):
            await self._until(self.stored)
        return self.stored


@asynccontextmanager
async def devices(world: World, cluster: Cluster, names: list[str]) -> AsyncIterator[list[Device]]:
    made = []
    for name in names:
        config = {
            "server_name": name,
            "listen": "127.0.0.1:-1",
            "leafnodes": {"reconnect": "100ms", "remotes": [{"urls": cluster.leaf_urls()}]},
            "jetstream": {"store_dir": str(world.folder / name), "domain": name},
            "forward": {"tele": {"subjects": [f"{name}.>"], "replicas": 3}},
        }
        edge = await world.run(Edge(config))
        made.append(Device(edge, await world.client(edge)))
    yield made


async def ask(client: Client, api: str) -> dict[str, Any]:
    """An answer of the hub without an error, as soon as there is one."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            with contextlib.suppress(nats.errors.Error):
                answer = json.loads((await client.request(f"$JS.API.{api}.{STREAM}", timeout=1)).data)
                if "error" not in answer:
                    return dict(answer)
            await asyncio.sleep(0.05)


async def leader(client: Client) -> str:
    """The node that leads the stream."""
    while True:
        if found := (await ask(client, "STREAM.INFO"))["cluster"].get("leader"):
            return str(found)
        await asyncio.sleep(0.05)


async def stored_numbers(client: Client, made: list[Device]) -> dict[str, list[int]]:
    """What the hub's stream has of each device, in its order."""
    js = client.jetstream(timeout=5)
    while True:  # a cluster that is catching up may not answer at first
        found: dict[str, list[int]] = {device.name: [] for device in made}
        messages = (await ask(client, "STREAM.INFO"))["state"]["messages"]
        with contextlib.suppress(nats.errors.Error):
            subscription = await js.subscribe("fleet.tele.>", stream=STREAM, ordered_consumer=True)
            for _ in range(messages):
                msg = await subscription.next_msg(timeout=5)
                found[msg.subject.split(".")[2]].append(int(msg.data))
            await subscription.unsubscribe()
            return found


async def _check(client: Client, made: list[Device]) -> None:
    counts = {device.name: await device.finish() for device in made}
    async with asyncio.timeout(TIMEOUT_S):
        found = await stored_numbers(client, made)
    for name, count in counts.items():
        assert len(found[name]) == count
        assert found[name] == list(range(1, count + 1))


@pytest.mark.slow
async def test_a_replicated_hub_loses_its_nodes_one_after_the_other(world: World, tmp_path: Path) -> None:
    async with new_cluster(tmp_path, 1) as cluster:
        client = await cluster.client()
        await cluster.ready(client)
        async with devices(world, cluster, ["dev1", "dev2"]) as made:

            async def all_progress() -> None:
                await asyncio.gather(*(device.progress() for device in made))

            async def killed(name: str) -> None:
                await cluster.kill(name)
                await all_progress()
                await cluster.start(name)
                await all_progress()

            await all_progress()
            assert (await ask(client, "STREAM.INFO"))["config"]["num_replicas"] == 3
            for _ in range(2):
                await killed(await leader(client))
                await ask(client, "STREAM.LEADER.STEPDOWN")
                await all_progress()
                await killed(cluster.node_at(made[0].edge.leafs.up[0].ip))
            await _check(client, made)
        await client.close()
