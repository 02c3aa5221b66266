"""Accounts that share (security_ops.md 2.6): streams and services across accounts, as clients and leafs see them."""

import asyncio
import json
import re
from typing import Any

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.rawclient import RawClient
from tests.support.rawleaf import RawLeaf

ACCOUNTS = """
server_name: HUB
leafnodes { listen: "127.0.0.1:-1", compression: off
  authorization { users: [
    { user: lA, password: p, account: A }, { user: lB, password: p, account: B } ] } }
accounts {
  B {
    users: [ { user: B, password: p } ]
    exports: [
      { stream: "bar.>" }, { stream: "one" }, { stream: "w.*.x.*" }, { stream: "only.>", accounts: [C] }
      { stream: "tok.*", account_token_position: 2 }
      { service: "svc.>" }, { service: "many.>", response_type: stream }
      { service: "quick.>", response_threshold: "200ms", response_type: stream }
      { service: "lat", latency: { sampling: 100, subject: "lat.done" } }
      { service: "hlat", latency: { sampling: headers, subject: "lat.done" } }
      { service: "chain.>" }
    ]
    imports: [ { service: { account: D, subject: "deep.>" }, to: "chain.>" } ]
    mappings: { "svc.mapped.*": "svc.was.$1" }
  }
  A {
    users: [ { user: A, password: p } ]
    imports: [
      { stream: { account: B, subject: "bar.>" }, prefix: foo }
      { stream: { account: B, subject: "one" }, to: "x.one" }
      { stream: { account: B, subject: "w.*.x.*" }, to: "l.$2.m.$1" }
      { stream: { account: B, subject: "tok.A" } }
      { service: { account: B, subject: "svc.>" } }
      { service: { account: B, subject: "svc.r.*.*" }, to: "ask.$2.$1" }
      { service: { account: B, subject: "many.>" } }
      { service: { account: B, subject: "quick.>" } }
      { service: { account: B, subject: "svc.open" }, to: "open", share: true }
      { service: { account: B, subject: "lat" } }
      { service: { account: B, subject: "hlat" } }
      { service: { account: B, subject: "chain.>" } }
    ]
  }
  C {
    users: [ { user: C, password: p } ]
    imports: [ { stream: { account: B, subject: "only.>" } } ]
  }
  D {
    users: [ { user: D, password: p } ]
    exports: [ { service: "deep.>" } ]
  }
}
"""
REPLY = rb"_R_\.[0-9A-Za-z]{6}\.[0-9A-Za-z]{6}"


@pytest.fixture
def hub(broker: Brokers) -> Broker:
    return broker.shared(ACCOUNTS)


async def client(hub: Broker, account: str, **fields: object) -> RawClient:
    shown = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
    return await hub.client(json.dumps({**shown, "user": account, "pass": "p", **fields}))


async def leaf(hub: Broker, account: str) -> RawLeaf:
    return await hub.leaf(json.dumps({"user": f"l{account}", "pass": "p", "headers": True}))


async def listen(peer: RawClient, *lines: bytes) -> None:
    peer.send(b"".join(line + b"\r\n" for line in lines))
    await peer.expect_silence_until_pong()


# --- streams ----------------------------------------------------------------------------------------------

CROSSED = [
    (b"foo.bar.s.1", b"bar.s.1", b"foo.bar.s.1"),
    (b"foo.bar.s.*", b"bar.s.2", b"foo.bar.s.2"),
    (b"*.bar.s.3", b"bar.s.3", b"foo.bar.s.3"),
    (b"foo.*.s.4.>", b"bar.s.4.x", b"foo.bar.s.4.x"),
    (b"x.one", b"one", b"x.one"),
    (b"x.*", b"one", b"x.one"),
    (b"l.5.m.*", b"w.6.x.5", b"l.5.m.6"),
    (b"l.7.>", b"w.8.x.7", b"l.7.m.8"),
    (b"*.*.*.9", b"w.9.x.0", b"l.0.m.9"),
    (b"tok.*", b"tok.A", b"tok.A"),
]


@pytest.mark.parametrize(("wanted", "published", "seen"), CROSSED)
async def test_streams_cross(hub: Broker, wanted: bytes, published: bytes, seen: bytes) -> None:
    a, b = await client(hub, "A"), await client(hub, "B")
    async with a, b:
        await listen(a, b"SUB %b 1" % wanted)
        b.send(b"PUB %b re 1\r\nx\r\n" % published * 3)
        await a.expect(b"MSG %b 1 re 1\r\nx\r\n" % seen * 3)
        a.send(b"UNSUB 1\r\n")
        await a.expect_silence_until_pong()
        b.send(b"PUB %b re 1\r\nx\r\n" % published)
        await b.expect_silence_until_pong()
        await a.expect_silence_until_pong()


async def test_what_is_not_imported(hub: Broker) -> None:
    a, b, c = await client(hub, "A"), await client(hub, "B"), await client(hub, "C")
    async with a, b, c:
        for peer in (a, c):
            await listen(peer, b"SUB > 1")
        b.send(b"PUB only.c 1\r\n1\r\nPUB bar.n 1\r\n2\r\nPUB tok.B 0\r\n\r\nPUB other 0\r\n\r\n")
        await b.expect_silence_until_pong()
        await a.expect(b"MSG foo.bar.n 1 1\r\n2\r\n")
        await c.expect(b"MSG only.c 1 1\r\n1\r\n")
        a.send(b"PUB foo.bar.n 1\r\n3\r\n")
        await a.expect(b"MSG foo.bar.n 1 1\r\n3\r\n")
        for peer in (a, c):
            await peer.expect_silence_until_pong()


async def test_groups_are_one_over_accounts(hub: Broker) -> None:
    a, b = await client(hub, "A"), await client(hub, "B")
    async with a, b:
        await listen(a, b"SUB foo.bar.g q 1", b"SUB foo.bar.* q 2")
        await listen(b, b"SUB bar.g q 3")
        b.send(b"PUB bar.g 1\r\nx\r\n" * 90 + b"PING\r\n")
        own = await b.expect(re.compile(rb"(MSG bar.g 3 1\r\nx\r\n)*PONG\r\n"))
        a.send(b"PING\r\n")
        others = await a.expect(re.compile(rb"(MSG foo.bar.g [12] 1\r\nx\r\n)*PONG\r\n"))
        assert own.count(b"MSG") + others.count(b"MSG") == 90
        assert min(own.count(b"MSG"), others.count(b" 1 1\r\n"), others.count(b" 2 1\r\n")) > 5


async def test_headers_cross(hub: Broker) -> None:
    a, plain, b = (
        await client(hub, "A"),
        await client(hub, "A", headers=False, no_responders=False),
        await client(hub, "B"),
    )
    async with a, plain, b:
        for peer in (a, plain):
            await listen(peer, b"SUB foo.bar.h 1")
        b.send(b"HPUB bar.h 12 13\r\nNATS/1.0\r\n\r\nZ\r\n")
        await a.expect(b"HMSG foo.bar.h 1 12 13\r\nNATS/1.0\r\n\r\nZ\r\n")
        await plain.expect(b"MSG foo.bar.h 1 1\r\nZ\r\n")


# --- services ---------------------------------------------------------------------------------------------


def info(text: bytes) -> dict[str, Any]:
    found = re.search(rb"Nats-Request-Info: (\{.*\})\r\n", text)
    assert found
    document: dict[str, Any] = json.loads(found[1])
    return document


def ends(reply: bytes) -> bytes:
    found = re.search(REPLY + rb"(?:\.[0-9A-Za-z]{8}\.T)?", reply)
    assert found
    return found[0]


async def test_a_request_and_its_reply(hub: Broker) -> None:
    a, b = await client(hub, "A"), await client(hub, "B")
    async with a, b:
        await listen(a, b"SUB in.1.* 9")
        await listen(b, b"SUB svc.q.1 1")
        for number in range(4):
            a.send(b"PUB svc.q.1 in.1.%d 6\r\nplease\r\n" % number)
            asked = await b.expect(
                re.compile(
                    rb"HMSG svc.q.1 1 "
                    + REPLY
                    + rb' \d+ \d+\r\nNATS/1.0\r\nNats-Request-Info: \{"acc":"A","rtt":\d+\}\r\n\r\nplease\r\n'
                )
            )
            b.send(b"PUB %b 4\r\nhere\r\n" % ends(asked) * 2)
            await a.expect(b"MSG in.1.%d 9 4\r\nhere\r\n" % number)
            await b.expect_silence_until_pong()
            await a.expect_silence_until_pong()


async def test_no_responders(hub: Broker) -> None:
    async with await client(hub, "A") as a:
        await listen(a, b"SUB in.2 9")
        a.send(b"PUB svc.nobody in.2 1\r\nx\r\n")
        await a.expect(b"HMSG in.2 9 42 42\r\nNATS/1.0 503\r\nNats-Subject: svc.nobody\r\n\r\n\r\n")


async def test_headers_of_requests(hub: Broker) -> None:
    a, b = await client(hub, "A"), await client(hub, "B")
    async with a, b:
        await listen(b, b"SUB svc.h 1")
        for block in (
            b"NATS/1.0\r\nA: b\r\nC: d\r\n\r\n",
            b'NATS/1.0\r\nA: b\r\nNats-Request-Info: {"acc":"x"}\r\nC: d\r\n\r\n',
        ):
            a.send(b"HPUB svc.h in.3 %d %d\r\n%bZ\r\n" % (len(block), len(block) + 1, block))
            text = await b.expect(re.compile(rb"HMSG svc.h 1 \S+ \d+ \d+\r\nNATS/1.0\r\n(.+\r\n)+\r\nZ\r\n"))
            assert re.search(rb"\r\nA: b\r\nC: d\r\nNats-Request-Info: [^\r]*\r\n\r\nZ\r\n", text)
            assert info(text)["acc"] == "A"


async def test_subjects_are_turned_round(hub: Broker) -> None:
    a, b = await client(hub, "A"), await client(hub, "B")
    async with a, b:
        await listen(b, b"SUB svc.r.> 1")
        a.send(b"PUB ask.1.2 1\r\nx\r\n")
        await b.expect(re.compile(rb"HMSG svc.r.2.1 1 \d+ \d+\r\nNATS/1.0\r\n.*\r\n\r\nx\r\n"))


async def test_mappings_of_the_exporter(hub: Broker) -> None:
    a, b = await client(hub, "A"), await client(hub, "B")
    async with a, b:
        await listen(b, b"SUB svc.was.* 1")
        a.send(b"PUB svc.mapped.m 1\r\nx\r\n")
        await b.expect(re.compile(rb"HMSG svc.was.m 1 \d+ \d+\r\nNATS/1.0\r\n.*\r\n\r\nx\r\n"))


async def test_many_replies_until_an_empty_one(hub: Broker) -> None:
    a, b = await client(hub, "A"), await client(hub, "B")
    async with a, b:
        await listen(a, b"SUB in.4 9")
        await listen(b, b"SUB many.1 1")
        a.send(b"PUB many.1 in.4 0\r\n\r\n")
        reply = ends(await b.expect(re.compile(rb"HMSG many.1 1 .*\r\nNATS/1.0\r\n.*\r\n\r\n\r\n")))
        b.send(b"".join(b"PUB %b %d\r\n%b\r\n" % (reply, len(x), x) for x in (b"1", b"2", b"", b"3")))
        await a.expect(b"MSG in.4 9 1\r\n1\r\nMSG in.4 9 1\r\n2\r\nMSG in.4 9 0\r\n\r\n")
        await b.expect_silence_until_pong()
        await a.expect_silence_until_pong()


async def test_who_asks_is_shared(hub: Broker) -> None:
    a, b = await client(hub, "A", name="me", lang="byte", version="7"), await client(hub, "B")
    async with a, b:
        await listen(b, b"SUB svc.open 1")
        a.send(b"PUB open 0\r\n\r\n")
        text = await b.expect(re.compile(rb"HMSG svc.open 1 .*\r\nNATS/1.0\r\n.*\r\n\r\n\r\n"))
        found = info(text)
        assert list(found) == [
            *("start", "host", "id", "acc", "user", "name", "lang", "ver", "rtt", "server", "kind"),
            "client_type",
        ]
        assert found | {"start": "", "id": 0, "rtt": 0} == {
            "start": "",
            "host": "127.0.0.1",
            "id": 0,
            "acc": "A",
            "user": "A",
            "name": "me",
            "lang": "byte",
            "ver": "7",
            "rtt": 0,
            "server": "HUB",
            "kind": "Client",
            "client_type": "nats",
        }


async def test_chains_of_services(hub: Broker) -> None:
    a, d = await client(hub, "A"), await client(hub, "D")
    async with a, d:
        await listen(a, b"SUB in.5 9")
        await listen(d, b"SUB deep.> 1")
        a.send(b"PUB chain.x in.5 0\r\n\r\n")
        text = await d.expect(re.compile(rb"HMSG deep.x 1 .*\r\nNATS/1.0\r\n.*\r\n\r\n\r\n"))
        assert {**info(text), "rtt": 0} == {"acc": "A", "svc": "B", "rtt": 0}
        d.send(b"PUB %b 1\r\ny\r\n" % ends(text))
        await a.expect(b"MSG in.5 9 1\r\ny\r\n")


async def test_answers_that_ask_back(hub: Broker) -> None:
    a, b = await client(hub, "A"), await client(hub, "B")
    async with a, b:
        await listen(a, b"SUB in.6 9")
        await listen(b, b"SUB many.6 1", b"SUB back.6 2")
        a.send(b"PUB many.6 in.6 0\r\n\r\n")
        reply = ends(await b.expect(re.compile(rb"HMSG many.6 1 .*\r\nNATS/1.0\r\n.*\r\n\r\n\r\n")))
        b.send(b"PUB %b back.6 1\r\n?\r\n" % reply)
        text = await a.expect(re.compile(rb"MSG in.6 9 " + REPLY + rb" 1\r\n\?\r\n"))
        a.send(b"PUB %b 1\r\n!\r\n" % ends(text))
        await b.expect(b"MSG back.6 2 1\r\n!\r\n")


async def test_a_client_may_not_use_these_replies(hub: Broker) -> None:
    async with await client(hub, "A") as a:
        a.send(b"PUB svc.x _R_.abcdef.abcdef 0\r\n\r\n")
        await a.expect_error(
            'Permissions Violation for Publish with Reply of "_R_.abcdef.abcdef"', closes=False
        )


async def test_late_replies_go_nowhere(hub: Broker) -> None:
    a, b = await client(hub, "A"), await client(hub, "B")
    async with a, b:
        await listen(a, b"SUB in.7 9")
        await listen(b, b"SUB quick.7 1")
        a.send(b"PUB quick.7 in.7 0\r\n\r\n")
        reply = ends(await b.expect(re.compile(rb"HMSG quick.7 1 .*\r\nNATS/1.0\r\n.*\r\n\r\n\r\n")))
        b.send(b"PUB %b 1\r\n1\r\n" % reply)
        await a.expect(b"MSG in.7 9 1\r\n1\r\n")
        await asyncio.sleep(1.5)  # asking whether its time is over would be a reply, and begin it anew
        b.send(b"PUB %b 1\r\n2\r\n" % reply)
        await b.expect_silence_until_pong()
        await a.expect_silence_until_pong()


# --- latency ----------------------------------------------------------------------------------------------


async def test_a_measured_request(hub: Broker) -> None:
    a, b, watch = await client(hub, "A"), await client(hub, "B", name="responder"), await client(hub, "B")
    async with a, b, watch:
        await listen(watch, b"SUB lat.done 1")
        await listen(a, b"SUB in.8 9")
        await listen(b, b"SUB lat 1")
        a.send(b"PUB lat in.8 0\r\n\r\n")
        reply = ends(await b.expect(re.compile(rb"HMSG lat 1 .*\r\nNATS/1.0\r\n.*\r\n\r\n\r\n")))
        assert reply.endswith(b".T")
        b.send(b"PUB %b 1\r\n1\r\n" % reply)
        await a.expect(b"MSG in.8 9 1\r\n1\r\n")
        event = await _event(watch)
        assert list(event) == [
            *("type", "id", "timestamp", "status", "requestor", "responder", "start", "service", "system"),
            "total",
        ]
        assert event["type"] == "io.nats.server.metric.v1.service_latency"
        assert event["status"] == 200
        assert set(event["requestor"]) == {"acc", "rtt"}
        assert event["responder"]["name"] == "responder"
        assert event["responder"]["server"] == "HUB"
        assert event["total"] >= event["service"] >= 0


async def _event(watch: RawClient) -> dict[str, Any]:
    text = await watch.expect(re.compile(rb"MSG lat.done 1  ?\d+\r\n\{.*\}\r\n"))
    document: dict[str, Any] = json.loads(text.split(b"\r\n")[1])
    return document


@pytest.mark.parametrize(("status", "text"), [(400, "Bad Request"), (503, "Service Unavailable")])
async def test_measured_requests_that_fail(hub: Broker, status: int, text: str) -> None:
    a, watch = await client(hub, "A"), await client(hub, "B")
    async with a, watch:
        await listen(watch, b"SUB lat.done 1")
        a.send(b"PUB lat %b0\r\n\r\n" % (b"" if status == 400 else b"in.9 "))
        event = await _event(watch)
        assert list(event)[3:] == [
            *("status", "description", "requestor", "start", "service", "system", "total")
        ]
        assert (event["status"], event["description"]) == (status, text)
        assert event["requestor"]["acc"] == "A"
        assert event["service"] == event["system"] == event["total"] == 0


async def test_headers_ask_for_a_measurement(hub: Broker) -> None:
    a, b, watch = await client(hub, "A"), await client(hub, "B"), await client(hub, "B")
    async with a, b, watch:
        await listen(watch, b"SUB lat.done 1")
        await listen(a, b"SUB in.10 9")
        await listen(b, b"SUB hlat 1")
        for headers in (b"x: y\r\n", b"X-B3-Sampled: 1\r\nother: 2\r\n"):
            block = b"NATS/1.0\r\n" + headers + b"\r\n"
            a.send(b"HPUB hlat in.10 %d %d\r\n%b\r\n" % (len(block), len(block), block))
            text = await b.expect(re.compile(rb"HMSG hlat 1 .*\r\nNATS/1.0\r\n(.+\r\n)+\r\n\r\n"))
            b.send(b"PUB %b 1\r\n1\r\n" % ends(text))
            await a.expect(b"MSG in.10 9 1\r\n1\r\n")
        event = await _event(watch)
        assert event["header"] == {"X-B3-Sampled": ["1"]}
        await watch.expect_silence_until_pong()


# --- leafs ------------------------------------------------------------------------------------------------


async def test_a_leaf_of_the_importer_hears_a_stream(hub: Broker) -> None:
    link, b = await leaf(hub, "A"), await client(hub, "B")
    async with link, b:
        await link.sync()
        link.send(b"LS+ foo.bar.leaf.*\r\n")
        await link.sync()
        b.send(b"PUB bar.leaf.1 re 1\r\nx\r\n")
        await link.expect(b"LMSG foo.bar.leaf.1 re 1\r\nx\r\n")


async def test_a_leaf_of_the_exporter_is_told_of_a_subscriber(hub: Broker) -> None:
    link, a = await leaf(hub, "B"), await client(hub, "A")
    async with link, a:
        await link.sync()
        await listen(a, b"SUB foo.bar.told 1", b"SUB l.1.m.told q 2")
        await link.expect(b"LS+ bar.told\r\nLS+ w.told.x.1 q 1\r\n")
        link.send(b"LMSG bar.told 1\r\nx\r\n")
        await a.expect(b"MSG foo.bar.told 1 1\r\nx\r\n")
        a.send(b"UNSUB 1\r\nUNSUB 2\r\n")
        await link.expect(b"LS- bar.told\r\nLS- w.told.x.1 q\r\n")


async def test_a_leaf_of_the_importer_asks(hub: Broker) -> None:
    link, b = await leaf(hub, "A"), await client(hub, "B")
    async with link, b:
        await listen(b, b"SUB svc.leaf q 1")
        link.send(b"LS+ in.11\r\nLMSG svc.leaf in.11 1\r\n?\r\n")
        text = await b.expect(re.compile(rb"HMSG svc.leaf 1 .*\r\nNATS/1.0\r\n.*\r\n\r\n\?\r\n"))
        assert info(text)["acc"] == "A"
        b.send(b"PUB %b 1\r\n!\r\n" % ends(text))
        await link.expect(b"LMSG in.11 1\r\n!\r\n")


async def test_a_leaf_of_the_exporter_answers(hub: Broker) -> None:
    a, link = await client(hub, "A"), await leaf(hub, "B")
    async with a, link:
        await listen(a, b"SUB in.12 9")
        await link.sync()
        link.send(b"LS+ svc.far\r\n")
        await link.sync()
        a.send(b"PUB svc.far in.12 1\r\n?\r\n")
        text = await link.expect(
            re.compile(rb"(LS\+ _R_\.\w{6}\.>\r\n)?HMSG svc.far .*\r\nNATS/1.0\r\n.*\r\n\r\n\?\r\n")
        )
        link.send(b"LMSG %b 1\r\n!\r\n" % re.findall(REPLY, text)[-1])
        await a.expect(b"MSG in.12 9 1\r\n!\r\n")
