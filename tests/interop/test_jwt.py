"""Creds files and nkeys: nats-py on phloem, and leaf links between phloem and nats-server, either being the hub."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from phloem.shared.security.claims import Permission
from phloem.shared.security.nkeys import Prefix
from tests.interop.links import World, leaf_url, reachable
from tests.support.operators import AccountKeys, OperatorWorld, UserKeys, key, subject

WORLD = OperatorWorld()
B = AccountKeys(WORLD, "B")


def file(world: World, user: UserKeys, name: str = "user.creds") -> str:
    path = world.folder / name
    path.write_text(user.creds)
    return str(path)


def trusting(*tokens: str, resolver: Any = "MEMORY") -> dict[str, Any]:
    """Keys of a configuration that trusts the operator and preloads accounts."""
    accounts = {subject(token): token for token in (WORLD.system.token(), *tokens)}
    return {"operator": WORLD.token, "resolver": resolver, "resolver_preload": accounts}


def remote(url: str, proof: str) -> str:
    """A real server's configuration that links there."""
    return f'leafnodes {{ reconnect: "20ms", remotes: [ {{ url: "{url}", {proof} }} ] }}'


async def test_a_client_with_creds(world: World) -> None:
    server = await world.ours(**trusting(WORLD.a.token()))
    creds = file(world, WORLD.a.user())
    one, two = [await world.client(server, user_credentials=creds) for _ in range(2)]
    await reachable(one, two)


async def test_a_client_with_a_seed(world: World) -> None:
    user = key(Prefix.USER)
    server = await world.ours(authorization={"users": [{"nkey": user.public_key}]})
    one, two = [await world.client(server, nkeys_seed_str=user.seed().decode()) for _ in range(2)]
    await reachable(one, two)


@pytest.mark.parametrize("hub", ["ours", "real"])
async def test_a_leaf_with_creds(world: World, hub: str) -> None:
    """The edge has no operator: its own account is linked to A of the hub."""
    creds = file(world, WORLD.a.user(name="edge"))
    if hub == "ours":
        ours = await world.ours("HUB", **trusting(WORLD.a.token()))
        text = remote(leaf_url(ours), f'credentials: "{creds}"')
        edge: Any = await world.real(text, "EDGE")
        server: Any = ours
    else:
        server = await world.real(WORLD.config(WORLD.a.token()))
        remotes = [{"url": leaf_url(server), "credentials": creds}]
        edge = await world.ours(leafnodes={"remotes": remotes})
    far = await world.client(server, user_credentials=file(world, WORLD.a.user(), "far.creds"))
    near = await world.client(edge)
    await reachable(far, near)
    await reachable(near, far)


@pytest.mark.parametrize("hub", ["ours", "real"])
async def test_permissions_of_the_leafs_user(world: World, hub: str) -> None:
    """A device gets its own subjects and nothing else."""
    user = WORLD.a.user(
        name="edge",
        pub=Permission(allow=("d.edge.>", "_INBOX.>", "probe.>")),
        sub=Permission(allow=("c.edge.>", "_INBOX.>", "probe.>")),
    )
    creds = file(world, user)
    if hub == "ours":
        server: Any = await world.ours("HUB", **trusting(WORLD.a.token()))
        text = remote(leaf_url(server), f'credentials: "{creds}"')
        edge: Any = await world.real(text, "EDGE")
    else:
        server = await world.real(WORLD.config(WORLD.a.token()))
        edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(server), "credentials": creds}]})
    far = await world.client(server, user_credentials=file(world, WORLD.a.user(), "far.creds"))
    near = await world.client(edge)
    await reachable(far, near)
    up, down = await far.subscribe("d.>"), await near.subscribe("c.>")
    await far.flush()
    await near.flush()
    await reachable(far, near)
    await reachable(near, far)
    for device in ("other", "edge"):
        await near.publish(f"d.{device}.x")
        await far.publish(f"c.{device}.x")
    assert (await up.next_msg(5)).subject == "d.edge.x"
    assert (await down.next_msg(5)).subject == "c.edge.x"


async def test_a_leaf_with_a_seed_on_a_real_hub(world: World) -> None:
    user = key(Prefix.USER)
    hub = await world.real(
        f'leafnodes {{ listen: "127.0.0.1:-1", authorization {{ nkey: {user.public_key} }} }}'
    )
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub), "nkey": user.seed().decode()}]})
    await reachable(await world.client(hub), await world.client(edge))


async def test_a_real_leaf_with_a_seed(world: World) -> None:
    user = key(Prefix.USER)
    hub = await world.ours("HUB", leafnodes={"authorization": {"nkey": user.public_key}})
    seed = user.seed().decode()
    text = remote(leaf_url(hub), f'nkey: "{seed}"')
    edge = await world.real(text, "EDGE")
    await reachable(await world.client(hub), await world.client(edge))


async def test_creds_are_read_for_each_attempt(world: World) -> None:
    """A device whose creds have run out gets new ones without a restart."""
    hub = await world.ours("HUB", **trusting(WORLD.a.token()))
    creds = file(world, B.user())
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub), "credentials": creds}]})
    await world.log.line("Authorization Violation")
    file(world, WORLD.a.user())
    far = await world.client(hub, user_credentials=file(world, WORLD.a.user(), "far.creds"))
    await reachable(far, await world.client(edge))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, r"open .*user\.creds: no such file or directory"),
        ("x", "Credentials file malformed"),
        ("-----BEGIN X-----\nx\n-----END X-----\n-----BEGIN Y-----\nSU\n-----END Y-----\n", "malformed seed"),
    ],
    ids=["no file", "no credentials", "no seed"],
)
async def test_creds_that_are_none(world: World, content: str | None, text: str) -> None:
    hub = await world.ours("HUB", **trusting(WORLD.a.token()))
    path = world.folder / "user.creds"
    if content is not None:
        path.write_text(content)
    await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub), "credentials": str(path)}]})
    await world.log.line(f"lid:.* - .*{text}")
    await world.log.line("Leafnode connection closed: Write Error")


async def test_a_device_is_revoked(world: World) -> None:
    """The link of a live device ends as soon as the hub has the account's new claims."""
    hub = await world.ours("HUB", **trusting(WORLD.a.token()))
    user = WORLD.a.user(name="edge")
    creds = file(world, user)
    edge = await world.ours(leafnodes={"remotes": [{"url": leaf_url(hub), "credentials": creds}]})
    far = await world.client(hub, user_credentials=file(world, WORLD.a.user(), "far.creds"))
    await reachable(far, await world.client(edge))
    system = await world.client(hub, user_credentials=file(world, WORLD.system.user(), "system.creds"))
    token = WORLD.a.token(revocations={user.pair.public_key: int(time.time())})
    begun = asyncio.get_running_loop().time()
    await system.request(f"$SYS.REQ.ACCOUNT.{WORLD.a.public}.CLAIMS.UPDATE", token.encode())
    await world.log.line("User Authentication Revoked")
    await world.log.line("Leafnode connection closed: Credentials Revoked")
    assert asyncio.get_running_loop().time() - begun < 1


def full(folder: Path) -> dict[str, Any]:
    return {"type": "full", "dir": str(folder), "interval": "100ms", "timeout": "2s", "allow_delete": True}


async def test_a_cache_asks_a_real_server(world: World) -> None:
    """Accounts are looked up over a link of the system account; both servers trust the operator."""
    folder = world.folder / "jwt"
    resolver = f'{{ type: full, dir: "{folder}", interval: "1h", timeout: "1s" }}'
    hub = await world.real(WORLD.config(WORLD.a.token(), resolver=resolver))
    creds = file(world, WORLD.system.user(), "system.creds")
    remotes = [{"url": leaf_url(hub), "credentials": creds, "account": WORLD.system.public}]
    cache = {"type": "cache", "dir": str(world.folder / "cache"), "timeout": "2s"}
    edge = await world.ours(leafnodes={"remotes": remotes}, **trusting(resolver=cache))
    one, two = [await world.client(s, user_credentials=creds) for s in (hub, edge)]
    await reachable(one, two)
    await world.client(edge, user_credentials=file(world, WORLD.a.user()))
    assert (world.folder / "cache" / f"{WORLD.a.public}.jwt").exists()


async def test_folders_are_compared_with_a_real_server(world: World) -> None:
    resolver = f'{{ type: full, dir: "{world.folder / "hub"}", interval: "1h" }}'
    hub = await world.real(WORLD.config(WORLD.a.token(), resolver=resolver))
    creds = file(world, WORLD.system.user(), "system.creds")
    remotes = [{"url": leaf_url(hub), "credentials": creds, "account": WORLD.system.public}]
    edge = await world.ours(leafnodes={"remotes": remotes}, **trusting(resolver=full(world.folder / "edge")))
    one, two = [await world.client(s, user_credentials=creds) for s in (hub, edge)]
    await reachable(one, two)
    wanted = world.folder / "edge" / f"{WORLD.a.public}.jwt"
    async with asyncio.timeout(10):
        while not wanted.exists():
            await reachable(one, two)
    await world.client(edge, user_credentials=file(world, WORLD.a.user()))
