"""Subject mappings (security_ops.md 2.7): what is published to one subject goes to another."""

import json
import re
from collections import Counter

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.rawclient import RawClient
from tests.support.rows import each

MAPPINGS = """
leafnodes { listen: "127.0.0.1:-1", compression: off
  authorization { users: [ { user: l, password: p, account: M } ] } }
accounts { M {
  users: [
    { user: m, password: p }
    { user: narrow, password: p, permissions { publish: ["to.>"], subscribe: [">"] } }
    { user: wire, password: p, permissions { publish: ["from.>"], subscribe: [">"] } }
  ]
  mappings: {
    "lit": "lit.to"
    "from.*": "to.$1"
    "two.*.*": "to.{{wildcard(2)}}.{{ Wildcard(1) }}"
    "rest.>": "to.rest.>"
    "part.*": "p.{{partition(10,1)}}.$1"
    "all.*.x": "p.{{partition(7)}}"
    "split.*": "s.{{split(1,-)}}"
    "sfl.*": "s.{{splitFromLeft(1,2)}}"
    "sfr.*": "s.{{SplitFromRight(1,2)}}"
    "slil.*": "s.{{SliceFromLeft(1,2)}}"
    "slir.*": "s.{{sliceFromRight(1,2)}}"
    "left.*": "s.{{left(1,2)}}"
    "right.*": "s.{{right(1,2)}}"
    "random.*": "r.{{random(3)}}"
    "weighted": [ { destination: w1, weight: 30 }, { destination: w2, weight: "20%" } ]
    "lossy": [ { destination: lossy, weight: 40 } ]
    "far.*": [ { destination: "other.$1", weight: 100, cluster: elsewhere }, { destination: "near.$1", weight: 100 } ]
    "away.*": [ { destination: "other.$1", weight: 100, cluster: elsewhere } ]
    "chained": "chained.next"
    "chained.next": "never"
  }
} }
"""


@pytest.fixture
def hub(broker: Brokers) -> Broker:
    return broker.shared(MAPPINGS)


async def client(hub: Broker, user: str = "m") -> RawClient:
    shown = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
    return await hub.client(json.dumps({**shown, "user": user, "pass": "p"}))


@each(
    ("published", "seen"),
    [
        ("lit", "lit.to"),
        ("lit.x", "lit.x"),
        ("from.x", "to.x"),
        ("from.x.y", "from.x.y"),
        ("two.a.b", "to.b.a"),
        ("rest.a.b", "to.rest.a.b"),
        ("part.foo", "p.3.foo"),
        ("part.bar", "p.2.bar"),
        ("all.foo.x", "p.4"),
        ("split.a-b--c-", "s.a.b.c"),
        ("split.a", "s.a"),
        ("sfl.abcd", "s.ab.cd"),
        ("sfl.ab", "s.ab"),
        ("sfr.abcde", "s.abc.de"),
        ("slil.abcde", "s.ab.cd.e"),
        ("slil.abcd", "s.ab.cd"),
        ("slir.abcde", "s.a.bc.de"),
        ("left.abcde", "s.ab"),
        ("left.a", "s.a"),
        ("right.abcde", "s.de"),
        ("far.x", "near.x"),
        ("away.x", "away.x"),
        ("chained", "chained.next"),
        ("chained.next", "never"),
    ],
)
async def test_where_it_goes(hub: Broker, published: str, seen: str) -> None:
    async with await client(hub) as m:
        m.send(f"SUB > 1\r\nPUB {published} re 1\r\nx\r\nPUB {published} 1\r\ny\r\n")
        await m.expect(f"MSG {seen} 1 re 1\r\nx\r\nMSG {seen} 1 1\r\ny\r\n")
        await m.expect_silence_until_pong()


async def _spread(m: RawClient, subject: bytes, count: int) -> Counter[bytes]:
    m.send(b"SUB > 1\r\n" + b"PUB %b 0\r\n\r\n" % subject * count + b"PING\r\n")
    text = await m.expect(re.compile(rb"(MSG \S+ 1 0\r\n\r\n)*PONG\r\n"))
    return Counter(re.findall(rb"MSG (\S+) 1", text))


async def test_random(hub: Broker) -> None:
    async with await client(hub) as m:
        assert set(await _spread(m, b"random.x", 100)) == {b"r.0", b"r.1", b"r.2"}


async def test_weights_and_the_rest(hub: Broker) -> None:
    async with await client(hub) as m:
        found = await _spread(m, b"weighted", 1000)
        assert set(found) == {b"w1", b"w2", b"weighted"}
        assert 220 < found[b"w1"] < 380
        assert 130 < found[b"w2"] < 270
        assert sum(found.values()) == 1000


async def test_loss(hub: Broker) -> None:
    async with await client(hub) as m:
        found = await _spread(m, b"lossy", 1000)
        assert set(found) == {b"lossy"}
        assert 320 < found[b"lossy"] < 480


async def test_subscribers_of_the_source_hear_nothing(hub: Broker) -> None:
    async with await client(hub) as m:
        m.send(b"SUB from.n 1\r\nSUB in.1 2\r\nPUB from.n in.1 1\r\nx\r\n")
        await m.expect(b"HMSG in.1 2 36 36\r\nNATS/1.0 503\r\nNats-Subject: to.n\r\n\r\n\r\n")
        await m.expect_silence_until_pong()


async def test_permissions_are_about_the_new_subject(hub: Broker) -> None:
    narrow, wire = await client(hub, "narrow"), await client(hub, "wire")
    async with narrow, wire:
        narrow.send(b"SUB to.perm 1\r\nPUB from.perm 1\r\nx\r\n")
        await narrow.expect(b"MSG to.perm 1 1\r\nx\r\n")
        wire.send(b"PUB from.perm 1\r\nx\r\n")
        await wire.expect_error('Permissions Violation for Publish to "to.perm"', closes=False)


async def test_links(hub: Broker) -> None:
    link, m = await hub.leaf(json.dumps({"user": "l", "pass": "p"})), await client(hub)
    async with link, m:
        await link.sync()
        m.send(b"SUB to.leaf 1\r\nSUB to.leaf q 2\r\n")
        await m.expect_silence_until_pong()
        link.send(b"LMSG from.leaf 1\r\nx\r\n")
        await m.expect_in_any_order(b"MSG to.leaf 1 1\r\nx\r\n", b"MSG to.leaf 2 1\r\nx\r\n")


async def test_a_mapped_service(hub: Broker) -> None:
    async with await client(hub) as m:
        m.send(b"SUB to.svc 1\r\nSUB in.2 2\r\nPUB from.svc in.2 1\r\n?\r\n")
        await m.expect(b"MSG to.svc 1 in.2 1\r\n?\r\n")
