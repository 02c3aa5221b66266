"""Pull requests: what is delivered and every status that may answer instead (jetstream.md 4.8 - 4.10)."""

from typing import Any

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, js_server

S_NS = 1_000_000_000
SHORT_NS = 100_000_000
STORAGE = pytest.mark.parametrize("storage", ["file", "memory"])


def _pending(status: str, messages: int, size: int = 0) -> bytes:
    return (
        f"NATS/1.0 {status}\r\nNats-Pending-Messages: {messages}\r\nNats-Pending-Bytes: {size}\r\n\r\n"
    ).encode()


async def _start(js: JsClient, count: int = 3, **consumer: Any) -> None:
    await js.stream()
    await js.fill(*["s.a"] * count)
    await js.consumer(**consumer)


@STORAGE
async def test_messages_and_their_ack_subjects(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    await js.publish("s.a", b"one", {"A": "1"})
    await js.publish("s.b", b"two")
    await js.consumer()
    first, second = await js.fetch(2)
    assert (first.subject, first.head, first.payload) == ("s.a", b"NATS/1.0\r\nA: 1\r\n\r\n", b"one")
    assert (second.subject, second.head, second.payload) == ("s.b", b"", b"two")
    assert first.reply.startswith("$JS.ACK.S.C.1.1.1.")
    assert (first.ack, second.ack) == ((1, 1, 1, 1), (1, 2, 2, 0))
    assert await js.numbers() == {
        "delivered": (2, 2),
        "ack_floor": (0, 0),
        "ack_pending": 2,
        "redelivered": 0,
        "waiting": 0,
        "pending": 0,
    }


@pytest.mark.parametrize(("body", "count"), [("", 1), ("2", 2), ("junk", 1), ('{"batch":2}', 2), ("{}", 1)])
async def test_bodies(js: JsClient, body: str, count: int) -> None:
    await _start(js)
    inbox = js.inbox()
    js.send("$JS.API.CONSUMER.MSG.NEXT.S.C", body.encode(), reply=inbox.subject)
    assert [m.seq for m in await inbox.take(count)] == list(range(1, count + 1))
    await inbox.silence()


async def test_a_full_batch_has_no_status_behind_it(js: JsClient) -> None:
    await _start(js)
    inbox = await js.pull(batch=3, expires=5 * S_NS)
    await inbox.take(3)
    await inbox.silence()


async def test_no_wait_with_nothing(js: JsClient) -> None:
    await _start(js, 0)
    inbox = await js.pull(batch=3, no_wait=True)
    status = await inbox.next()
    assert (status.subject, status.head, status.reply) == (
        inbox.subject,
        b"NATS/1.0 404 No Messages\r\n\r\n",
        "",
    )


async def test_no_wait_with_some(js: JsClient) -> None:
    await _start(js, 2)
    inbox = await js.pull(batch=5, no_wait=True)
    assert [m.seq for m in await inbox.take(2)] == [1, 2]
    assert (await inbox.next()).status == "404 No Messages"


async def test_no_wait_and_expires_waits_for_the_first(js: JsClient) -> None:
    await _start(js, 0)
    inbox = await js.pull(batch=5, no_wait=True, expires=5 * S_NS)
    await inbox.silence()
    await js.fill("s.a")
    assert (await inbox.next()).seq == 1


async def test_expires(js: JsClient) -> None:
    await _start(js, 2)
    inbox = await js.pull(batch=5, expires=SHORT_NS)
    await inbox.take(2)
    assert (await inbox.next()).head == _pending("408 Request Timeout", 3)


@pytest.mark.parametrize("no_wait", [False, True])
async def test_a_request_that_has_expired_gets_nothing(js: JsClient, no_wait: bool) -> None:
    await _start(js, 2)
    inbox = await js.pull(batch=5, expires=-1, no_wait=no_wait)
    assert (await inbox.next()).head == _pending("408 Request Timeout", 5)
    await inbox.silence()


async def test_a_request_waits(js: JsClient) -> None:
    await _start(js, 0)
    inbox = await js.pull(batch=2)
    await js.until(lambda: _waiting(js), 1)
    await js.fill("s.a", "s.b", "s.c")
    assert [m.seq for m in await inbox.take(2)] == [1, 2]
    await inbox.silence()
    assert await _waiting(js) == 0


async def _waiting(js: JsClient) -> int:
    return int((await js.numbers())["waiting"])


async def test_requests_take_turns(js: JsClient) -> None:
    await _start(js, 0)
    first, second = await js.pull(batch=2), await js.pull(batch=2)
    await js.until(lambda: _waiting(js), 2)
    await js.fill(*["s.a"] * 4)
    assert [m.seq for m in await first.take(2)] == [1, 3]
    assert [m.seq for m in await second.take(2)] == [2, 4]


async def test_max_bytes(js: JsClient) -> None:
    await _start(js, 3)
    one = (await js.fetch(1))[0]
    size = len(one.subject) + len(one.reply) + len(one.payload)
    inbox = await js.pull(batch=5, max_bytes=size + 5)
    await inbox.next()
    status = await inbox.next()
    assert status.head == _pending("409 Message Size Exceeds MaxBytes", 4, 5)


async def test_max_bytes_smaller_than_the_message(js: JsClient) -> None:
    await _start(js, 1)
    inbox = await js.pull(batch=2, max_bytes=5)
    assert (await inbox.next()).head == _pending("409 Message Size Exceeds MaxBytes", 2, 5)


async def test_batch_completed_with_bytes_left(js: JsClient) -> None:
    await _start(js, 2)
    inbox = await js.pull(batch=1, max_bytes=1000)
    message = await inbox.next()
    left = 1000 - len(message.subject) - len(message.reply) - len(message.payload)
    assert (await inbox.next()).head == _pending("409 Batch Completed", 0, left)


@pytest.mark.parametrize("what", ["CONSUMER.DELETE.S.C", "STREAM.DELETE.S"])
async def test_deleted_while_waiting(js: JsClient, what: str) -> None:
    await _start(js, 0)
    inbox = await js.pull(batch=1, expires=30 * S_NS)
    await js.until(lambda: _waiting(js), 1)
    await js.good(what)
    assert (await inbox.next()).head == b"NATS/1.0 409 Consumer Deleted\r\n\r\n"


async def test_server_shutdown_while_waiting(broker: Brokers) -> None:
    own = broker.own('server_name: JS\njetstream { store_dir: "@FOLDER@/js" }')
    async with js_server(own) as js:
        await _start(js, 0)
        inbox = await js.pull(batch=2, expires=30 * S_NS)
        await js.until(lambda: _waiting(js), 1)
        own.process.stop()
        assert (await inbox.next()).head == _pending("409 Server Shutdown", 2)


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"max_batch": 10}, {"batch": 11}, "409 Exceeded MaxRequestBatch of 10"),
    ({"max_expires": 5 * S_NS}, {"batch": 1, "expires": 6 * S_NS}, "409 Exceeded MaxRequestExpires of 5s"),
    ({"max_bytes": 1000}, {"batch": 1, "max_bytes": 1001}, "409 Exceeded MaxRequestMaxBytes of 1000"),
    (
        {},
        {"batch": 1, "expires": S_NS, "idle_heartbeat": S_NS // 2 + 1},
        "400 Bad Request - heartbeat value too large",
    ),
    ({"deliver_subject": "d"}, {"batch": 1}, "409 Consumer is push based"),
    ({}, {"batch": 1, "min_pending": 5}, "400 Bad Request - Not a Overflow Priority consumer"),
    ({}, {"batch": 1, "id": "x"}, "400 Bad Request - Not a Pinned Client Priority consumer"),
    (
        {"priority_policy": "prioritized", "priority_groups": ["g"]},
        {"batch": 1, "group": "g", "priority": 10},
        "400 Bad Request - Priority must be between 0 and 9",
    ),
    (
        {"priority_policy": "overflow", "priority_groups": ["g"]},
        {"batch": 1},
        "400 Bad Request - Priority Group missing",
    ),
    (
        {"priority_policy": "overflow", "priority_groups": ["g"]},
        {"batch": 1, "group": "h"},
        "400 Bad Request - Invalid Priority Group",
    ),
]


@pytest.mark.parametrize(("consumer", "request_", "status"), REFUSED)
async def test_refused(js: JsClient, consumer: dict[str, Any], request_: dict[str, Any], status: str) -> None:
    await _start(js, 1, **consumer)
    inbox = await js.pull("C", "S", **request_)
    answer = await inbox.next()
    assert (answer.status, answer.payload) == (status, b"")


async def test_max_waiting(js: JsClient) -> None:
    await _start(js, 0, max_waiting=2)
    for _ in range(2):
        await js.pull(batch=1)
    await js.until(lambda: _waiting(js), 2)
    inbox = await js.pull(batch=1)
    assert (await inbox.next()).head == b"NATS/1.0 409 Exceeded MaxWaiting\r\n\r\n"


async def test_heartbeats(js: JsClient) -> None:
    await _start(js, 1)
    inbox = await js.pull(batch=5, expires=5 * S_NS, idle_heartbeat=SHORT_NS)
    await inbox.next()
    for _ in range(2):
        beat = await inbox.next()
        assert (
            beat.head
            == b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\nNats-Last-Stream: 1\r\n\r\n"
        )
    await js.fill("s.a")
    while (message := await inbox.next()).status.startswith("100"):
        pass
    assert message.seq == 2


async def test_max_ack_pending_stops_delivery(js: JsClient) -> None:
    await _start(js, 5, max_ack_pending=2)
    inbox = await js.pull(batch=5, expires=10 * S_NS)
    first, second = await inbox.take(2)
    await inbox.silence()
    await js.ack(first)
    third = await inbox.next()
    assert third.seq == 3
    await js.ack(second)
    assert (await inbox.next()).seq == 4


async def test_headers_only(js: JsClient) -> None:
    await js.stream()
    await js.publish("s.a", b"hello", {"A": "1"})
    await js.publish("s.a", b"hello world")
    await js.consumer(headers_only=True)
    first, second = await js.fetch(2)
    assert (first.head, first.payload) == (b"NATS/1.0\r\nA: 1\r\nNats-Msg-Size: 5\r\n\r\n", b"")
    assert (second.head, second.payload) == (b"NATS/1.0\r\nNats-Msg-Size: 11\r\n\r\n", b"")


@pytest.mark.parametrize(
    ("filters", "seqs"),
    [(["s.a"], [1, 4]), (["s.b", "s.c.>"], [2, 3, 5]), (["s.*"], [1, 2, 4]), (["s.>"], [1, 2, 3, 4, 5])],
)
@STORAGE
async def test_filters(js: JsClient, storage: str, filters: list[str], seqs: list[int]) -> None:
    await js.stream(storage=storage)
    await js.consumer(filter_subjects=filters)
    await js.fill("s.a", "s.b", "s.c.d", "s.a", "s.c.e.f")
    messages = await js.fetch(len(seqs))
    assert [m.seq for m in messages] == seqs
    assert [m.ack[2:] for m in messages] == [(n + 1, len(seqs) - n - 1) for n in range(len(seqs))]


async def test_ephemeral_pull_consumer_goes_when_nobody_asks(js: JsClient) -> None:
    await js.stream()
    gone = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.DELETED.S.E")
    await js.consumer("E", durable_name=None, inactive_threshold=SHORT_NS)
    advisory = await gone.json()
    assert (advisory["stream"], advisory["consumer"], advisory["action"]) == ("S", "E", "delete")
    assert await js.refused("CONSUMER.INFO.S.E") == (404, 10014, "consumer not found")


async def test_purged_messages_are_not_pending(js: JsClient) -> None:
    await _start(js, 5)
    assert (await js.numbers())["pending"] == 5
    await js.good("STREAM.MSG.DELETE.S", {"seq": 2})
    assert (await js.numbers())["pending"] == 4
    await js.good("STREAM.PURGE.S", {"keep": 1})
    assert (await js.numbers())["pending"] == 1
    assert (await js.fetch(1))[0].seq == 5


# -- pause, reset, priorities


async def test_pause_and_resume(js: JsClient) -> None:
    await _start(js, 1)
    paused = await js.good("CONSUMER.PAUSE.S.C", {"pause_until": "2090-01-01T00:00:00Z"})
    assert (paused["paused"], paused["pause_until"]) == (True, "2090-01-01T00:00:00Z")
    assert paused["pause_remaining"] > 0
    info = await js.good("CONSUMER.INFO.S.C")
    assert info["paused"] is True
    assert info["config"]["pause_until"] == "2090-01-01T00:00:00Z"
    inbox = await js.pull(batch=1)
    await inbox.silence()
    resumed = await js.good("CONSUMER.PAUSE.S.C")
    assert {k: v for k, v in resumed.items() if k != "type"} == {
        "paused": False,
        "pause_until": "0001-01-01T00:00:00Z",
    }
    await js.pull(batch=1)  # nats-server looks at its waiting requests when one more comes
    assert (await inbox.next()).seq == 1
    assert "paused" not in await js.good("CONSUMER.INFO.S.C")


@pytest.mark.parametrize("past", ["2020-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"])
async def test_pause_until_a_time_that_is_over(js: JsClient, past: str) -> None:
    await _start(js, 1)
    await js.good("CONSUMER.PAUSE.S.C", {"pause_until": "2090-01-01T00:00:00Z"})
    shown = past.replace(".000Z", "Z")
    answer = await js.good("CONSUMER.PAUSE.S.C", {"pause_until": past})
    assert {k: v for k, v in answer.items() if k != "type"} == {"paused": False, "pause_until": shown}
    info = await js.good("CONSUMER.INFO.S.C")
    assert "paused" not in info
    assert info["config"]["pause_until"] == shown
    assert [m.seq for m in await js.fetch(1)] == [1]


@pytest.mark.parametrize(("body", "seqs"), [(None, [2, 3]), ({"seq": 1}, [1, 2]), ({"seq": 3}, [3])])
async def test_reset(js: JsClient, body: dict[str, int] | None, seqs: list[int]) -> None:
    await _start(js, 3)
    messages = await js.fetch(3)
    await js.ack(messages[0])
    answer = await js.good("CONSUMER.RESET.S.C", body)
    assert answer["type"].endswith("consumer_reset_response")
    assert answer["reset_seq"] == seqs[0]
    assert answer["num_ack_pending"] == 0
    assert "last_active" not in answer["ack_floor"]
    again = await js.fetch(len(seqs))
    assert [m.seq for m in again] == seqs
    assert again[0].ack[2] == 1


async def test_overflow_group(js: JsClient) -> None:
    await _start(js, 2, priority_policy="overflow", priority_groups=["g"])
    waiting = await js.pull(batch=1, group="g", min_pending=3)
    await waiting.silence()
    served = await js.pull(batch=1, group="g", min_pending=2)
    assert (await served.next()).seq == 1
    await js.fill("s.a", "s.a")
    assert (await waiting.next()).seq == 2


async def test_prioritized_group(js: JsClient) -> None:
    await _start(js, 0, priority_policy="prioritized", priority_groups=["g"])
    late = await js.pull(batch=1, group="g", priority=5)
    early = await js.pull(batch=1, group="g", priority=1)
    await js.until(lambda: _waiting(js), 2)
    await js.fill("s.a", "s.a")
    assert (await early.next()).seq == 1
    assert (await late.next()).seq == 2


async def test_pinned_group(js: JsClient) -> None:
    await _start(js, 4, priority_policy="pinned_client", priority_groups=["g"])
    first = await (await js.pull(batch=1, group="g")).next()
    pin = first.headers["Nats-Pin-Id"]
    assert len(pin) == 22
    other = await js.pull(batch=1, group="g")
    await other.silence()
    second = await (await js.pull(batch=1, group="g", id=pin)).next()
    assert (second.seq, second.headers["Nats-Pin-Id"]) == (2, pin)
    wrong = await (await js.pull(batch=1, group="g", id="wrong")).next()
    assert wrong.status == "423 Nats-Pin-Id mismatch"
    info = await js.good("CONSUMER.INFO.S.C")
    assert [(g["group"], g["pinned_client_id"]) for g in info["priority_groups"]] == [("g", pin)]
    answer = await js.good("CONSUMER.UNPIN.S.C", {"group": "g"})
    assert list(answer) == ["type"]
    third = await other.next()
    assert third.seq == 3
    assert third.headers["Nats-Pin-Id"] != pin


async def test_unpin_refused(js: JsClient) -> None:
    await _start(js, 0, priority_policy="pinned_client", priority_groups=["g"])
    assert await js.refused("CONSUMER.UNPIN.S.C", {"group": "h"}) == (
        400,
        10160,
        "Provided priority group does not exist for this consumer",
    )


async def test_a_consumer_resumes_after_a_restart(broker: Brokers) -> None:
    config = 'server_name: JS\njetstream { store_dir: "@FOLDER@/../restart-' + broker.implementation + '" }'
    async with js_server(broker.own(config)) as js:
        await _start(js, 5, ack_wait=60 * S_NS)
        messages = await js.fetch(3)
        await js.ack(messages[0])
        await js.ack(messages[1], b"-NAK")
        created = (await js.good("STREAM.INFO.S"))["created"]
        await js.publish("s.a", headers={"Nats-Msg-Id": "one"})
    broker.stop_own()
    async with js_server(broker.own(config)) as js:
        info = await js.good("STREAM.INFO.S")
        assert (info["created"], info["state"]["messages"], info["state"]["last_seq"]) == (created, 6, 6)
        numbers = await js.numbers()
        assert (numbers["delivered"], numbers["ack_floor"]) == ((3, 3), (1, 1))
        assert (numbers["ack_pending"], numbers["pending"]) == (2, 3)
        assert await js.publish("s.a", headers={"Nats-Msg-Id": "one"}) == {
            "stream": "S",
            "seq": 6,
            "duplicate": True,
        }
        assert await js.publish("s.a") == {"stream": "S", "seq": 7}


async def test_a_request_for_nothing_waits_for_one(js: JsClient) -> None:
    await js.stream()
    await js.consumer()
    inbox = js.inbox()
    js.send("$JS.API.CONSUMER.MSG.NEXT.S.C", b"0", reply=inbox.subject)
    await js.sync()
    await js.fill("s.a")
    assert (await inbox.next()).seq == 1
