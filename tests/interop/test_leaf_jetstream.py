"""A real hub's JetStream, used by clients of our leaf through its domain (wire 2.7)."""

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import ServiceUnavailableError

from tests.interop.links import TIMEOUT_S, World, leaf_url, reachable


async def hub_and_client(world: World) -> tuple[Client, Client, JetStreamContext]:
    store = f'store_dir: "{world.folder / "jetstream"}"'
    hub = await world.real(f"jetstream {{ {store}, domain: hub, max_memory_store: 64MB }}")
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub)}]})
    up, down = await world.client(hub), await world.client(edge)
    await reachable(down, up)
    js = down.jetstream(domain="hub", timeout=TIMEOUT_S)
    await js.add_stream(name="T", subjects=["t.>"], storage="memory")
    return up, down, js


async def test_publish_and_pull(world: World) -> None:
    _, _, js = await hub_and_client(world)
    for number in range(20):
        ack = await js.publish("t.a", str(number).encode(), headers={"N": str(number)})
        assert (ack.stream, ack.seq) == ("T", number + 1)
    puller = await js.pull_subscribe("t.a", durable="C")
    got = []
    while len(got) < 20:
        for msg in await puller.fetch(7, timeout=TIMEOUT_S):
            assert msg.subject == "t.a"
            assert msg.headers == {"N": msg.data.decode()}
            got.append(int(msg.data))
            await msg.ack_sync(timeout=TIMEOUT_S)
    assert got == list(range(20))
    assert (await puller.consumer_info()).num_ack_pending == 0


async def test_push(world: World) -> None:
    up, _, js = await hub_and_client(world)
    pushed = await js.subscribe("t.>", config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL))
    for number in range(20):
        await up.jetstream().publish(f"t.{number}", b"x")
    for number in range(20):
        msg = await pushed.next_msg(timeout=TIMEOUT_S)
        assert msg.subject == f"t.{number}", "the stored subject, not the inbox"
        await msg.ack()


async def test_key_value(world: World) -> None:
    """Reading goes through the domain; ``$KV`` subjects themselves do not cross."""
    up, _, js = await hub_and_client(world)
    bucket = await up.jetstream().create_key_value(bucket="B", storage="memory")
    await bucket.put("k", b"v")
    assert (await (await js.key_value("B")).get("k")).value == b"v"


async def test_the_hubs_jetstream_is_not_ours(world: World) -> None:
    """Without the domain nobody answers: the API subject stays on its side."""
    _, down, _ = await hub_and_client(world)
    with pytest.raises((NoRespondersError, ServiceUnavailableError)):
        await down.jetstream(timeout=TIMEOUT_S).account_info()


@pytest.mark.parametrize("kind", ["nats-server", "ours", "ours with streams of its own"])
async def test_a_stream_of_the_edge_is_read_at_the_hub(world: World, kind: str) -> None:
    """What was published while nobody at the hub listened is there, through the edge's domain."""
    streams = {"jetstream": {"store_dir": str(world.folder / "hub"), "domain": "hub"}}
    hub = await (
        world.real() if kind == "nats-server" else world.ours("HUB", **(streams if "streams" in kind else {}))
    )
    store = {"store_dir": str(world.folder / "edge"), "domain": "edge"}
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub)}]}, jetstream=store)
    up, down = await world.client(hub), await world.client(edge)
    local = down.jetstream()
    await local.add_stream(name="READINGS", subjects=["r.>"])
    for number in range(5):
        await local.publish("r.a", str(number).encode())
    await reachable(up, down)
    js = up.jetstream(domain="edge", timeout=TIMEOUT_S)
    puller = await js.pull_subscribe("r.>", durable="C", stream="READINGS")
    got = []
    for msg in await puller.fetch(5, timeout=TIMEOUT_S):
        got.append((msg.subject, msg.data))
        await msg.ack_sync(timeout=TIMEOUT_S)
    assert got == [("r.a", str(number).encode()) for number in range(5)]
    assert (await puller.consumer_info()).num_ack_pending == 0
