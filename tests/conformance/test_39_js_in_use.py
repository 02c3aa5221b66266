"""What is deleted while it is read, and what is far too large: who is told, in which words, and who lives on."""

import asyncio
import json
from typing import Any

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, error_of, js_server

MIB = 1 << 20
S_NS = 10**9
DELETE = pytest.mark.parametrize("what", ["STREAM.DELETE.S", "CONSUMER.DELETE.S.C"])


@DELETE
async def test_every_waiting_request_is_told(js: JsClient, what: str) -> None:
    await js.stream()
    await js.fill("s.a")
    await js.consumer()
    pulls = [await js.pull(batch=2, expires=30 * S_NS) for _ in range(3)]
    (message,) = await pulls[0].take(1)
    await js.until(
        lambda: _waiting(js), 3
    )  # nats-server takes requests in later, and forgets those it has not
    await js.good(what)
    assert [(await pull.next()).status for pull in pulls] == ["409 Consumer Deleted"] * 3
    js.send(message.reply, b"+ACK")  # of nobody any more
    assert (await js.request("$JS.API.CONSUMER.MSG.NEXT.S.C", b"1")).status.startswith("503")


@DELETE
async def test_a_push_consumer_ends(js: JsClient, what: str) -> None:
    await js.stream()
    receiver = js.subscribe("to")
    await js.consumer(deliver_subject="to", idle_heartbeat=S_NS // 10)
    await js.fill(*["s.a"] * 5)
    assert [message.seq for message in await receiver.take(5)] == [1, 2, 3, 4, 5]
    await js.good(what)
    if what.startswith("STREAM"):
        await js.stream()
    await js.sync()
    receiver.queue.clear()  # heartbeats that were under way
    assert (await js.publish("s.b"))["seq"] == (1 if what.startswith("STREAM") else 6)
    await js.sync()
    assert not [message for message in receiver.queue if message.reply]


async def test_a_stream_is_deleted_while_much_is_read(js: JsClient, broker: Brokers) -> None:
    """Whatever is under way ends or is complete; a stream of the same name begins at 1."""
    await js.stream(allow_direct=True)
    for _ in range(300):
        js.send("s.a", bytes(1000))
    await js.until(lambda: _messages(js), 300)
    await js.consumer()
    pushed = js.subscribe("to")
    await js.consumer("P", deliver_subject="to")
    pull = await js.pull(batch=300, expires=30 * S_NS)
    direct = js.inbox()
    js.send("$JS.API.DIRECT.GET.S", json.dumps({"batch": 300, "seq": 1}).encode(), reply=direct.subject)
    await js.good("STREAM.DELETE.S")
    await js.sync()
    for receiver in (pushed, pull):
        seqs = [message.seq for message in receiver.queue if message.reply]
        assert seqs == list(range(1, len(seqs) + 1))
    await js.stream()
    assert (await js.publish("s.b"))["seq"] == 1
    assert await js.seqs() == (1, 1, 1)


async def _waiting(js: JsClient) -> Any:
    return (await js.good("CONSUMER.INFO.S.C"))["num_waiting"]


async def _messages(js: JsClient) -> Any:
    return (await js.seqs())[0]


async def test_more_than_the_server_takes_ends_the_connection(broker: Brokers) -> None:
    async with js_server(broker.own('jetstream { store_dir: "@FOLDER@/js" }\n')) as js:
        await js.stream()
        js.raw.send(f"PUB s.a _R.x {64 * MIB}\r\n".encode())
        await js.raw.expect_error("Maximum Payload Violation", closes=True)


TOO_LARGE = [
    ("file", -1, (503, 10077, "message too large")),
    ("file", MIB, (503, 10077, "message too large")),
    ("memory", MIB, (400, 10054, "message size exceeds maximum allowed")),
]


@pytest.mark.parametrize(("storage", "most", "error"), TOO_LARGE)
async def test_more_than_the_stream_takes_is_refused(
    broker: Brokers, storage: str, most: int, error: tuple[int, int, str]
) -> None:
    """The connection goes on."""
    config = 'max_payload: 64MB\nmax_pending: 256MB\njetstream { store_dir: "@FOLDER@/js" }\n'
    async with js_server(broker.own(config)) as js:
        await js.stream(storage=storage, max_msg_size=most)
        async with asyncio.timeout(30):
            answer = await js.publish("s.a", bytes(64 * 1000 * 1000))
        assert error_of(answer) == error
        assert (await js.publish("s.a"))["seq"] == 1
