"""Both ends of a link played by hand against a phloem server in this process: what no real peer does on demand."""

import json
from typing import Any

import msgspec
import pytest

from phloem.shared.errors import ConfigError
from phloem.shared.server.options import Options
from phloem.shared.server.options_leafnodes import Remote
from phloem.shared.server.server import Server
from tests.interop.links import World
from tests.support.fake_hub import FIRST_INFO, FakeHub
from tests.support.rawleaf import RawLeaf


async def dial(server: Server) -> RawLeaf:
    """A connection to the leaf port that has read the first INFO."""
    leaf = await RawLeaf.connect("127.0.0.1", server.leaf_port)
    await leaf.expect_info()
    return leaf


@pytest.mark.parametrize(
    ("connect", "text"),
    [
        ({"lang": "go"}, "attempted to connect to leaf node port"),
        ({"cluster": "a b"}, "cluster name cannot contain spaces"),
        ({"cluster": "_"}, "cluster name is reserved"),
        ({"gateway": "g"}, 'Rejecting connection from gateway "g" on the leafnode port'),
        ({"account": "A"}, "Authorization Violation"),
    ],
)
async def test_refused(world: World, connect: dict[str, Any], text: str) -> None:
    hub = await world.ours("HUB")
    async with await dial(hub) as leaf:
        leaf.send(f"CONNECT {json.dumps(connect)}\r\n")
        await leaf.expect_error(text, closes=True)
    logged = "authentication error" if text == "Authorization Violation" else text
    assert len([line for line in world.log.lines if logged in line]) == 1


async def test_the_cluster_of_this_server(world: World) -> None:
    """A server that dials has its name as its cluster's name, and no leaf may have the same."""
    async with FakeHub() as above:
        remote = {"url": f"nats-leaf://127.0.0.1:{above.port}"}
        middle = await world.ours("MIDDLE", leafnodes={"remotes": [remote]})
        async with await dial(middle) as leaf:
            assert leaf.info["cluster"] == "MIDDLE"
            leaf.send('CONNECT {"cluster":"MIDDLE"}\r\n')
            await leaf.expect_error("remote leafnode has same cluster name", closes=True)


async def test_connect_comes_once(world: World) -> None:
    hub = await world.ours("HUB")
    async with await dial(hub) as leaf:
        leaf.send("CONNECT {}\r\n")
        await leaf.expect_info()
        await leaf.sync()
        leaf.send("CONNECT {}\r\n")
        await leaf.expect_error("Unknown Protocol Operation", closes=True)


async def test_too_old(world: World) -> None:
    hub = await world.ours("HUB", leafnodes={"min_version": "2.10.0"})
    async with await dial(hub) as leaf:
        leaf.send('CONNECT {"version":"2.9.0"}\r\n')
        assert (await leaf.expect_info())["connect_info"] is True
        await leaf.expect_error('connection rejected since minimum version required is "2.10.0"', closes=True)


@pytest.mark.parametrize(
    ("block", "urls"),
    [
        ({"listen": "127.0.0.1:-1"}, ["127.0.0.1:{port}"]),
        ({"listen": "0.0.0.0:-1"}, ["127.0.0.1:{port}"]),
        ({"listen": "127.0.0.1:-1", "advertise": "hub.example:7000"}, ["hub.example:7000"]),
        ({"listen": "127.0.0.1:-1", "no_advertise": True}, []),
    ],
)
async def test_addresses_told_to_leafs(world: World, block: dict[str, Any], urls: list[str]) -> None:
    hub = await world.ours("HUB", leafnodes=block)
    async with await dial(hub) as leaf:
        assert leaf.info["leafnode_urls"] == [url.format(port=hub.leaf_port) for url in urls]


async def test_origins_are_forgotten_with_their_links(world: World) -> None:
    hub = await world.ours("HUB")
    for _ in range(3):
        async with await hub_leaf(hub, cluster="C"):
            assert hub.leafs._origins._numbers.keys() == {"C"}
        await world.log.line("Leafnode connection closed")
        assert not hub.leafs._origins._numbers
        world.log.lines.clear()
    assert hub.leafs.up == []
    assert not hub.leafs._keys


async def hub_leaf(hub: Server, **connect: Any) -> RawLeaf:
    leaf = await dial(hub)
    leaf.send(f"CONNECT {json.dumps({'name': 'L', 'remote_account': '$G', **connect})}\r\n")
    await leaf.expect_info()
    await leaf.sync()
    return leaf


async def test_a_hub_whose_cluster_has_linked_to_us_is_a_loop(world: World) -> None:
    """Its ``$LDS`` would tell as well, but only after interest was exchanged."""
    async with FakeHub() as above:
        remote = {"url": f"nats-leaf://127.0.0.1:{above.port}"}
        middle = await world.ours("MIDDLE", leafnodes={"remotes": [remote]})
        link = await above.dialled()
        async with await hub_leaf(middle, cluster="ROUND"):
            link.send(f"INFO {json.dumps(json.loads(FIRST_INFO) | {'cluster': 'ROUND'})}\r\n")
            await link.expect_connect()
            await link.expect_error(
                'Loop detected for leafnode account="$G". Delaying attempt to reconnect for 30s', closes=True
            )


async def test_nothing_passes_before_the_handshake_is_over(world: World) -> None:
    async with FakeHub() as above:
        remote = {"url": f"nats-leaf://127.0.0.1:{above.port}"}
        edge = await world.ours("EDGE", leafnodes={"remotes": [remote]})
        link = await above.dialled()
        got: list[bytes] = []
        edge.kernel.subscribe(edge.account(), b"early", None, lambda *message: got.append(message[3]))
        link.send(b"LMSG early 1\r\nx\r\nLS+ early\r\n")
        link.send(f"INFO {FIRST_INFO}\r\n")
        await link.expect_connect()
        await link.sync()
        edge.kernel.publish(edge.account(), b"early", body=b"ours")
        link.send(b"LMSG early 1\r\ny\r\n")
        await link.expect_silence_until_pong()
        assert got == [b"ours", b"y"]


async def test_changed_terms_are_taken_by_linking_again(world: World) -> None:
    async with FakeHub() as above:
        remote = {"url": f"nats-leaf://127.0.0.1:{above.port}"}
        await world.ours("EDGE", leafnodes={"remotes": [remote]})
        link = await above.linked()
        link.send(b'INFO {"max_payload":1000,"leafnode_urls":[]}\r\n')
        await link.expect_close()
        await above.linked()


async def test_reload_dials_what_is_new_and_ends_what_is_gone(world: World) -> None:
    async with FakeHub() as one, FakeHub() as two:
        remotes = [Remote(urls=(f"nats-leaf://127.0.0.1:{hub.port}",)) for hub in (one, two)]
        edge = await world.ours("EDGE")

        def use(*wanted: Remote) -> None:
            old = edge.options.leafnodes
            edge.options = msgspec.structs.replace(
                edge.options, leafnodes=msgspec.structs.replace(old, remotes=wanted)
            )
            edge.leafs.reload(old)

        use(remotes[0])
        first = await one.linked()
        use(*remotes)
        second = await two.linked()
        await first.expect_silence_until_pong()
        use(remotes[1], msgspec.structs.replace(remotes[0], disabled=True))
        await first.expect_close()
        await second.expect_silence_until_pong()
        use()
        await second.expect_close()
        use(remotes[0])
        await one.linked()


async def test_a_url_that_cannot_be_used_stops_the_start() -> None:
    options = Options(host="127.0.0.1", port=-1)
    leafnodes = msgspec.structs.replace(options.leafnodes, remotes=(Remote(urls=("http://hub",)),))
    with pytest.raises(ConfigError, match="scheme"):
        async with Server(msgspec.structs.replace(options, leafnodes=leafnodes)):
            pass


async def test_a_bcrypt_password(world: World) -> None:
    """The link stands still until its password is checked; what it sent meanwhile counts."""
    secret = "$2b$04$7LhZx0VVFnuOrXqLJQxD4eS4Wvic3EhGdhqPjenneTAydtkMAvA1S"
    hub = await world.ours("HUB", leafnodes={"authorization": {"user": "l", "password": secret}})
    async with await dial(hub) as right, await dial(hub) as wrong:
        right.send('CONNECT {"user":"l","pass":"right"}\r\nLS+ early\r\n')
        wrong.send('CONNECT {"user":"l","pass":"wrong"}\r\nLS+ early\r\n')
        await wrong.expect_error("Authorization Violation", closes=True)
        await right.expect_info()
        await right.sync()
        hub.kernel.publish(hub.account(), b"early", body=b"x")
        await right.expect(b"LMSG early 1\r\nx\r\n")
