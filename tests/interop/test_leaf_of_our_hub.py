"""nats-server as a leaf of phloem, and both in chains of three."""

import asyncio
from typing import Any

from nats.aio.msg import Msg

from tests.interop.links import TIMEOUT_S, Inbox, World, leaf_url, reachable

FAST = "reconnect: 50ms"


def remotes(url: str, more: str = "") -> str:
    """``leafnodes`` of a real leaf that also accepts leafs."""
    return f'leafnodes {{ listen: "127.0.0.1:-1", {FAST}, remotes: [ {{ url: "{url}", {more} }} ] }}'


async def echo(msg: Msg) -> None:
    await msg.respond(msg.data)


async def test_requests_headers_and_queues_both_ways(world: World) -> None:
    hub = await world.ours("HUB")
    leaf = await world.real(remotes(leaf_url(hub)), "LEAF")
    up, down = await world.client(hub), await world.client(leaf)
    for way, sender, receiver in (("down", up, down), ("up", down, up)):
        inbox = await Inbox.of(receiver, f"{way}.headers")
        workers = await Inbox.of(receiver, f"{way}.jobs", queue="w")
        await receiver.subscribe(f"{way}.echo", cb=echo)
        await reachable(sender, receiver)
        assert (await sender.request(f"{way}.echo", b"x", timeout=TIMEOUT_S)).data == b"x"
        await sender.publish(f"{way}.headers", b"body", headers={"Key": "value"})
        msg = await inbox.next()
        assert (msg.data, msg.headers) == (b"body", {"Key": "value"})
        await sender.publish(f"{way}.jobs", b"one")
        assert (await workers.next()).data == b"one"


async def test_two_leafs_reach_one_another(world: World) -> None:
    hub = await world.ours("HUB")
    one = await world.real(remotes(leaf_url(hub)), "ONE")
    two = await world.real(remotes(leaf_url(hub)), "TWO")
    a, b = await world.client(one), await world.client(two)
    await reachable(a, b)
    await reachable(b, a)
    assert sorted(link.name for link in hub.leafs.up) == ["ONE", "TWO"]
    assert not any(link.spoke for link in hub.leafs.up)


async def test_a_cut_link_comes_back(world: World) -> None:
    hub = await world.ours("HUB")
    cable = await world.cable(hub.leaf_port)
    leaf = await world.real(
        remotes(f"nats-leaf://127.0.0.1:{cable.port}", "ignore_discovered_servers: true"), "LEAF"
    )
    up, down = await world.client(hub), await world.client(leaf)
    await reachable(up, down)
    seen = len(world.log.lines)
    await cable.cut()
    await world.log.line("Leafnode connection closed", after=seen)
    cable.restore()
    await reachable(up, down)
    await reachable(down, up)
    assert len(hub.leafs.up) == 1


async def chain(world: World, a: Any, b: Any, c: Any) -> None:
    """Requests, headers and queue groups between the ends of a chain, and from its middle."""
    ends = [await world.client(server) for server in (a, b, c)]
    for sender in ends:
        for receiver in ends:
            if sender is not receiver:
                await reachable(sender, receiver)
    for way, sender, receiver in (("down", ends[0], ends[2]), ("up", ends[2], ends[0])):
        inbox = await Inbox.of(receiver, f"{way}.*")
        workers = await Inbox.of(receiver, f"{way}.jobs", queue="w")
        await receiver.subscribe(f"echo.{way}", cb=echo)
        await reachable(sender, receiver)
        assert (await sender.request(f"echo.{way}", b"x", timeout=TIMEOUT_S)).data == b"x"
        await sender.publish(f"{way}.jobs", b"body", headers={"Key": "value"})
        for message in (await inbox.next(), await workers.next()):
            assert (message.data, message.headers) == (b"body", {"Key": "value"})
        await sender.publish(f"{way}.last")
        assert await inbox.until(f"{way}.last") == [], "one copy only"


async def test_ours_between_two_real_ones(world: World) -> None:
    top = await world.real(name="TOP")
    middle = await world.ours("MIDDLE", leafnodes={"remotes": [{"url": leaf_url(top)}]})
    bottom = await world.real(remotes(leaf_url(middle)), "BOTTOM")
    await chain(world, top, middle, bottom)


async def test_a_real_one_between_two_of_ours(world: World) -> None:
    top = await world.ours("TOP")
    middle = await world.real(remotes(leaf_url(top)), "MIDDLE")
    bottom = await world.ours("BOTTOM", leafnodes={"remotes": [{"url": leaf_url(middle)}]})
    await chain(world, top, middle, bottom)


async def test_three_of_ours(world: World) -> None:
    top = await world.ours("TOP")
    middle = await world.ours("MIDDLE", leafnodes={"remotes": [{"url": leaf_url(top)}]})
    bottom = await world.ours("BOTTOM", leafnodes={"remotes": [{"url": leaf_url(middle)}]})
    await chain(world, top, middle, bottom)


async def test_isolated_leafs_are_not_told_of_one_another(world: World) -> None:
    """Interest of the other leaf stays away, so a request finds nobody; what is wanted still flows."""
    hub = await world.ours("HUB", leafnodes={"isolate": True})
    one = await world.real(remotes(leaf_url(hub)), "ONE")
    two = await world.real(remotes(leaf_url(hub)), "TWO")
    a, b, top = await world.client(one), await world.client(two), await world.client(hub)
    inbox = await Inbox.of(b, "to.two")
    await reachable(top, b)
    await reachable(a, top)
    await reachable(top, a)
    await a.publish("to.two", b"unheard: ONE does not know that TWO listens")
    await reachable(a, top)
    await top.publish("to.two", b"heard")
    assert (await inbox.next()).data == b"heard"


async def test_a_newer_link_of_the_same_leaf_replaces_the_older(world: World) -> None:
    """The hub has not noticed that the old link is gone: the cable still holds it."""
    hub = await world.ours("HUB")
    first = await world.real(remotes(leaf_url(hub)), "LEAF")
    up = await world.client(hub)
    await reachable(up, await world.client(first))
    seen = len(world.log.lines)
    second = await world.real(remotes(leaf_url(hub)), "LEAF")
    await world.log.line("Replacing connection from same server", after=seen)
    await world.log.line("Leafnode connection closed: Duplicate Remote LeafNode Connection", after=seen)
    await asyncio.to_thread(first.wait_for_log, "Duplicate Remote LeafNode Connection")
    await asyncio.to_thread(second.wait_for_log, "Leafnode connection created")
