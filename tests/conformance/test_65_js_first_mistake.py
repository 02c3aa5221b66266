"""Which of several mistakes is told, and corners of configurations that a run of random requests found."""

import json
from typing import Any

import pytest
from tests.support.jetstream import JsClient, error_of

INVALID = 10052


@pytest.mark.parametrize(
    ("config", "code", "text"),
    [
        ({"name": "S", "subjects": ["c..d"]}, INVALID, "invalid subject"),
        (
            {"subjects": ["s.>"]},
            INVALID,
            "stream name is required and can not contain '.', '*', '>', '\\', '/'",
        ),
        ({"name": "T", "subjects": ["s.>"]}, 10056, "stream name in subject does not match request"),
        ({"name": "S", "subjects": ["s.>"]}, 10059, "stream not found"),
        ({"name": "S", "subjects": ["s.>"], "num_replicas": 3}, 10059, "stream not found"),
        ({"name": "S", "max_age": 1}, INVALID, "max age needs to be >= 100ms"),
    ],
)
async def test_an_update_of_no_stream(js: JsClient, config: dict[str, Any], code: int, text: str) -> None:
    assert (await js.refused("STREAM.UPDATE.S", config))[1:] == (code, text)


@pytest.mark.parametrize(
    ("config", "code", "text"),
    [
        ({"subjects": ["a.*", "$JS.API.x", "a.b"]}, INVALID, 'subject "a.*" overlaps with "a.b"'),
        ({"subjects": ["a.b", ">"]}, INVALID, 'subject "a.b" overlaps with ">"'),
        ({"subjects": ["a..b"], "num_replicas": 3}, INVALID, "invalid subject"),
        (
            {"subjects": [">"], "no_ack": True, "num_replicas": 3},
            INVALID,
            "capturing all subjects requires replicas of 1",
        ),
        ({"num_replicas": 3}, 10074, "replicas > 1 not supported in non-clustered mode"),
        (
            {"max_age": 10**9, "pedantic": True},
            10157,
            "pedantic mode: duplicate window cannot be bigger than max age",
        ),
        (
            {"republish": {"src": "", "dest": "x.>"}, "pedantic": True},
            10157,
            "pedantic mode: republish source can not be empty",
        ),
        (
            {"sources": [{"name": "O", "filter_subject": "x.."}]},
            10049,
            "subject filter 'x..' for the source: invalid subject",
        ),
        (
            {"mirror": {"name": "O", "filter_subject": "x.."}},
            10049,
            "subject filter 'x..' for the mirror invalid subject",
        ),
        ({"mirror": {"name": "S"}}, INVALID, "detected cycle"),
    ],
)
async def test_a_new_stream(js: JsClient, config: dict[str, Any], code: int, text: str) -> None:
    assert (await js.refused("STREAM.CREATE.S", {"name": "S", **config}))[1:] == (code, text)


NUMBER = "json: cannot unmarshal number -1 into Go struct field StreamConfigRequest."
WORD = 'can not unmarshal "\\"x\\""'
TIME = 'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"retention": 1}, 'can not unmarshal "1"'),
        ({"retention": "x", "bogus": 1}, WORD),
        ({"bogus": 1, "retention": "x"}, 'json: unknown field "bogus"'),
        ({"first_seq": -1, "retention": "x"}, NUMBER + "first_seq of type uint64"),
        ({"first_seq": -1, "bogus": 1}, NUMBER + "first_seq of type uint64"),
        ({"sources": [{"name": "", "opt_start_time": "x"}], "retention": "x"}, TIME),
        (
            {"sources": [{"name": "A"}, {"name": "B", "opt_start_seq": -1}]},
            NUMBER + "sources.1.opt_start_seq of type uint64",
        ),
    ],
)
async def test_what_makes_no_sense_is_told_in_its_order(
    js: JsClient, config: dict[str, Any], text: str
) -> None:
    assert await js.refused("STREAM.CREATE.S", {"name": "S", **config}) == (
        400,
        10025,
        f"invalid JSON: {text}",
    )


async def test_an_empty_destination(js: JsClient) -> None:
    """Of a transform: subjects stay. Of a republish: there is none, and above all no message that goes round."""
    made = await js.stream(republish={"src": "s.a", "dest": ""}, subject_transform={"src": "s.b", "dest": ""})
    assert made["config"]["republish"] == {"src": "s.a", "dest": ""}
    assert made["config"]["subject_transform"] == {"src": "s.b", "dest": ""}
    await js.fill("s.a", "s.b")
    assert await js.seqs() == (2, 1, 2)
    text = "stream configuration for republish from 's.a' to '>': invalid subject"
    update = {"name": "S", "subjects": ["s.>"], "republish": {"src": "s.a", "dest": ""}}
    assert await js.refused("STREAM.UPDATE.S", update) == (500, 10069, text)


async def test_a_stream_that_becomes_one_of_interest_keeps_nothing_that_nobody_wants(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a", "s.b")
    await js.update(subjects=["s.>"], retention="interest")
    assert await js.seqs() == (0, 3, 2)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Nats-Incr": "1", "Nats-Expected-Stream": "S"}, 10171),
        ({"Nats-Incr": "1", "Nats-Expected-Last-Sequence": "0"}, 10171),
        ({"Nats-Incr": "1", "Nats-Expected-Last-Subject-Sequence": "0"}, 10171),
        ({"Nats-Incr": "1", "Nats-Rollup": "sub"}, 10171),
        ({"Nats-Incr": "1", "Nats-Msg-Id": "1"}, None),
    ],
)
async def test_what_a_counter_has_no_use_for(js: JsClient, headers: dict[str, str], code: int | None) -> None:
    await js.stream(allow_msg_counter=True, allow_rollup_hdrs=True)
    ack = await js.publish("s.a", b"", headers)
    assert (error_of(ack)[1] if "error" in ack else None) == code


@pytest.mark.parametrize(("schedules", "code"), [(True, 10223), (False, 10188)])
async def test_a_zone_that_is_none(js: JsClient, schedules: bool, code: int) -> None:
    await js.stream(allow_msg_schedules=schedules)
    assert error_of(await js.publish("s.a", b"", {"Nats-Schedule-Time-Zone": "x"}))[1] == code
    assert (await js.publish("s.a", b"", {"Nats-Batch-Id": ""}))["seq"] == 1  # an empty id is none


async def test_who_lasts_for_a_while_only(js: JsClient) -> None:
    """What a consumer was first decides, not what an update calls it."""
    await js.stream()
    five_s = 5_000_000_000
    made = await js.consumer("E", durable_name=None)
    assert made["config"]["inactive_threshold"] == five_s
    again = {"stream_name": "S", "config": {"durable_name": "E", "ack_policy": "explicit"}}
    assert (await js.good("CONSUMER.CREATE.S.E", again))["config"]["inactive_threshold"] == five_s
    await js.consumer("D")
    again = {"stream_name": "S", "config": {"ack_policy": "explicit"}}
    assert "inactive_threshold" not in (await js.good("CONSUMER.CREATE.S.D", again))["config"]


@pytest.mark.parametrize(
    ("purge", "seq"),
    [
        ({}, 4),
        ({"seq": 3}, 2),
        ({"keep": 1}, 3),
        ({"filter": "s.b"}, 0),
        ({"filter": "s.a"}, 1),
        ({"filter": "s.>"}, 4),
    ],
)
async def test_a_purge_counts_as_delivered(js: JsClient, purge: dict[str, Any], seq: int) -> None:
    await js.stream()
    await js.fill("s.a", "s.b", "s.b", "s.b")
    await js.consumer()
    await js.good("STREAM.PURGE.S", purge)
    numbers = await js.numbers()
    assert (numbers["delivered"], numbers["ack_floor"]) == ((0, seq), (0, seq))
    await js.fill("s.a")
    assert (await js.fetch(1))[0].seq == (5 if seq == 4 else seq + 1)


async def test_work_queues_and_filters(js: JsClient) -> None:
    await js.stream(retention="workqueue")
    await js.consumer("ALL")
    request = {"stream_name": "S", "config": {"name": "X", "ack_policy": "explicit", "filter_subject": "s.a"}}
    assert (await js.refused("CONSUMER.CREATE.S.X.s.a", request))[1] == 10100
    request = {"stream_name": "S", "config": {"name": "X", "ack_policy": "explicit"}}
    assert (await js.refused("CONSUMER.CREATE.S.X", request))[1] == 10099
    request = {"stream_name": "S", "config": {"name": "X", "deliver_policy": "new"}, "action": "update"}
    request["config"] = {**request["config"], "ack_policy": "explicit"}  # type: ignore[dict-item]
    assert (await js.refused("CONSUMER.CREATE.S.X", request))[1] == 10149


async def test_one_group_is_shown(js: JsClient) -> None:
    await js.stream()
    made = await js.consumer(priority_policy="overflow", priority_groups=["g", "h"])
    assert [group["group"] for group in made["priority_groups"]] == ["g"]


async def test_a_refused_get_of_no_stream(js: JsClient) -> None:
    assert (await js.refused("STREAM.MSG.GET.NONE", {"seq": 1, "batch": 2}))[1] == 10003
    assert (await js.refused("STREAM.MSG.GET.NONE", {"seq": 1}))[1] == 10059


@pytest.mark.parametrize(
    ("subject", "request_", "status"),
    [
        ("S", {"seq": 1, "start_time": "x"}, "408 Malformed Request"),
        ("S", {"multi_last": ["s.a"], "up_to_time": "x"}, "408 Malformed Request"),
        ("S.s.a", {"seq": 1, "start_time": "x"}, "408 Malformed Request"),
        ("S.s.a", {"seq": 1}, "408 Bad Request"),
        ("S.s.a", {"max_bytes": 100}, ""),
    ],
)
async def test_direct_gets_with_mistakes(
    js: JsClient, subject: str, request_: dict[str, Any], status: str
) -> None:
    await js.stream(allow_direct=True)
    await js.fill("s.a")
    answer = await js.request(f"$JS.API.DIRECT.GET.{subject}", json.dumps(request_).encode())
    assert answer.status == status


@pytest.mark.parametrize("policy", ["overflow", "prioritized"])
@pytest.mark.parametrize("body", [b"", b"1", b"junk"])
async def test_a_pull_that_says_nothing_of_groups(js: JsClient, policy: str, body: bytes) -> None:
    await js.stream()
    await js.fill("s.a")
    await js.consumer(priority_policy=policy, priority_groups=["g"])
    inbox = js.inbox()
    js.send("$JS.API.CONSUMER.MSG.NEXT.S.C", body, reply=inbox.subject)
    assert (await inbox.next()).seq == 1
    assert (await (await js.pull(batch=1)).next()).status == "400 Bad Request - Priority Group missing"
