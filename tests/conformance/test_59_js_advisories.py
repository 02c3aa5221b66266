"""Advisories and metrics beside those of test_37: order, numbers, who asked (jetstream.md 7); pins (4.9)."""

from typing import Any

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, JsWorld, Message, Subscription, error_of

FAR = "2099-01-01T00:00:00Z"


async def _events(subscription: Subscription, count: int) -> list[dict[str, Any]]:
    """What is told, without what is different each time."""
    told = []
    for message in await subscription.take(count):
        event = message.json
        assert event["type"].startswith("io.nats.jetstream.advisory.v1.")
        assert len(event.pop("id")) == 22
        assert event.pop("timestamp").endswith("Z")
        told.append(event | {"type": event["type"].removeprefix("io.nats.jetstream.advisory.v1.")})
    return told


async def test_numbers_are_those_of_the_last_delivery(js: JsClient) -> None:
    naks = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.S.C")
    ends = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.C")
    await js.stream()
    await js.consumer()
    await js.fill("s.a")
    for _ in range(2):
        (message,) = await js.fetch(1)
        await js.ack(message, b"-NAK")
    (message,) = await js.fetch(1)
    await js.ack(message, b"+TERM why")
    what = {"stream": "S", "consumer": "C", "stream_seq": 1}
    assert await _events(naks, 2) == [
        {"type": "nak", **what, "consumer_seq": number, "deliveries": number} for number in (1, 2)
    ]
    assert await _events(ends, 1) == [
        {"type": "terminated", **what, "consumer_seq": 3, "deliveries": 3, "reason": "why"}
    ]


async def test_pauses(js: JsClient) -> None:
    told = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.PAUSE.>")
    await js.stream()
    await js.consumer("P", pause_until=FAR)
    await js.consumer()
    for until in (FAR, None, None):
        await js.good("CONSUMER.PAUSE.S.C", {"pause_until": until} if until else None)
    assert [(e["consumer"], e["paused"], e["pause_until"]) for e in await _events(told, 3)] == [
        ("P", True, FAR),
        ("C", True, FAR),
        ("C", False, "0001-01-01T00:00:00Z"),
    ]
    await told.silence()


async def test_a_restored_stream_is_a_created_one(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a")
    chunks = js.inbox()
    backup = await js.good("STREAM.SNAPSHOT.S", {"deliver_subject": chunks.subject})
    data = [message.payload for message in await chunks.take(2)]
    await js.good("STREAM.DELETE.S")
    told = js.subscribe("$JS.EVENT.ADVISORY.STREAM.>")
    wanted = {"config": backup["config"], "state": backup["state"]}
    where = (await js.good("STREAM.RESTORE.S", wanted))["deliver_subject"]
    for chunk in (*filter(None, data), b""):
        await js.request(where, chunk)
    assert [event["type"] for event in await _events(told, 3)] == [
        "restore_create",
        "stream_action",
        "restore_complete",
    ]


async def test_who_asked(broker: Brokers, world: JsWorld, js: JsClient) -> None:
    audits = js.subscribe("$JS.EVENT.ADVISORY.API")
    await js.good("STREAM.NAMES")
    client = (await audits.json())["client"]
    client.pop("rtt", None)  # once it has been measured
    assert list(client) == ["start", "host", "id", "acc", "user", "server", "kind", "client_type"]
    assert (client["acc"], client["user"]) == (world.user.upper(), world.user)


# --- pins ------------------------------------------------------------------------------------------


async def _pinned(js: JsClient, **config: object) -> Message:
    """The first message of a consumer that pins whoever asks first."""
    await js.stream()
    await js.consumer(priority_policy="pinned_client", priority_groups=["A"], **config)
    await js.fill("s.a", "s.b", "s.c", "s.d")
    return await (await js.pull(batch=1, group="A")).next()


async def test_nobody_is_pinned_for_nothing(js: JsClient) -> None:
    told = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.PINNED.>")
    await js.stream()
    await js.consumer(priority_policy="pinned_client", priority_groups=["A"])
    inbox = await js.pull(batch=1, group="A", expires=10**10)
    await told.silence()
    (group,) = (await js.good("CONSUMER.INFO.S.C"))["priority_groups"]
    assert group == {"group": "A", "pinned_ts": "0001-01-01T00:00:00Z"}
    await js.fill("s.a")
    pin = (await inbox.next()).headers["Nats-Pin-Id"]
    assert [event["pinned_id"] for event in await _events(told, 1)] == [pin]


async def test_a_pin_that_is_another(js: JsClient) -> None:
    await _pinned(js)
    inbox = await js.pull(batch=1, group="A", id="another", expires=10**10)
    assert (await inbox.next()).status == "423 Nats-Pin-Id mismatch"


async def test_a_pin_that_was(js: JsClient) -> None:
    told = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.UNPINNED.>")
    pin = (await _pinned(js)).headers["Nats-Pin-Id"]
    assert set(await js.good("CONSUMER.UNPIN.S.C", {"group": "A"})) == {"type"}
    (event,) = await _events(told, 1)
    assert (event["group"], event["reason"]) == ("A", "admin")
    message = await (await js.pull(batch=1, group="A", id=pin, expires=10**10)).next()
    assert message.status == "423 Nats-Wrong-Pin-Id"
    assert (message.headers["Nats-Pending-Messages"], message.headers["Nats-Pending-Bytes"]) == ("1", "0")


async def test_unpinned_is_told_whoever_is_pinned(js: JsClient) -> None:
    told = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.UNPINNED.>")
    await js.stream()
    await js.consumer(priority_policy="overflow", priority_groups=["A"])
    await js.good("CONSUMER.UNPIN.S.C", {"group": "A"})
    assert [event["reason"] for event in await _events(told, 1)] == ["admin"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", (400, 10025, "invalid JSON: unexpected end of JSON input")),
        (b"{}", (400, 10025, "invalid JSON: consumer group not specified")),
        (b'{"group":"a b"}', 10162),
        (b'{"group":"B"}', 10160),
    ],
)
async def test_unpin_refused(js: JsClient, body: bytes, problem: object) -> None:
    await js.stream()
    await js.consumer(priority_policy="pinned_client", priority_groups=["A"])
    found = error_of(await js.api("CONSUMER.UNPIN.S.C", body))
    assert problem in (found, found[1])


async def test_whoever_does_not_wait_is_told_that_others_come_first(js: JsClient) -> None:
    await js.stream()
    await js.consumer(priority_policy="overflow", priority_groups=["A"])
    await js.fill("s.a")
    inbox = await js.pull(batch=1, group="A", no_wait=True, min_pending=9)
    assert (await inbox.next()).status == "404 No Messages"


# --- acknowledgements that nobody waits for --------------------------------------------------------


async def test_nobody_hears_it(js: JsClient) -> None:
    await js.stream()
    await js.consumer(ack_policy="none")
    await js.fill("s.a")
    (message,) = await js.fetch(1)
    for subject in (message.reply, "$JS.ACK.S.X.1.1.1.1.0", "$JS.FC.S.X.abcd"):
        answer = await js.request(subject, b"+ACK")
        assert (answer.status, answer.headers) == ("503", {"Nats-Subject": subject})
