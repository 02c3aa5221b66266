"""Links that speak S2, against either end played by the test (wire.md 2.8)."""

import json
import re
from collections.abc import AsyncIterator

import pytest
from tests.fuzz.snappy import S2, crc
from tests.support.brokers import Brokers
from tests.support.fake_hub import FIRST_INFO, FakeHub
from tests.support.rawleaf import RawLeaf

MODES = ("s2_auto", "s2_fast", "s2_better", "s2_best", "accept")
BODY = b'{"device":"press-7","temperature":21.5,"pressure":1013,"ok":true}' * 40
LEVELS = ("s2_uncompressed", "s2_fast", "s2_better", "s2_best")


def hub_with(mode: str) -> str:
    return f'leafnodes {{ listen: "127.0.0.1:-1", compression: {mode} }}\nserver_name: HUB'


async def dial(broker: Brokers, mode: str) -> RawLeaf:
    leaf = await RawLeaf.connect("127.0.0.1", broker.shared(hub_with(mode)).process.port("leafnodes"))
    assert (await leaf.expect_info())["compression"] == mode
    return leaf


@pytest.mark.parametrize("mode", MODES)
async def test_a_leaf_that_wants_it(broker: Brokers, mode: str) -> None:
    client = await broker.shared(hub_with(mode)).client()
    async with await dial(broker, mode) as leaf, client:
        first = leaf.info
        leaf.send('INFO {"client_id":5,"compression":"s2_best"}\r\n')
        layer = leaf.speak_s2()
        info = await leaf.expect_info()
        assert info["compression"] == ("s2_best" if mode == "accept" else mode)
        for same in ("nonce", "client_id", "server_id", "leafnode_urls"):
            assert info[same] == first[same]
        leaf.send('CONNECT {"name":"L","compress_mode":"s2_best"}\r\n')
        info = await leaf.expect_info()
        assert info["connect_info"] is True
        assert "compression" not in info
        await leaf.sync()
        leaf.send("LS+ down\r\n")
        await leaf.expect_silence_until_pong()
        client.send(b"PUB down %d\r\n%b\r\n" % (len(BODY), BODY))
        await leaf.expect(b"LMSG down %d\r\n%b\r\n" % (len(BODY), BODY))
        assert layer.kinds == {0xFF, 0, 1} or mode == "s2_auto"  # which goes by the round trip
        client.send("SUB up 1\r\nPING\r\n")
        await client.expect("PONG\r\n")
        await leaf.expect("LS+ up\r\n")
        big = BODY * 60
        leaf.send(b"LMSG up %d\r\n%b\r\n" % (len(big), big))
        await client.expect(b"MSG up 1 %d\r\n%b\r\n" % (len(big), big))


@pytest.mark.parametrize(
    ("mode", "info"),
    [("s2_fast", "{}"), ("s2_auto", '{"compression":"off"}'), ("accept", '{"compression":"accept"}')],
)
async def test_a_leaf_that_does_not_after_all(broker: Brokers, mode: str, info: str) -> None:
    async with await dial(broker, mode) as leaf:
        leaf.send(f"INFO {info}\r\nCONNECT {{}}\r\n")
        assert (await leaf.expect_info())["connect_info"] is True
        await leaf.sync()


@pytest.mark.parametrize("mode", MODES)
async def test_a_leaf_that_connects_at_once(broker: Brokers, mode: str) -> None:
    async with await dial(broker, mode) as leaf:
        leaf.send("CONNECT {}\r\n")
        assert (await leaf.expect_info())["connect_info"] is True
        await leaf.sync()


async def test_a_mode_that_nobody_knows(broker: Brokers) -> None:
    async with await dial(broker, "s2_fast") as leaf:
        leaf.send('INFO {"compression":"lz4"}\r\n')
        await leaf.expect_error('unsupported route compression mode "lz4"', closes=True)


async def test_a_hub_that_does_not_compress_takes_no_info(broker: Brokers) -> None:
    async with await dial(broker, "off") as leaf:
        leaf.send('INFO {"compression":"s2_fast"}\r\n')
        await leaf.expect_error("Authorization Violation", closes=True)


@pytest.mark.parametrize(
    "stream",
    [
        b"CONNECT {}\r\n",
        S2 + b"\x02\x08\x00\x00abcdabcd",
        S2 + b"\x01\x0a\x00\x00" + crc(b"PONG\r\n").to_bytes(4, "little") + b"PING\r\n",
        S2 + b"\x01\xff\xff\xff",
    ],
)
async def test_what_is_no_stream(broker: Brokers, stream: bytes) -> None:
    async with await dial(broker, "s2_fast") as leaf:
        leaf.send('INFO {"compression":"s2_fast"}\r\n')
        leaf.speak_s2()
        await leaf.expect_info()
        leaf.send_bare(stream)
        await leaf.expect_close()


async def test_nobody_gets_in_over_it(broker: Brokers) -> None:
    """CONNECT has to come first here, too."""
    async with await dial(broker, "s2_fast") as leaf:
        leaf.send('INFO {"compression":"s2_fast"}\r\n')
        leaf.speak_s2()
        await leaf.expect_info()
        leaf.send("LS+ a\r\n")
        await leaf.expect_error("Authorization Violation", closes=True)


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with FakeHub() as hub:
        yield hub


@pytest.mark.parametrize(
    ("own", "theirs", "told"),
    [
        ("s2_auto", "s2_fast", "s2_auto"),
        ("s2_best", "accept", "s2_best"),
        ("accept", "s2_better", "s2_better"),
        ("accept", "s2_auto", "s2_fast"),
        ("s2_fast", "s2_uncompressed", "s2_fast"),
    ],
)
async def test_a_hub_that_wants_it(broker: Brokers, hub: FakeHub, own: str, theirs: str, told: str) -> None:
    hub.leaf_server(broker, f"compression: {own}")
    link = await hub.dialled()
    first = json.loads(FIRST_INFO)
    link.send(f"INFO {json.dumps({**first, 'compression': theirs})}\r\n")
    assert (await link.expect_info())["compression"] == told
    layer = link.speak_s2()
    link.send(f"INFO {json.dumps({**first, 'compression': theirs})}\r\n")
    connect = await link.expect_connect()
    by_rtt = ("s2_uncompressed", "s2_fast", "s2_better", "s2_best")  # a busy machine answers slowly
    assert connect["compress_mode"] in (by_rtt if told == "s2_auto" else (told,))
    assert connect["compress_mode"] in LEVELS
    await link.sync()
    assert 0xFF in layer.kinds


@pytest.mark.parametrize(
    ("own", "theirs", "told"),
    [("off", "s2_fast", "off"), ("s2_best", "off", "off"), ("s2_fast", None, "not supported")],
)
async def test_a_hub_or_a_leaf_that_does_not(
    broker: Brokers, hub: FakeHub, own: str, theirs: str | None, told: str
) -> None:
    hub.leaf_server(broker, f"compression: {own}")
    link = await hub.dialled()
    first = json.loads(FIRST_INFO) | ({} if theirs is None else {"compression": theirs})
    link.send(f"INFO {json.dumps(first)}\r\n")
    connect = await link.expect_connect()
    assert connect["compress_mode"] == told


async def test_a_hub_with_a_mode_that_nobody_knows(broker: Brokers, hub: FakeHub) -> None:
    hub.leaf_server(broker, "compression: s2_fast")
    link = await hub.dialled()
    link.send(f"INFO {json.dumps({**json.loads(FIRST_INFO), 'compression': 'lz4'})}\r\n")
    await link.expect(re.compile(rb"-ERR 'unsupported route compression mode \"lz4\"'\r\n"))
    await link.expect_close()
