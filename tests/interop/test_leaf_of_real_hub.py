"""phloem as a leaf of nats-server: messages, requests, queue groups, headers, and the loss of the link."""

import asyncio

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.interop.links import TIMEOUT_S, Inbox, World, leaf_url, reachable


async def pair(world: World, listener: str = "") -> tuple[Client, Client]:
    """A client of a real hub and a client of our leaf, with the link up; ``listener``: more of the hub's listener."""
    hub = await world.real(f'leafnodes {{ listen: "127.0.0.1:-1"{listener} }}')
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub)}]})
    up, down = await world.client(hub), await world.client(edge)
    await reachable(down, up)
    await reachable(up, down)
    return up, down


async def test_hub_that_advertises_nothing(world: World) -> None:
    await pair(world, ", no_advertise: true")


async def test_requests_both_ways(world: World) -> None:
    up, down = await pair(world)

    async def double(msg: Msg) -> None:
        await msg.respond(msg.data * 2)

    for server, client in ((up, down), (down, up)):
        await server.subscribe("double", cb=double)
        await reachable(client, server)
        assert (await client.request("double", b"ab", timeout=TIMEOUT_S)).data == b"abab"


async def test_headers_both_ways(world: World) -> None:
    up, down = await pair(world)
    for sender, receiver in ((up, down), (down, up)):
        inbox = await Inbox.of(receiver, "with.headers")
        await reachable(sender, receiver)
        await sender.publish("with.headers", b"body", headers={"Key": "value"})
        msg = await inbox.next()
        assert (msg.data, msg.headers) == (b"body", {"Key": "value"})


async def test_one_copy_for_two_subscribers(world: World) -> None:
    up, down = await pair(world)
    first, second = await Inbox.of(down, "copy.a"), await Inbox.of(down, "copy.*")
    await reachable(up, down)
    await up.publish("copy.a", b"1")
    await up.publish("copy.a", b"2")
    assert [(await inbox.next()).data for inbox in (first, first, second, second)] == [b"1", b"2", b"1", b"2"]


async def test_a_queue_group_on_both_sides_prefers_its_own(world: World) -> None:
    up, down = await pair(world)
    far, near = await Inbox.of(up, "work", queue="w"), await Inbox.of(down, "work", queue="w")
    ends = await Inbox.of(up, "end")
    near_end = await Inbox.of(down, "end")
    await reachable(down, up)
    for number in range(20):
        await down.publish("work", str(number).encode())
    await down.publish("end")
    await ends.next()
    await near_end.next()
    assert [(await near.next()).data for _ in range(20)] == [str(n).encode() for n in range(20)]
    await up.publish("work", b"from above")
    assert (await far.next()).data == b"from above", "nothing else has come to the far side"


async def test_a_queue_group_only_behind_the_link(world: World) -> None:
    up, down = await pair(world)
    members = [await Inbox.of(down, "jobs", "last.job", queue="w") for _ in range(2)]
    plain = await Inbox.of(down, "jobs")
    await reachable(up, down)
    for number in range(100):
        await up.publish("jobs", str(number).encode())
    assert [(await plain.next()).data for _ in range(100)] == [str(n).encode() for n in range(100)]
    await down.flush()
    taken = [inbox._messages.qsize() for inbox in members]
    assert sum(taken) == 100
    assert min(taken) > 10


async def test_unsubscribing_is_told(world: World) -> None:
    up, down = await pair(world)
    subscription = await down.subscribe("short.lived", cb=_ignore)
    await reachable(up, down)
    await subscription.unsubscribe()
    await reachable(up, down)
    with pytest.raises(Exception, match="no responders"):
        await up.request("short.lived", b"", timeout=TIMEOUT_S)


async def _ignore(msg: Msg) -> None:
    del msg


async def test_a_large_message_and_many_small_ones(world: World) -> None:
    up, down = await pair(world)
    inbox = await Inbox.of(up, "big", "small")
    await reachable(down, up)
    body = bytes(range(256)) * 4000
    await down.publish("big", body)
    for number in range(2000):
        await down.publish("small", str(number).encode())
    assert (await inbox.next()).data == body
    assert [int((await inbox.next()).data) for _ in range(2000)] == list(range(2000))


async def test_a_cut_link_comes_back(world: World) -> None:
    hub = await world.real()
    cable = await world.cable(hub.port("leafnodes"))
    remote = {"url": f"nats-leaf://127.0.0.1:{cable.port}", "ignore_discovered_servers": True}
    edge = await world.ours(leafnodes={"remotes": [remote]})
    up, down = await world.client(hub), await world.client(edge)
    inbox = await Inbox.of(down, "news")
    await reachable(up, down)
    for number in range(3):
        seen = len(world.log.lines)
        await cable.cut()
        await world.log.line("Leafnode connection closed", after=seen)
        await world.log.line(
            r'Error trying to connect as leafnode to remote server ".*" \(attempt 1\)', after=seen
        )
        cable.restore()
        await reachable(up, down)
        await reachable(down, up)
        await up.publish("news", str(number).encode())
        assert (await inbox.next()).data == str(number).encode()
    assert len(edge.leafs.up) == 1


async def test_a_cut_link_goes_another_way(world: World) -> None:
    """The hub has told its own address, past the cable that is cut for good."""
    hub = await world.real()
    cable = await world.cable(hub.port("leafnodes"))
    edge = await world.ours(leafnodes={"remotes": [{"url": f"nats-leaf://127.0.0.1:{cable.port}"}]})
    up, down = await world.client(hub), await world.client(edge)
    await reachable(up, down)
    await cable.cut()
    await reachable(up, down)
    await reachable(down, up)
    (link,) = edge.leafs.up
    assert link.port == hub.port("leafnodes")


async def test_a_hub_that_comes_later(world: World) -> None:
    hub = await world.real()
    cable = await world.cable(hub.port("leafnodes"))
    await cable.cut()
    edge = await world.ours(leafnodes={"remotes": [{"url": f"nats-leaf://127.0.0.1:{cable.port}"}]})
    await world.log.line(r"\(attempt 2\)")
    cable.restore()
    await reachable(await world.client(edge), await world.client(hub))


async def test_what_is_known_of_the_link(world: World) -> None:
    hub = await world.real()
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub)}]})
    up, down = await world.client(hub), await world.client(edge)
    await Inbox.of(up, "shown")
    await reachable(down, up)
    (link,) = edge.leafs.up
    assert (link.name, link.spoke, link.account, link.ip) == ("HUB", True, "$G", "127.0.0.1")
    assert link.port == hub.port("leafnodes")
    assert b"shown" in {subscription[0] for subscription in link.conn.subscriptions()}
    assert link.conn.stats["in_msgs"] >= 1
    assert link.conn.stats["out_msgs"] >= 1


async def test_stopping_the_leaf_ends_the_link(world: World) -> None:
    hub = await world.real()
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub)}]})
    await reachable(await world.client(edge), await world.client(hub))
    await edge.stop()
    await asyncio.to_thread(hub.wait_for_log, "Leafnode connection closed: Client Closed - Remote: EDGE")
