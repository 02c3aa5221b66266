"""Consumers that answers to flow control acknowledge, and consumers made for sourcing (jetstream.md 4.2, 4.6)."""

import json
import re
from typing import Any

import pytest
from tests.support.jetstream import JsClient, Message, Subscription, error_of

SECOND = 10**9
PUSHED = {"ack_policy": "flow_control", "deliver_subject": "d"}


async def _next(pushed: Subscription) -> Message:
    """The next that is no heartbeat."""
    while True:
        message = await pushed.next()
        if not message.status.startswith("100 Idle"):
            return message


async def _created(js: JsClient, config: dict[str, Any], *, pedantic: bool = False) -> dict[str, Any]:
    request = {"stream_name": "S", "pedantic": pedantic, "config": {"durable_name": "C", **PUSHED, **config}}
    return await js.api("CONSUMER.CREATE.S.C", request)


async def test_what_is_filled_in(js: JsClient) -> None:
    await js.stream()
    config = (await _created(js, {}))["config"]
    assert (config["flow_control"], config["idle_heartbeat"]) == (True, SECOND)
    assert (config["max_ack_pending"], config["max_deliver"]) == (1000, -1)
    assert "ack_wait" not in config
    assert config["metadata"]["_nats.req.level"] == "4"


@pytest.mark.parametrize(
    ("config", "pedantic", "code"),
    [
        ({"deliver_subject": ""}, False, 10218),
        ({}, True, 10219),
        ({"flow_control": True, "idle_heartbeat": 5 * SECOND}, True, 10052),
        ({"max_ack_pending": -1}, False, 10220),
        ({"ack_wait": SECOND}, False, 10221),
        ({"backoff": [SECOND]}, False, 10221),
        ({"max_deliver": 3}, False, 10222),
    ],
)
async def test_refused(js: JsClient, config: dict[str, Any], pedantic: bool, code: int) -> None:
    await js.stream()
    assert error_of(await _created(js, config, pedantic=pedantic))[1] == code


async def test_the_pedantic_say_it_all(js: JsClient) -> None:
    await js.stream()
    config = {"flow_control": True, "idle_heartbeat": SECOND}
    assert "error" not in await _created(js, config, pedantic=True)


async def test_answers_acknowledge(js: JsClient) -> None:
    await js.stream(retention="workqueue")
    await js.fill("s.a", "s.b", "s.c", "s.d", "s.e")
    pushed = js.subscribe("d")
    await js.consumer(**PUSHED, max_ack_pending=3)
    messages = [await _next(pushed) for _ in range(3)]
    assert [message.ack for message in messages] == [(1, 1, 1, 4), (1, 2, 2, 3), (1, 3, 3, 2)]
    question = await _next(pushed)  # as much is unacknowledged as may be
    assert question.status == "100 FlowControl Request"
    assert question.reply.startswith("$JS.FC.S.C.")
    js.send(question.reply, b"", {"Nats-Last-Consumer": "2", "Nats-Last-Stream": "2"})
    assert [(await _next(pushed)).seq for _ in range(2)] == [4, 5]
    numbers = await js.numbers()
    assert (numbers["ack_floor"], numbers["ack_pending"]) == ((2, 2), 3)
    assert await js.seqs() == (3, 3, 5)
    question = await _next(pushed)
    js.send(question.reply)  # without a header nothing is acknowledged
    await js.sync()
    assert (await js.numbers())["ack_pending"] == 3
    question = await _next(pushed)  # behind the next heartbeat
    js.send(question.reply, b"", {"Nats-Last-Consumer": "5", "Nats-Last-Stream": "5"})
    await js.until(js.seqs, (0, 6, 5))
    assert (await js.numbers())["ack_floor"] == (5, 5)


async def test_an_answer_to_no_question_is_nothing(js: JsClient) -> None:
    await js.stream()
    pushed = js.subscribe("d")
    await js.consumer(**PUSHED)
    await js.fill("s.a")
    message = await _next(pushed)
    js.send("$JS.FC.S.C.abcd", b"", {"Nats-Last-Consumer": "1", "Nats-Last-Stream": "1"})
    await js.sync()
    assert (await js.numbers())["ack_pending"] == 1
    answer = await js.request(message.reply, b"+ACK")
    assert answer.status == "503"
    assert (await js.numbers())["ack_pending"] == 1


async def test_a_reset_begins_behind_the_floor(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a", "s.b", "s.c")
    pushed = js.subscribe("d")
    await js.consumer(**PUSHED)
    assert [(await _next(pushed)).ack for _ in range(3)] == [(1, 1, 1, 2), (1, 2, 2, 1), (1, 3, 3, 0)]
    answer = await js.good("CONSUMER.RESET.S.C")
    assert answer["reset_seq"] == 1
    assert [(await _next(pushed)).ack for _ in range(3)] == [(1, 1, 1, 2), (1, 2, 2, 1), (1, 3, 3, 0)]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"junk", "invalid JSON: invalid character 'j' looking for beginning of value"),
        (
            b'{"seq": -1}',
            "invalid JSON: json: cannot unmarshal number -1 into Go struct field "
            "JSApiConsumerResetRequest.seq of type uint64",
        ),
        (
            b"[]",
            "invalid JSON: json: cannot unmarshal array into Go value of type server.JSApiConsumerResetRequest",
        ),
    ],
)
async def test_reset_refused(js: JsClient, body: bytes, text: str) -> None:
    await js.stream()
    await js.consumer()
    answer = await js.api("CONSUMER.RESET.S.C", body)
    assert error_of(answer) == (400, 10025, text)
    assert answer["reset_seq"] == 0


async def test_resets_are_not_among_the_requests(js: JsClient) -> None:
    await js.stream()
    await js.consumer()
    before = (await js.good("INFO"))["api"]["total"]
    await js.good("CONSUMER.RESET.S.C")
    await js.api("CONSUMER.RESET.S.C", b"junk")
    assert (await js.good("INFO"))["api"] == {"level": 5, "total": before + 1, "errors": 0}


# --- made for sourcing -----------------------------------------------------------------------------


def _sourcing() -> bytes:
    config = {
        "name": "JS_SRC_x",
        "ack_policy": "none",
        "ack_wait": 79200 * SECOND,
        "max_deliver": 1,
        "flow_control": True,
        "deliver_subject": "d",
        "idle_heartbeat": SECOND,
        "inactive_threshold": 10 * SECOND,
        "direct": True,
        "sourcing": True,
        "metadata": {"_nats.src.acc": "A", "_nats.src.stream": "T"},
    }
    return json.dumps({"stream_name": "S", "config": config}).encode()


async def test_of_a_stream_that_keeps(js: JsClient) -> None:
    await js.stream()
    made = await js.request("$JS.API.CONSUMER.CREATE.S", _sourcing())
    assert re.fullmatch(r"[0-9A-Za-z]{8}", made.headers["Nats-Stream-Identity"])
    assert re.fullmatch(r"JS_SRC_x-[0-9A-Za-z]{8}", made.json["name"])
    assert made.json["config"]["ack_policy"] == "none"
    assert made.json["config"]["metadata"]["_nats.src.stream"] == "T"
    assert (await js.good("CONSUMER.NAMES.S"))["consumers"] == []


@pytest.mark.parametrize("retention", ["workqueue", "interest"])
async def test_of_a_stream_that_gives_away(js: JsClient, retention: str) -> None:
    await js.stream(retention=retention)
    made = await js.request("$JS.API.CONSUMER.CREATE.S", _sourcing())
    config = made.json["config"]
    assert (config["durable_name"], config["ack_policy"]) == ("JS_SRC_x", "flow_control")
    assert (config["max_ack_pending"], config["max_deliver"]) == (1000, -1)
    assert not {"direct", "ack_wait", "inactive_threshold"} & set(config)
    assert (await js.good("CONSUMER.NAMES.S"))["consumers"] == ["JS_SRC_x"]
    again = await js.request("$JS.API.CONSUMER.CREATE.S", _sourcing())
    assert again.json["created"] == made.json["created"]


async def test_of_another_stream_than_expected(js: JsClient) -> None:
    await js.stream()
    made = await js.request("$JS.API.CONSUMER.CREATE.S", _sourcing())
    mine = made.headers["Nats-Stream-Identity"]
    refused = await js.request("$JS.API.CONSUMER.CREATE.S", _sourcing(), {"Nats-Stream-Identity": "abcdefgh"})
    text = f"consumer's stream identity does not match: {mine}"
    assert error_of(refused.json) == (400, 10225, text)
    again = await js.request("$JS.API.CONSUMER.CREATE.S", _sourcing(), {"Nats-Stream-Identity": mine})
    assert "error" not in again.json


async def test_a_reset_tells_whose_it_is(js: JsClient) -> None:
    await js.stream()
    await js.consumer()
    told = await js.request("$JS.API.CONSUMER.RESET.S.C", b"", {"Nats-Stream-Identity": "abcdefgh"})
    assert "error" not in told.json
    assert re.fullmatch(r"[0-9A-Za-z]{8}", told.headers["Nats-Stream-Identity"])
    assert (await js.request("$JS.API.CONSUMER.RESET.S.C")).head == b""
