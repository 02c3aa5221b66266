"""Reading and removing: purge, message delete, message get, direct get (jetstream.md 5.1 - 5.3)."""

import base64
from typing import Any

import pytest
from tests.support.jetstream import JsClient, Message
from tests.support.rows import each

STORAGE = pytest.mark.parametrize("storage", ["file", "memory"])
BAD = (400, 10003, "bad request")
NOT_FOUND = (404, 10037, "no message found")

# on 1:a 2:b 3:a 4:c 5:b 6:a: body, how many are purged, what is left
PURGES: list[tuple[dict[str, Any] | None, int, list[int]]] = [
    (None, 6, []),
    ({}, 6, []),
    ({"filter": "s.a"}, 3, [2, 4, 5]),
    ({"filter": "s.*"}, 6, []),
    ({"filter": ">"}, 6, []),
    ({"filter": "s.none"}, 0, [1, 2, 3, 4, 5, 6]),
    ({"seq": 1}, 0, [1, 2, 3, 4, 5, 6]),
    ({"seq": 4}, 3, [4, 5, 6]),
    ({"seq": 7}, 6, []),
    ({"keep": 2}, 4, [5, 6]),
    ({"keep": 6}, 0, [1, 2, 3, 4, 5, 6]),
    ({"keep": 60}, 0, [1, 2, 3, 4, 5, 6]),
    ({"keep": 0}, 6, []),
    ({"filter": "s.a", "seq": 6}, 2, [2, 4, 5, 6]),
    ({"filter": "s.a", "keep": 1}, 2, [2, 4, 5, 6]),
    ({"filter": "s.*", "keep": 2}, 4, [5, 6]),
    ({"filter": "s.b", "seq": 100}, 2, [1, 3, 4, 6]),
]


@STORAGE
@pytest.mark.parametrize(("body", "purged", "left"), PURGES)
async def test_purge(
    js: JsClient, storage: str, body: dict[str, Any] | None, purged: int, left: list[int]
) -> None:
    await js.stream(storage=storage)
    await js.fill("s.a", "s.b", "s.a", "s.c", "s.b", "s.a")
    answer = await js.good("STREAM.PURGE.S", body)
    assert {k: v for k, v in answer.items() if k != "type"} == {"success": True, "purged": purged}
    assert [seq for seq in range(1, 7) if await js.stored(seq)] == left
    assert await js.seqs() == (len(left), left[0] if left else 7, 6)


@STORAGE
async def test_purge_up_to_a_sequence_that_is_not_there_yet(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    await js.fill("s.a", "s.b")
    assert (await js.good("STREAM.PURGE.S", {"seq": 50}))["purged"] == 2
    assert await js.seqs() == (0, 50, 49)
    assert (await js.publish("s.a"))["seq"] == 50


async def test_purge_refused(js: JsClient) -> None:
    await js.stream("D", deny_purge=True)
    assert await js.refused("STREAM.PURGE.D") == (500, 10110, "stream purge not permitted")
    await js.stream()
    assert await js.refused("STREAM.PURGE.S", {"seq": 5, "keep": 1}) == BAD


@STORAGE
async def test_delete_message(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    await js.fill("s.a", "s.b", "s.c")
    for seq, body in ((2, {}), (1, {"no_erase": True})):
        answer = await js.good("STREAM.MSG.DELETE.S", {"seq": seq, **body})
        assert answer["success"] is True
        assert await js.stored(seq) is None
    assert await js.seqs() == (1, 3, 3)


@STORAGE
async def test_holes_are_counted_and_listed(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage)
    await js.fill(*["s.a"] * 6)
    for seq in (2, 4, 5):
        await js.good("STREAM.MSG.DELETE.S", {"seq": seq})
    assert (await js.state())["num_deleted"] == 3
    assert (await js.state(deleted_details=True))["deleted"] == [2, 4, 5]
    await js.good("STREAM.MSG.DELETE.S", {"seq": 1})
    state = await js.state(deleted_details=True)
    assert (state["first_seq"], state["deleted"], state["num_deleted"]) == (3, [4, 5], 2)
    await js.good("STREAM.MSG.DELETE.S", {"seq": 6})
    state = await js.state(deleted_details=True)
    assert (state["last_seq"], state["deleted"], state["messages"]) == (6, [4, 5, 6], 1)


async def test_delete_message_refused(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a")
    assert await js.refused("STREAM.MSG.DELETE.S") == BAD
    await js.good("STREAM.MSG.DELETE.S", {"seq": 1})
    assert await js.refused("STREAM.MSG.DELETE.S", {"seq": 1}) == (500, 10057, "no message found")
    assert await js.refused("STREAM.MSG.DELETE.S", {"seq": 9}) == (500, 10057, "stream store EOF")
    await js.fill("s.a", "s.b", "s.c")
    await js.good("STREAM.MSG.DELETE.S", {"seq": 3})  # between others that are there
    assert await js.refused("STREAM.MSG.DELETE.S", {"seq": 3}) == (400, 10043, "sequence 3 not found")
    await js.stream("D", deny_delete=True)
    await js.fill("d.a")
    assert await js.refused("STREAM.MSG.DELETE.D", {"seq": 1}) == (500, 10057, "message delete not permitted")
    await js.stream("M", storage="memory")
    assert await js.refused("STREAM.MSG.DELETE.M", {"seq": 7}) == (400, 10043, "sequence 7 not found")


# on 1:a 2:b 3:a: body, sequence or refusal
GETS: list[tuple[dict[str, Any] | None, int | tuple[int, int, str]]] = [
    ({"seq": 1}, 1),
    ({"seq": 3}, 3),
    ({"seq": 4}, NOT_FOUND),
    ({"last_by_subj": "s.a"}, 3),
    ({"last_by_subj": "s.b"}, 2),
    ({"last_by_subj": "s.*"}, 3),
    ({"last_by_subj": "s.none"}, NOT_FOUND),
    ({"next_by_subj": "s.a"}, 1),
    ({"next_by_subj": "s.a", "seq": 2}, 3),
    ({"next_by_subj": "s.b", "seq": 3}, NOT_FOUND),
    ({"next_by_subj": "s.*", "seq": 2}, 2),
    ({"next_by_subj": "s.none"}, NOT_FOUND),
    ({"start_time": "2020-01-01T00:00:00Z"}, 1),
    ({"start_time": "2020-01-01T00:00:00Z", "next_by_subj": "s.b"}, 2),
    ({"start_time": "2090-01-01T00:00:00Z"}, NOT_FOUND),
    (None, BAD),
    ({}, BAD),
    ({"seq": 1, "last_by_subj": "s.a"}, BAD),
    ({"last_by_subj": "s.a", "next_by_subj": "s.a"}, BAD),
    ({"seq": 1, "start_time": "2020-01-01T00:00:00Z"}, BAD),
    ({"multi_last": ["s.a"]}, BAD),
    ({"seq": 1, "batch": 2}, BAD),
    ({"seq": 1, "max_bytes": 2}, BAD),
]


@pytest.fixture
async def three(js: JsClient, storage: str) -> JsClient:
    """1:a 2:b 3:a"""
    await js.stream(storage=storage)
    await js.fill("s.a", "s.b", "s.a")
    return js


@STORAGE
@each(("body", "result"), GETS)
async def test_get(
    three: JsClient, storage: str, body: dict[str, Any] | None, result: int | tuple[int, int, str]
) -> None:
    js = three
    if isinstance(result, tuple):
        assert await js.refused("STREAM.MSG.GET.S", body) == result
    else:
        assert (await js.good("STREAM.MSG.GET.S", body))["message"]["seq"] == result


async def test_get_answer(js: JsClient) -> None:
    await js.stream()
    await js.publish("s.a", b"hello", {"Nats-Msg-Id": "1"})
    message = (await js.good("STREAM.MSG.GET.S", {"seq": 1}))["message"]
    assert list(message) == ["subject", "seq", "hdrs", "data", "time"]
    assert base64.b64decode(message["hdrs"]) == b"NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n"
    assert base64.b64decode(message["data"]) == b"hello"
    message = (await js.good("STREAM.MSG.GET.S", {"seq": 1, "no_hdr": True}))["message"]
    assert list(message) == ["subject", "seq", "data", "time"]


# -- direct get


def _timeless(message: Message) -> str:
    """Status and headers without the time."""
    lines = message.head.decode().split("\r\n")
    return "|".join(line.removeprefix("Nats-") for line in lines if line and "Time-Stamp" not in line)


async def _direct(js: JsClient, body: bytes, subject: str, count: int) -> list[str]:
    """So many answers, of which there is a silence behind."""
    inbox = js.inbox()
    js.send(f"$JS.API.DIRECT.GET.S{subject}", body, reply=inbox.subject)
    answers = await inbox.take(count)  # nats-server answers these beside the API
    await js.sync()
    return [_timeless(message) for message in (*answers, *inbox.queue)]


async def _four(js: JsClient) -> None:
    """1:a 2:b 3:a 4:b"""
    await js.stream(allow_direct=True)
    await js.fill("s.a", "s.b", "s.a", "s.b")


def _one(subject: str, seq: int) -> str:
    return f"NATS/1.0|Stream: S|Subject: {subject}|Sequence: {seq}"


def _of_batch(subject: str, seq: int, pending: int, last: int) -> str:
    return f"{_one(subject, seq)}|Num-Pending: {pending}|Last-Sequence: {last}"


def _end(pending: int, last: int, up_to: int = 0) -> str:
    more = f"|UpTo-Sequence: {up_to}" if up_to else ""
    return f"NATS/1.0 204 EOB|Num-Pending: {pending}|Last-Sequence: {last}{more}"


MESSAGE_NOT_FOUND = "NATS/1.0 404 Message Not Found"
NO_RESULTS = "NATS/1.0 404 No Results"
DIRECT: list[tuple[str, list[str]]] = [
    ('{"seq":2}', [_one("s.b", 2)]),
    ('{"seq":9}', [MESSAGE_NOT_FOUND]),
    ('{"last_by_subj":"s.a"}', [_one("s.a", 3)]),
    ('{"last_by_subj":"s.*"}', [_one("s.b", 4)]),
    ('{"last_by_subj":"s.none"}', [MESSAGE_NOT_FOUND]),
    ('{"next_by_subj":"s.a"}', [_one("s.a", 1)]),
    ('{"next_by_subj":"s.a","seq":2}', [_one("s.a", 3)]),
    ('{"next_by_subj":"s.a","seq":4}', [MESSAGE_NOT_FOUND]),
    ('{"start_time":"2020-01-01T00:00:00Z"}', [_one("s.a", 1)]),
    ('{"start_time":"2090-01-01T00:00:00Z"}', [MESSAGE_NOT_FOUND]),
    ("{}", ["NATS/1.0 408 Empty Request"]),
    ("", ["NATS/1.0 408 Empty Request"]),
    ("junk", ["NATS/1.0 408 Malformed Request"]),
    ('{"seq":1,"last_by_subj":"s.a"}', ["NATS/1.0 408 Bad Request"]),
    ('{"batch":2}', ["NATS/1.0 408 Empty Request"]),
    ('{"seq":1,"multi_last":["s.a"]}', [_of_batch("s.a", 3, 0, 0), _end(0, 3, 4)]),
    ('{"bogus":1,"seq":1}', [_one("s.a", 1)]),
    (
        '{"seq":1,"batch":3}',
        [
            _of_batch("s.a", 1, 3, 0),
            _of_batch("s.b", 2, 2, 1),
            _of_batch("s.a", 3, 1, 2),
            _end(1, 3),
        ],
    ),
    ('{"seq":4,"batch":3}', [_of_batch("s.b", 4, 0, 0), _end(0, 4)]),
    ('{"seq":5,"batch":3}', [MESSAGE_NOT_FOUND]),
    (
        '{"seq":1,"batch":5,"next_by_subj":"s.b"}',
        [_of_batch("s.b", 2, 1, 0), _of_batch("s.b", 4, 0, 2), _end(0, 4)],
    ),
    ('{"seq":1,"batch":1,"next_by_subj":"s.b"}', [_of_batch("s.b", 2, 1, 0), _end(1, 2)]),
    ('{"seq":1,"batch":4,"max_bytes":1}', [_of_batch("s.a", 1, 3, 0), _end(3, 1)]),
    ('{"multi_last":["s.>"]}', [_of_batch("s.a", 3, 1, 0), _of_batch("s.b", 4, 0, 3), _end(0, 4, 4)]),
    ('{"multi_last":["s.a","s.none"]}', [_of_batch("s.a", 3, 0, 0), _end(0, 3, 4)]),
    ('{"multi_last":["s.none"]}', [NO_RESULTS]),
    (
        '{"multi_last":["s.>"],"up_to_seq":2}',
        [_of_batch("s.a", 1, 1, 0), _of_batch("s.b", 2, 0, 1), _end(0, 2, 2)],
    ),
    ('{"multi_last":["s.>"],"up_to_time":"2020-01-01T00:00:00Z"}', [NO_RESULTS]),
    ('{"multi_last":["s.>"],"batch":1}', [_of_batch("s.a", 3, 1, 0), _end(1, 3, 4)]),
]


@pytest.fixture
async def four(js: JsClient) -> JsClient:
    await _four(js)
    return js


@each(("body", "answers"), DIRECT)
async def test_direct(four: JsClient, body: str, answers: list[str]) -> None:
    assert await _direct(four, body.encode(), "", len(answers)) == answers


@pytest.mark.parametrize(
    ("subject", "body", "answers"),
    [
        (".s.a", "", [_one("s.a", 3)]),
        (".s.*", "", [_one("s.b", 4)]),
        (".s.none", "", [MESSAGE_NOT_FOUND]),
        (".s.a", '{"seq":1}', ["NATS/1.0 408 Bad Request"]),
        (".s.a", "{}", [_one("s.a", 3)]),
    ],
)
async def test_direct_by_subject(js: JsClient, subject: str, body: str, answers: list[str]) -> None:
    await _four(js)
    assert await _direct(js, body.encode(), subject, len(answers)) == answers


@STORAGE
async def test_direct_keeps_headers_and_payload(js: JsClient, storage: str) -> None:
    await js.stream(storage=storage, allow_direct=True)
    await js.publish("s.a", b"hello", {"A": "1", "B": "2"})
    answer = await js.request("$JS.API.DIRECT.GET.S.s.a")
    time = (await js.good("STREAM.MSG.GET.S", {"seq": 1}))["message"]["time"]
    assert answer.head.decode() == (
        "NATS/1.0\r\nA: 1\r\nB: 2\r\nNats-Stream: S\r\nNats-Subject: s.a\r\nNats-Sequence: 1\r\n"
        f"Nats-Time-Stamp: {time}\r\n\r\n"
    )
    assert answer.payload == b"hello"
    bare = await js.request("$JS.API.DIRECT.GET.S", b'{"seq":1,"no_hdr":true}')
    assert (bare.head, bare.payload) == (b"", b"hello")


async def test_direct_switched_on_and_off(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a")
    assert (await js.request("$JS.API.DIRECT.GET.S.s.a")).status == "503"
    await js.update(subjects=["s.>"], allow_direct=True)
    assert (await js.request("$JS.API.DIRECT.GET.S.s.a")).payload == b"1"
    await js.update(subjects=["s.>"])
    assert (await js.request("$JS.API.DIRECT.GET.S.s.a")).status == "503"


# -- lists


async def test_names_and_lists(js: JsClient) -> None:
    for name in ("B", "A", "C"):
        await js.stream(name)
    names = await js.good("STREAM.NAMES")
    assert {k: v for k, v in names.items() if k != "type"} == {
        "total": 3,
        "offset": 0,
        "limit": 1024,
        "streams": ["A", "B", "C"],
    }
    listed = await js.good("STREAM.LIST")
    assert [stream["config"]["name"] for stream in listed["streams"]] == ["A", "B", "C"]
    assert (listed["total"], listed["offset"], listed["limit"]) == (3, 0, 256)
    assert list(listed["streams"][0]) == ["config", "created", "state", "ts"]
    assert listed["streams"][0]["config"]["metadata"] == {"_nats.req.level": "0"}


@pytest.mark.parametrize(
    ("offset", "seen", "streams"),
    [(0, 0, ["A", "B"]), (1, 1, ["B"]), (2, 2, None), (9, 2, None), (-5, 0, ["A", "B"])],
)
async def test_paging(js: JsClient, offset: int, seen: int, streams: list[str] | None) -> None:
    await js.stream("A")
    await js.stream("B")
    answer = await js.good("STREAM.NAMES", {"offset": offset})
    assert (answer["total"], answer["offset"], answer["streams"] or None) == (2, seen, streams)


@pytest.mark.parametrize(
    ("subject", "streams"),
    [
        ("a.x", ["A"]),
        ("a.>", ["A"]),
        ("*.x", ["A", "B"]),
        (">", ["A", "B"]),
        ("c", None),
        ("b.*", ["B"]),
        ("a", None),
    ],
)
async def test_streams_by_subject(js: JsClient, subject: str, streams: list[str] | None) -> None:
    await js.stream("A")
    await js.stream("B", subjects=["b.*", "bb"])
    answer = await js.good("STREAM.NAMES", {"subject": subject})
    assert answer["streams"] == streams


async def test_subject_details(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a", "s.b", "s.a", "s.c.d")
    answer = await js.good("STREAM.INFO.S", {"subjects_filter": "s.*"})
    assert (answer["total"], answer["offset"], answer["limit"]) == (2, 0, 100_000)
    assert answer["state"]["subjects"] == {"s.a": 2, "s.b": 1}
    assert answer["state"]["num_subjects"] == 3
    answer = await js.good("STREAM.INFO.S", {"subjects_filter": "none"})
    assert (answer["total"], answer["limit"]) == (0, 0)
    assert "subjects" not in answer["state"]


async def test_info_answer(js: JsClient) -> None:
    await js.stream()
    await js.consumer()
    answer = await js.good("STREAM.INFO.S")
    assert list(answer) == [
        *("type", "total", "offset", "limit", "config", "created", "state", "cluster", "ts"),
    ]
    assert answer["cluster"] == {"leader": "JS"}
    assert answer["state"]["consumer_count"] == 1


async def test_deleted_stream_is_gone(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a")
    answer = await js.good("STREAM.DELETE.S")
    assert {k: v for k, v in answer.items() if k != "type"} == {"success": True}
    assert (await js.request("s.a")).status == "503"
    await js.stream()
    assert await js.seqs() == (0, 0, 0)
    assert (await js.publish("s.a"))["seq"] == 1


async def test_direct_get_where_nobody_serves_it(js: JsClient) -> None:
    await js.stream("OFF", allow_direct=False)
    for subject in ("OFF", "OFF.off.a", "NONE", "NONE.a.b"):
        answer = await js.request(f"$JS.API.DIRECT.GET.{subject}", b'{"seq":1}')
        assert answer.head == f"NATS/1.0 503\r\nNats-Subject: $JS.API.DIRECT.GET.{subject}\r\n\r\n".encode()


async def test_snapshot_waits_for_its_receiver(js: JsClient) -> None:
    """Clients ask with the inbox of their requests, and subscribe to the subject itself when they have the answer."""
    await js.stream()
    await js.fill("s.a")
    requests = js.subscribe("_WILD.*")
    await js.good("STREAM.SNAPSHOT.S", {"deliver_subject": "_WILD.x", "chunk_size": 1024})
    await requests.silence()
    receiver = js.subscribe("_WILD.x")
    assert len((await receiver.next()).payload) > 0
    assert (await receiver.next()).payload == b""
