"""Acknowledgements and redelivery, push consumers, and the advisories of both (jetstream.md 4.5, 4.6, 7)."""

import json

import pytest
from tests.support.jetstream import JsClient

S_NS = 1_000_000_000
SHORT_NS = 100_000_000
STORAGE = pytest.mark.parametrize("storage", ["file", "memory"])


async def _start(js: JsClient, count: int = 3, **consumer: object) -> None:
    await js.stream()
    await js.fill(*["s.a"] * count)
    await js.consumer("C", "S", **consumer)


@pytest.mark.parametrize("payload", [b"", b"+ACK", b"+OK"])
async def test_ack(js: JsClient, payload: bytes) -> None:
    await _start(js)
    first, second, _ = await js.fetch(3)
    await js.ack(second, payload)
    numbers = await js.numbers()
    assert (numbers["ack_floor"], numbers["ack_pending"]) == ((0, 0), 2)
    await js.ack(first, payload)
    numbers = await js.numbers()
    assert (numbers["ack_floor"], numbers["ack_pending"]) == ((2, 2), 1)


async def test_an_ack_twice_is_answered_twice(js: JsClient) -> None:
    await _start(js, 1)
    message = (await js.fetch(1))[0]
    await js.ack(message)
    await js.ack(message)
    assert (await js.numbers())["ack_floor"] == (1, 1)


async def test_an_unknown_ack_is_ignored_but_answered(js: JsClient) -> None:
    await _start(js, 1)
    message = (await js.fetch(1))[0]
    await js.ack(message, b"bogus")
    assert (await js.numbers())["ack_pending"] == 1


async def test_ack_all(js: JsClient) -> None:
    await _start(js, 5, ack_policy="all")
    messages = await js.fetch(4)
    await js.ack(messages[2])
    numbers = await js.numbers()
    assert (numbers["ack_floor"], numbers["ack_pending"], numbers["pending"]) == ((3, 3), 1, 1)


async def test_nak_comes_again_at_once(js: JsClient) -> None:
    await _start(js, 3)
    naked = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.S.C")
    first, _ = await js.fetch(2)
    await js.ack(first, b"-NAK")
    again, third = await js.fetch(2)
    assert (again.ack, third.ack) == ((2, 1, 3, 1), (1, 3, 4, 0))
    assert (await js.numbers())["redelivered"] == 1
    advisory = await naked.json()
    assert advisory["type"] == "io.nats.jetstream.advisory.v1.nak"
    assert {k: advisory[k] for k in ("stream", "consumer", "consumer_seq", "stream_seq", "deliveries")} == {
        "stream": "S",
        "consumer": "C",
        "consumer_seq": 1,
        "stream_seq": 1,
        "deliveries": 1,
    }


@pytest.mark.parametrize("payload", [b'-NAK {"delay":100000000}', b"-NAK 100ms"])
async def test_nak_with_a_delay(js: JsClient, payload: bytes) -> None:
    await _start(js, 1)
    message = (await js.fetch(1))[0]
    await js.ack(message, payload)
    inbox = await js.pull(batch=1, expires=10 * S_NS)
    assert (await inbox.next()).ack[:2] == (2, 1)


async def test_ack_wait(js: JsClient) -> None:
    await _start(js, 2, ack_wait=SHORT_NS)
    await js.fetch(2)
    inbox = await js.pull(batch=2, expires=10 * S_NS)
    assert [m.ack[:3] for m in await inbox.take(2)] == [(2, 1, 3), (2, 2, 4)]


@pytest.mark.parametrize("payload", [b"+TERM", b"+TERM because"])
async def test_term(js: JsClient, payload: bytes) -> None:
    await _start(js, 1)
    ended = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.C")
    await js.ack((await js.fetch(1))[0], payload)
    advisory = await ended.json()
    assert advisory["type"] == "io.nats.jetstream.advisory.v1.terminated"
    assert advisory.get("reason") == ("because" if b" " in payload else None)
    numbers = await js.numbers()
    assert (numbers["ack_pending"], numbers["ack_floor"]) == (0, (1, 1))


@pytest.mark.parametrize(
    ("payload", "count"), [(b"+NXT", 1), (b"+NXT 2", 2), (b'+NXT {"batch":2}', 2), (b"+NXT junk", 1)]
)
async def test_next(js: JsClient, payload: bytes, count: int) -> None:
    await _start(js, 4)
    message = (await js.fetch(1))[0]
    inbox = js.inbox()
    js.send(message.reply, payload, reply=inbox.subject)
    assert [m.seq for m in await inbox.take(count)] == list(range(2, 2 + count))
    assert (await js.numbers())["ack_floor"] == (1, 1)


async def test_max_deliver(js: JsClient) -> None:
    await _start(js, 1, max_deliver=2, ack_wait=SHORT_NS)
    exceeded = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.C")
    inbox = await js.pull(batch=3, expires=10 * S_NS)
    assert [m.ack[0] for m in await inbox.take(2)] == [1, 2]
    advisory = await exceeded.json()
    assert advisory["type"] == "io.nats.jetstream.advisory.v1.max_deliver"
    assert (advisory["stream_seq"], advisory["deliveries"]) == (1, 2)
    assert (await js.seqs())[0] == 1


async def test_backoff(js: JsClient) -> None:
    await _start(js, 1, backoff=[SHORT_NS, SHORT_NS], max_deliver=3)
    inbox = await js.pull(batch=3, expires=10 * S_NS)
    assert [m.ack[:2] for m in await inbox.take(3)] == [(1, 1), (2, 1), (3, 1)]


async def test_sampled_acks(js: JsClient) -> None:
    await _start(js, 1, sample_freq="100%")
    metrics = js.subscribe("$JS.EVENT.METRIC.CONSUMER.ACK.S.C")
    await js.ack((await js.fetch(1))[0])
    metric = await metrics.json()
    assert metric["type"] == "io.nats.jetstream.metric.v1.consumer_ack"
    assert (metric["consumer_seq"], metric["stream_seq"], metric["deliveries"]) == (1, 1, 1)
    assert metric["ack_time"] > 0


async def test_a_pending_message_that_is_deleted(js: JsClient) -> None:
    await _start(js, 2)
    first, _ = await js.fetch(2)
    await js.good("STREAM.MSG.DELETE.S", {"seq": 1})
    await js.until(lambda: _ack_pending(js), 1)
    await js.ack(first)


async def _ack_pending(js: JsClient) -> int:
    return int((await js.numbers())["ack_pending"])


# -- push


@STORAGE
async def test_push(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    await js.fill("s.a", "s.b")
    made = await js.consumer(deliver_subject="d")
    assert "push_bound" not in made
    delivered = js.subscribe("d")
    first, second = await delivered.take(2)
    assert (first.subject, first.payload, first.ack) == ("s.a", b"1", (1, 1, 1, 1))
    assert (second.subject, second.ack) == ("s.b", (1, 2, 2, 0))
    assert (await js.good("CONSUMER.INFO.S.C"))["push_bound"] is True
    await js.publish("s.c", b"3")
    assert (await delivered.next()).seq == 3


async def test_push_without_acks(js: JsClient) -> None:
    await _start(js, 2, deliver_subject="d", ack_policy="none")
    delivered = js.subscribe("d")
    assert [m.ack[:3] for m in await delivered.take(2)] == [(1, 1, 1), (1, 2, 2)]
    numbers = await js.numbers()
    assert (numbers["delivered"], numbers["ack_floor"], numbers["ack_pending"]) == ((2, 2), (2, 2), 0)


async def test_push_waits_for_interest(js: JsClient) -> None:
    await _start(js, 1, deliver_subject="d")
    assert (await js.numbers())["delivered"] == (0, 0)
    delivered = js.subscribe("d")
    assert (await delivered.next()).seq == 1
    delivered.unsubscribe()
    await js.sync()
    await js.publish("s.a")
    again = js.subscribe("d")
    assert (await again.next()).seq == 2


async def test_deliver_group(js: JsClient) -> None:
    await _start(js, 4, deliver_subject="d", deliver_group="g")
    plain = js.subscribe("d")
    await plain.silence()
    one, two = js.subscribe("d", "g"), js.subscribe("d", "g")
    while len(one.queue) + len(two.queue) < 4:
        await js.read()
    assert sorted(m.seq for m in [*one.queue, *two.queue]) == [1, 2, 3, 4]


async def test_push_heartbeat(js: JsClient) -> None:
    await _start(js, 1, deliver_subject="d", idle_heartbeat=SHORT_NS)
    delivered = js.subscribe("d")
    await delivered.next()
    beat = await delivered.next()
    assert (beat.head, beat.reply) == (
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\nNats-Last-Stream: 1\r\n\r\n",
        "",
    )


async def test_flow_control(js: JsClient) -> None:
    await js.stream()
    size = 100_000
    for _ in range(30):
        await js.publish("s.a", b"x" * size)
    await js.consumer(deliver_subject="d", ack_policy="none", flow_control=True, idle_heartbeat=5 * S_NS)
    delivered = js.subscribe("d")
    seqs, asked = [], 0
    while len(seqs) < 30:
        message = await delivered.next()
        if message.status == "100 FlowControl Request":
            assert message.reply.startswith("$JS.FC.S.C.")
            asked += 1
            js.send(message.reply)
        elif not message.status:
            seqs.append(message.seq)
    assert seqs == list(range(1, 31))
    assert asked > 0


async def test_ephemeral_push_consumer_goes_without_interest(js: JsClient) -> None:
    await js.stream()
    gone = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.DELETED.S.E")
    await js.consumer("E", durable_name=None, deliver_subject="d", inactive_threshold=SHORT_NS)
    assert (await gone.json())["action"] == "delete"


async def test_replay_in_original_time(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a", "s.b", "s.c")
    await js.consumer(deliver_subject="d", replay_policy="original")
    assert [m.seq for m in await js.subscribe("d").take(3)] == [1, 2, 3]


# -- advisories of the API


async def test_advisories_of_streams_and_consumers(js: JsClient) -> None:
    events = js.subscribe("$JS.EVENT.ADVISORY.*.*.S.>")
    streams = js.subscribe("$JS.EVENT.ADVISORY.STREAM.*.S")
    await js.stream()
    await js.update(subjects=["s.>"], description="x")
    await js.consumer()
    await js.good("CONSUMER.PAUSE.S.C", {"pause_until": "2090-01-01T00:00:00Z"})
    await js.good("STREAM.DELETE.S")
    seen = [(m.subject.split(".", 3)[3], m.json.get("action")) for m in await streams.take(3)]
    assert seen == [
        ("STREAM.CREATED.S", "create"),
        ("STREAM.UPDATED.S", "modify"),
        ("STREAM.DELETED.S", "delete"),
    ]
    made, paused, gone = await events.take(3)
    assert made.subject == "$JS.EVENT.ADVISORY.CONSUMER.CREATED.S.C"
    assert made.json["type"] == "io.nats.jetstream.advisory.v1.consumer_action"
    assert paused.subject == "$JS.EVENT.ADVISORY.CONSUMER.PAUSE.S.C"
    assert (paused.json["paused"], paused.json["pause_until"]) == (True, "2090-01-01T00:00:00Z")
    assert (gone.subject, gone.json["action"]) == ("$JS.EVENT.ADVISORY.CONSUMER.DELETED.S.C", "delete")


async def test_audit(js: JsClient) -> None:
    audits = js.subscribe("$JS.EVENT.ADVISORY.API")
    await js.api("STREAM.NAMES", {"subject": "x"})
    audit = await audits.json()
    assert audit["type"] == "io.nats.jetstream.advisory.v1.api_audit"
    assert (audit["subject"], audit["server"]) == ("$JS.API.STREAM.NAMES", "JS")
    assert json.loads(audit["request"]) == {"subject": "x"}
    assert json.loads(audit["response"])["total"] == 0
    assert audit["client"]["kind"] == "Client"
