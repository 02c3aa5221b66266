"""Streams that take from another server's over a leaf link: ours from a real one's, a real one's from ours."""

import asyncio

import pytest
from nats.js import JetStreamContext
from nats.js.api import ExternalStream, RetentionPolicy, StreamSource

from phloem.shared.server.server import Server
from tests.interop.links import TIMEOUT_S, World, leaf_url

ACCOUNT = "accounts { A { jetstream: enabled, users: [ { user: u, password: p } ] } }\n"


async def _count(js: JetStreamContext, stream: str, messages: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while (await js.stream_info(stream)).state.messages != messages:  # noqa: ASYNC110  (it is in another server)
            await asyncio.sleep(0.005)


async def _pair(world: World, real_hub: bool) -> tuple[JetStreamContext, JetStreamContext]:
    """JetStream of the hub and of the leaf."""
    up_store, down_store = (f"{world.folder}/{name}" for name in ("up", "down"))
    if real_hub:
        hub = await world.real(f'jetstream {{ store_dir: "{up_store}", domain: hub }}')
        leaf = await world.ours(
            jetstream={"store_dir": down_store, "domain": "edge"},
            leafnodes={"remotes": [{"url": leaf_url(hub)}]},
        )
        return (await world.client(hub)).jetstream(), (await world.client(leaf)).jetstream()
    ours = await world.ours(
        jetstream={"store_dir": up_store, "domain": "hub"}, leafnodes={"listen": "127.0.0.1:-1"}
    )
    remotes = f'leafnodes {{ remotes: [ {{ url: "{leaf_url(ours)}" }} ] }}'
    real = await world.real(f'jetstream {{ store_dir: "{down_store}", domain: edge }}\n{remotes}')
    return (await world.client(ours)).jetstream(), (await world.client(real)).jetstream()


def _of(name: str, domain: str) -> StreamSource:
    return StreamSource(name=name, external=ExternalStream(api=f"$JS.{domain}.API"))


@pytest.mark.parametrize("real_hub", [True, False])
@pytest.mark.parametrize("retention", [RetentionPolicy.LIMITS, RetentionPolicy.WORK_QUEUE])
async def test_the_hub_takes_from_the_leaf(world: World, real_hub: bool, retention: RetentionPolicy) -> None:
    hub, leaf = await _pair(world, real_hub)
    await leaf.add_stream(name="O", subjects=["o.>"], retention=retention)
    for number in range(50):
        await leaf.publish(f"o.{number}", str(number).encode())
    await hub.add_stream(name="T", sources=[_of("O", "edge")])
    await _count(hub, "T", 50)
    assert [(await hub.get_msg("T", seq)).data for seq in (1, 50)] == [b"0", b"49"]
    await leaf.publish("o.x", b"more")
    await _count(hub, "T", 51)
    if retention is RetentionPolicy.WORK_QUEUE:
        await _count(leaf, "O", 0)


@pytest.mark.parametrize("real_hub", [True, False])
async def test_the_leaf_mirrors_the_hub(world: World, real_hub: bool) -> None:
    hub, leaf = await _pair(world, real_hub)
    await hub.add_stream(name="O", subjects=["o.>"])
    for number in range(50):
        await hub.publish(f"o.{number}", bytes(20_000))
    await leaf.add_stream(name="M", mirror=_of("O", "hub"))
    await _count(leaf, "M", 50)
    assert (await leaf.get_msg("M", 50)).subject == "o.49"


async def test_a_link_that_breaks(world: World) -> None:
    """Whatever was on its way comes once, after the link has come back; also of a stream that was made anew."""
    hub_store, leaf_store = (f"{world.folder}/{name}" for name in ("up", "down"))
    hub = await world.ours(jetstream={"store_dir": hub_store, "domain": "hub"})
    cable = await world.cable(hub.leaf_port)
    leaf = await world.ours(
        jetstream={"store_dir": leaf_store, "domain": "edge"},
        leafnodes={"remotes": [{"url": f"nats-leaf://127.0.0.1:{cable.port}"}]},
    )
    above, below = [(await world.client(server)).jetstream() for server in (hub, leaf)]
    await below.add_stream(name="O", subjects=["o.>"], retention=RetentionPolicy.WORK_QUEUE)
    await above.add_stream(name="T", sources=[_of("O", "edge")])
    await below.publish("o.a", b"0")
    await _count(above, "T", 1)
    await cable.cut()
    for number in range(1, 20):
        await below.publish("o.a", str(number).encode())
    cable.restore()
    await _count(above, "T", 20)
    assert [(await above.get_msg("T", seq)).data for seq in range(1, 21)] == [b"%d" % n for n in range(20)]
    await _count(below, "O", 0)


async def test_a_hub_that_restarts(world: World) -> None:
    config = {"store_dir": f"{world.folder}/up", "domain": "hub"}
    hub = Server({"listen": "127.0.0.1:-1", "leafnodes": {"listen": "127.0.0.1:-1"}, "jetstream": config})
    await hub.start()
    port = hub.leaf_port
    leaf = await world.ours(
        jetstream={"store_dir": f"{world.folder}/down", "domain": "edge"},
        leafnodes={"remotes": [{"url": leaf_url(hub)}]},
    )
    below = (await world.client(leaf)).jetstream()
    await below.add_stream(name="O", subjects=["o.>"])
    await below.publish("o.a", b"0")
    above = (await world.client(hub, allow_reconnect=False)).jetstream()
    await above.add_stream(name="T", sources=[_of("O", "edge")])
    await _count(above, "T", 1)
    await hub.stop()
    for number in range(1, 20):
        await below.publish("o.a", str(number).encode())
    leafnodes = {"listen": f"127.0.0.1:{port}"}
    async with Server({"listen": "127.0.0.1:-1", "leafnodes": leafnodes, "jetstream": config}) as again:
        above = (await world.client(again)).jetstream()
        await _count(above, "T", 20)
        assert [(await above.get_msg("T", seq)).data for seq in range(1, 21)] == [
            b"%d" % n for n in range(20)
        ]
