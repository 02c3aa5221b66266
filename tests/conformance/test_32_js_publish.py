"""Publishing to streams: acknowledgements, what is checked and in which order (jetstream.md 2.6, 3.1)."""

from typing import Any

import pytest
from tests.support.jetstream import JsClient

S_NS = 1_000_000_000
STORAGE = pytest.mark.parametrize("storage", ["file", "memory"])
EXPECTED = "Nats-Expected-Last-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence"


def _error(code: int, err_code: int, text: str, stream: str = "S") -> dict[str, Any]:
    """A refusal as a PubAck."""
    return {
        "error": {"code": code, "err_code": err_code, "description": text},
        "stream": stream,
        "seq": 0,
    }


def _wrong_last(seq: int) -> dict[str, Any]:
    return _error(400, 10071, f"wrong last sequence: {seq}")


@STORAGE
async def test_ack_bytes(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    for seq in (1, 2):
        answer = await js.request("s.a", b"x")
        assert (answer.head, answer.payload) == (b"", b'{"stream":"S","seq":%d}' % seq)


async def test_duplicate_ack(js: JsClient) -> None:
    await js.stream()
    assert await js.publish("s.a", headers={"Nats-Msg-Id": "1"}) == {"stream": "S", "seq": 1}
    again = await js.publish("s.b", headers={"Nats-Msg-Id": "1"})
    assert again == {"stream": "S", "seq": 1, "duplicate": True}
    assert await js.publish("s.a", headers={"Nats-Msg-Id": "2"}) == {"stream": "S", "seq": 2}
    assert (await js.state())["messages"] == 2


async def test_without_reply_there_is_no_ack(js: JsClient) -> None:
    await js.stream()
    js.send("s.a", b"x")
    await js.until(js.seqs, (1, 1, 1))
    assert await js.publish("s.a") == {"stream": "S", "seq": 2}


async def test_no_ack_stream_answers_nothing(js: JsClient) -> None:
    await js.stream(no_ack=True)
    inbox = js.inbox()
    js.send("s.a", b"x", reply=inbox.subject)
    js.send("s.a", b"x", {EXPECTED: "9"}, inbox.subject)
    await js.until(js.seqs, (1, 1, 1))
    await inbox.silence()


async def test_no_stream_no_responders(js: JsClient) -> None:
    answer = await js.request("nobody.home", b"x")
    assert answer.head == b"NATS/1.0 503\r\nNats-Subject: nobody.home\r\n\r\n"


async def test_acks_come_in_order_of_publishing(js: JsClient) -> None:
    await js.stream()
    inbox = js.inbox()
    for number in range(200):
        js.send(f"s.{number % 7}", b"x", reply=inbox.subject)
    acks = [message.json["seq"] for message in await inbox.take(200)]
    assert acks == list(range(1, 201))


async def test_many_streams_take_their_own(js: JsClient) -> None:
    await js.stream("A")
    await js.stream("B", storage="memory")
    assert await js.publish("a.x") == {"stream": "A", "seq": 1}
    assert await js.publish("b.x") == {"stream": "B", "seq": 1}


async def test_wildcard_publish_is_no_subject_of_a_stream(js: JsClient) -> None:
    await js.stream(subjects=["a", "b.*", "c.>"])
    for seq, subject in enumerate(("a", "b.x", "c.x.y"), 1):
        assert (await js.publish(subject))["seq"] == seq
    for subject in ("b", "b.x.y", "c"):
        assert (await js.request(subject)).status == "503"


# headers of a publish to a stream that holds s.a (id "one"), s.b, s.a: the answer
CHECKS: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("s.a", {"Nats-Expected-Stream": "S"}, {"stream": "S", "seq": 4}),
    ("s.a", {"Nats-Expected-Stream": "T"}, _error(400, 10060, "expected stream does not match")),
    ("s.a", {EXPECTED: "3"}, {"stream": "S", "seq": 4}),
    ("s.a", {EXPECTED: "2"}, _wrong_last(3)),
    ("s.a", {EXPECTED: "0"}, _wrong_last(3)),
    ("s.a", {EXPECTED: "x"}, _wrong_last(3)),
    ("s.a", {EXPECTED_SUBJECT: "3"}, {"stream": "S", "seq": 4}),
    ("s.a", {EXPECTED_SUBJECT: "1"}, _wrong_last(3)),
    ("s.a", {EXPECTED_SUBJECT: "0"}, _wrong_last(3)),
    ("s.b", {EXPECTED_SUBJECT: "2"}, {"stream": "S", "seq": 4}),
    ("s.c", {EXPECTED_SUBJECT: "0"}, {"stream": "S", "seq": 4}),
    ("s.c", {EXPECTED_SUBJECT: "2"}, _wrong_last(0)),
    ("s.c", {EXPECTED_SUBJECT: "2", f"{EXPECTED_SUBJECT}-Subject": "s.b"}, {"stream": "S", "seq": 4}),
    ("s.c", {EXPECTED_SUBJECT: "3", f"{EXPECTED_SUBJECT}-Subject": "s.*"}, {"stream": "S", "seq": 4}),
    ("s.c", {EXPECTED_SUBJECT: "1", f"{EXPECTED_SUBJECT}-Subject": "s.*"}, _wrong_last(3)),
    ("s.c", {EXPECTED_SUBJECT: "0", f"{EXPECTED_SUBJECT}-Subject": "t.*"}, {"stream": "S", "seq": 4}),
    (
        "s.c",
        {f"{EXPECTED_SUBJECT}-Subject": "s.b"},
        _error(400, 10193, "missing sequence for expected last sequence per subject"),
    ),
    ("s.a", {"Nats-Expected-Last-Msg-Id": "one"}, _error(400, 10070, "wrong last msg ID: ")),
    ("s.a", {"Nats-Msg-Id": "one"}, {"stream": "S", "seq": 1, "duplicate": True}),
    # an expected sequence wins over the duplicate, the duplicate over everything behind it
    ("s.a", {"Nats-Msg-Id": "one", EXPECTED: "1"}, _wrong_last(3)),
    ("s.a", {"Nats-Msg-Id": "one", EXPECTED_SUBJECT: "1"}, _wrong_last(3)),
    ("s.a", {"Nats-Msg-Id": "one", "Nats-Rollup": "all"}, {"stream": "S", "seq": 1, "duplicate": True}),
    (
        "s.a",
        {"Nats-Msg-Id": "one", "Nats-Expected-Last-Msg-Id": "x"},
        {"stream": "S", "seq": 1, "duplicate": True},
    ),
    (
        "s.a",
        {"Nats-Expected-Stream": "T", EXPECTED: "9"},
        _error(400, 10060, "expected stream does not match"),
    ),
    ("s.a", {"Nats-Rollup": "all"}, _error(500, 10111, "rollup not permitted")),
    ("s.a", {"Nats-TTL": "1"}, _error(400, 10166, "per-message TTL is disabled")),
    ("s.a", {"Nats-Incr": "1"}, _error(400, 10168, "message counters is disabled")),
    ("s.a", {"Nats-Incr": "x"}, _error(400, 10171, "message counter increment is invalid")),
    ("s.a", {"Nats-Schedule": "@every 5s"}, _error(400, 10188, "message schedules is disabled")),
    (
        "s.a",
        {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"},
        _error(400, 10174, "atomic publish is disabled"),
    ),
    (
        "s.a",
        {"Nats-Stream-Source": "x 1 > > s.a id"},
        _error(400, 10227, "message stream source header is not allowed"),
    ),
    # header names are what they are
    ("s.a", {"nats-msg-id": "one"}, {"stream": "S", "seq": 4}),
    ("s.a", {"nats-expected-stream": "T"}, {"stream": "S", "seq": 4}),
]


@pytest.mark.parametrize(("subject", "headers", "answer"), CHECKS)
async def test_headers_are_checked(
    js: JsClient, subject: str, headers: dict[str, str], answer: dict[str, Any]
) -> None:
    await js.stream()
    await js.publish("s.a", headers={"Nats-Msg-Id": "one"})
    await js.fill("s.b", "s.a")
    assert await js.publish(subject, headers=headers) == answer
    assert (await js.seqs())[2] == (4 if answer["seq"] == 4 else 3)


async def test_last_msg_id(js: JsClient) -> None:
    await js.stream()
    await js.publish("s.a", headers={"Nats-Msg-Id": "one"})
    ack = await js.publish("s.a", headers={"Nats-Msg-Id": "two", "Nats-Expected-Last-Msg-Id": "one"})
    assert ack == {"stream": "S", "seq": 2}
    ack = await js.publish("s.a", headers={"Nats-Expected-Last-Msg-Id": "one"})
    assert ack == _error(400, 10070, "wrong last msg ID: two")


@STORAGE
async def test_a_deleted_message_is_not_the_last_of_its_subject(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    await js.fill("s.a", "s.a", "s.b")
    await js.good("STREAM.MSG.DELETE.S", {"seq": 2})
    assert await js.publish("s.a", headers={EXPECTED_SUBJECT: "2"}) == _wrong_last(1)
    assert await js.publish("s.a", headers={EXPECTED_SUBJECT: "1"}) == {"stream": "S", "seq": 4}
    await js.good("STREAM.PURGE.S", {"filter": "s.a"})
    assert await js.publish("s.a", headers={EXPECTED_SUBJECT: "0"}) == {"stream": "S", "seq": 5}


async def test_duplicates_outlive_a_purge(js: JsClient) -> None:
    await js.stream()
    await js.publish("s.a", headers={"Nats-Msg-Id": "one"})
    await js.good("STREAM.PURGE.S")
    ack = await js.publish("s.a", headers={"Nats-Msg-Id": "one"})
    assert ack == {"stream": "S", "seq": 1, "duplicate": True}


async def test_duplicates_are_forgotten_after_the_window(js: JsClient) -> None:
    await js.stream(duplicate_window=S_NS // 10)
    await js.publish("s.a", headers={"Nats-Msg-Id": "one"})

    async def duplicate() -> bool:
        return "duplicate" in await js.publish("s.a", headers={"Nats-Msg-Id": "one"})

    await js.until(duplicate, False)
    assert await js.seqs() == (2, 1, 2)


async def test_a_value_keeps_its_trailing_blanks_and_loses_leading_ones(js: JsClient) -> None:
    await js.stream()
    await js.publish("s.a", b"x", b"NATS/1.0\r\nNats-Msg-Id:one\r\n\r\n")
    again = await js.publish("s.a", b"x", b"NATS/1.0\r\nNats-Msg-Id:   one\r\n\r\n")
    assert again == {"stream": "S", "seq": 1, "duplicate": True}
    other = await js.publish("s.a", b"x", b"NATS/1.0\r\nNats-Msg-Id: one \r\n\r\n")
    assert other == {"stream": "S", "seq": 2}


@STORAGE
async def test_headers_are_kept_as_sent(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, allow_direct=True)
    head = b"NATS/1.0\r\nb: 2\r\nA:1\r\nb:  3 \r\nNats-Msg-Id: x\r\n\r\n"
    await js.publish("s.a", b"body\r\n\0", head)
    await js.consumer()
    message = (await js.fetch(1))[0]
    assert (message.subject, message.head, message.payload) == ("s.a", head, b"body\r\n\0")


async def test_an_empty_message(js: JsClient) -> None:
    await js.stream()
    await js.publish("s.a", b"")
    assert await js.stored(1) == {"subject": "s.a", "seq": 1}


@STORAGE
@pytest.mark.parametrize("value", ["sub", "SUB", "all", "All"])
async def test_rollup(js: JsClient, storage: str, value: str) -> None:
    await js.stream(storage=storage, allow_rollup_hdrs=True)
    await js.fill("s.a", "s.b", "s.a", "s.b")
    assert await js.publish("s.a", b"5", {"Nats-Rollup": value}) == {"stream": "S", "seq": 5}
    if value.lower() == "sub":
        assert await js.state() == {
            "messages": 3,
            "bytes": (await js.state())["bytes"],
            "first_seq": 2,
            "last_seq": 5,
            "num_subjects": 2,
            "num_deleted": 1,
            "consumer_count": 0,
        }
    else:
        assert await js.seqs() == (1, 5, 5)
    message = await js.stored(5)
    assert message is not None
    assert message["subject"] == "s.a"


async def test_rollup_of_nonsense(js: JsClient) -> None:
    await js.stream(allow_rollup_hdrs=True)
    ack = await js.publish("s.a", headers={"Nats-Rollup": "bogus"})
    assert ack == _error(500, 10111, 'rollup value invalid: "bogus"')


async def test_size_limit_counts_headers_and_payload(js: JsClient) -> None:
    await js.stream(max_msg_size=50)
    assert await js.publish("s.a", b"x" * 50) == {"stream": "S", "seq": 1}
    refusal = _error(400, 10054, "message size exceeds maximum allowed")
    assert await js.publish("s.a", b"x" * 51) == refusal
    head = b"NATS/1.0\r\nA: 1\r\n\r\n"
    assert await js.publish("s.a", b"x" * (50 - len(head)), head) == {"stream": "S", "seq": 2}
    assert await js.publish("s.a", b"x" * (51 - len(head)), head) == refusal


async def test_header_block_limit(js: JsClient) -> None:
    await js.stream()
    ack = await js.publish("s.a", b"x", {"A": "x" * 65_536})
    assert ack == _error(400, 10097, "header size exceeds maximum allowed of 64k")


async def test_transform_comes_before_the_checks(js: JsClient) -> None:
    await js.stream(subjects=["in.*"], subject_transform={"src": "in.*", "dest": "out.$1"})
    assert await js.publish("in.a", headers={EXPECTED_SUBJECT: "0"}) == {"stream": "S", "seq": 1}
    assert await js.publish("in.a", headers={EXPECTED_SUBJECT: "0"}) == _wrong_last(1)
    message = await js.stored(1)
    assert message is not None
    assert message["subject"] == "out.a"


TRANSFORMED = [
    ("{{wildcard(1)}}.x", "abc", "abc.x"),
    ("p.{{partition(10,1)}}", "abc", "p.1"),
    ("{{split(1,-)}}", "a-b-c", "a.b.c"),
    ("{{splitfromleft(1,2)}}", "abcdef", "ab.cdef"),
    ("{{SplitFromRight(1, 2)}}", "abcdef", "abcd.ef"),
    ("{{slicefromleft(1,4)}}", "abcdef", "abcd.ef"),
    ("{{slicefromright(1,4)}}", "abcdef", "ab.cdef"),
    ("{{left(1,2)}}", "abcdef", "ab"),
    ("{{right(1,2)}}", "abcdef", "ef"),
    ("{{right(1,20)}}", "abcdef", "abcdef"),
    ("fixed", "abc", "fixed"),
]


@pytest.mark.parametrize(("dest", "token", "subject"), TRANSFORMED)
async def test_transform_functions(js: JsClient, dest: str, token: str, subject: str) -> None:
    await js.stream(subjects=["in.*"], subject_transform={"src": "in.*", "dest": dest})
    await js.publish(f"in.{token}")
    message = await js.stored(1)
    assert message is not None
    assert message["subject"] == subject


async def test_republish(js: JsClient) -> None:
    await js.stream(republish={"src": "s.*", "dest": "copy.$1"})
    copies = js.subscribe("copy.>")
    await js.publish("s.a", b"one", {"A": "1"})
    await js.publish("s.b", b"two")
    await js.publish("s.a", b"three")
    first, second, third = await copies.take(3)
    time = first.headers["Nats-Time-Stamp"]
    assert first.head.decode() == (
        f"NATS/1.0\r\nA: 1\r\nNats-Stream: S\r\nNats-Subject: s.a\r\nNats-Sequence: 1\r\n"
        f"Nats-Time-Stamp: {time}\r\nNats-Last-Sequence: 0\r\n\r\n"
    )
    assert time.endswith("Z")
    assert (first.subject, first.payload, first.reply) == ("copy.a", b"one", "")
    assert second.headers["Nats-Last-Sequence"] == "0"
    assert (third.headers["Nats-Sequence"], third.headers["Nats-Last-Sequence"]) == ("3", "1")


async def test_republish_of_headers_only(js: JsClient) -> None:
    await js.stream(republish={"src": "s.a", "dest": "copy", "headers_only": True})
    copies = js.subscribe("copy")
    await js.fill("s.b", "s.a")
    copy = await copies.next()
    assert copy.payload == b""
    assert (copy.headers["Nats-Msg-Size"], copy.headers["Nats-Sequence"]) == ("1", "2")
    await copies.silence()
