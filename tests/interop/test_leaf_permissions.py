"""What may cross a link between phloem and nats-server: deny lists, users, roles, credentials."""

import asyncio

import pytest
from nats.aio.client import Client

from tests.interop.links import Inbox, World, leaf_url, reachable

USERS = """authorization { users: [
  { user: admin, password: p }
  { user: leaf, password: p, permissions: {
      publish: { allow: ["up.>", "probe.>", "_INBOX.>"] }
      subscribe: { allow: ["down.>", "probe.>", "_INBOX.>"] }
  } }
] }"""
OUR_USERS = {
    "users": [
        {"user": "admin", "password": "p"},
        {
            "user": "leaf",
            "password": "p",
            "permissions": {
                "publish": {"allow": ["up.>", "probe.>", "_INBOX.>"]},
                "subscribe": {"allow": ["down.>", "probe.>", "_INBOX.>"]},
            },
        },
    ]
}


@pytest.mark.parametrize("who_leafs", ["ours", "real"])
async def test_deny_lists_of_the_remote(world: World, who_leafs: str) -> None:
    if who_leafs == "ours":
        hub = await world.real()
        lists = {"deny_imports": ["secret.in.>"], "deny_exports": ["secret.out.>"]}
        leaf = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub), **lists}]})
        up, down = await world.client(hub), await world.client(leaf)
    else:
        our_hub = await world.ours("HUB")
        lists_text = 'deny_imports: ["secret.in.>"], deny_exports: ["secret.out.>"]'
        real_leaf = await world.real(
            f'leafnodes {{ remotes: [ {{ url: "{leaf_url(our_hub)}", {lists_text} }} ] }}', "LEAF"
        )
        up, down = await world.client(our_hub), await world.client(real_leaf)
    below, above = await Inbox.of(down, "secret.>", "end"), await Inbox.of(up, "secret.>", "end")
    await reachable(up, down)
    await reachable(down, up)
    await up.publish("secret.in.x")
    await up.publish("secret.out.x")
    await up.publish("end")
    assert await below.until("end") == ["secret.out.x"]
    assert await above.until("end") == ["secret.in.x", "secret.out.x"], "its own"
    await down.publish("secret.out.x")
    await down.publish("secret.other")
    await down.publish("end")
    assert await above.until("end") == ["secret.other"]


async def test_permissions_of_the_user_on_a_real_hub(world: World) -> None:
    """The real hub would end the link at the first breach; ours keeps to what INFO says."""
    hub = await world.real(USERS)
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub, "leaf:p@")}]})
    up, down = await world.client(hub, user="admin", password="p"), await world.client(edge)
    await _allowed_only(up, down)
    assert len([line for line in world.log.lines if "Leafnode connection created" in line]) == 1
    assert "Violation" not in hub.log


async def test_permissions_of_the_user_on_our_hub(world: World) -> None:
    hub = await world.ours("HUB", authorization=OUR_USERS)
    leaf = await world.real(f'leafnodes {{ remotes: [ {{ url: "{leaf_url(hub, "leaf:p@")}" }} ] }}', "LEAF")
    up, down = await world.client(hub, user="admin", password="p"), await world.client(leaf)
    await _allowed_only(up, down)
    assert len([line for line in world.log.lines if "Leafnode connection created" in line]) == 1
    assert not [line for line in world.log.lines if "Violation" in line]


async def _allowed_only(up: Client, down: Client) -> None:
    """Literal interest that is not allowed is not announced, wildcard interest is served in part."""
    above, literal = await Inbox.of(up, "up.a", "other.a"), await Inbox.of(down, "other.a", "down.end")
    wild = await Inbox.of(down, "*.*")
    await reachable(up, down)
    await reachable(down, up)
    await up.publish("other.a")
    await up.publish("up.a")
    await up.publish("down.end")
    assert await literal.until("down.end") == []
    assert [s for s in await wild.until("down.end") if not s.startswith("probe.")] == []
    assert await above.until("up.a") == ["other.a"], "its own"
    await down.publish("other.a")
    await down.publish("down.a")
    await down.publish("up.a")
    assert await above.until("up.a") == []


async def test_hub_true_turns_the_roles_round(world: World) -> None:
    """We dial and are the hub: the real side is our spoke."""
    spoke = await world.real(name="SPOKE")
    hub = await world.ours("HUB", leafnodes={"remotes": [{"url": leaf_url(spoke), "hub": True}]})
    below, above = await world.client(spoke), await world.client(hub)
    await reachable(above, below)
    await reachable(below, above)
    (link,) = hub.leafs.up
    assert not link.spoke


async def test_hub_true_of_a_real_server(world: World) -> None:
    """It dials and is the hub: we are its spoke."""
    spoke = await world.ours("SPOKE")
    hub = await world.real(f'leafnodes {{ remotes: [ {{ url: "{leaf_url(spoke)}", hub: true }} ] }}', "HUB")
    below, above = await world.client(spoke), await world.client(hub)
    await reachable(above, below)
    await reachable(below, above)
    (link,) = spoke.leafs.up
    assert link.spoke


async def test_hub_true_passes_between_spokes(world: World) -> None:
    """Two real servers that we dial as their hub reach one another through us."""
    one, two = await world.real(name="ONE"), await world.real(name="TWO")
    urls = [{"url": leaf_url(server), "hub": True} for server in (one, two)]
    await world.ours("HUB", leafnodes={"remotes": urls})
    await reachable(await world.client(one), await world.client(two))


async def test_request_isolation_and_isolate(world: World) -> None:
    """A remote with ``isolate`` does not tell the hub of our other leafs."""
    top = await world.real(name="TOP")
    middle = await world.ours("MIDDLE", leafnodes={"remotes": [{"url": leaf_url(top), "isolate": True}]})
    bottom = await world.real(f'leafnodes {{ remotes: [ {{ url: "{leaf_url(middle)}" }} ] }}', "BOTTOM")
    above, between, below = [await world.client(server) for server in (top, middle, bottom)]
    inbox = await Inbox.of(below, "for.bottom")
    await reachable(between, below)
    await reachable(above, between)
    await above.publish("for.bottom", b"unheard")
    await reachable(above, between)
    await between.publish("for.bottom", b"heard")
    assert (await inbox.next()).data == b"heard"


async def test_two_remotes(world: World) -> None:
    one, two = await world.real(name="ONE"), await world.real(name="TWO")
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(one)}, {"url": leaf_url(two)}]})
    down = await world.client(edge)
    await reachable(await world.client(one), down)
    await reachable(await world.client(two), down)
    assert sorted(link.name for link in edge.leafs.up) == ["ONE", "TWO"]


async def test_a_disabled_remote_is_not_dialled(world: World) -> None:
    one, two = await world.real(name="ONE"), await world.real(name="TWO")
    both = [{"url": leaf_url(one), "disabled": True}, {"url": leaf_url(two)}]
    edge = await world.ours(leafnodes={"remotes": both})
    await reachable(await world.client(two), await world.client(edge))
    assert "Leafnode connection created" not in one.log


@pytest.mark.parametrize("credentials", ["leaf:wrong@", "nobody:p@", ""])
async def test_wrong_credentials_at_a_real_hub(world: World, credentials: str) -> None:
    hub = await world.real(USERS)
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub, credentials)}]})
    await world.log.line("Leafnode Error 'Authorization Violation'")
    seen = len(world.log.lines)
    await world.log.line("Leafnode connection created", after=seen)
    assert edge.leafs.up == []


@pytest.mark.parametrize("credentials", ["leaf:wrong@", "nobody:p@", ""])
async def test_wrong_credentials_at_our_hub(world: World, credentials: str) -> None:
    hub = await world.ours("HUB", authorization=OUR_USERS)
    leaf = await world.real(f'leafnodes {{ remotes: [ {{ url: "{leaf_url(hub, credentials)}" }} ] }}', "LEAF")
    await asyncio.to_thread(leaf.wait_for_log, "Leafnode Error 'Authorization Violation'")
    await world.log.line("authentication error")
    await world.log.line("Leafnode connection closed: Authentication Failure")
    assert hub.leafs.up == []


async def test_users_of_the_leafnodes_block(world: World) -> None:
    block = {"authorization": {"user": "l", "password": "p"}}
    hub = await world.ours("HUB", leafnodes=block, authorization=OUR_USERS)
    good, bad = leaf_url(hub, "l:p@"), leaf_url(hub, "admin:p@")
    refused = await world.real(f'leafnodes {{ remotes: [ {{ url: "{bad}" }} ] }}', "REFUSED")
    await asyncio.to_thread(refused.wait_for_log, "Leafnode Error 'Authorization Violation'")
    leaf = await world.real(f'leafnodes {{ remotes: [ {{ url: "{good}" }} ] }}', "LEAF")
    await reachable(await world.client(hub, user="admin", password="p"), await world.client(leaf))
    assert [link.name for link in hub.leafs.up] == ["LEAF"]


async def test_min_version(world: World) -> None:
    hub = await world.ours("HUB", leafnodes={"min_version": "99.0.0"})
    leaf = await world.real(f'leafnodes {{ remotes: [ {{ url: "{leaf_url(hub)}" }} ] }}', "LEAF")
    await asyncio.to_thread(leaf.wait_for_log, "due to minimum version requirement")
    await world.log.line("Leafnode connection closed: Minimum Version Required")


async def test_refused_for_min_version_by_a_real_hub_waits_longer(world: World) -> None:
    """Ours announces the version whose protocol it speaks, which the hub finds too old."""
    hub = await world.real('leafnodes { listen: "127.0.0.1:-1", min_version: "3.0.0" }')
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub)}]})
    await world.log.line("Leafnode Error 'connection rejected since minimum version required is \"3.0.0\"'")
    await world.log.line("Leafnode connection closed")
    (task,) = edge.leafs.remotes._tasks.values()
    assert not task.done()
