"""Compressed links with a real nats-server at either end, and of two of ours: each mode, TLS, reconnect, reload."""

import asyncio

import msgspec
import pytest

from phloem.shared.leaf.compression import LEVELS, normal
from phloem.shared.server.monitor.leafz import leafz
from phloem.shared.server.monitor.query import Query
from phloem.shared.server.monitor_source import ServerSource
from phloem.shared.server.reload import use
from phloem.shared.server.server import Server
from tests.interop.links import Inbox, World, leaf_url, reachable, settled
from tests.support.certificates import Certificates
from tests.support.rawclient import TIMEOUT_S
from tests.support.real_server import RealServer
from tests.support.sampling import in_turn

MODES = ("s2_fast", "s2_better", "s2_best", "s2_auto", "accept", "off")
AGREED = {  # of what a side with the first mode sends to one with the second; by default both ends are near
    **{(mode, other): mode for mode in MODES[:3] for other in MODES[:5]},
    **{("s2_auto", other): "s2_uncompressed" for other in MODES[:5]},
    **{("accept", other): other for other in MODES[:3]},
    ("accept", "s2_auto"): "s2_fast",
}
BODY = b'{"device":"press-7","temperature":21.5,"pressure":1013,"ok":true}'


def block(mode: str) -> str:
    return f"compression: {mode}" if mode else ""


async def ours(world: World, name: str, leafnodes: str, more: str = "") -> Server:
    file = world.folder / f"{name}.conf"
    file.write_text(
        f'server_name: {name}\nlisten: "127.0.0.1:-1"\nleafnodes {{ listen: "127.0.0.1:-1", reconnect: 20ms\n'
        f"{leafnodes} }}\n{more}\n"
    )
    return await world.run(Server(str(file)))


def remote(url: str, mode: str, more: str = "") -> str:
    return f'remotes: [ {{ url: "{url}"\n {block(mode)}\n {more} }} ]'


async def pair(
    world: World,
    hub_kind: str,
    leaf_kind: str,
    hub: str,
    leaf: str,
    *,
    hub_more: str = "",
    leaf_more: str = "",
) -> tuple[Server | RealServer, Server | RealServer]:
    up: Server | RealServer
    down: Server | RealServer
    if hub_kind == "ours":
        up = await ours(world, "HUB", f"{block(hub)}\n{hub_more}")
    else:
        up = await world.real(f'leafnodes {{ listen: "127.0.0.1:-1"\n{block(hub)}\n{hub_more} }}', "HUB")
    there = remote(leaf_url(up), leaf, leaf_more)
    if leaf_kind == "ours":
        down = await ours(world, "LEAF", there)
    else:
        down = await world.real(f'leafnodes {{ listen: "127.0.0.1:-1", reconnect: 50ms\n{there} }}', "LEAF")
    return up, down


async def exchange(world: World, up: Server | RealServer, down: Server | RealServer) -> None:
    """Small and large messages in both directions, many at a time."""
    above, below = await world.client(up), await world.client(down)
    await reachable(above, below)
    await reachable(below, above)
    for sender, receiver in ((above, below), (below, above)):
        inbox = await Inbox.of(receiver, "data")
        await settled(receiver)
        await reachable(sender, receiver)
        sizes = (0, 1, 100, 65_000, 200_000, 1_000_000)
        for size in sizes:
            await sender.publish("data", (BODY * (size // len(BODY) + 1))[:size])
        for number in range(2_000):
            await sender.publish("data", BODY + b"%d" % number)
        for size in sizes:
            assert (await inbox.next()).data == (BODY * (size // len(BODY) + 1))[:size]
        for number in range(2_000):
            assert (await inbox.next()).data == BODY + b"%d" % number


def shown(server: Server) -> str:
    (link,) = leafz(ServerSource(server), Query()).leafs
    return link.compression


PAIRS = [("ours", "real"), ("real", "ours"), ("ours", "ours")]


BOTH_MODES = [
    *((mode, mode) for mode in MODES),
    ("", ""),
    ("accept", "s2_best"),
    ("s2_better", "accept"),
    ("off", "s2_fast"),
    ("s2_fast", "off"),
    ("accept", "s2_auto"),
]


@pytest.mark.parametrize(("hub", "leaf", "pairing"), in_turn(BOTH_MODES, PAIRS))
async def test_modes(world: World, hub: str, leaf: str, pairing: tuple[str, str]) -> None:
    up, down = await pair(world, *pairing, hub, leaf)
    await exchange(world, up, down)
    for server, own, theirs in ((up, hub, leaf), (down, leaf, hub)):
        if isinstance(server, Server):
            (link,) = server.leafs.up
            expected = AGREED.get((own or "s2_auto", theirs or "s2_auto"))
            assert (link.conn.level is not None) is (expected is not None)
            if expected == LEVELS[0]:  # what s2_auto takes for a round trip that a busy machine makes longer
                assert shown(server) in LEVELS
                continue
            assert shown(server) == (expected or "off")
            carried = link.conn.carried
            if expected in LEVELS[1:]:
                assert carried["out_packed"] < carried["out_plain"] / 5
            assert carried["out_socket"] == carried["out_packed"]
            assert carried["in_socket"] == carried["in_packed"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


SECURED = [(mode, how) for mode in ("s2_auto", "s2_better") for how in ("", "handshake_first: true")]


@pytest.mark.parametrize(("mode", "how", "pairing"), in_turn(SECURED, PAIRS))
async def test_below_it_tls(
    world: World, certificates: Certificates, mode: str, how: str, pairing: tuple[str, str]
) -> None:
    tls = f'tls {{ {certificates.server.block}\n ca_file: "{certificates.ca_file}"\n {how} }}'
    mine = f'tls {{ ca_file: "{certificates.ca_file}"\n {how} }}'
    up, down = await pair(world, *pairing, mode, mode, hub_more=tls, leaf_more=mine)
    await exchange(world, up, down)
    for server in (up, down):
        if isinstance(server, Server):
            (link,) = server.leafs.up
            assert link.secured is not None
            assert link.conn.level is not None
            carried = link.conn.carried
            assert carried["in_socket"] > carried["in_packed"]


@pytest.mark.parametrize("pairing", PAIRS, ids="-".join)
async def test_a_link_that_comes_back(world: World, pairing: tuple[str, str]) -> None:
    hub_kind, leaf_kind = pairing
    hub: Server | RealServer
    if hub_kind == "ours":
        hub = await ours(world, "HUB", block("s2_fast"))
        cable = await world.cable(hub.leaf_port)
    else:
        hub = await world.real(f'leafnodes {{ listen: "127.0.0.1:-1"\n{block("s2_fast")} }}', "HUB")
        cable = await world.cable(hub.port("leafnodes"))
    there = remote(f"nats-leaf://127.0.0.1:{cable.port}", "s2_best", "ignore_discovered_servers: true")
    leaf: Server | RealServer
    if leaf_kind == "ours":
        leaf = await ours(world, "LEAF", there)
    else:
        leaf = await world.real(f'leafnodes {{ listen: "127.0.0.1:-1", reconnect: 50ms\n{there} }}', "LEAF")
    above, below = await world.client(hub), await world.client(leaf)
    await reachable(above, below)
    for _ in range(2):
        await cable.cut()
        cable.restore()
        await reachable(above, below)
        await reachable(below, above)


async def links_with(server: Server, level: int | None) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while [link.conn.level for link in server.leafs.up] != [level]:  # noqa: ASYNC110  (turns the loop)
            await asyncio.sleep(0)


async def test_reload(world: World) -> None:
    """Levels change on the link that is there; what both have to agree on makes it anew."""
    hub, leaf = await pair(world, "real", "ours", "s2_fast", "s2_fast")
    assert isinstance(leaf, Server)
    above, below = await world.client(hub), await world.client(leaf)
    await reachable(above, below)
    cids = []
    for mode in ("s2_best", "s2_better", "s2_auto", "off", "accept", "s2_best"):
        (old,) = leaf.options.leafnodes.remotes
        remotes = (msgspec.structs.replace(old, compression=normal(mode)),)
        leafnodes = msgspec.structs.replace(leaf.options.leafnodes, remotes=remotes)
        new = msgspec.structs.replace(leaf.options, leafnodes=leafnodes)
        use(leaf, lambda new=new: new)  # type: ignore[misc]
        agreed = AGREED.get((mode, "s2_fast"))
        await links_with(leaf, None if agreed is None else LEVELS.index(agreed))
        await reachable(above, below)
        cids.append(leaf.leafs.up[0].conn.cid)
    assert cids[0] == cids[1] == cids[2]
    assert len({*cids[2:]}) == 3  # from accept to s2_best nothing has to be agreed on


async def test_reload_of_what_is_accepted(world: World) -> None:
    hub, leaf = await pair(world, "ours", "real", "s2_fast", "s2_fast")
    assert isinstance(hub, Server)
    above, below = await world.client(hub), await world.client(leaf)
    await reachable(above, below)
    before = hub.leafs.up[0].conn.cid
    for mode in ("s2_best", "off", "s2_better"):
        leafnodes = msgspec.structs.replace(hub.options.leafnodes, compression=normal(mode))
        new = msgspec.structs.replace(hub.options, leafnodes=leafnodes)
        use(hub, lambda new=new: new)  # type: ignore[misc]
        agreed = AGREED.get((mode, "s2_fast"))
        await links_with(hub, None if agreed is None else LEVELS.index(agreed))
        await reachable(below, above)
        assert (hub.leafs.up[0].conn.cid == before) is (mode == "s2_best")
