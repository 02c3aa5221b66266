"""Configurations of streams: what is filled in, what is refused and how, what may change (jetstream.md 2.1 - 2.4)."""

from typing import Any

import pytest
from tests.support.jetstream import TYPE, JsClient
from tests.support.rows import each

DAY_NS = 86_400_000_000_000
S_NS = 1_000_000_000
ZERO_TIME = "0001-01-01T00:00:00Z"
DEFAULTS = {
    "retention": "limits",
    "max_consumers": -1,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "discard": "old",
    "storage": "file",
    "num_replicas": 1,
    "duplicate_window": 120 * S_NS,
    "compression": "none",
    "allow_direct": False,
    "mirror_direct": False,
    "sealed": False,
    "deny_delete": False,
    "deny_purge": False,
    "allow_rollup_hdrs": False,
    "consumer_limits": {},
    "allow_msg_ttl": False,
}
OWN = {"_nats.level": "5", "_nats.ver": "2.15.1"}


def _metadata(level: int, **more: str) -> dict[str, str]:
    return {**OWN, "_nats.req.level": str(level), **more}


async def test_create_answer(js: JsClient) -> None:
    answer = await js.good("STREAM.CREATE.S", {"name": "S"})
    assert list(answer) == ["type", "config", "created", "state", "ts", "did_create"]
    assert answer["type"] == f"{TYPE}stream_create_response"
    assert answer["did_create"] is True
    assert answer["config"] == {"name": "S", "subjects": ["S"], **DEFAULTS, "metadata": _metadata(0)}
    assert answer["state"] == {
        "messages": 0,
        "bytes": 0,
        "first_seq": 0,
        "first_ts": ZERO_TIME,
        "last_seq": 0,
        "last_ts": ZERO_TIME,
        "consumer_count": 0,
    }


ALL_FIELDS: dict[str, Any] = {
    "description": "what it is",
    "subjects": ["s.*", "t"],
    "retention": "interest",
    "max_consumers": 7,
    "max_msgs": 100,
    "max_bytes": 100_000,
    "max_age": DAY_NS,
    "max_msgs_per_subject": 5,
    "max_msg_size": 1000,
    "discard": "new",
    "storage": "memory",
    "no_ack": True,
    "duplicate_window": S_NS,
    "first_seq": 10,
    "subject_transform": {"src": "s.*", "dest": "s.$1"},
    "republish": {"src": "s.*", "dest": "copy.$1", "headers_only": True},
    "allow_direct": True,
    "discard_new_per_subject": True,
    "deny_delete": True,
    "deny_purge": True,
    "consumer_limits": {"inactive_threshold": S_NS, "max_ack_pending": 10},
    "allow_msg_ttl": True,
    "allow_atomic": True,
    "allow_batched": True,
    "compression": "s2",
}


async def test_every_field_comes_back_in_order(js: JsClient) -> None:
    answer = await js.good("STREAM.CREATE.S", {"name": "S", **ALL_FIELDS, "metadata": {"b": "1", "a": "2"}})
    config = answer["config"]
    assert {key: config[key] for key in ALL_FIELDS} == ALL_FIELDS
    assert config["metadata"] == _metadata(4, a="2", b="1")
    assert " ".join(config) == (
        "name description subjects retention max_consumers max_msgs max_bytes max_age max_msgs_per_subject "
        "max_msg_size discard storage num_replicas no_ack duplicate_window compression first_seq "
        "subject_transform republish allow_direct mirror_direct discard_new_per_subject sealed deny_delete "
        "deny_purge allow_rollup_hdrs consumer_limits allow_msg_ttl allow_atomic allow_batched metadata"
    )
    assert (answer["state"]["first_seq"], answer["state"]["last_seq"]) == (10, 9)


NORMALISED = [
    (
        {"max_msgs": -7, "max_bytes": -2, "max_consumers": -3},
        {"max_msgs": -1, "max_bytes": -1, "max_consumers": -1},
    ),
    ({"max_msg_size": -9, "max_msgs_per_subject": -4}, {"max_msg_size": -1, "max_msgs_per_subject": -1}),
    ({"max_msgs": 0, "max_bytes": 0}, {"max_msgs": -1, "max_bytes": -1}),
    ({"discard": "NEW"}, {"discard": "new"}),
    ({"max_age": S_NS}, {"duplicate_window": S_NS}),
    ({"max_age": DAY_NS}, {"duplicate_window": 120 * S_NS}),
    ({"republish": {"dest": "copy.>"}}, {"republish": {"src": ">", "dest": "copy.>"}}),
    ({"placement": {}}, {"placement": None}),
    ({"placement": {"cluster": "c", "tags": ["t"]}}, {"placement": {"cluster": "c", "tags": ["t"]}}),
    (
        {"subject_delete_marker_ttl": S_NS},
        {
            "allow_msg_ttl": True,
            "allow_rollup_hdrs": True,
            "deny_purge": False,
            "subject_delete_marker_ttl": S_NS,
        },
    ),
    ({"subject_delete_marker_ttl": S_NS, "deny_purge": True}, {"deny_purge": False}),
    ({"allow_msg_schedules": True}, {"allow_msg_schedules": True, "allow_rollup_hdrs": True}),
    ({"persist_mode": "default"}, {"persist_mode": None}),
    ({"persist_mode": "async"}, {"persist_mode": "async"}),
    ({"num_replicas": 0}, {"num_replicas": 1}),
    ({"metadata": {"_nats.ver": "1", "_nats.req.level": "9"}}, {"metadata": _metadata(0)}),
    ({"sources": []}, {"sources": None}),
    ({"allow_msg_counter": True}, {"allow_msg_counter": True, "metadata": _metadata(2)}),
    ({"allow_atomic": True}, {"allow_atomic": True, "metadata": _metadata(2)}),
    ({"allow_batched": True}, {"allow_batched": True, "metadata": _metadata(4)}),
    ({"allow_msg_ttl": True}, {"allow_msg_ttl": True, "metadata": _metadata(1)}),
]


@pytest.mark.parametrize(("sent", "kept"), NORMALISED)
async def test_filled_in(js: JsClient, sent: dict[str, Any], kept: dict[str, Any]) -> None:
    config = (await js.stream(**sent))["config"]
    assert {key: config.get(key) for key in kept} == kept


NAME_TEXT = r"stream name is required and can not contain '.', '*', '>', '\', '/'"
JS_OVERLAP = "subjects that overlap with jetstream api require no-ack to be true"
SYS_OVERLAP = "subjects that overlap with system api require no-ack to be true"
TRANSFORM = "stream transform: invalid mapping destination: "
REFUSED: list[tuple[dict[str, Any], tuple[int, int, str]]] = [
    ({"name": "T"}, (400, 10056, "stream name in subject does not match request")),
    ({"name": ""}, (400, 10056, "stream name in subject does not match request")),
    ({"sealed": True}, (500, 10052, "stream configuration for create can not be sealed")),
    ({"mirror_direct": True}, (500, 10052, "stream has no mirror but does have mirror direct")),
    (
        {"description": "x" * 4097},
        (500, 10052, "stream description is too long, maximum allowed is 4096"),
    ),
    (
        {"metadata": {"k": "x" * 131072}},
        (500, 10052, "stream metadata exceeds maximum size of 131072 bytes"),
    ),
    ({"num_replicas": 6}, (500, 10052, "maximum replicas is 5")),
    ({"num_replicas": -1}, (400, 10133, "replicas count cannot be negative")),
    ({"num_replicas": 3}, (500, 10074, "replicas > 1 not supported in non-clustered mode")),
    ({"max_age": -1}, (500, 10052, "max age can not be negative")),
    ({"max_age": 99_999_999}, (500, 10052, "max age needs to be >= 100ms")),
    ({"duplicate_window": -1}, (500, 10052, "duplicates window can not be negative")),
    ({"duplicate_window": 99_999_999}, (500, 10052, "duplicates window needs to be >= 100ms")),
    (
        {"duplicate_window": 2 * S_NS, "max_age": S_NS},
        (500, 10052, "duplicates window can not be larger then max age"),
    ),
    (
        {"deny_purge": True, "allow_rollup_hdrs": True},
        (500, 10052, "roll-ups require the purge permission"),
    ),
    (
        {"allow_msg_counter": True, "discard": "new"},
        (500, 10052, "counter stream cannot use discard new"),
    ),
    (
        {"allow_msg_counter": True, "allow_msg_ttl": True},
        (500, 10052, "counter stream cannot use message TTLs"),
    ),
    (
        {"allow_msg_counter": True, "allow_msg_schedules": True},
        (500, 10052, "counter stream cannot use message schedules"),
    ),
    (
        {"allow_msg_counter": True, "retention": "interest"},
        (500, 10052, "counter stream can only use limits retention"),
    ),
    (
        {"discard_new_per_subject": True, "max_msgs_per_subject": 1},
        (500, 10052, "discard new per subject requires discard new policy to be set"),
    ),
    (
        {"discard_new_per_subject": True, "discard": "new"},
        (500, 10052, "discard new per subject requires max msgs per subject > 0"),
    ),
    (
        {"subject_delete_marker_ttl": 999_999_999},
        (500, 10052, "subject delete marker TTL must be at least 1 second"),
    ),
    ({"subject_delete_marker_ttl": -1}, (500, 10052, "subject delete marker TTL must not be negative")),
    (
        {"allow_msg_schedules": True, "discard": "new"},
        (500, 10052, "message scheduling cannot use discard new"),
    ),
    (
        {"persist_mode": "async", "storage": "memory"},
        (500, 10052, "async persist mode is only supported on file storage"),
    ),
    (
        {"persist_mode": "async", "allow_atomic": True},
        (500, 10052, "async persist mode is not supported with atomic batch publish"),
    ),
    ({"subjects": ["a..b"]}, (500, 10052, "invalid subject")),
    ({"subjects": [""]}, (500, 10052, "invalid subject")),
    ({"subjects": ["a b"]}, (500, 10052, "invalid subject")),
    ({"subjects": [">.a"]}, (500, 10052, "invalid subject")),
    ({"subjects": ["a", "a"]}, (500, 10052, 'subject "a" overlaps with "a"')),
    ({"subjects": ["a.*", "a.b"]}, (500, 10052, 'subject "a.*" overlaps with "a.b"')),
    ({"subjects": [">"]}, (500, 10052, "capturing all subjects requires no-ack to be true")),
    ({"subjects": ["$JS.API.>"]}, (500, 10052, JS_OVERLAP)),
    ({"subjects": ["$JS.X"]}, (500, 10052, JS_OVERLAP)),
    ({"subjects": ["$JSC.x"]}, (500, 10052, JS_OVERLAP)),
    ({"subjects": ["*.x"]}, (500, 10052, JS_OVERLAP)),
    ({"subjects": ["$SYS.>"]}, (500, 10052, SYS_OVERLAP)),
    ({"subjects": ["$SYS.x"]}, (500, 10052, SYS_OVERLAP)),
    (
        {"subject_transform": {"src": "a..", "dest": "b"}},
        (400, 10155, "stream transform source: invalid subject a.."),
    ),
    (
        {"subject_transform": {"src": "s.*", "dest": "b.$2"}},
        (400, 10156, TRANSFORM + "wildcard index out of range in $2: [2]"),
    ),
    (
        {"subject_transform": {"src": "s.*", "dest": "b.{{bogus(1)}}"}},
        (400, 10156, TRANSFORM + "unknown function in {{bogus(1)}}"),
    ),
    (
        {"subject_transform": {"src": "s.*", "dest": "b.{{split(1)}}"}},
        (400, 10156, TRANSFORM + "not enough arguments passed to the function in {{split(1)}}"),
    ),
    (
        {"subject_transform": {"src": "s.*", "dest": "b.{{wildcard(2)}}"}},
        (400, 10156, TRANSFORM + "wildcard index out of range in {{wildcard(2)}}: [2]"),
    ),
    (
        {"republish": {"src": "s.*", "dest": "s.$1"}},
        (500, 10052, "stream configuration for republish destination forms a cycle"),
    ),
    (
        {"republish": {"src": "t.*", "dest": "rp.$2"}},
        (500, 10052, "stream configuration for republish with transform from 't.*' to 'rp.$2' not valid"),
    ),
    (
        {"placement": {"preferred": "n1"}},
        (500, 10052, "preferred server not permitted in placement"),
    ),
    # with pedantic, nothing is filled in silently
    ({"pedantic": True, "max_msgs": -2}, (400, 10157, "pedantic mode: max_msgs must be set to -1")),
    ({"pedantic": True, "max_bytes": -2}, (400, 10157, "pedantic mode: max_bytes must be set to -1")),
    ({"pedantic": True, "max_msg_size": -2}, (400, 10157, "pedantic mode: max_msg_size must be set to -1")),
    ({"pedantic": True, "max_consumers": -2}, (400, 10157, "pedantic mode: max_consumers must be set to -1")),
    (
        {"pedantic": True, "max_msgs_per_subject": -2},
        (400, 10157, "pedantic mode: max_msgs_per_subject must be set to -1"),
    ),
    (
        {"pedantic": True, "subject_delete_marker_ttl": S_NS},
        (500, 10052, "subject delete marker cannot be set if message TTLs are disabled"),
    ),
    (
        {"pedantic": True, "subject_delete_marker_ttl": S_NS, "allow_msg_ttl": True},
        (500, 10052, "subject delete marker cannot be set if roll-ups are disabled"),
    ),
    (
        {"pedantic": True, "allow_msg_schedules": True},
        (500, 10052, "message scheduling cannot be set if roll-ups are disabled"),
    ),
]


@each(("config", "error"), REFUSED)
async def test_create_refused(js: JsClient, config: dict[str, Any], error: tuple[int, int, str]) -> None:
    assert await js.refused("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"], **config}) == error
    assert (await js.good("STREAM.NAMES"))["streams"] is None


MIRROR_REFUSED: list[tuple[dict[str, Any], tuple[int, int, str]]] = [
    ({"first_seq": 5}, (400, 10143, "stream mirrors can not have first sequence configured")),
    ({"subjects": ["a"]}, (400, 10034, "stream mirrors can not contain subjects")),
    ({"sources": [{"name": "P"}]}, (400, 10031, "stream mirrors can not also contain other sources")),
    ({"allow_msg_counter": True}, (400, 10173, "stream mirrors can not also calculate counters")),
    ({"allow_atomic": True}, (400, 10198, "stream mirrors can not also use atomic publishing")),
    ({"allow_batched": True}, (400, 10209, "stream mirrors can not also use batch publishing")),
    ({"allow_msg_schedules": True}, (400, 10186, "stream mirrors can not also schedule messages")),
    (
        {"mirror": {"name": "O", "filter_subject": "a", "subject_transforms": [{"src": "a", "dest": "b"}]}},
        (400, 10150, "mirror with multiple subject transforms cannot also have a single subject filter"),
    ),
    ({"subject_delete_marker_ttl": S_NS}, (500, 10052, "subject delete markers forbidden on mirrors")),
    (
        {"mirror": {"name": "O", "subject_transforms": [{"src": "a..", "dest": "b"}]}},
        (400, 10151, "mirror transform source: invalid subject a.."),
    ),
    (
        {"mirror": {"name": "O", "subject_transforms": [{"src": "a.*", "dest": "b.$2"}]}},
        (
            400,
            10154,
            "mirror transform: invalid mapping destination: wildcard index out of range in $2: [2]",
        ),
    ),
    (
        {
            "mirror": {
                "name": "O",
                "subject_transforms": [{"src": "a.*", "dest": "b"}, {"src": "a.b", "dest": "c"}],
            }
        },
        (400, 10152, "mirror subject filters can not overlap"),
    ),
    ({"mirror": {"name": "a.b"}}, (400, 10142, "mirrored stream name is invalid")),
    ({"max_msg_size": 5}, (400, 10030, "stream mirror must have max message size >= source")),
]


@each(("config", "error"), MIRROR_REFUSED)
async def test_mirror_refused(js: JsClient, config: dict[str, Any], error: tuple[int, int, str]) -> None:
    await js.stream("O", max_msg_size=10)
    assert await js.refused("STREAM.CREATE.M", {"name": "M", "mirror": {"name": "O"}, **config}) == error


SOURCES_REFUSED: list[tuple[dict[str, Any], tuple[int, int, str]]] = [
    (
        {"allow_msg_schedules": True, "sources": [{"name": "O"}]},
        (400, 10187, "stream source can not also schedule messages"),
    ),
    ({"sources": [{"name": "a.b"}]}, (400, 10141, "sourced stream name is invalid")),
    ({"sources": [{"name": "O"}, {"name": "O"}]}, (400, 10140, "duplicate source configuration detected")),
    (
        {
            "sources": [
                {"name": "O", "filter_subject": "a", "subject_transforms": [{"src": "a", "dest": "b"}]},
            ]
        },
        (400, 10144, "source with multiple subject transforms cannot also have a single subject filter"),
    ),
    (
        {"sources": [{"name": "O", "subject_transforms": [{"src": "a..", "dest": "b"}]}]},
        (400, 10145, "source transform source: invalid subject a.."),
    ),
    (
        {"sources": [{"name": "O", "subject_transforms": [{"src": "a.*", "dest": "b.$2"}]}]},
        (
            400,
            10146,
            "source transform: invalid mapping destination: wildcard index out of range in $2: [2]",
        ),
    ),
    (
        {"max_msg_size": 5, "sources": [{"name": "O"}]},
        (400, 10046, "stream source must have max message size >= target"),
    ),
    (
        {"subjects": ["o.>"], "sources": [{"name": "P"}]},
        (400, 10065, "subjects overlap with an existing stream"),
    ),
    (
        {"sources": [{"name": "O", "external": {"api": "x.*", "deliver": ""}}]},
        (500, 10052, 'stream external api prefix "x.*" must be a valid subject without wildcards'),
    ),
    (
        {"sources": [{"name": "O", "external": {"api": "$JS.API", "deliver": ""}}]},
        (400, 10021, "stream external api prefix $JS.API must not overlap with $JS.API"),
    ),
    (
        {"sources": [{"name": "O", "external": {"api": "x", "deliver": "d.*"}}]},
        (400, 10024, "stream external delivery prefix d.* must not contain wildcards"),
    ),
]


@each(("config", "error"), SOURCES_REFUSED)
async def test_sources_refused(js: JsClient, config: dict[str, Any], error: tuple[int, int, str]) -> None:
    await js.stream("O", max_msg_size=10)
    assert await js.refused("STREAM.CREATE.A", {"name": "A", **config}) == error


async def test_sources_in_a_circle(js: JsClient) -> None:
    await js.stream("A")
    await js.stream("B", subjects=["b.>"], sources=[{"name": "A"}])
    config = {"name": "A", "subjects": ["a.>"], "sources": [{"name": "B"}]}
    assert await js.refused("STREAM.UPDATE.A", config) == (500, 10052, "detected cycle")


async def test_names_that_are_no_token(js: JsClient) -> None:
    error = (400, 10128, "Stream name can not contain path separators")
    assert await js.refused("STREAM.CREATE.a/b", {"name": "a/b"}) == error
    assert await js.refused("STREAM.CREATE.a\\b", {"name": "a\\b"}) == error
    long = "n" * 256
    error = (500, 10052, "stream name is too long, maximum allowed is 255")
    assert await js.refused(f"STREAM.CREATE.{long}", {"name": long}) == error


async def test_create_without_body(js: JsClient) -> None:
    assert await js.refused("STREAM.CREATE.S") == (
        400,
        10056,
        "stream name in subject does not match request",
    )


async def test_create_again(js: JsClient) -> None:
    first = await js.stream(max_msgs=5)
    again = await js.stream(max_msgs=5, retention="limits", max_bytes=-1)
    assert again["created"] == first["created"]
    assert again["config"] == first["config"]
    assert again["did_create"] is True
    error = (400, 10058, "stream name already in use with a different configuration")
    assert await js.refused("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"], "max_msgs": 6}) == error


async def test_subjects_of_another_stream(js: JsClient) -> None:
    await js.stream()
    error = (400, 10065, "subjects overlap with an existing stream")
    for subject in ("s.a", "s.*.b", "s.>"):
        assert await js.refused("STREAM.CREATE.T", {"name": "T", "subjects": [subject]}) == error
    await js.stream("T", subjects=["s"])
    assert await js.refused("STREAM.UPDATE.T", {"name": "T", "subjects": ["s.b"]}) == error


UPDATE_REFUSED: list[tuple[dict[str, Any], dict[str, Any], tuple[int, int, str]]] = [
    ({}, {"storage": "memory"}, (500, 10052, "stream configuration update can not change storage type")),
    (
        {},
        {"retention": "workqueue"},
        (500, 10052, "stream configuration update can not change retention policy to/from workqueue"),
    ),
    (
        {"retention": "workqueue"},
        {},
        (500, 10052, "stream configuration update can not change retention policy to/from workqueue"),
    ),
    (
        {"deny_delete": True},
        {},
        (500, 10052, "stream configuration update can not cancel deny message deletes"),
    ),
    ({"deny_purge": True}, {}, (500, 10052, "stream configuration update can not cancel deny purge")),
    ({"allow_msg_ttl": True}, {}, (500, 10052, "message TTL status can not be disabled")),
    (
        {"allow_msg_counter": True},
        {},
        (500, 10052, "stream configuration update can not change message counter setting"),
    ),
    (
        {},
        {"allow_msg_counter": True},
        (500, 10052, "stream configuration update can not change message counter setting"),
    ),
    ({"allow_msg_schedules": True}, {}, (500, 10052, "message schedules can not be disabled")),
    ({}, {"persist_mode": "async"}, (500, 10052, "stream configuration update can not change persist mode")),
    (
        {},
        {"subjects": None, "mirror": {"name": "O"}},
        (400, 10055, "stream mirror configuration can not be updated"),
    ),
    ({}, {"max_age": 5}, (500, 10052, "max age needs to be >= 100ms")),
    ({}, {"name": "T"}, (400, 10056, "stream name in subject does not match request")),
    ({}, {"num_replicas": 3}, (500, 10074, "replicas > 1 not supported in non-clustered mode")),
]


@pytest.mark.parametrize(("before", "after", "error"), UPDATE_REFUSED)
async def test_update_refused(
    js: JsClient, before: dict[str, Any], after: dict[str, Any], error: tuple[int, int, str]
) -> None:
    made = await js.stream(**before)
    config = {"name": "S", "subjects": ["s.>"], **after}
    assert await js.refused("STREAM.UPDATE.S", {k: v for k, v in config.items() if v is not None}) == error
    assert (await js.good("STREAM.INFO.S"))["config"] == made["config"]


UPDATED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"description": "new", "metadata": {"k": "v"}}),
    ({}, {"subjects": ["s.>", "t"]}),
    ({}, {"retention": "interest"}),
    ({"retention": "interest"}, {"retention": "limits"}),
    ({}, {"max_msgs": 5, "max_bytes": 1000, "max_age": S_NS, "max_msg_size": 10, "max_msgs_per_subject": 2}),
    ({}, {"discard": "new", "duplicate_window": S_NS, "compression": "s2"}),
    ({}, {"allow_direct": True, "allow_rollup_hdrs": True, "no_ack": True}),
    ({}, {"allow_atomic": True, "allow_batched": True}),
    ({"allow_atomic": True, "allow_batched": True}, {}),
    ({}, {"allow_msg_ttl": True, "subject_delete_marker_ttl": S_NS}),
    ({}, {"republish": {"src": ">", "dest": "c.>"}, "subject_transform": {"src": "s.*", "dest": "s.$1"}}),
    ({"republish": {"src": ">", "dest": "c.>"}}, {}),
    ({}, {"sources": [{"name": "O"}]}),
    ({"first_seq": 5}, {"first_seq": 7}),
    ({}, {"deny_delete": True, "deny_purge": True}),
    ({}, {"allow_msg_schedules": True}),
    ({}, {"consumer_limits": {"max_ack_pending": 5}}),
]


@pytest.mark.parametrize(("before", "after"), UPDATED)
async def test_updated(js: JsClient, before: dict[str, Any], after: dict[str, Any]) -> None:
    made = await js.stream(**before)
    answer = await js.update(**{"subjects": ["s.>"], **after})
    assert list(answer)[:4] == ["type", "config", "created", "state"]
    assert answer["type"] == f"{TYPE}stream_update_response"
    assert "did_create" not in answer
    assert answer["created"] == made["created"]
    config = answer["config"]
    kept = {k: v for k, v in config.items() if k != "metadata"}
    assert kept | after == kept | {k: v for k, v in after.items() if k != "metadata"} | (
        {"metadata": after["metadata"]} if "metadata" in after else {}
    )
    assert (await js.good("STREAM.INFO.S"))["config"] == config


async def test_update_of_none(js: JsClient) -> None:
    assert await js.refused("STREAM.UPDATE.S", {"name": "S"}) == (404, 10059, "stream not found")


async def test_update_that_existing_consumers_violate(js: JsClient) -> None:
    await js.stream()
    await js.consumer("one", max_ack_pending=100)
    await js.consumer("two", max_ack_pending=5)
    code, err_code, text = await js.refused(
        "STREAM.UPDATE.S", {"name": "S", "subjects": ["s.>"], "consumer_limits": {"max_ack_pending": 50}}
    )
    assert (code, err_code, text) == (500, 10069, "change to limits violates consumers: one")


async def test_sealing(js: JsClient) -> None:
    await js.stream(max_age=DAY_NS, allow_rollup_hdrs=True)
    await js.fill("s.a")
    answer = await js.update(subjects=["s.>"], max_age=DAY_NS, allow_rollup_hdrs=True, sealed=True)
    config = answer["config"]
    sealed = {
        "sealed": True,
        "max_age": 0,
        "discard": "new",
        "deny_delete": True,
        "deny_purge": True,
        "allow_rollup_hdrs": False,
    }
    assert {key: config[key] for key in sealed} == sealed
    error = (400, 10109, "invalid operation on sealed stream")
    ack = await js.publish("s.a")
    assert ack == {
        "error": {"code": 400, "err_code": 10109, "description": error[2]},
        "stream": "S",
        "seq": 0,
    }
    assert await js.refused("STREAM.PURGE.S") == error
    assert await js.refused("STREAM.MSG.DELETE.S", {"seq": 1}) == error
    assert await js.refused("STREAM.UPDATE.S", {"name": "S", "subjects": ["s.>"]}) == (
        500,
        10052,
        "stream configuration update can not unseal a sealed stream",
    )


async def test_promotion_of_a_mirror(js: JsClient) -> None:
    await js.stream("O")
    await js.stream("M", mirror={"name": "O"})
    answer = await js.update("M", subjects=["m.>"])
    assert "mirror" not in answer["config"]
    assert await js.publish("m.a") == {"stream": "M", "seq": 1}
