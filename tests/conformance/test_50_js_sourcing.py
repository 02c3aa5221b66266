"""Mirrors and sources: what of an origin arrives, as what, and what info says of it (jetstream.md 2.9)."""

import base64
import itertools
import re
from typing import Any

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, at_once

NOT_FOUND = {"code": 404, "err_code": 10059, "description": "stream not found"}


async def _arrived(js: JsClient, stream: str, messages: int) -> None:
    async def count() -> object:
        return (await js.state(stream))["messages"]

    await js.until(count, messages)


async def _all(js: JsClient, stream: str) -> list[tuple[int, str, bytes]]:
    """Sequence, subject and body of every message."""
    state = await js.state(stream)
    found = []
    for seq in range(state["first_seq"], state["last_seq"] + 1):
        message = await js.stored(seq, stream)
        if message is not None:
            found.append((seq, message["subject"], base64.b64decode(message["data"])))
    return found


async def _head(js: JsClient, seq: int, stream: str) -> bytes:
    message = await js.stored(seq, stream)
    assert message is not None
    return base64.b64decode(message.get("hdrs", ""))


async def _times(js: JsClient, stream: str) -> list[str]:
    state = await js.state(stream)
    answers = [
        await js.good(f"STREAM.MSG.GET.{stream}", {"seq": seq})
        for seq in range(state["first_seq"], state["last_seq"] + 1)
    ]
    return [answer["message"]["time"] for answer in answers]


@pytest.mark.parametrize("storage", ["file", "memory"])
async def test_mirror_is_the_same(js: JsClient, storage: str) -> None:
    await js.stream("O", storage=storage)
    await js.fill("o.a", "o.b", headers={"X": "1"})
    await js.stream("M", mirror={"name": "O"}, storage=storage)
    await _arrived(js, "M", 2)
    await js.fill("o.c")
    await _arrived(js, "M", 3)
    assert await _all(js, "M") == [(1, "o.a", b"1"), (2, "o.b", b"2"), (3, "o.c", b"1")]
    assert await _head(js, 1, "M") == b"NATS/1.0\r\nX: 1\r\n\r\n"
    assert await _times(js, "M") == await _times(js, "O")


async def test_mirror_has_no_subjects(js: JsClient) -> None:
    await js.stream("O")
    answer = await js.stream("M", mirror={"name": "O"})
    assert "subjects" not in answer["config"]
    assert "duplicate_window" not in answer["config"]
    assert answer["config"]["mirror"] == {"name": "O"}


async def test_mirror_of_what_was_removed(js: JsClient) -> None:
    await js.stream("O")
    await js.fill("o.a", "o.b", "o.c", "o.d")
    await js.good("STREAM.MSG.DELETE.O", {"seq": 1})
    await js.good("STREAM.MSG.DELETE.O", {"seq": 3})
    await js.stream("M", mirror={"name": "O"})
    await _arrived(js, "M", 2)
    assert await js.seqs("M") == (2, 2, 4)
    assert [seq for seq, _, _ in await _all(js, "M")] == [2, 4]


@pytest.mark.parametrize(
    ("start", "first"), [({"opt_start_seq": 2}, 2), ({"filter_subject": "o.c"}, 3), ({"opt_start_seq": 9}, 0)]
)
async def test_mirror_begins(js: JsClient, start: dict[str, Any], first: int) -> None:
    await js.stream("O")
    await js.fill("o.a", "o.b", "o.c")
    await js.stream("M", mirror={"name": "O", **start})
    if first:
        await _arrived(js, "M", 4 - first)
        assert (await js.seqs("M"))[1:] == (first, 3)
    else:
        assert (await js.state("M"))["messages"] == 0


async def test_mirror_begins_at_a_time(js: JsClient) -> None:
    await js.stream("O")
    await js.fill("o.a", "o.b")
    second = (await _times(js, "O"))[1]
    await js.stream("M", mirror={"name": "O", "opt_start_time": second})
    await _arrived(js, "M", 1)
    assert await _all(js, "M") == [(2, "o.b", b"2")]


async def test_mirror_renames(js: JsClient) -> None:
    await js.stream("O")
    await js.fill("o.a", "o.x.y", "o.b")
    transforms = [{"src": "o.*", "dest": "m.$1"}]
    await js.stream("M", mirror={"name": "O", "subject_transforms": transforms})
    await _arrived(js, "M", 2)
    assert await _all(js, "M") == [(1, "m.a", b"1"), (3, "m.b", b"3")]
    mirror = (await js.good("STREAM.INFO.M"))["mirror"]
    assert mirror["subject_transforms"] == transforms


async def test_mirror_info(js: JsClient) -> None:
    await js.stream("O")
    await js.fill("o.a", "o.b")
    await js.stream("M", mirror={"name": "O", "filter_subject": "o.a"})
    await _arrived(js, "M", 1)
    mirror = (await js.good("STREAM.INFO.M"))["mirror"]
    assert list(mirror) == ["name", "lag", "active", "filter_subject"]
    assert mirror["name"] == "O"
    assert mirror["lag"] == 0
    assert 0 <= mirror["active"] < 10_000_000_000


async def test_missing_origin(js: JsClient) -> None:
    await js.stream("M", mirror={"name": "NONE"})

    async def problem() -> object:
        return (await js.good("STREAM.INFO.M"))["mirror"].get("error")

    await js.until(problem, NOT_FOUND)
    mirror = (await js.good("STREAM.INFO.M"))["mirror"]
    assert (mirror["lag"], mirror["active"]) == (0, -1)


async def test_nobody_publishes_to_a_mirror(js: JsClient) -> None:
    await js.stream("O", subjects=["o.>"])
    await js.stream("M", mirror={"name": "O"})
    assert (await js.request("M", b"x")).status == "503"


async def test_promotion(js: JsClient) -> None:
    await js.stream("O")
    await js.fill("o.a")
    await js.stream("M", mirror={"name": "O"})
    await _arrived(js, "M", 1)
    await js.update("M", subjects=["m.>"])
    assert await js.publish("m.x") == {"stream": "M", "seq": 2}
    await js.fill("o.b")
    assert "mirror" not in await js.good("STREAM.INFO.M")
    assert await js.seqs("M") == (2, 1, 2)


async def test_mirror_answers_direct_gets(js: JsClient) -> None:
    await js.stream("O", allow_direct=True)
    await js.fill("o.a")
    answer = await js.stream("M", mirror={"name": "O"})
    assert answer["config"]["mirror_direct"] is True
    await _arrived(js, "M", 1)

    async def who() -> object:
        return (await js.request("$JS.API.DIRECT.GET.O.o.a")).headers["Nats-Stream"]

    await js.until(who, "M")


@pytest.mark.parametrize("mirror", ["M", "LONGER_NAME"])
async def test_direct_get_by_a_mirror_of_any_name(js: JsClient, mirror: str) -> None:
    await js.stream("ORIGIN", allow_direct=True)
    await js.fill("origin.a")
    await js.stream(mirror, mirror={"name": "ORIGIN"})
    await _arrived(js, mirror, 1)
    seen: set[object] = set()

    async def both() -> bool:
        answer = await js.request("$JS.API.DIRECT.GET.ORIGIN.origin.a")
        assert answer.payload == b"1"
        seen.add(answer.headers["Nats-Stream"])
        return seen == {"ORIGIN", mirror}

    await js.until(both, True)


async def test_mirror_drops_what_was_asked_of_its_origin(js: JsClient) -> None:
    await js.stream("O")
    await js.fill("o.a", headers={"Nats-Expected-Last-Subject-Sequence": "0", "N": "1"})
    await js.stream("M", mirror={"name": "O"})
    await _arrived(js, "M", 1)
    message = await js.stored(1, "M")
    assert message is not None
    assert base64.b64decode(message["hdrs"]) == b"NATS/1.0\r\nN: 1\r\n\r\n"


# --- sources


async def _source(js: JsClient, *sources: dict[str, Any], **config: Any) -> None:
    await js.stream("S", sources=list(sources), **config)


async def test_source_header(js: JsClient) -> None:
    await js.stream("O")
    await js.fill("o.a")
    await _source(js, {"name": "O"})
    await _arrived(js, "S", 1)
    head = await _head(js, 1, "S")
    assert re.fullmatch(rb"NATS/1\.0\r\nNats-Stream-Source: O 1 > > o\.a [0-9A-Za-z]{8}\r\n\r\n", head), head


async def test_source_keeps_other_headers(js: JsClient) -> None:
    await js.stream("O")
    headers = {"A": "1", "Nats-Expected-Stream": "O", "Nats-Msg-Id": "m", "B": "2"}
    await js.fill("o.a", headers=headers)
    await _source(js, {"name": "O", "filter_subject": "o.*"})
    await _arrived(js, "S", 1)
    lines = (await _head(js, 1, "S")).split(b"\r\n")
    assert lines[:4] == [b"NATS/1.0", b"A: 1", b"Nats-Msg-Id: m", b"B: 2"]
    assert lines[4].startswith(b"Nats-Stream-Source: O 1 o.* > o.a ")
    assert lines[5:] == [b"", b""]


async def test_source_of_a_source(js: JsClient) -> None:
    await js.stream("O")
    await js.fill("o.a")
    await js.stream("P", sources=[{"name": "O"}])
    await _arrived(js, "P", 1)
    await _source(js, {"name": "P"})
    await _arrived(js, "S", 1)
    head = await _head(js, 1, "S")
    assert head.count(b"Nats-Stream-Source") == 1
    assert b"Nats-Stream-Source: P 1 > > o.a " in head


async def test_sources_with_filters_and_subjects(js: JsClient) -> None:
    await js.stream("O")
    await js.stream("P")
    await js.fill("o.a", "o.b", "p.a")
    await _source(
        js, {"name": "O", "filter_subject": "o.b"}, {"name": "P", "opt_start_seq": 1}, subjects=["own"]
    )
    await _arrived(js, "S", 2)
    assert (await js.publish("own"))["seq"] == 3
    assert sorted(subject for _, subject, _ in await _all(js, "S")) == ["o.b", "own", "p.a"]
    sources = (await js.good("STREAM.INFO.S"))["sources"]
    assert {(one["name"], one["lag"], one["seq"]) for one in sources} == {("O", 0, 2), ("P", 0, 1)}
    assert [list(one) for one in sorted(sources, key=lambda one: str(one["name"]))] == [
        ["name", "lag", "seq", "active", "filter_subject"],
        ["name", "lag", "seq", "active"],
    ]


async def test_source_renames(js: JsClient) -> None:
    await js.stream("O")
    await js.fill("o.a", "o.b.c", "o.x.y.z")
    transforms = [{"src": "o.*", "dest": "s.$1"}, {"src": "o.*.*", "dest": "t.$2"}]
    await _source(js, {"name": "O", "subject_transforms": transforms})
    await _arrived(js, "S", 2)
    assert await _all(js, "S") == [(1, "s.a", b"1"), (2, "t.c", b"2")]
    assert b"Nats-Stream-Source: O 2 o.*\fo.*.* s.$1\ft.$2 o.b.c " in await _head(js, 2, "S")


async def test_source_is_added_and_removed(js: JsClient) -> None:
    await js.stream("O")
    await js.stream("P")
    await js.fill("o.a", "p.a")
    await _source(js, {"name": "O"})
    await _arrived(js, "S", 1)
    await js.update("S", sources=[{"name": "O"}, {"name": "P"}])
    await _arrived(js, "S", 2)
    await js.update("S", sources=[{"name": "P"}])
    await js.fill("o.b", "p.b")
    await _arrived(js, "S", 3)
    assert [subject for _, subject, _ in await _all(js, "S")] == ["o.a", "p.a", "p.b"]


async def test_sources_of_counters_add_up(js: JsClient) -> None:
    for name in ("O", "P"):
        await js.stream(name, allow_msg_counter=True)
    transform = {"subject_transforms": [{"src": "*.n", "dest": "n"}]}
    await _source(js, {"name": "O", **transform}, {"name": "P", **transform}, allow_msg_counter=True)
    for subject, step in (("o.n", "3"), ("p.n", "4"), ("o.n", "-1")):
        await js.publish(subject, b"", {"Nats-Incr": step})
    await _arrived(js, "S", 3)
    message = await js.stored(3, "S")
    assert message is not None
    assert base64.b64decode(message["data"]) == b'{"val":"6"}'


async def test_header_of_a_source_is_refused(js: JsClient) -> None:
    await js.stream("O")
    ack = await js.publish("o.a", b"x", {"Nats-Stream-Source": "O 1 > > o.a x"})
    assert ack["error"]["err_code"] == 10227


# --- origins that keep a message only as long as somebody wants it


async def test_origin_gives_away(broker: Brokers) -> None:
    """nats-server takes a second for it."""
    await at_once(broker, _gives_away, itertools.product(("interest", "workqueue"), (True, False)))


async def _gives_away(js: JsClient, retention: str, as_mirror: bool) -> None:
    await js.stream("O", retention=retention)
    await js.stream("S", **({"mirror": {"name": "O"}} if as_mirror else {"sources": [{"name": "O"}]}))

    async def connected() -> object:
        info = await js.good("STREAM.INFO.S")
        return (info["mirror"] if as_mirror else info["sources"][0])["active"] >= 0

    await js.until(connected, True)
    await js.fill("o.a", "o.b")
    await _arrived(js, "S", 2)
    await _arrived(js, "O", 0)


async def test_origin_keeps_what_others_want(js: JsClient) -> None:
    await js.stream("O", retention="interest")
    await js.consumer("C", "O", filter_subject="o.a")
    await js.stream("S", sources=[{"name": "O"}])

    async def connected() -> object:
        return (await js.good("STREAM.INFO.S"))["sources"][0]["active"] >= 0

    await js.until(connected, True)
    await js.fill("o.a", "o.b")
    await _arrived(js, "S", 2)
    await _arrived(js, "O", 1)
    (message,) = await js.fetch(1, "C", "O")
    await js.ack(message)
    await _arrived(js, "O", 0)
