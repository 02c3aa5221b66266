"""Atomic batches and fast batches (jetstream.md 3.2, 3.3)."""

import base64
from typing import Any

import pytest
from tests.support.jetstream import JsClient, Subscription


def _batch(seq: int, ident: str = "b", commit: str = "", **more: str) -> dict[str, str]:
    headers = {"Nats-Batch-Id": ident, "Nats-Batch-Sequence": str(seq), **more}
    return headers | ({"Nats-Batch-Commit": commit} if commit else {})


async def _heads(js: JsClient, *seqs: int) -> list[bytes]:
    heads = []
    for seq in seqs:
        message = await js.stored(seq)
        assert message is not None
        heads.append(base64.b64decode(message.get("hdrs", "")))
    return heads


@pytest.fixture
async def atomic(js: JsClient) -> JsClient:
    await js.stream(allow_atomic=True)
    return js


@pytest.mark.parametrize("storage", ["file", "memory"])
async def test_batch(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, allow_atomic=True)
    await js.fill("s.a")
    for seq in (1, 2):
        answer = await js.request("s.b", b"%d" % seq, _batch(seq))
        assert (answer.head, answer.payload) == (b"", b"")
        assert await js.seqs() == (1, 1, 1)
    ack = await js.publish("s.c", b"3", _batch(3, commit="1"))
    assert ack == {"stream": "S", "seq": 4, "batch": "b", "count": 3}
    assert await js.seqs() == (4, 1, 4)
    assert await _heads(js, 2, 4) == [
        b"NATS/1.0\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: 1\r\n\r\n",
        b"NATS/1.0\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: 3\r\nNats-Batch-Commit: 1\r\n\r\n",
    ]


async def test_end_of_batch_is_not_stored(atomic: JsClient) -> None:
    await atomic.request("s.a", b"1", _batch(1))
    ack = await atomic.publish("s.a", b"", _batch(2, commit="eob"))
    assert ack == {"stream": "S", "seq": 1, "batch": "b", "count": 1}
    assert await _heads(atomic, 1) == [
        b"NATS/1.0\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: 1\r\nNats-Batch-Commit: 1\r\n\r\n"
    ]


async def test_batch_of_one(atomic: JsClient) -> None:
    ack = await atomic.publish("s.a", b"1", _batch(1, commit="1"))
    assert ack == {"stream": "S", "seq": 1, "batch": "b", "count": 1}


async def test_batches_do_not_mix(atomic: JsClient) -> None:
    await atomic.request("s.a", b"1", _batch(1, "x"))
    await atomic.request("s.a", b"2", _batch(1, "y"))
    await atomic.publish("s.a", b"3")
    assert (await atomic.publish("s.y", b"4", _batch(2, "y", "1")))["seq"] == 3
    assert (await atomic.publish("s.x", b"5", _batch(2, "x", "1")))["seq"] == 5


BAD: list[tuple[list[dict[str, str]], int]] = [
    ([{"Nats-Batch-Id": "b"}], 10175),
    ([{"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "x"}], 10175),
    ([_batch(2)], 10176),
    ([_batch(1, commit="eob")], 10176),
    ([_batch(1), _batch(3)], 10176),
    ([_batch(1), _batch(1)], 10176),
    ([_batch(1, "i" * 65)], 10179),
    ([_batch(1, commit="2")], 10200),
    ([_batch(1002)], 10199),
    ([_batch(1, **{"Nats-Expected-Last-Msg-Id": "x"}), _batch(2, commit="1")], 10177),
    ([_batch(1, **{"Nats-Msg-Id": "m"}), _batch(2, commit="1", **{"Nats-Msg-Id": "m"})], 10201),
    ([_batch(1, **{"Nats-Expected-Last-Sequence": "5"}), _batch(2, commit="1")], 10071),
    ([_batch(1), _batch(2, commit="1", **{"Nats-Expected-Last-Sequence": "1"})], 10164),
    ([_batch(1), _batch(2, commit="1", **{"Nats-Expected-Last-Subject-Sequence": "0"})], 10164),
    ([_batch(1), _batch(2, commit="1", **{"Nats-Expected-Stream": "T"})], 10060),
    ([_batch(1), _batch(2, commit="1", **{"Nats-TTL": "1"})], 10166),
    ([_batch(1), _batch(2, commit="1", **{"Nats-Rollup": "sub"})], 10111),
    ([_batch(1), _batch(2, commit="1", **{"Nats-Incr": "1"})], 10168),
]


@pytest.mark.parametrize(("batch", "code"), BAD)
async def test_refused_batch(atomic: JsClient, batch: list[dict[str, str]], code: int) -> None:
    for headers in batch[:-1]:
        assert (await atomic.request("s.a", b"", headers)).payload == b""
    ack = await atomic.publish("s.a", b"", batch[-1])
    assert ack["error"]["err_code"] == code, ack
    assert (ack["stream"], ack["seq"]) == ("S", 0)
    assert (await atomic.state())["messages"] == 0


async def test_refused_batch_is_over(atomic: JsClient) -> None:
    await atomic.request("s.a", b"", _batch(1))
    await atomic.publish("s.a", b"", _batch(3))
    ack = await atomic.publish("s.a", b"", _batch(2, commit="1"))
    assert ack["error"]["err_code"] == 10176


async def test_switched_off(js: JsClient) -> None:
    await js.stream()
    assert (await js.publish("s.a", b"", _batch(1)))["error"]["err_code"] == 10174


async def test_too_many_batches(atomic: JsClient) -> None:
    for number in range(50):
        assert (await atomic.request("s.a", b"", _batch(1, f"b{number}"))).payload == b""
    ack = await atomic.publish("s.a", b"", _batch(1, "more"))
    assert (ack["error"]["code"], ack["error"]["err_code"]) == (429, 10210)


async def test_too_large_a_batch(atomic: JsClient) -> None:
    for seq in range(1, 1001):
        atomic.send("s.a", b"", _batch(seq))
    ack = await atomic.publish("s.a", b"", _batch(1001, commit="1"))
    assert ack["error"]["err_code"] == 10199
    assert ack["error"]["description"] == "atomic publish batch is too large: 1000"


async def test_expectations_of_a_batch(atomic: JsClient) -> None:
    await atomic.fill("s.a", "s.b")
    first = {"Nats-Expected-Last-Sequence": "2", "Nats-Expected-Last-Subject-Sequence": "1"}
    await atomic.request("s.a", b"", _batch(1, **first))
    ack = await atomic.publish(
        "s.b", b"", _batch(2, commit="1", **{"Nats-Expected-Last-Subject-Sequence": "2"})
    )
    assert ack == {"stream": "S", "seq": 4, "batch": "b", "count": 2}


async def test_duplicate_against_the_stream(atomic: JsClient) -> None:
    await atomic.publish("s.a", b"", {"Nats-Msg-Id": "m"})
    ack = await atomic.publish("s.a", b"", _batch(1, commit="1", **{"Nats-Msg-Id": "m"}))
    assert ack["error"]["err_code"] == 10201


async def test_counter_in_a_batch(js: JsClient) -> None:
    await js.stream(allow_atomic=True, allow_msg_counter=True)
    await js.request("s.a", b"", _batch(1, **{"Nats-Incr": "2"}))
    ack = await js.publish("s.a", b"", _batch(2, commit="1", **{"Nats-Incr": "3"}))
    assert ack == {"stream": "S", "seq": 2, "batch": "b", "count": 2}
    message = await js.stored(2)
    assert message is not None
    assert base64.b64decode(message["data"]) == b'{"val":"5"}'


async def test_abandoned_batch_is_told(atomic: JsClient) -> None:
    advisories = atomic.subscribe("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.>")
    await atomic.request("s.a", b"", _batch(1))
    await atomic.publish("s.a", b"", _batch(3))
    told = await advisories.next()
    assert told.subject == "$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.S"
    event = told.json
    assert event["type"] == "io.nats.jetstream.advisory.v1.stream_batch_abandoned"
    assert (event["stream"], event["batch"], event["reason"]) == ("S", "b", "incomplete")


# --- fast batches


class Fast:
    """A publisher of one fast batch."""

    def __init__(self, js: JsClient, ident: str = "u", flow: int = 2, gap: str = "ok") -> None:
        self._js, self._middle = js, f"F.{ident}.{flow}.{gap}"
        self.told: Subscription = js.subscribe(f"F.{ident}.>")

    def send(
        self, seq: int, op: int, payload: bytes = b"x", headers: dict[str, str] | None = None, to: str = "s.a"
    ) -> None:
        self._js.send(to, payload, headers, f"{self._middle}.{seq}.{op}.$FI")


@pytest.fixture
async def fast(js: JsClient) -> JsClient:
    await js.stream(allow_batched=True)
    return js


async def test_fast_batch(fast: JsClient) -> None:
    batch = Fast(fast)
    batch.send(1, 0)
    assert await batch.told.json() == {"type": "ack", "seq": 0, "msgs": 2}
    for seq in range(2, 6):
        batch.send(seq, 1)
    assert [await batch.told.json() for _ in range(2)] == [
        {"type": "ack", "seq": 2, "msgs": 2},
        {"type": "ack", "seq": 4, "msgs": 2},
    ]
    batch.send(6, 2)
    assert await batch.told.json() == {"stream": "S", "seq": 6, "batch": "u", "count": 6}
    assert await fast.seqs() == (6, 1, 6)


async def test_fast_batch_ends_without_a_message(fast: JsClient) -> None:
    batch = Fast(fast, flow=100)
    batch.send(1, 0)
    batch.send(2, 1)
    batch.send(3, 3)
    assert [await batch.told.json() for _ in range(2)] == [
        {"type": "ack", "seq": 0, "msgs": 100},
        {"stream": "S", "seq": 2, "batch": "u", "count": 2},
    ]


async def test_fast_batch_of_one(fast: JsClient) -> None:
    batch = Fast(fast)
    batch.send(1, 2)
    assert await batch.told.json() == {"stream": "S", "seq": 1, "batch": "u", "count": 1}


@pytest.mark.parametrize(
    ("gap", "answers"),
    [
        (
            "ok",
            [
                {"type": "gap", "last_seq": 2, "seq": 4},
                {"stream": "S", "seq": 3, "batch": "u", "count": 5},
            ],
        ),
        (
            "fail",
            [
                {"type": "gap", "last_seq": 2, "seq": 4},
                {"stream": "S", "seq": 1, "batch": "u", "count": 1},
            ],
        ),
    ],
)
async def test_gap(fast: JsClient, gap: str, answers: list[Any]) -> None:
    batch = Fast(fast, flow=100, gap=gap)
    batch.send(1, 0)
    assert (await batch.told.json())["type"] == "ack"
    batch.send(4, 1)
    if gap == "ok":
        batch.send(5, 2)
    assert [await batch.told.json() for _ in answers] == answers


async def test_ping(fast: JsClient) -> None:
    batch = Fast(fast, flow=2)
    batch.send(1, 0)
    batch.send(2, 1)
    assert [(await batch.told.json())["seq"] for _ in range(2)] == [0, 2]
    batch.send(2, 4)
    assert await batch.told.json() == {"type": "ack", "seq": 2, "msgs": 2}
    batch.send(3, 4)
    assert await batch.told.json() == {"type": "gap", "last_seq": 3, "seq": 4}


async def test_error_of_one_message(fast: JsClient) -> None:
    batch = Fast(fast, flow=100)
    batch.send(1, 0)
    batch.send(2, 1, headers={"Nats-Expected-Stream": "T"})
    batch.send(3, 2)
    answers = [await batch.told.json() for _ in range(3)]
    assert answers[1]["type"] == "err"
    assert (answers[1]["seq"], answers[1]["error"]["err_code"]) == (2, 10060)
    assert answers[2] == {"stream": "S", "seq": 2, "batch": "u", "count": 3}


async def test_error_of_the_first_message(fast: JsClient) -> None:
    batch = Fast(fast, gap="fail")
    batch.send(1, 2, headers={"Nats-Expected-Stream": "T"})
    answer = await batch.told.json()
    assert (answer["error"]["err_code"], answer["stream"], answer["seq"]) == (10060, "S", 0)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("F.u.2.ok.2.1.$FI", 10208),
        ("F.u.2.what.1.0.$FI", 10206),
        ("F.u.2.ok.1.9.$FI", 10206),
        ("F.u.2.ok.0.0.$FI", 10206),
        ("F.u.2.ok.1.1.$FI", 10206),
        ("F.u.2.ok.2.0.$FI", 10206),
        ("F.u.2.ok.1.3.$FI", 10206),
        (f"F.{'u' * 65}.2.ok.1.0.$FI", 10207),
    ],
)
async def test_refused_fast_batch(fast: JsClient, reply: str, code: int) -> None:
    told = fast.subscribe("F.>")
    fast.send("s.a", b"x", None, reply)
    assert (await told.json())["error"]["err_code"] == code


async def test_fast_batches_are_visible_at_once(fast: JsClient) -> None:
    batch = Fast(fast)
    batch.send(1, 0)
    await batch.told.next()
    await fast.until(fast.seqs, (1, 1, 1))


async def test_second_batch_begins_slowly(fast: JsClient) -> None:
    one, other = Fast(fast, "u", 8), Fast(fast, "v", 8)
    one.send(1, 0)
    assert (await one.told.json())["msgs"] == 8
    other.send(1, 0)
    assert (await other.told.json()) == {"type": "ack", "seq": 0, "msgs": 1}
    assert (await other.told.json()) == {"type": "ack", "seq": 1, "msgs": 2}
