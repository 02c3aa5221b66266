"""What consumers and retention do to each other: messages that go while they are out, that were handed out as often as
allowed, that nobody wants (jetstream.md 2.5, 4.5, 4.8). The cases are what the walks in tests/property have found.
"""

import asyncio
import itertools
from typing import Any

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, at_once

STORAGE = pytest.mark.parametrize("storage", ["file", "memory"])
RETENTION = pytest.mark.parametrize("retention", ["limits", "interest", "workqueue"])


async def _gone(js: JsClient, seq: int) -> None:
    async def stored() -> Any:
        return await js.stored(seq)

    await js.until(stored, None)


@STORAGE
@RETENTION
@pytest.mark.parametrize("how", ["delete", "purge", "limit"])
async def test_a_message_goes_while_it_is_out(js: JsClient, storage: str, retention: str, how: str) -> None:
    await _goes(js, storage, retention, how)


async def test_a_message_ends_while_it_is_out(broker: Brokers) -> None:
    """After the shortest TTL there is, for all of them at once."""
    kinds = itertools.product(("file", "memory"), ("limits", "interest", "workqueue"), ["ttl"])
    await at_once(broker, _goes, kinds)


async def _goes(js: JsClient, storage: str, retention: str, how: str) -> None:
    await js.stream(storage=storage, retention=retention, max_msgs=3, allow_msg_ttl=True)
    await js.consumer()
    await js.fill("s.a", "s.b", headers={"Nats-TTL": "1s"} if how == "ttl" else None)
    first, second = await js.fetch(2)
    if how == "delete":
        await js.good("STREAM.MSG.DELETE.S", {"seq": 1})
    elif how == "purge":
        await js.good("STREAM.PURGE.S", {"seq": 2})
    elif how == "limit":
        await js.fill("s.c", "s.d")
    await _gone(js, 1)
    if how == "ttl":
        await _gone(js, 2)
    left = {"delete": 1, "purge": 1, "limit": 3, "ttl": 0}[how]
    out = 0 if how == "ttl" else 1

    async def seen() -> tuple[int, int]:
        return (await js.seqs())[0], (await js.numbers())["ack_pending"]

    await js.until(seen, (left, out))
    await js.ack(first)
    await js.ack(second)
    kept = left if retention == "limits" else left - out
    await js.until(seen, (kept, 0))
    assert (await js.publish("s.e"))["seq"] == (5 if how == "limit" else 3)


@STORAGE
@pytest.mark.parametrize("retention", ["interest", "workqueue"])
async def test_an_acknowledgement_after_the_last_delivery(js: JsClient, storage: str, retention: str) -> None:
    """What was handed out as often as allowed stays, until somebody says that it is done after all."""
    await js.stream(storage=storage, retention=retention)
    await js.consumer(max_deliver=1)
    await js.fill("s.a")
    (message,) = await js.fetch(1)
    await js.ack(message, b"-NAK")
    pull = await js.pull(no_wait=True)
    assert (await pull.next()).status == "404 No Messages"
    assert ((await js.numbers())["ack_pending"], (await js.seqs())[0]) == (0, 1)
    await js.ack(message)
    await _gone(js, 1)


@STORAGE
async def test_given_up_by_one_and_done_by_the_other(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, retention="interest")
    await js.consumer("C", max_deliver=1)
    await js.consumer("D")
    await js.fill("s.a")
    (message,) = await js.fetch(1, "C")
    await js.ack(message, b"-NAK")
    await (await js.pull("C", no_wait=True)).next()
    (other,) = await js.fetch(1, "D")
    await js.ack(other)
    assert (await js.seqs())[0] == 1
    await js.ack(message)
    await _gone(js, 1)


async def test_the_last_of_each_subject_is_kept_for_whoever_has_not_had_it(js: JsClient) -> None:
    await js.stream(retention="interest")
    await js.consumer("D")
    await js.fill("s.a", "s.b")
    await js.consumer("L", deliver_policy="last_per_subject", filter_subject="s.*")
    for message in await js.fetch(2, "D"):
        await js.ack(message)
    assert [message.subject for message in await js.fetch(2, "L")] == ["s.a", "s.b"]


async def test_the_id_of_a_message_that_nobody_wants(js: JsClient) -> None:
    await js.stream(retention="interest")
    await js.consumer(filter_subject="s.a")
    assert await js.publish("s.b", b"", {"Nats-Msg-Id": "1"}) == {"stream": "S", "seq": 1}
    assert await js.publish("s.a", b"", {"Nats-Msg-Id": "1"}) == {"stream": "S", "seq": 1, "duplicate": True}


async def test_a_request_that_does_not_wait_and_nothing_is_left(js: JsClient) -> None:
    """Too much is out, but there is nothing that it could wait for."""
    await js.stream()
    await js.consumer(max_ack_pending=1)
    await js.fill("s.a")
    await js.fetch(1)
    assert (await (await js.pull(no_wait=True)).next()).status == "404 No Messages"


async def test_a_request_that_does_not_wait_while_others_do(js: JsClient) -> None:
    """It is kept if there is one message for each that was asked for before it, and refused if there is not."""
    await js.stream()
    await js.consumer(max_ack_pending=1)
    await js.fill("s.a", "s.b", "s.c")
    (first,) = await js.fetch(1)
    waiting = await js.pull(batch=2, expires=10**10)
    kept = await js.pull(batch=1, no_wait=True)
    assert (await (await js.pull(no_wait=True)).next()).status == "408 Requests Pending"
    await js.ack(first)
    second = await waiting.next()
    await js.ack(second)
    assert (await kept.next()).seq == 3


async def test_a_request_that_does_not_wait_while_paused(js: JsClient) -> None:
    await js.stream()
    await js.consumer()
    await js.fill("s.a")
    await js.good("CONSUMER.PAUSE.S.C", {"pause_until": "2099-01-01T00:00:00Z"})
    async with asyncio.timeout(10):
        assert (await (await js.pull(no_wait=True)).next()).status == "404 No Messages"


async def test_the_floor_of_everything_up_to_here(js: JsClient) -> None:
    await js.stream()
    await js.consumer(ack_policy="all", filter_subject="s.a")
    await js.fill("s.a", "s.b", "s.a")
    first, _ = await js.fetch(2)
    await js.ack(first)
    assert (await js.numbers())["ack_floor"] == (1, 1)
