"""Configurations of consumers: defaults, refusals, updates, names and lists (jetstream.md 4.1 - 4.4)."""

from typing import Any

import pytest
from tests.support.jetstream import TYPE, JsClient, error_of
from tests.support.rows import each

S_NS = 1_000_000_000
DEFAULTS: dict[str, Any] = {
    "deliver_policy": "all",
    "ack_policy": "none",
    "max_deliver": -1,
    "replay_policy": "instant",
    "num_replicas": 0,
}


async def _create(js: JsClient, config: dict[str, Any], action: str = "", name: str = "C") -> dict[str, Any]:
    body = {"stream_name": "S", "config": config, "action": action}
    return await js.api(f"CONSUMER.CREATE.S.{name}" if name else "CONSUMER.CREATE.S", body)


async def test_create_answer(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a", "s.b")
    answer = await js.consumer()
    assert list(answer) == [
        *("type", "stream_name", "name", "created", "config", "delivered", "ack_floor", "num_ack_pending"),
        *("num_redelivered", "num_waiting", "num_pending", "ts"),
    ]
    assert answer["type"] == f"{TYPE}consumer_create_response"
    assert (answer["stream_name"], answer["name"]) == ("S", "C")
    assert answer["config"] == {
        **DEFAULTS,
        "durable_name": "C",
        "name": "C",
        "ack_policy": "explicit",
        "ack_wait": 30 * S_NS,
        "max_waiting": 512,
        "max_ack_pending": 1000,
        "metadata": {"_nats.level": "5", "_nats.req.level": "0", "_nats.ver": "2.15.1"},
    }
    assert answer["delivered"] == {"consumer_seq": 0, "stream_seq": 0}
    assert answer["ack_floor"] == {"consumer_seq": 0, "stream_seq": 0}
    assert answer["num_pending"] == 2


FILLED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"ack_policy": "none", "ack_wait": None, "max_ack_pending": None, "inactive_threshold": 5 * S_NS}),
    ({"ack_policy": "all"}, {"ack_wait": 30 * S_NS, "max_ack_pending": 1000}),
    ({"max_deliver": 0}, {"max_deliver": -1}),
    ({"max_deliver": -5}, {"max_deliver": -1}),
    ({"ack_policy": "explicit", "backoff": [S_NS, 2 * S_NS], "max_deliver": 3}, {"ack_wait": S_NS}),
    ({"ack_policy": "explicit", "max_ack_pending": -1}, {"max_ack_pending": -1}),
    ({"deliver_subject": "d"}, {"max_waiting": None}),
    ({"max_batch": -1, "max_expires": -1, "max_bytes": -1}, {"max_batch": None, "max_bytes": None}),
    ({"durable_name": "C"}, {"inactive_threshold": None, "name": "C"}),
    ({"durable_name": "C", "inactive_threshold": S_NS}, {"inactive_threshold": S_NS}),
    ({"sample_freq": "30%"}, {"sample_freq": "30%"}),
    ({"filter_subjects": ["s.a", "s.b"]}, {"filter_subjects": ["s.a", "s.b"], "filter_subject": None}),
    ({"priority_groups": ["g"], "priority_policy": "overflow"}, {"priority_policy": "overflow"}),
    (
        {"priority_groups": ["g"], "priority_policy": "pinned_client"},
        {"priority_timeout": 120 * S_NS},
    ),
    ({"deliver_policy": "new"}, {"deliver_policy": "new"}),
    ({"max_waiting": -1}, {"max_waiting": 512}),
    ({"mem_storage": True, "headers_only": True}, {"mem_storage": True, "headers_only": True}),
    ({"description": "d", "metadata": {"a": "b"}}, {"description": "d"}),
]


@pytest.mark.parametrize(("sent", "kept"), FILLED)
async def test_consumer_filled_in(js: JsClient, sent: dict[str, Any], kept: dict[str, Any]) -> None:
    await js.stream()
    answer = await _create(js, sent)
    assert "error" not in answer, answer
    assert {key: answer["config"].get(key) for key in kept} == kept


START = "consumer delivery policy is "
REFUSED: list[tuple[dict[str, Any], tuple[int, int, str]]] = [
    (
        {"durable_name": "D"},
        (400, 10017, "consumer name in subject does not match durable name in request"),
    ),
    ({"num_replicas": 3}, (500, 10074, "replicas > 1 not supported in non-clustered mode")),
    ({"num_replicas": -1}, (400, 10133, "replicas count cannot be negative")),
    ({"ack_policy": "explicit", "ack_wait": -1}, (400, 10183, "consumer ack wait needs to be positive")),
    ({"ack_policy": "explicit", "backoff": [-1]}, (400, 10184, "consumer backoff needs to be positive")),
    (
        {"ack_policy": "explicit", "backoff": [1, 2, 3], "max_deliver": 2},
        (400, 10116, "max deliver is required to be > length of backoff values"),
    ),
    ({"description": "x" * 4097}, (400, 10107, "consumer description is too long, maximum allowed is 4096")),
    ({"deliver_subject": "d.*"}, (400, 10079, "consumer deliver subject has wildcards")),
    ({"deliver_subject": "d..x"}, (400, 10112, "invalid push consumer deliver subject")),
    ({"deliver_subject": "s.x"}, (400, 10081, "consumer deliver subject forms a cycle")),
    (
        {"deliver_subject": "d", "max_waiting": 1},
        (400, 10080, "consumer in push mode can not set max waiting"),
    ),
    (
        {"deliver_subject": "d", "max_ack_pending": 5},
        (400, 10082, "consumer requires ack policy for max ack pending"),
    ),
    (
        {"deliver_subject": "d", "idle_heartbeat": 99_999_999},
        (400, 10083, "consumer idle heartbeat needs to be >= 100ms"),
    ),
    (
        {"deliver_subject": "d", "flow_control": True},
        (400, 10108, "consumer with flow control also needs heartbeats"),
    ),
    ({"rate_limit_bps": 5}, (400, 10086, "consumer in pull mode can not have rate limit set")),
    ({"idle_heartbeat": S_NS}, (400, 10088, "consumer idle heartbeat requires a push based consumer")),
    ({"flow_control": True}, (400, 10089, "consumer flow control requires a push based consumer")),
    ({"max_expires": 5}, (400, 10115, "consumer max request expires needs to be >= 1ms")),
    ({"direct": True}, (400, 10090, "consumer direct requires a push based consumer")),
    (
        {"direct": True, "durable_name": "C", "deliver_subject": "d"},
        (400, 10091, "consumer direct requires an ephemeral consumer"),
    ),
    (
        {"filter_subject": "s.a", "filter_subjects": ["s.b"]},
        (400, 10136, "consumer cannot have both FilterSubject and FilterSubjects specified"),
    ),
    ({"filter_subjects": ["s.a", ""]}, (400, 10139, "consumer filter in FilterSubjects cannot be empty")),
    ({"filter_subjects": ["s.*", "s.a"]}, (400, 10138, "consumer subject filters cannot overlap")),
    ({"filter_subject": "s..a"}, (500, 10052, "invalid subject")),
    (
        {"opt_start_seq": 1},
        (400, 10094, START + "deliver all, but optional start sequence is also set"),
    ),
    (
        {"opt_start_time": "2020-01-01T00:00:00Z"},
        (400, 10094, START + "deliver all, but optional start time is also set"),
    ),
    (
        {"deliver_policy": "last", "opt_start_seq": 1},
        (400, 10094, START + "deliver last, but optional start sequence is also set"),
    ),
    (
        {"deliver_policy": "new", "opt_start_seq": 1},
        (400, 10094, START + "deliver new, but optional start sequence is also set"),
    ),
    (
        {"deliver_policy": "by_start_sequence"},
        (400, 10094, START + "deliver by start sequence, but optional start sequence is not set"),
    ),
    (
        {"deliver_policy": "by_start_time"},
        (400, 10094, START + "deliver by start time, but optional start time is not set"),
    ),
    (
        {"deliver_policy": "last_per_subject"},
        (400, 10094, START + "deliver last per subject, but optional filter subject is not set"),
    ),
    (
        {"sample_freq": "abc"},
        (
            400,
            10095,
            'failed to parse consumer sampling configuration: strconv.Atoi: parsing "abc": invalid syntax',
        ),
    ),
    ({"metadata": {"a": "x" * 131_072}}, (400, 10135, "consumer metadata exceeds maximum size of 128KB")),
    (
        {"deliver_subject": "d", "priority_groups": ["g"], "priority_policy": "overflow"},
        (400, 10178, "priority groups can not be used with push consumers"),
    ),
    (
        {"priority_policy": "overflow"},
        (400, 10159, "Setting PriorityPolicy requires at least one PriorityGroup to be set"),
    ),
    (
        {"priority_policy": "overflow", "priority_groups": [""]},
        (400, 10161, "Group name cannot be an empty string"),
    ),
    (
        {"priority_policy": "overflow", "priority_groups": ["a b"]},
        (
            400,
            10162,
            "Valid priority group name must match A-Z, a-z, 0-9, -_/=)+ and may not exceed 16 characters",
        ),
    ),
    (
        {"priority_groups": ["g"]},
        (400, 10196, "consumer can not have priority groups when policy is none"),
    ),
    ({"priority_timeout": S_NS}, (400, 10197, "PinnedTTL cannot be set when PriorityPolicy is none")),
]


@each(("config", "error"), REFUSED)
async def test_consumer_refused(js: JsClient, config: dict[str, Any], error: tuple[int, int, str]) -> None:
    await js.stream()
    assert error_of(await _create(js, config)) == error
    assert (await js.good("CONSUMER.NAMES.S"))["consumers"] == []


async def test_subject_forms(js: JsClient) -> None:
    await js.stream()
    body: dict[str, Any] = {"stream_name": "S", "config": {}}
    assert await js.refused("CONSUMER.CREATE.NONE.C", {**body, "stream_name": "NONE"}) == (
        404,
        10059,
        "stream not found",
    )
    mismatch = (400, 10056, "stream name in subject does not match request")
    assert await js.refused("CONSUMER.CREATE.S.C", {**body, "stream_name": "T"}) == mismatch
    assert await js.refused("CONSUMER.CREATE.S.C") == mismatch
    assert await js.refused("CONSUMER.CREATE.S", {**body, "config": {"durable_name": "D"}}) == (
        400,
        10020,
        "consumer expected to be ephemeral but a durable name was set in request",
    )
    assert await js.refused("CONSUMER.CREATE.S.C.s.a", {**body, "config": {"filter_subject": "s.b"}}) == (
        400,
        10131,
        "Consumer create request did not match filtered subject from create subject",
    )
    assert await js.refused("CONSUMER.CREATE.S.C.s.a", {**body, "config": {"filter_subjects": ["s.a"]}}) == (
        400,
        10137,
        "consumer with multiple subject filters cannot use subject based API",
    )
    assert await js.refused("CONSUMER.DURABLE.CREATE.S.C", body) == (
        400,
        10018,
        "consumer expected to be durable but a durable name was not set",
    )
    assert await js.refused("CONSUMER.DURABLE.CREATE.S.C", {**body, "config": {"durable_name": "D"}}) == (
        400,
        10017,
        "consumer name in subject does not match durable name in request",
    )
    made = await js.good("CONSUMER.CREATE.S.C.s.a", {**body, "config": {"filter_subject": "s.a"}})
    assert made["config"]["filter_subject"] == "s.a"


async def test_old_forms(js: JsClient) -> None:
    await js.stream()
    made = await js.good(
        "CONSUMER.DURABLE.CREATE.S.D",
        {"stream_name": "S", "config": {"durable_name": "D", "ack_policy": "all"}},
    )
    assert (made["name"], made["config"]["durable_name"]) == ("D", "D")
    made = await js.good("CONSUMER.CREATE.S", {"stream_name": "S", "config": {"ack_policy": "none"}})
    assert len(made["name"]) == 8
    assert "name" not in made["config"]
    assert made["config"]["inactive_threshold"] == 5 * S_NS


async def test_create_and_update_actions(js: JsClient) -> None:
    await js.stream()
    missing = (400, 10149, "consumer does not exist")
    assert error_of(await _create(js, {"durable_name": "C"}, "update")) == missing
    first = await _create(js, {"durable_name": "C", "ack_policy": "explicit"}, "create")
    again = await _create(js, {"durable_name": "C", "ack_policy": "explicit"}, "create")
    assert again["created"] == first["created"]
    assert again["config"] == first["config"]
    changed = {"durable_name": "C", "ack_policy": "explicit", "description": "x"}
    assert error_of(await _create(js, changed, "create")) == (400, 10148, "consumer already exists")
    updated = await _create(js, changed, "update")
    assert updated["config"]["description"] == "x"
    assert updated["created"] == first["created"]
    assert (await _create(js, {**changed, "description": "y"}))["config"]["description"] == "y"


PULL: dict[str, Any] = {"durable_name": "C", "ack_policy": "explicit"}
PUSH: dict[str, Any] = {**PULL, "deliver_subject": "d"}
UPDATE_REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (PULL, {"deliver_policy": "new"}, "deliver policy can not be updated"),
    (PULL, {"ack_policy": "all"}, "ack policy can not be updated"),
    (PULL, {"replay_policy": "original"}, "replay policy can not be updated"),
    (PULL, {"max_waiting": 10}, "max waiting can not be updated"),
    (PULL, {"deliver_subject": "d"}, "can not update pull consumer to push based"),
    (PUSH, {"deliver_subject": ""}, "can not update push consumer to pull based"),
    (PUSH, {"idle_heartbeat": S_NS}, "heart beats can not be updated"),
    (
        {**PUSH, "idle_heartbeat": S_NS},
        {"flow_control": True},
        "flow control can not be updated",
    ),
    (
        {**PULL, "deliver_policy": "by_start_sequence", "opt_start_seq": 1},
        {"opt_start_seq": 2},
        "start sequence can not be updated",
    ),
    (
        {**PULL, "deliver_policy": "by_start_time", "opt_start_time": "2020-01-01T00:00:00Z"},
        {"opt_start_time": "2021-01-01T00:00:00Z"},
        "start time can not be updated",
    ),
]


@pytest.mark.parametrize(("before", "change", "text"), UPDATE_REFUSED)
async def test_consumer_update_refused(
    js: JsClient, before: dict[str, Any], change: dict[str, Any], text: str
) -> None:
    await js.stream()
    assert "error" not in await _create(js, before)
    assert error_of(await _create(js, {**before, **change})) == (500, 10012, text)


UPDATES: list[dict[str, Any]] = [
    {"description": "x", "metadata": {"a": "b"}},
    {"ack_wait": S_NS},
    {"backoff": [S_NS, 2 * S_NS], "max_deliver": 5},
    {"max_deliver": 7, "max_ack_pending": 3},
    {"filter_subject": "s.a"},
    {"filter_subjects": ["s.a", "s.b"]},
    {"sample_freq": "50", "headers_only": True},
    {"max_batch": 5, "max_expires": S_NS, "max_bytes": 100},
    {"inactive_threshold": 60 * S_NS},
]


@pytest.mark.parametrize("change", UPDATES)
async def test_consumer_updated(js: JsClient, change: dict[str, Any]) -> None:
    await js.stream()
    made = await _create(js, PULL)
    updated = await _create(js, {**PULL, **change})
    assert "error" not in updated, updated
    expected = {k: v for k, v in change.items() if k != "metadata"}
    assert {key: updated["config"][key] for key in expected} == expected
    assert updated["created"] == made["created"]


async def test_a_changed_filter_counts_anew(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a", "s.b", "s.a")
    assert (await _create(js, {**PULL, "filter_subject": "s.a"}))["num_pending"] == 2
    assert (await _create(js, {**PULL, "filter_subject": "s.b"}))["num_pending"] == 1
    assert (await _create(js, PULL))["num_pending"] == 3


# on 1:a 2:b 3:a 4:c: what a new consumer has pending, and the first it delivers
POLICIES: list[tuple[dict[str, Any], int, int, int]] = [
    ({"deliver_policy": "all"}, 4, 1, 0),
    ({"deliver_policy": "last"}, 1, 4, 3),
    ({"deliver_policy": "last", "filter_subject": "s.a"}, 1, 3, 2),
    ({"deliver_policy": "last_per_subject", "filter_subject": "s.>"}, 3, 2, 1),
    ({"deliver_policy": "last_per_subject", "filter_subjects": ["s.a", "s.c"]}, 2, 3, 2),
    ({"deliver_policy": "by_start_sequence", "opt_start_seq": 3}, 2, 3, 2),
    ({"deliver_policy": "by_start_sequence", "opt_start_seq": 2, "filter_subject": "s.a"}, 1, 3, 1),
    ({"deliver_policy": "by_start_time", "opt_start_time": "2020-01-01T00:00:00Z"}, 4, 1, 0),
    ({"deliver_policy": "all", "filter_subjects": ["s.b", "s.c"]}, 2, 2, 0),
    ({"deliver_policy": "all", "filter_subject": "s.none"}, 0, 0, 0),
    ({"deliver_policy": "new"}, 0, 0, 4),
]


@pytest.mark.parametrize("storage", ["file", "memory"])
@pytest.mark.parametrize(("config", "pending", "first", "floor"), POLICIES)
async def test_where_a_consumer_starts(
    js: JsClient, storage: str, config: dict[str, Any], pending: int, first: int, floor: int
) -> None:
    await js.stream(storage=storage)
    await js.fill("s.a", "s.b", "s.a", "s.c")
    answer = await _create(js, {**PULL, **config})
    assert answer["num_pending"] == pending
    assert answer["delivered"] == {"consumer_seq": 0, "stream_seq": floor}
    assert answer["ack_floor"] == {"consumer_seq": 0, "stream_seq": floor}
    if first:
        message = (await js.fetch(1))[0]
        assert message.ack == (1, first, 1, pending - 1)


async def test_last_per_subject_goes_on_with_new_ones(js: JsClient) -> None:
    await js.stream()
    await js.fill("s.a", "s.b", "s.a", "s.b", "s.c")
    await js.consumer(deliver_policy="last_per_subject", filter_subject="s.*")
    await js.fill("s.a")
    assert [m.seq for m in await js.fetch(4)] == [3, 4, 5, 6]


async def test_consumer_names_and_lists(js: JsClient) -> None:
    await js.stream()
    for name in ("b", "a"):
        await js.consumer(name)
    names = await js.good("CONSUMER.NAMES.S")
    assert {k: v for k, v in names.items() if k != "type"} == {
        "total": 2,
        "offset": 0,
        "limit": 1024,
        "consumers": ["a", "b"],
    }
    listed = await js.good("CONSUMER.LIST.S", {"offset": 1})
    assert [c["name"] for c in listed["consumers"]] == ["b"]
    assert (listed["total"], listed["offset"], listed["limit"]) == (2, 1, 256)
    assert "type" not in listed["consumers"][0]
    assert listed["consumers"][0]["config"]["metadata"] == {"_nats.req.level": "0"}


async def test_direct_consumers_are_hidden(js: JsClient) -> None:
    await js.stream()
    made = await _create(js, {"direct": True, "deliver_subject": "d", "ack_policy": "none"})
    assert "error" not in made
    assert (await js.good("CONSUMER.NAMES.S"))["consumers"] == []
    assert (await js.state())["consumer_count"] == 0


async def test_deleted_consumer_is_gone(js: JsClient) -> None:
    await js.stream()
    await js.consumer()
    answer = await js.good("CONSUMER.DELETE.S.C")
    assert {k: v for k, v in answer.items() if k != "type"} == {"success": True}
    assert await js.refused("CONSUMER.INFO.S.C") == (404, 10014, "consumer not found")
    assert (await (await js.pull()).next()).status == "503"


async def test_max_consumers(js: JsClient) -> None:
    await js.stream(max_consumers=1)
    await js.consumer("a")
    refusal = error_of(await _create(js, {"durable_name": "C"}))
    assert refusal == (400, 10026, "maximum consumers limit reached")


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"max_ack_pending": 50}, (400, 10121, "consumer max ack pending exceeds system limit of 5")),
        (
            {"inactive_threshold": 9 * S_NS},
            (400, 10153, "consumer inactive threshold exceeds system limit of 2s"),
        ),
    ],
)
async def test_limits_of_the_stream(
    js: JsClient, config: dict[str, Any], error: tuple[int, int, str]
) -> None:
    await js.stream(consumer_limits={"max_ack_pending": 5, "inactive_threshold": 2 * S_NS})
    assert error_of(await _create(js, {**PULL, **config})) == error
    made = await _create(js, PULL)
    assert made["config"]["max_ack_pending"] == 5
    assert made["config"]["inactive_threshold"] == 2 * S_NS


WORK_QUEUE: list[tuple[dict[str, Any], tuple[int, int, str]]] = [
    (
        {"ack_policy": "none"},
        (400, 10084, "consumer in pull mode requires explicit ack policy on workqueue stream"),
    ),
    (
        {"ack_policy": "none", "deliver_subject": "d"},
        (400, 10098, "workqueue stream requires explicit ack"),
    ),
    ({"ack_policy": "all"}, (400, 10098, "workqueue stream requires explicit ack")),
    ({"deliver_policy": "new"}, (400, 10101, "consumer must be deliver all on workqueue stream")),
    ({}, (400, 10099, "multiple non-filtered consumers not allowed on workqueue stream")),
    ({"filter_subject": "s.a"}, (400, 10100, "filtered consumer not unique on workqueue stream")),
    ({"filter_subject": "s.*"}, (400, 10100, "filtered consumer not unique on workqueue stream")),
]


@pytest.mark.parametrize(("config", "error"), WORK_QUEUE)
async def test_work_queue_consumers(
    js: JsClient, config: dict[str, Any], error: tuple[int, int, str]
) -> None:
    await js.stream(retention="workqueue")
    await js.consumer("first", filter_subject="s.a" if config.get("filter_subject") else None)
    assert error_of(await _create(js, {**PULL, **config})) == error
