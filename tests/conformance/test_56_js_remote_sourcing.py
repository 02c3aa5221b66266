"""Mirrors and sources of another server over a leaf link, and through durable consumers (jetstream.md 2.9)."""

import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, JsWorld, at_once, error_of

ACCOUNT = "accounts { A { jetstream: enabled, users: [ { user: u, password: p } ] } }\n"
HUB = (
    'server_name: HUB\njetstream { store_dir: "@FOLDER@/js", domain: hub }\n'
    'leafnodes { listen: "127.0.0.1:-1" }\n' + ACCOUNT
)
EDGE = (
    'server_name: EDGE\njetstream { store_dir: "@FOLDER@/js", domain: edge }\n'
    'leafnodes { remotes: [ { url: "nats://u:p@127.0.0.1:%d", account: A } ] }\n' + ACCOUNT
)
FLOW = {"ack_policy": "flow_control", "deliver_subject": "in.d"}
CONSUMER = {"name": "dd", "deliver_subject": "in.d"}


async def _arrived(js: JsClient, stream: str, messages: int) -> None:
    async def count() -> object:
        return (await js.state(stream))["messages"]

    await js.until(count, messages)


async def _stored(js: JsClient, seq: int, stream: str) -> tuple[str, str, bytes]:
    """Subject, header and body; an identity in the header is ID."""
    message = await js.stored(seq, stream)
    assert message is not None
    head = base64.b64decode(message.get("hdrs", "")).decode()
    return (
        message["subject"],
        re.sub(r" [0-9A-Za-z]{8}\r\n", " ID\r\n", head),
        base64.b64decode(message["data"]),
    )


@asynccontextmanager
async def _linked(broker: Brokers) -> AsyncIterator[tuple[JsClient, JsClient]]:
    """Clients of a hub and of an edge, in one account; their inboxes differ."""
    hub = broker.own(HUB)
    edge = broker.own(EDGE % hub.process.port("leafnodes"))
    worlds = JsWorld(hub, "u"), JsWorld(edge, "u")
    try:
        above, below = [await world.client() for world in worlds]
        below._requests = below._inboxes = 1_000_000  # inboxes cross the link, so they have to differ
        yield above, below
    finally:
        for world in worlds:
            world.close()


# --- another server --------------------------------------------------------------------------------


@pytest.mark.parametrize("retention", ["limits", "workqueue"])
async def test_source_over_a_link(broker: Brokers, retention: str) -> None:
    async with _linked(broker) as (hub, edge):
        await edge.stream("O", retention=retention)
        await edge.fill("o.a", "o.b", headers={"X": "1"})
        await hub.stream("T", sources=[{"name": "O", "external": {"api": "$JS.edge.API"}}])
        await _arrived(hub, "T", 2)
        for number in range(300):
            edge.send("o.c", b"%d" % number)
        await _arrived(hub, "T", 302)
        where = "Nats-Stream-Source: O:n1VdnVvB 2 > > o.b ID"
        assert await _stored(hub, 2, "T") == ("o.b", f"NATS/1.0\r\nX: 1\r\n{where}\r\n\r\n", b"2")
        assert [await _stored(hub, seq, "T") for seq in (3, 302)] == [
            ("o.c", f"NATS/1.0\r\nNats-Stream-Source: O:n1VdnVvB {seq} > > o.c ID\r\n\r\n", body)
            for seq, body in ((3, b"0"), (302, b"299"))
        ]
        (source,) = (await hub.good("STREAM.INFO.T"))["sources"]
        assert (source["name"], source["lag"], source["seq"]) == ("O", 0, 302)
        assert source["external"] == {"api": "$JS.edge.API", "deliver": ""}
        if retention == "workqueue":
            await _arrived(edge, "O", 0)


async def test_mirror_over_a_link(broker: Brokers) -> None:
    async with _linked(broker) as (hub, edge):
        await edge.stream("O")
        await edge.fill("o.a", "o.b", "o.c", "o.b")
        await edge.good("STREAM.MSG.DELETE.O", {"seq": 3})
        mirror = {
            "name": "O",
            "filter_subject": "o.b",
            "external": {"api": "$JS.edge.API", "deliver": "dl.x"},
        }
        await hub.stream("M", mirror=mirror)
        await _arrived(hub, "M", 2)
        assert (await hub.seqs("M"))[1:] == (2, 4)
        assert await _stored(hub, 4, "M") == ("o.b", "", b"4")
        await edge.fill("o.b")
        await _arrived(hub, "M", 3)


# --- through a durable consumer --------------------------------------------------------------------


async def test_through_a_consumer(broker: Brokers) -> None:
    """nats-server tells what has arrived once a second."""
    await at_once(broker, _through, [("source",), ("mirror",)])


async def _through(js: JsClient, kind: str) -> None:
    await (_source_through_a_consumer if kind == "source" else _mirror_through_a_consumer)(js)


async def _source_through_a_consumer(js: JsClient) -> None:
    await js.stream("O", retention="workqueue")
    await js.fill("o.a", "o.b", "o.c")
    await js.consumer("dd", "O", **FLOW)
    await js.stream("T", sources=[{"name": "O", "consumer": CONSUMER}])
    await _arrived(js, "T", 3)
    await _arrived(js, "O", 0)
    await js.fill("o.d")
    await _arrived(js, "T", 4)
    await _arrived(js, "O", 0)
    head = "NATS/1.0\r\nNats-Stream-Source: O:C=V2Imn7l1 4 > > o.d ID\r\n\r\n"
    assert await _stored(js, 4, "T") == ("o.d", head, b"1")
    (source,) = (await js.good("STREAM.INFO.T"))["sources"]
    assert (source["name"], source["lag"], source["seq"]) == ("O", 0, 4)
    assert (await js.numbers("dd", "O"))["ack_floor"] == (4, 4)


async def _mirror_through_a_consumer(js: JsClient) -> None:
    await js.stream("O", retention="interest")
    await js.consumer("dd", "O", **FLOW)
    await js.fill("o.a", "o.b")
    await js.stream("M", mirror={"name": "O", "consumer": CONSUMER})
    await _arrived(js, "M", 2)
    await _arrived(js, "O", 0)
    assert await _stored(js, 2, "M") == ("o.b", "", b"2")


@pytest.mark.parametrize(
    "source",
    [
        {"consumer": {"deliver_subject": "in.d"}},
        {"consumer": {"name": "a.b", "deliver_subject": "in.d"}},
        {"consumer": {"name": "dd", "deliver_subject": "in.*"}},
        {"consumer": {"name": "dd"}},
        {"consumer": CONSUMER, "opt_start_seq": 3},
        {"consumer": CONSUMER, "filter_subject": "o.a"},
    ],
)
async def test_refused(js: JsClient, source: dict[str, Any]) -> None:
    of = {"name": "O", **source}
    assert (await js.refused("STREAM.CREATE.T", {"name": "T", "sources": [of]}))[1] == 10215
    assert (await js.refused("STREAM.CREATE.T", {"name": "T", "mirror": of}))[1] == 10213


async def test_a_consumer_has_one_source(js: JsClient) -> None:
    twice = [
        {"name": "O", "consumer": CONSUMER, "subject_transforms": [{"src": src, "dest": "q"}]}
        for src in ("o.a", "o.b")
    ]
    answer = await js.api("STREAM.CREATE.T", {"name": "T", "sources": twice})
    assert error_of(answer)[1] == 10216


async def test_a_consumer_that_is_acknowledged_otherwise(js: JsClient) -> None:
    await js.stream("O")
    await js.consumer("dd", "O", deliver_subject="in.d")
    await js.stream("T", sources=[{"name": "O", "consumer": CONSUMER}])
    await js.stream("M", mirror={"name": "O", "consumer": CONSUMER})

    async def problems() -> object:
        (source,) = (await js.good("STREAM.INFO.T"))["sources"]
        mirror = (await js.good("STREAM.INFO.M"))["mirror"]
        return [one.get("error", {}).get("err_code") for one in (source, mirror)]

    await js.until(problems, [10217, 10214])


# --- mirrors of this server ------------------------------------------------------------------------


async def test_a_mirror_leaves_behind_what_was_for_the_first(js: JsClient) -> None:
    await js.stream("O", allow_atomic=True)
    await js.stream("M", mirror={"name": "O"})
    ack = await js.publish(
        "o.a", b"1", {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"}
    )
    assert ack["seq"] == 1
    await js.publish("o.a", b"2", {"Nats-Expected-Stream": "O", "X": "y"})
    await _arrived(js, "M", 2)
    assert await _stored(js, 1, "M") == ("o.a", "", b"1")
    assert await _stored(js, 2, "M") == ("o.a", "NATS/1.0\r\nX: y\r\n\r\n", b"2")
