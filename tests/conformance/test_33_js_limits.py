"""What a stream keeps: limits, discard policies, retention, per-message TTL and markers (jetstream.md 2.5, 2.7)."""

from typing import Any

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, at_once

S_NS = 1_000_000_000
STORAGE = pytest.mark.parametrize("storage", ["file", "memory"])


def _full(text: str) -> dict[str, Any]:
    return {"error": {"code": 503, "err_code": 10077, "description": text}, "stream": "S", "seq": 0}


def _size(storage: str, subject: str, payload: int) -> int:
    """Bytes that a message without headers counts."""
    return len(subject) + payload + (16 if storage == "memory" else 30)


@STORAGE
async def test_max_msgs(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, max_msgs=3)
    await js.fill(*["s.a"] * 5)
    assert await js.seqs() == (3, 3, 5)
    assert await js.stored(2) is None


@STORAGE
async def test_max_msgs_per_subject(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, max_msgs_per_subject=2)
    await js.fill("s.a", "s.b", "s.a", "s.a", "s.b", "s.a")
    state = await js.state(subjects_filter=">")
    assert (state["messages"], state["first_seq"], state["last_seq"]) == (4, 2, 6)
    assert state["subjects"] == {"s.a": 2, "s.b": 2}
    assert [await js.stored(seq) is not None for seq in range(1, 7)] == [False, True, False, True, True, True]


@STORAGE
async def test_max_bytes(js: JsClient, storage: str) -> None:
    each = _size(storage, "s.a", 10)
    await js.stream(storage=storage, max_bytes=each * 3 + 5)
    for _ in range(5):
        await js.publish("s.a", b"x" * 10)
    state = await js.state()
    assert (state["messages"], state["bytes"], state["first_seq"]) == (3, each * 3, 3)


@STORAGE
async def test_bytes_of_a_message_with_headers(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    head = b"NATS/1.0\r\nA: 1\r\n\r\n"
    await js.publish("s.a", b"12345", head)
    expected = 3 + len(head) + 5 + (16 if storage == "memory" else 34)
    assert (await js.state())["bytes"] == expected


@STORAGE
async def test_a_message_larger_than_the_stream_is_acked_and_gone(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, max_bytes=100)
    await js.publish("s.a", b"small")
    assert await js.publish("s.a", b"x" * 200) == {"stream": "S", "seq": 2}
    assert await js.seqs() == (0, 3, 2)


@STORAGE
async def test_discard_new_by_messages(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, max_msgs=2, discard="new")
    await js.fill("s.a", "s.a")
    assert await js.publish("s.a") == _full("maximum messages exceeded")
    await js.good("STREAM.MSG.DELETE.S", {"seq": 1})
    assert await js.publish("s.a") == {"stream": "S", "seq": 3}


@STORAGE
async def test_discard_new_by_bytes(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, max_bytes=_size(storage, "s.a", 10), discard="new")
    assert "error" not in await js.publish("s.a", b"x" * 10)
    assert await js.publish("s.a", b"x") == _full("maximum bytes exceeded")


@STORAGE
async def test_discard_new_per_subject(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, max_msgs_per_subject=1, discard="new", discard_new_per_subject=True)
    await js.fill("s.a", "s.b")
    assert await js.publish("s.a") == _full("maximum messages per subject exceeded")
    assert (await js.publish("s.c"))["seq"] == 3


@STORAGE
async def test_discard_new_lets_a_subject_replace_its_own(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, max_msgs=2, max_msgs_per_subject=1, discard="new")
    await js.fill("s.a", "s.b", "s.a")
    assert await js.seqs() == (2, 2, 3)
    assert await js.publish("s.c") == _full("maximum messages exceeded")


@STORAGE
async def test_lowered_limits_act_at_once(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    await js.fill(*["s.a", "s.b"] * 5)
    await js.update(storage=storage, subjects=["s.>"], max_msgs_per_subject=2)
    assert await js.seqs() == (4, 7, 10)
    await js.update(storage=storage, subjects=["s.>"], max_msgs_per_subject=2, max_msgs=1)
    assert await js.seqs() == (1, 10, 10)


@STORAGE
async def test_max_age(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, max_age=S_NS // 10)
    await js.fill("s.a", "s.b")
    await js.until(js.seqs, (0, 3, 2))
    assert await js.publish("s.a") == {"stream": "S", "seq": 3}


@STORAGE
async def test_first_seq(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, first_seq=100)
    assert await js.seqs() == (0, 100, 99)
    assert await js.publish("s.a") == {"stream": "S", "seq": 100}
    assert await js.seqs() == (1, 100, 100)


@STORAGE
async def test_interest_without_consumers_keeps_nothing(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, retention="interest")
    assert await js.publish("s.a") == {"stream": "S", "seq": 1}
    state = await js.state()
    assert (state["messages"], state["last_seq"]) == (0, 1)


@STORAGE
async def test_interest_ends_with_the_last_ack(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, retention="interest")
    await js.consumer("one")
    await js.consumer("two", filter_subject="s.a")
    await js.fill("s.a", "s.b", "s.c")
    assert (await js.seqs())[0] == 3
    for message in await js.fetch(3, "one"):
        await js.ack(message)
    await js.until(js.seqs, (1, 1, 3))
    await js.ack((await js.fetch(1, "two"))[0])
    await js.until(js.seqs, (0, 4, 3))


async def test_interest_of_a_filter_that_does_not_match(js: JsClient) -> None:
    await js.stream(retention="interest")
    await js.consumer("one", filter_subject="s.a")
    await js.fill("s.b", "s.a")
    assert (await js.seqs())[::2] == (1, 2)
    assert (await js.fetch(1, "one"))[0].subject == "s.a"


async def test_interest_ends_with_its_consumer(js: JsClient) -> None:
    await js.stream(retention="interest")
    await js.consumer("one")
    await js.consumer("two")
    await js.fill("s.a", "s.b")
    for message in await js.fetch(2, "one"):
        await js.ack(message)
    assert (await js.seqs())[0] == 2
    await js.good("CONSUMER.DELETE.S.two")
    await js.until(js.seqs, (0, 3, 2))


@pytest.mark.parametrize("payload", [b"+ACK", b"", b"+TERM"])
@STORAGE
async def test_work_queue(js: JsClient, storage: str, payload: bytes) -> None:
    await js.stream(storage=storage, retention="workqueue")
    await js.fill("s.a", "s.b")
    assert (await js.seqs())[0] == 2
    await js.consumer()
    first, second = await js.fetch(2)
    await js.ack(first, payload)
    await js.until(js.seqs, (1, 2, 2))
    await js.ack(second, b"-NAK")
    assert (await js.fetch(1))[0].ack[:2] == (2, 2)
    assert (await js.seqs())[0] == 1


async def test_work_queue_keeps_what_nobody_could_handle(js: JsClient) -> None:
    await js.stream(retention="workqueue")
    await js.consumer(max_deliver=1, ack_wait=S_NS // 10)
    exceeded = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.C")
    await js.fill("s.a")
    await js.fetch(1)
    await exceeded.next()
    assert (await js.seqs())[0] == 1


# -- TTL

TTL_REFUSED = ["0", "-1", "500ms", "junk", "1d", "-5s"]


@pytest.mark.parametrize("ttl", TTL_REFUSED)
@pytest.mark.parametrize("allowed", [True, False])
async def test_ttl_that_is_none(js: JsClient, ttl: str, allowed: bool) -> None:
    await js.stream(allow_msg_ttl=allowed)
    ack = await js.publish("s.a", headers={"Nats-TTL": ttl})
    assert ack["error"] == {"code": 400, "err_code": 10165, "description": "invalid per-message TTL"}


@pytest.mark.parametrize("ttl", ["1", "1s", "1500ms", "never", "1h30m", "100000"])
async def test_ttl_that_is_one(js: JsClient, ttl: str) -> None:
    await js.stream(allow_msg_ttl=True)
    assert await js.publish("s.a", headers={"Nats-TTL": ttl}) == {"stream": "S", "seq": 1}


async def test_ttl_ends_a_message(broker: Brokers) -> None:
    """Without a marker, and with one that ends as well."""
    await at_once(broker, _ttl_ends, [("file",), ("memory",), ("marker",)])


async def _ttl_ends(js: JsClient, storage: str) -> None:
    if storage == "marker":
        await _ttl_leaves_a_marker(js)
        return
    await js.stream(storage=storage, allow_msg_ttl=True)
    await js.publish("s.a", headers={"Nats-TTL": "1"})
    await js.publish("s.b")
    await js.until(js.seqs, (1, 2, 2))


@STORAGE
async def test_never_outlives_max_age(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, allow_msg_ttl=True, max_age=S_NS // 10)
    await js.publish("s.a", headers={"Nats-TTL": "never"})
    await js.publish("s.b")
    await js.until(js.seqs, (1, 1, 2))


@STORAGE
async def test_a_marker_takes_the_place_of_the_last(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, max_age=S_NS // 10, subject_delete_marker_ttl=2 * S_NS)
    await js.consumer("push", deliver_subject="d", ack_policy="none")
    delivered = js.subscribe("d")
    await js.publish("s.a", b"x")
    assert (await delivered.next()).payload == b"x"
    marker = await delivered.next()
    assert (
        marker.head == b"NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 2s\r\nNats-Rollup: sub\r\n\r\n"
    )
    assert (marker.subject, marker.payload, marker.seq) == ("s.a", b"", 2)


async def _ttl_leaves_a_marker(js: JsClient) -> None:
    await js.stream(subject_delete_marker_ttl=S_NS, max_msgs_per_subject=1)
    await js.consumer("push", deliver_subject="d", ack_policy="none")
    delivered = js.subscribe("d")
    await js.publish("s.a", b"x", {"Nats-TTL": "1"})
    await delivered.next()
    marker = await delivered.next()
    assert marker.headers == {"Nats-Marker-Reason": "MaxAge", "Nats-TTL": "1s", "Nats-Rollup": "sub"}
    await js.until(js.seqs, (0, 3, 2))


async def test_a_short_ttl_is_raised_to_that_of_markers(js: JsClient) -> None:
    await js.stream(subject_delete_marker_ttl=5 * S_NS)
    await js.consumer()
    await js.publish("s.a", b"x", {"Nats-TTL": "1", "A": "b"})
    assert (await js.fetch(1))[0].headers == {"Nats-TTL": "5", "A": "b"}
