"""Store-and-forward to a hub that is nats-server itself: its streams, its acknowledgements, exactly once."""

import asyncio
import json
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from phloem.edge.app import Edge
from phloem.hub.app import Hub
from tests.interop.links import TIMEOUT_S, World
from tests.support.real_server import RealServer


async def real_hub(world: World, more: str = "") -> RealServer:
    return await world.real(f'jetstream {{ store_dir: "{world.folder}/hub", domain: hub }}\n{more}')


def edge_config(world: World, port: int, forward: dict[str, Any], **phloem: str) -> dict[str, Any]:
    return {
        "server_name": "dev1",
        "listen": "127.0.0.1:-1",
        "leafnodes": {"reconnect": "20ms", "remotes": [{"urls": [f"nats-leaf://127.0.0.1:{port}"]}]},
        "jetstream": {"store_dir": str(world.folder / "edge"), "domain": "dev1"},
        "forward": forward,
        "phloem": {"forward_to": "jetstream", **phloem},
    }


async def everything(js: JetStreamContext, stream: str, until: int) -> list[Msg]:
    """What the hub's stream has, once its last message from the device is number ``until`` or later."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                last = await js.get_last_msg(stream, "fleet.>")
                if last.headers and int(last.headers["Phloem-Origin"].split()[1]) >= until:
                    break
            except NotFoundError:
                pass
            await asyncio.sleep(0.01)
    info = (await js.stream_info(stream)).state
    subscription = await js.subscribe("fleet.>", stream=stream, ordered_consumer=True)
    found = [await subscription.next_msg(timeout=TIMEOUT_S) for _ in range(info.messages)]
    await subscription.unsubscribe()
    return found


def sequences(found: list[Msg]) -> list[int]:
    return [int((msg.headers or {})["Phloem-Origin"].split()[1]) for msg in found]


@pytest.mark.parametrize("atomic", [True, False])
async def test_readings_arrive_once_whatever_the_link_does(world: World, atomic: bool) -> None:
    hub = await real_hub(world)
    top = (await world.client(hub)).jetstream()
    if not atomic:
        await top.add_stream(name="FLEET_tele", subjects=["fleet.tele.>"])
    cable = await world.cable(hub.port("leafnodes"))
    device = await world.run(Edge(edge_config(world, cable.port, {"tele": {"subjects": ["tele.>"]}})))
    below = (await world.client(device)).jetstream()
    for i in range(1, 501):
        await below.publish(f"tele.{i % 3}", b"%d" % i)
        if i % 200 == 100:
            await cable.cut()
        if i % 200 == 150:
            cable.restore()
    found = await everything(top, "FLEET_tele", 500)
    assert [(msg.subject, msg.data) for msg in found] == [
        (f"fleet.tele.dev1.tele.{i % 3}", b"%d" % i) for i in range(1, 501)
    ]
    assert sequences(found) == list(range(1, 501))


async def test_a_hub_without_a_domain_takes_what_has_ids(world: World) -> None:
    """Its API does not cross the link, so nothing can be asked; within the window ids are enough."""
    hub = await world.real(f'jetstream {{ store_dir: "{world.folder}/hub" }}')
    top = (await world.client(hub)).jetstream()
    await top.add_stream(name="FLEET_tele", subjects=["fleet.tele.>"])
    cable = await world.cable(hub.port("leafnodes"))
    config = edge_config(world, cable.port, {"tele": {"subjects": ["tele.>"]}})
    device = await world.run(Edge(config))
    below = (await world.client(device)).jetstream()
    for i in range(1, 201):
        await below.publish("tele.t", b"%d" % i)
        if i == 100:
            await cable.cut()
            cable.restore()
    found = await everything(top, "FLEET_tele", 200)
    assert [msg.data for msg in found] == [b"%d" % i for i in range(1, 201)]


async def test_our_hub_takes_the_same_publishes(world: World) -> None:
    """Whoever wants JetStream gets it, also where phloem's own protocol would be spoken."""
    hub = await world.ours("HUB", jetstream={"store_dir": f"{world.folder}/hub", "domain": "hub"})
    top = (await world.client(hub)).jetstream()
    config = edge_config(world, hub.leaf_port, {"tele": {"subjects": ["tele.>"]}})
    device = await world.run(Edge(config))
    below = (await world.client(device)).jetstream()
    for i in range(1, 201):
        await below.publish("tele.t", b"%d" % i)
    found = await everything(top, "FLEET_tele", 200)
    assert [msg.data for msg in found] == [b"%d" % i for i in range(1, 201)]
    assert (await top.stream_info("FLEET_tele")).config.subjects == ["fleet.tele.>"]


async def test_auto_takes_what_the_hub_speaks(world: World) -> None:
    """One of phloem's own after nats-server: what is stored goes on there, by phloem's own protocol."""
    real = await real_hub(world)
    above = (await world.client(real)).jetstream()
    config = edge_config(world, real.port("leafnodes"), {"tele": {"subjects": ["tele.>"]}}, forward_to="auto")
    device = await world.run(Edge(config))
    below = (await world.client(device)).jetstream()
    await below.publish("tele.t", b"1")
    assert [msg.data for msg in await everything(above, "FLEET_tele", 1)] == [b"1"]
    await device.stop()
    hub = await world.run(
        Hub(
            {
                "server_name": "HUB",
                "listen": "127.0.0.1:-1",
                "leafnodes": {"listen": "127.0.0.1:-1"},
                "jetstream": {"store_dir": f"{world.folder}/ours", "domain": "hub"},
            }
        )
    )
    config["leafnodes"]["remotes"] = [{"urls": [f"nats-leaf://127.0.0.1:{hub.leaf_port}"]}]
    device = await world.run(Edge(config))
    below = (await world.client(device)).jetstream()
    await below.publish("tele.t", b"2")
    ours = (await world.client(hub)).jetstream()
    assert [msg.data for msg in await everything(ours, "FLEET_tele", 2)] == [b"2"]
    assert device.publishers[0].machine.sent_groups == 0


async def test_shed_readings_and_large_ones_are_named_at_the_hub(world: World) -> None:
    hub = await real_hub(world, "max_payload: 100000")
    top = (await world.client(hub)).jetstream()
    config = edge_config(
        world, hub.port("leafnodes"), {"tele": {"subjects": ["tele.>"], "max_bytes": 225_000}}
    )
    config["leafnodes"]["remotes"] = []
    device = await world.run(Edge(config))
    below = (await world.client(device)).jetstream()
    for i in range(1, 6):
        await below.publish("tele.t", bytes(200_000) if i == 4 else b"%d" % i * 10_000)
    await device.stop()
    config["leafnodes"]["remotes"] = [{"urls": [f"nats-leaf://127.0.0.1:{hub.port('leafnodes')}"]}]
    await world.run(Edge(config))
    found = await everything(top, "FLEET_tele", 5)
    gaps = [json.loads(msg.data) for msg in found if msg.subject == "fleet.tele.dev1._gap"]
    reasons = [
        "removed on the device: limits of the stream, purged or deleted",
        "larger than the hub's stream takes",
    ]
    assert [gap["reason"] for gap in gaps] == reasons
    missing = [n for gap in gaps for n in range(gap["first"], gap["last"] + 1)]
    assert sorted(missing + [seq for seq in sequences(found) if seq not in missing]) == [1, 2, 3, 4, 5]
    assert {msg.subject for msg in found} == {"fleet.tele.dev1._gap", "fleet.tele.dev1.tele.t"}


@pytest.mark.parametrize("atomic", [True, False])
async def test_a_stream_that_is_deleted_and_made_again_is_another_store(
    world: World, atomic: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """While the edge runs: what the hub has of the old one stays, and the new one's comes, with the same sequences."""
    hub = await real_hub(world)
    js = (await world.client(hub)).jetstream()
    if not atomic:
        await js.add_stream(name="FLEET_tele", subjects=["fleet.tele.>"])
    config = edge_config(
        world, hub.port("leafnodes"), {"tele": {"stream": "READINGS"}, "log": {"subjects": ["log.>"]}}
    )
    async with Edge({**config, "forward": {}}) as server:
        client = await server.connect()
        await client.jetstream().add_stream(name="READINGS", subjects=["r.>"])
        await client.close()
    async with Edge(config) as device:
        client = await device.connect()
        below = client.jetstream()
        for i in range(30):
            await below.publish("r.x", b"%d" % i)
        await everything(js, "FLEET_tele", 30)
        (publisher,) = device.publishers
        before = publisher.streams["tele"]
        await below.delete_stream("READINGS")
        await below.publish("log.a", b"goes on")
        assert "tele" not in publisher.streams
        await everything(js, "FLEET_log", 1)
        await below.add_stream(name="READINGS", subjects=["r.>"])
        for i in range(30, 60):
            await below.publish("r.x", b"%d" % i)
        async with asyncio.timeout(TIMEOUT_S):
            while (await js.stream_info("FLEET_tele")).state.messages < 60:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        found = await everything(js, "FLEET_tele", 30)
        after = publisher.streams["tele"]
        assert [int(msg.data) for msg in found] == list(range(60))
        assert sequences(found) == [*range(1, 31), *range(1, 31)]
        stores = [(msg.headers or {})["Phloem-Origin"].split()[0] for msg in found]
        assert len(set(stores[:30])) == len(set(stores[30:])) == 1
        assert stores[0] != stores[30]
        assert (before.store, before.epochs[-1].ident) != (after.store, after.epochs[-1].ident)
        assert 'stream "READINGS" was deleted, and is not forwarded' in caplog.text
        assert "re-imaged" in caplog.text
        await client.close()
