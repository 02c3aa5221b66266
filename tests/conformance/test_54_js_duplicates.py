"""Message ids: what is a duplicate, for how long, and what it is told (jetstream.md 2.6)."""

import asyncio
from typing import Any

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, js_server

S_NS = 1_000_000_000
STORAGE = pytest.mark.parametrize("storage", ["file", "memory"])
ONE = {"Nats-Msg-Id": "one"}


def _new(seq: int, stream: str = "S") -> dict[str, Any]:
    return {"stream": stream, "seq": seq}


def _again(seq: int, stream: str = "S") -> dict[str, Any]:
    return {"stream": stream, "seq": seq, "duplicate": True}


def _error(code: int, err_code: int, text: str) -> dict[str, Any]:
    return {"error": {"code": code, "err_code": err_code, "description": text}, "stream": "S", "seq": 0}


async def _acks(js: JsClient, *publishes: dict[str, str], subject: str = "s.a") -> list[dict[str, Any]]:
    """Publish all at once; the answers in the order in which they come."""
    inbox = js.inbox()
    for headers in publishes:
        js.send(subject, b"x", headers, inbox.subject)
    return [message.json for message in await inbox.take(len(publishes))]


@STORAGE
async def test_bytes_of_the_answer(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    assert (await js.request("s.a", b"x", ONE)).payload == b'{"stream":"S","seq":1}'
    answer = await js.request("s.a", b"y", ONE)
    assert (answer.head, answer.payload) == (b"", b'{"stream":"S","seq":1,"duplicate": true}')


async def test_domain_is_in_the_answer(broker: Brokers) -> None:
    config = 'server_name: JS\njetstream { store_dir: "@FOLDER@/js", domain: hub }'
    async with js_server(broker.own(config)) as js:
        await js.stream()
        first, second = [(await js.request("s.a", b"x", ONE)).payload for _ in range(2)]
    assert first == b'{"stream":"S","domain":"hub","seq":1}'
    assert second == b'{"stream":"S","domain":"hub","seq":1,"duplicate": true}'


@STORAGE
async def test_duplicates_among_many_on_their_way(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    ids = [number % 50 for number in range(400)]
    acks = await _acks(js, *({"Nats-Msg-Id": f"id-{number}"} for number in ids))
    firsts = [ack["seq"] for ack in acks if "duplicate" not in ack]
    assert firsts == list(range(1, 51))
    assert sorted(ack["seq"] for ack in acks if "duplicate" in ack) == sorted(list(range(1, 51)) * 7)
    assert await js.seqs() == (50, 1, 50)


@STORAGE
async def test_what_asks_for_more_shares_the_ids(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    more = {"Nats-Expected-Stream": "S"}
    two, three = {"Nats-Msg-Id": "two"}, {"Nats-Msg-Id": "three"}
    acks = await _acks(js, ONE, ONE | more, two | more, two, {}, three, three | more, ONE)
    assert acks == [_new(1), _again(1), _new(2), _again(2), _new(3), _new(4), _again(4), _again(1)]


async def test_batches_share_the_ids(js: JsClient) -> None:
    await js.stream(allow_atomic=True)
    batch = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"}
    assert (await js.publish("s.a", headers=ONE | batch))["seq"] == 1
    assert await js.publish("s.a", headers=ONE) == _again(1)
    assert await js.publish("s.a", headers={"Nats-Msg-Id": "two"}) == _new(2)
    refusal = await js.publish("s.a", headers={"Nats-Msg-Id": "two"} | batch)
    assert refusal["error"]["err_code"] == 10201


@STORAGE
async def test_an_id_outlives_its_message(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    await _acks(js, *({"Nats-Msg-Id": str(number)} for number in range(4)))
    await js.good("STREAM.MSG.DELETE.S", {"seq": 2})
    assert await js.publish("s.a", headers={"Nats-Msg-Id": "1"}) == _again(2)
    await js.good("STREAM.PURGE.S", {"seq": 4})
    assert await js.publish("s.a", headers={"Nats-Msg-Id": "0"}) == _again(1)
    await js.good("STREAM.PURGE.S")
    acks = await _acks(js, *({"Nats-Msg-Id": str(number)} for number in range(5)))
    assert acks == [_again(1), _again(2), _again(3), _again(4), _new(5)]


@STORAGE
async def test_an_id_outlives_limits(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, max_msgs=2)
    await _acks(js, *({"Nats-Msg-Id": str(number)} for number in range(9)))
    assert await js.publish("s.a", headers={"Nats-Msg-Id": "0"}) == _again(1)
    assert await js.seqs() == (2, 8, 9)


@STORAGE
async def test_an_id_outlives_the_work(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, retention="workqueue")
    await js.consumer()
    await js.publish("s.a", headers=ONE)
    await js.ack((await js.fetch(1))[0])
    assert await js.publish("s.a", headers=ONE) == _again(1)


@STORAGE
async def test_an_id_of_what_nobody_wanted(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, retention="interest")
    assert await js.publish("s.a", headers=ONE) == _new(1)
    assert await js.publish("s.a", headers=ONE) == _again(1)
    more = {"Nats-Msg-Id": "two", "Nats-Expected-Stream": "S"}
    assert await _acks(js, more, more) == [_new(2), _again(2)]
    assert (await js.seqs())[0] == 0


async def test_an_id_is_of_one_stream_whatever_the_subject(js: JsClient) -> None:
    await js.stream("A")
    await js.stream("B")
    assert await js.publish("a.x", headers=ONE) == _new(1, "A")
    assert await js.publish("b.x", headers=ONE) == _new(1, "B")
    assert await js.publish("a.y", headers=ONE) == _again(1, "A")


async def test_a_stream_that_is_made_anew_knows_no_ids(js: JsClient) -> None:
    for _ in range(2):
        await js.stream()
        assert await js.publish("s.a", headers=ONE) == _new(1)
        await js.good("STREAM.DELETE.S")


async def test_without_reply_it_is_remembered_and_not_answered(js: JsClient) -> None:
    await js.stream()
    js.send("s.a", b"x", ONE)
    assert await js.publish("s.a", headers=ONE) == _again(1)
    js.send("s.a", b"x", ONE)
    assert await js.publish("s.a") == _new(2)


async def test_no_ack_stream_answers_no_duplicate(js: JsClient) -> None:
    await js.stream(no_ack=True)
    inbox = js.inbox()
    for _ in range(3):
        js.send("s.a", b"x", ONE, inbox.subject)
    js.send("s.a", b"x", reply=inbox.subject)
    await js.until(js.seqs, (2, 1, 2))
    await inbox.silence()


# header blocks, and whether the second of two such messages is a duplicate
BLOCKS: list[tuple[bytes, bool]] = [
    (b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n", True),
    (b"NATS/1.0\r\nNats-Msg-Id:x\r\n\r\n", True),
    (b"NATS/1.0\r\nA: 1\r\nNats-Msg-Id: x\r\nB: 2\r\n\r\n", True),
    (b"NATS/1.0\r\nnats-msg-id: x\r\n\r\n", False),
    (b"NATS/1.0\r\nNats-Msg-Id: \r\n\r\n", False),
    (b"NATS/1.0\r\nNats-Msg-Id:\r\nA: 1\r\n\r\n", False),
    (b"NATS/1.0\r\nA: Nats-Msg-Id: x\r\n\r\n", False),
    (b"NATS/1.0\r\nX-Nats-Msg-Id: x\r\n\r\n", False),
    (b"NATS/1.0\r\nNats-Msg-Id-Not: x\r\n\r\n", False),
    (b"NATS/1.0\r\nNats-Other: 1\r\nNats-Msg-Id: x\r\n\r\n", True),
    (b"NATS/1.0\r\nNats-Msg-Id: x\r\nNats-Other: 1\r\n\r\n", True),
    (b"NATS/1.0\r\nNats-Msg-Id: " + bytes(range(128, 256)) + b"\r\n\r\n", True),
    (b"NATS/1.0\r\nNats-Msg-Id: " + b"x" * 60_000 + b"\r\n\r\n", True),
]


@pytest.mark.parametrize(("block", "duplicate"), BLOCKS, ids=range(len(BLOCKS)))
async def test_header_blocks(js: JsClient, block: bytes, duplicate: bool) -> None:
    await js.stream()
    assert await js.publish("s.a", b"x", block) == _new(1)
    assert await js.publish("s.a", b"x", block) == (_again(1) if duplicate else _new(2))


async def test_ids_that_are_nearly_the_same(js: JsClient) -> None:
    await js.stream()
    ids = ["a", "a ", "A", "aa", "b" * 8, "b" * 9, "c" * 30_000, "c" * 29_999 + "d"]
    acks = await _acks(js, *({"Nats-Msg-Id": ident} for ident in ids))
    assert acks == [_new(seq) for seq in range(1, len(ids) + 1)]


async def test_the_first_of_two_ids_counts(js: JsClient) -> None:
    await js.stream()
    block = b"NATS/1.0\r\nNats-Msg-Id: one\r\nNats-Msg-Id: two\r\n\r\n"
    assert await js.publish("s.a", b"x", block) == _new(1)
    assert await js.publish("s.a", headers={"Nats-Msg-Id": "two"}) == _new(2)
    assert await js.publish("s.a", headers=ONE) == _again(1)


async def test_what_is_refused_is_not_remembered(js: JsClient) -> None:
    await js.stream(max_msg_size=60)
    refusal = _error(400, 10054, "message size exceeds maximum allowed")
    assert await js.publish("s.a", b"x" * 60, ONE) == refusal
    assert await js.publish("s.a", b"x", ONE) == _new(1)
    assert await js.publish("s.a", b"x" * 2, ONE) == _again(1)


async def test_what_is_too_large_is_no_duplicate(js: JsClient) -> None:
    await js.stream(max_msg_size=60)
    assert await js.publish("s.a", b"x", ONE) == _new(1)
    refusal = _error(400, 10054, "message size exceeds maximum allowed")
    for headers in (ONE, ONE | {"Nats-Expected-Stream": "T"}, {"Nats-Rollup": "all"}, {"Nats-TTL": "1"}):
        assert await js.publish("s.a", b"x" * 60, headers) == refusal
    await js.stream("H")
    assert (await js.publish("h.a", headers=ONE))["seq"] == 1
    refused = await js.publish("h.a", headers=ONE | {"A": "x" * 65_536})
    assert refused["error"]["err_code"] == 10097


async def test_a_duplicate_wins_over_a_stream_that_is_full(js: JsClient) -> None:
    await js.stream(max_msgs=1, discard="new")
    full = _error(503, 10077, "maximum messages exceeded")
    for headers, ack in ((ONE, _new(1)), (ONE, _again(1)), ({"Nats-Msg-Id": "two"}, full), (ONE, _again(1))):
        assert await js.publish("s.a", headers=headers) == ack


async def test_a_sealed_stream_wins_over_a_duplicate(js: JsClient) -> None:
    await js.stream()
    await js.publish("s.a", headers=ONE)
    await js.update(subjects=["s.>"], sealed=True)
    assert await js.publish("s.a", headers=ONE) == _error(400, 10109, "invalid operation on sealed stream")


async def test_the_last_id_is_that_of_the_last_message(js: JsClient) -> None:
    await js.stream()

    def wrong(last: str) -> dict[str, Any]:
        return _error(400, 10070, f"wrong last msg ID: {last}")

    expected = "Nats-Expected-Last-Msg-Id"
    assert await js.publish("s.a", headers={expected: "one"}) == wrong("")
    assert await js.publish("s.a", headers={expected: ""}) == _new(1)
    assert await js.publish("s.a", headers=ONE) == _new(2)
    assert await js.publish("s.a", headers={expected: ""}) == _new(3)
    assert await js.publish("s.a", headers={"Nats-Msg-Id": "two"}) == _new(4)
    assert await js.publish("s.a", headers={expected: "one"}) == wrong("two")
    await js.good("STREAM.MSG.DELETE.S", {"seq": 4})
    assert await js.publish("s.a", headers={expected: "two"}) == _new(5)
    assert await js.publish("s.a", headers={expected: "two"}) == wrong("")


async def test_transformed_and_republished_messages_have_ids_too(js: JsClient) -> None:
    await js.stream("A", subject_transform={"src": "a.*", "dest": "b.$1"})
    assert await _acks(js, ONE, ONE, subject="a.x") == [_new(1, "A"), _again(1, "A")]
    await js.stream("R", republish={"src": "r.*", "dest": "copy.$1"})
    copies = js.subscribe("copy.>")
    assert await _acks(js, ONE, ONE, subject="r.x") == [_new(1, "R"), _again(1, "R")]
    await copies.next()
    await copies.silence()


async def test_a_mirror_takes_the_same_id_twice(js: JsClient) -> None:
    await js.stream("A", duplicate_window=S_NS // 10)
    await js.publish("a.x", headers=ONE)

    async def seq() -> int:
        return int((await js.publish("a.x", headers=ONE))["seq"])

    await js.until(seq, 2)
    await js.stream("M", mirror={"name": "A"})

    async def copied() -> tuple[int, int, int]:
        return await js.seqs("M")

    await js.until(copied, (2, 1, 2))


async def test_a_shorter_window_acts_on_what_is_there(js: JsClient) -> None:
    await js.stream()
    await js.publish("s.a", headers=ONE)
    assert await js.publish("s.a", headers=ONE) == _again(1)
    await js.update(subjects=["s.>"], duplicate_window=S_NS // 10)

    async def duplicate() -> bool:
        return "duplicate" in await js.publish("s.a", headers=ONE)

    await js.until(duplicate, False)


async def test_a_longer_window_keeps_what_is_there(js: JsClient) -> None:
    await js.stream(duplicate_window=S_NS)
    await js.publish("s.a", headers=ONE)
    await js.update(subjects=["s.>"], duplicate_window=60 * S_NS)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.2
    while loop.time() < end:
        assert await js.publish("s.a", headers=ONE) == _again(1)


@pytest.mark.parametrize("plain", [False, True])
async def test_a_restart_forgets_no_id_of_a_message_that_is_there(broker: Brokers, plain: bool) -> None:
    kind = f"{broker.implementation}-{plain}"
    config = 'server_name: JS\njetstream { store_dir: "@FOLDER@/../ids-' + kind + '" }'
    async with js_server(broker.own(config)) as js:
        await js.stream()
        await _acks(js, *({"Nats-Msg-Id": str(number)} for number in range(100)))
        if plain:
            await js.publish("s.a")
    broker.stop_own()
    async with js_server(broker.own(config)) as js:
        last = await js.publish("s.a", headers={"Nats-Expected-Last-Msg-Id": "99"})
        assert last == (_error(400, 10070, "wrong last msg ID: ") if plain else _new(101))
        acks = await _acks(js, *({"Nats-Msg-Id": str(number)} for number in range(101)))
        assert acks == [*map(_again, range(1, 101)), _new(102)]


async def test_a_purge_right_after_a_restart_leaves_the_ids(broker: Brokers) -> None:
    config = 'server_name: JS\njetstream { store_dir: "@FOLDER@/../purged-' + broker.implementation + '" }'
    async with js_server(broker.own(config)) as js:
        for name in "ABC":
            await js.stream(name)
            await _acks(js, ONE, {"Nats-Msg-Id": "two"}, subject=f"{name.lower()}.x")
    broker.stop_own()
    async with js_server(broker.own(config)) as js:
        await js.good("STREAM.PURGE.A")
        await js.good("STREAM.PURGE.B", {"filter": "b.x"})
        await js.good("STREAM.MSG.DELETE.C", {"seq": 1})
        for name in "ABC":
            acks = await _acks(js, ONE, {"Nats-Msg-Id": "two"}, subject=f"{name.lower()}.x")
            assert acks == [_again(1, name), _again(2, name)]
