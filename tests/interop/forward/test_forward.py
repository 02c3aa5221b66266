"""Store-and-forward between our edge and our hub, over a real link."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from nats.js.client import JetStreamContext

from phloem.edge.app import Edge
from phloem.hub.app import Hub
from phloem.shared import limits
from phloem.shared.store.store import Store
from tests.interop.links import Cable

TIMEOUT_S = 30.0


@contextlib.asynccontextmanager
async def hub(folder: Path, port: int = -1) -> AsyncIterator[Hub]:
    config = {
        "server_name": "HUB",
        "listen": "127.0.0.1:-1",
        "leafnodes": {"listen": f"127.0.0.1:{port}"},
        "jetstream": {"store_dir": str(folder / "hub"), "domain": "hub"},
    }
    async with Hub(config) as server:
        yield server


@contextlib.asynccontextmanager
async def edge(
    folder: Path, port: int, forward: dict[str, Any], streams: Sequence[str] = (), device: str = "dev1"
) -> AsyncIterator[Edge]:
    """``streams`` are made before, with subjects ``r.>``."""
    config = {
        "server_name": device,
        "listen": "127.0.0.1:-1",
        "leafnodes": {
            "reconnect": "20ms",
            "remotes": [{"urls": [f"nats-leaf://127.0.0.1:{port}"], "ignore_discovered_servers": True}],
        },
        "jetstream": {"store_dir": str(folder / "edge"), "domain": device},
        "forward": forward,
    }
    if streams:
        async with Edge({**config, "forward": {}}) as server:
            client = await server.connect()
            for name in streams:
                await client.jetstream().add_stream(name=name, subjects=["r.>"])
            await client.close()
    async with Edge(config) as server:
        yield server


async def stored(js: JetStreamContext, stream: str, count: int) -> list[tuple[str, bytes]]:
    """Exactly so many messages, as they are in the hub's stream."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            with contextlib.suppress(Exception):
                if (await js.stream_info(stream)).state.messages >= count:
                    break
            await asyncio.sleep(0.01)
    info = (await js.stream_info(stream)).state
    found = [await js.get_msg(stream, seq) for seq in range(info.first_seq, info.last_seq + 1)]
    return [(str(msg.subject), bytes(msg.data or b"")) for msg in found]


@pytest.mark.parametrize("cut", [False, True])
async def test_readings_arrive_once_and_space_is_given_back(tmp_path: Path, cut: bool) -> None:
    async with (
        hub(tmp_path) as top,
        Cable(top.leaf_port) as cable,
        edge(tmp_path, cable.port, {"tele": {"subjects": ["tele.>"]}}) as device,
    ):
        at_edge, at_hub = await device.connect(), await top.connect()
        below, above = at_edge.jetstream(), at_hub.jetstream()
        if cut:
            await cable.cut()
        for i in range(100):
            await below.publish(f"tele.{i % 3}", b"%d" % i)
            if cut and i == 50:
                cable.restore()
            if cut and i == 70:
                await cable.cut()
        if cut:
            cable.restore()
        found = await stored(above, "FLEET_tele", 100)
        assert found == [(f"fleet.tele.dev1.tele.{i % 3}", b"%d" % i) for i in range(100)]
        await at_edge.close()
        await at_hub.close()


async def test_what_others_publish_is_not_forwarded(tmp_path: Path) -> None:
    """The hub passes on what one device says to another; the other's stream is for its own readings."""
    forward = {"tele": {"subjects": ["tele.>"]}}
    async with (
        hub(tmp_path) as top,
        edge(tmp_path / "one", top.leaf_port, forward, device="one") as one,
        edge(tmp_path / "two", top.leaf_port, forward, device="two") as two,
    ):
        at_one, at_two, at_hub = await one.connect(), await two.connect(), await top.connect()
        try:
            await at_one.jetstream().publish("tele.x", b"1")
            await at_two.jetstream().publish("tele.x", b"2")
            found = await stored(at_hub.jetstream(), "FLEET_tele", 2)
            await at_one.flush()
            assert sorted(found) == [("fleet.tele.one.tele.x", b"1"), ("fleet.tele.two.tele.x", b"2")]
            assert (await at_two.jetstream().stream_info("FORWARD_tele")).state.last_seq == 1
        finally:
            for client in (at_one, at_two, at_hub):
                await client.close()


async def test_a_hub_that_has_lost_what_it_knew_of_devices_sees_it_in_their_messages(tmp_path: Path) -> None:
    """As after a stream was restored or copied. The device keeps everything, and nothing comes twice."""
    forward = {"tele": {"subjects": ["tele.>"], "keep": -1}}
    async with hub(tmp_path) as top:
        port = top.leaf_port
        async with edge(tmp_path, port, forward) as device:
            below, above = await device.connect(), await top.connect()
            for i in range(1, 51):
                await below.jetstream().publish("tele.t", b"%d" % i)
            await stored(above.jetstream(), "FLEET_tele", 50)
            await below.close()
            await above.close()
    store = Store(str(tmp_path / "hub/jetstream/phloem"), seed=1, generation_bytes=limits.GENERATION_BYTES)
    for key in [key for prefix in (b"fr/", b"fd/", b"fi/") for key, _ in store.scan(prefix)]:
        store.delete(key)
    store.close()
    async with hub(tmp_path, port) as top, edge(tmp_path, port, forward) as device:
        below, above = await device.connect(), await top.connect()
        for i in range(51, 101):
            await below.jetstream().publish("tele.t", b"%d" % i)
        found = await stored(above.jetstream(), "FLEET_tele", 100)
        assert found == [("fleet.tele.dev1.tele.t", b"%d" % i) for i in range(1, 101)]
        receiver = top.collectors[0].devices["dev1"].receiver
        assert [(lane.record.duplicates, lane.record.missing) for lane in receiver.lanes.values()] == [(0, 0)]
        await below.close()
        await above.close()
