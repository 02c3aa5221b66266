"""The hub side of a leaf link, from INFO to the first interest (wire.md 2.1, 2.2, 2.3, 2.5, 5.5)."""

import asyncio
import json
import re

import pytest
from tests.support.brokers import Brokers
from tests.support.rawleaf import RawLeaf

HUB = 'leafnodes { listen: "127.0.0.1:-1", compression: off }\nserver_name: HUB'
FIRST_ONLY = {"nonce"}
CONNECT_ONLY = {"connect_info": True, "remote_account": "$G"}


async def dial(broker: Brokers, config: str = HUB) -> RawLeaf:
    """A connection to the leaf port that has read the first INFO."""
    leaf = await RawLeaf.connect("127.0.0.1", broker.shared(config).process.port("leafnodes"))
    await leaf.expect_info()
    return leaf


async def test_first_info(broker: Brokers) -> None:
    port = broker.shared(HUB).process.port("leafnodes")
    async with await dial(broker) as leaf:
        info = leaf.info
    assert info["server_name"] == "HUB"
    assert info["host"] == "127.0.0.1"
    assert info["port"] == port
    assert info["ip"] == f"127.0.0.1:{port}"
    assert info["leafnode_urls"] == [f"127.0.0.1:{port}"]
    assert info["headers"] is True
    assert info["auth_required"] is True
    assert info["max_payload"] == 1048576
    assert info["client_id"] > 0
    assert info["info_on_connect"] is True
    assert re.fullmatch(r"[A-Za-z0-9_-]{15}", info["nonce"])
    assert info.get("compression", "off") == "off"
    for absent in ("connect_info", "remote_account", "import", "export", "cluster", "domain", "jetstream"):
        assert absent not in info


async def test_info_line_form(broker: Brokers) -> None:
    leaf = await RawLeaf.connect("127.0.0.1", broker.shared(HUB).process.port("leafnodes"))
    async with leaf:
        line = await leaf.expect(re.compile(rb"[^\n]*\n"))
    assert line.startswith(b'INFO {"server_id":"N')
    assert line.endswith(b"} \r\n")


AS_CAPTURED = (
    '{"version":"2.15.1","server_id":"NX","name":"L","cluster":"L","headers":true,"compress_mode":"off",'
    '"remote_account":"$G","protocol":3}'
)


@pytest.mark.parametrize("connect", ["{}", '{"name":"L"}', AS_CAPTURED, '{"unknown":1}'])
async def test_connect_info_then_interest(broker: Brokers, connect: str) -> None:
    async with await dial(broker) as leaf:
        first = leaf.info
        leaf.send(f"CONNECT {connect}\r\n")
        info = await leaf.expect_info()
        await leaf.sync()
    assert {key: info[key] for key in CONNECT_ONLY} == CONNECT_ONLY
    assert not FIRST_ONLY & info.keys()
    for same in (
        "server_id",
        "server_name",
        "host",
        "port",
        "ip",
        "client_id",
        "leafnode_urls",
        "max_payload",
    ):
        assert info[same] == first[same]
    assert re.fullmatch(r"\$LDS\.[A-Za-z0-9]{22}", leaf.loop_subject)


async def test_the_loop_subject_is_the_servers_own_and_stays(broker: Brokers) -> None:
    shared = broker.shared(HUB)
    async with await shared.leaf() as first, await shared.leaf() as second:
        assert first.loop_subject == second.loop_subject


async def test_pipelined_handshake(broker: Brokers) -> None:
    """CONNECT, interest and PING before INFO has been read."""
    shared = broker.shared(HUB)
    leaf = await RawLeaf.connect("127.0.0.1", shared.process.port("leafnodes"))
    async with leaf, await shared.client() as client:
        leaf.send(b"CONNECT {}\r\nLS+ pipe\r\n")
        await leaf.expect_info()
        await leaf.expect_info()
        await leaf.sync()
        client.send(b"PUB pipe 2\r\nhi\r\n")
        await leaf.expect(b"LMSG pipe 2\r\nhi\r\n")


async def test_interest_that_is_there_already_is_announced(broker: Brokers) -> None:
    world = broker.world()
    async with await world.client() as client:
        client.send(
            b"SUB there.a 1\r\nSUB there.a 2\r\nSUB there.* 3\r\nSUB there.q g 4\r\nSUB there.q g 5\r\n"
        )
        await client.expect_silence_until_pong()
        async with await world.leaf() as leaf:
            seen = sorted(line for line in leaf.announced if line.startswith("there"))
        assert seen == ["there.*", "there.a", "there.q g 2"]


# A server that dials hubs calls itself a cluster, by its own name. Nobody listens on port 1.
DIALLING = HUB.replace(
    "compression: off", 'compression: off, remotes: [ { url: "nats-leaf://127.0.0.1:1" } ]'
)
REFUSED = [
    ('{"lang":"go","name":"x"}', "attempted to connect to leaf node port"),
    ('{"name":"x","cluster":"HUB"}', "remote leafnode has same cluster name"),
    ('{"name":"x","cluster":"a b"}', "cluster name cannot contain spaces"),
    ('{"name":"x","cluster":"_"}', "cluster name is reserved"),
    ('{"name":"x","gateway":"g"}', 'Rejecting connection from gateway "g" on the leafnode port'),
    ('{"name":"x","account":"A"}', "Authorization Violation"),
]


@pytest.mark.parametrize(("connect", "text"), REFUSED)
async def test_refused_connect(broker: Brokers, connect: str, text: str) -> None:
    async with await dial(broker, DIALLING) as leaf:
        leaf.send(f"CONNECT {connect}\r\n")
        await leaf.expect_error(text, closes=True)


@pytest.mark.parametrize(
    "connect", ['{"headers":1}', '{"name":5}', "{", "x", '{"protocol":"3"}', '{"is_hub":"yes"}']
)
async def test_bad_json_closes_without_a_word(broker: Brokers, connect: str) -> None:
    async with await dial(broker) as leaf:
        leaf.send(f"CONNECT {connect}\r\n")
        await leaf.expect_close()


@pytest.mark.parametrize(
    "line", [b"LS+ a\r\n", b"PING\r\n", b"LMSG a 0\r\n\r\n", b"PUB a 0\r\n\r\n", b"SUB a 1\r\n"]
)
async def test_connect_must_come_first(broker: Brokers, line: bytes) -> None:
    async with await dial(broker) as leaf:
        leaf.send(line)
        await leaf.expect_error("Authorization Violation", closes=True)


@pytest.mark.parametrize("line", [b"HELLO\r\n", b"\r\n", b" PING\r\n", b"LMSG a 1\r\nxy\r\n", b"LS\r\n"])
async def test_lines_a_leaf_may_not_send(broker: Brokers, line: bytes) -> None:
    async with await broker.shared(HUB).leaf() as leaf:
        leaf.send(line)
        await leaf.expect_error("Unknown Protocol Operation", closes=True)


async def test_authentication_timeout(broker: Brokers) -> None:
    config = 'leafnodes { listen: "127.0.0.1:-1", authorization { user: l, password: p, timeout: 0.3 } }'
    async with await dial(broker, config) as leaf:
        await leaf.expect_error("Authentication Timeout", closes=True)


LEAF_USERS = """leafnodes { listen: "127.0.0.1:-1", compression: off
  authorization { users: [ { user: a, password: p, account: A }, { user: b, password: p, account: B } ] } }
accounts {
  A { users: [ { user: ca, password: p } ] }
  B { users: [ { user: cb, password: p } ] }
}"""
CREDENTIALS = 'leafnodes { listen: "127.0.0.1:-1", compression: off, authorization { user: l, password: p } }'
CLIENT_USERS = (
    'leafnodes { listen: "127.0.0.1:-1", compression: off }\nauthorization { user: u, password: p }'
)


@pytest.mark.parametrize(
    ("config", "connect", "account"),
    [
        (CREDENTIALS, '{"user":"l","pass":"p"}', "$G"),
        (LEAF_USERS, '{"user":"a","pass":"p"}', "A"),
        (LEAF_USERS, '{"user":"b","pass":"p"}', "B"),
        (CLIENT_USERS, '{"user":"u","pass":"p"}', "$G"),
    ],
)
async def test_accepted_credentials_bind_to_an_account(
    broker: Brokers, config: str, connect: str, account: str
) -> None:
    async with await dial(broker, config) as leaf:
        leaf.send(f"CONNECT {connect}\r\n")
        assert (await leaf.expect_info())["remote_account"] == account


@pytest.mark.parametrize(
    ("config", "connect"),
    [
        (CREDENTIALS, "{}"),
        (CREDENTIALS, '{"user":"l","pass":"x"}'),
        (CREDENTIALS, '{"user":"x","pass":"p"}'),
        (LEAF_USERS, '{"user":"ca","pass":"p"}'),
        (CLIENT_USERS, '{"user":"u"}'),
    ],
)
async def test_refused_credentials(broker: Brokers, config: str, connect: str) -> None:
    async with await dial(broker, config) as leaf:
        leaf.send(f"CONNECT {connect}\r\n")
        await leaf.expect_error("Authorization Violation", closes=True)


async def test_a_link_carries_one_account(broker: Brokers) -> None:
    shared = broker.shared(LEAF_USERS)
    user = '{{"verbose":false,"user":"{0}","pass":"p"}}'
    async with (
        await shared.leaf('{"user":"a","pass":"p"}') as leaf,
        await shared.client(user.format("ca")) as inside,
        await shared.client(user.format("cb")) as outside,
    ):
        leaf.send(b"LS+ one\r\n")
        await leaf.expect_silence_until_pong()
        outside.send(b"SUB one 1\r\nPUB one 1\r\nb\r\n")
        await outside.expect(b"MSG one 1 1\r\nb\r\n")
        await outside.expect_silence_until_pong()
        inside.send(b"PUB one 1\r\na\r\n")
        await leaf.expect(b"LMSG one 1\r\na\r\n")
        leaf.send(b"LMSG one 1\r\nl\r\n")
        await leaf.expect_silence_until_pong()
        await outside.expect_silence_until_pong()


DUPLICATE = {"name": "L1", "cluster": "L1", "remote_account": "$G"}


async def test_duplicate_link_ends_the_older(broker: Brokers) -> None:
    shared, connect = broker.own(HUB), json.dumps(DUPLICATE)
    async with await shared.leaf(connect) as older, await shared.leaf(connect) as newer:
        await older.expect_error("Duplicate Remote LeafNode Connection", closes=True)
        await newer.expect_silence_until_pong()


@pytest.mark.parametrize(
    "change", [{"name": "L2"}, {"cluster": "L2"}, {"remote_account": "X"}, {"remote_account": ""}]
)
async def test_not_a_duplicate(broker: Brokers, change: dict[str, str]) -> None:
    shared = broker.own(HUB)
    one, two = json.dumps(DUPLICATE), json.dumps({**DUPLICATE, **change})
    async with await shared.leaf(one) as older, await shared.leaf(two) as newer:
        await older.expect_silence_until_pong()
        await newer.expect_silence_until_pong()


async def test_own_loop_subject_is_a_loop(broker: Brokers) -> None:
    async with await broker.shared(HUB).leaf() as leaf:
        leaf.send(f"LS+ {leaf.loop_subject}\r\n")
        text = 'Loop detected for leafnode account="$G". Delaying attempt to reconnect for 30s'
        await leaf.expect_error(text, closes=True)


async def test_foreign_loop_subject_is_ordinary_interest(broker: Brokers) -> None:
    """It is handed on to other leaf links, and taken back when its link ends."""
    world = broker.world()
    foreign = "$LDS.AAAAAAAAAAAAAAAAAAAAAA"
    async with await world.leaf(name="F1") as watcher:
        watcher.noise = watcher.noise[:1]
        async with await world.leaf(name="F2") as leaf:
            leaf.send(f"LS+ {foreign}\r\n")
            await leaf.expect_silence_until_pong()
            await watcher.expect(f"LS+ {foreign}\r\n")
        await watcher.expect(f"LS- {foreign}\r\n")


async def test_first_ping_of_the_hub(broker: Brokers) -> None:
    """After one second and a bit."""
    async with await broker.shared(HUB).leaf() as leaf:
        leaf.noise = leaf.noise[1:]
        started = asyncio.get_running_loop().time()
        await leaf.expect(b"PING\r\n")
        assert 0.9 < asyncio.get_running_loop().time() - started < 3
