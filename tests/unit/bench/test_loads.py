"""The declared rows: the goals are part of what the project promises, so changing one is a visible change."""

import json

from tests.bench.__main__ import ALL, chosen
from tests.bench.loads import LOADS, Kind
from tests.bench.stream_loads import LARGE_MESSAGES, LARGE_SUBJECTS, PAYLOAD_BYTES, STREAM_LOADS

GOALS = {
    "pub": ">= 5.0x",
    "pubsub": ">= 5.0x",
    "fan-out": ">= 4.0x",
    "fan-in": ">= 4.0x",
    "queue": ">= 3.0x",
    "pubsub-1k": ">= 1.5x",
    "leaf": ">= 4.0x",
    "subjects": ">= 2.0x",
    "rtt-p50": "<= 0.8x",
    "rtt-p99": "<= 0.8x",
    "rtt-32": ">= 1.3x",
    "import-stream": ">= 4.0x",
    "import-service-p50": "<= 0.8x",
    "import-service-32": ">= 1.3x",
    "mapped": ">= 3.0x",
    "memory-idle": "<= 40.0 MB",
    "memory-1000": "<= 1.0x",
    "tls-pub": ">= 2.0x",
    "tls-pubsub": ">= 3.0x",
    "tls-pubsub-1k": ">= 1.2x",
    "tls-rtt-p50": "<= 0.9x",
    "tls-handshakes": ">= 0.3x",
    "tls-memory-1000": "<= 1.0x",
}
STREAM_GOALS = {
    "js-pub": ">= 1.3x",
    "js-pub-always": ">= 50.0x",
    "js-pub-ids": ">= 1.3x",
    "js-pub-1": ">= 1.2x",
    "js-pub-1-p50": "<= 0.8x",
    "js-pub-1-p99": "<= 1.0x",
    "js-pub-memory": ">= 1.5x",
    "js-pull": ">= 1.5x",
    "js-push": ">= 1.5x",
    "js-push-fc": ">= 1.5x",
    "js-kv-put": ">= 1.5x",
    "js-kv-get": ">= 1.5x",
    "js-kv-get-1": "<= 0.7x",
    "js-kv-watch": ">= 1.5x",
    "js-filter": ">= 1.5x",
    "js-pub-chacha": ">= 1.3x",
    "js-pull-chacha": ">= 1.5x",
    "js-kv-put-chacha": ">= 1.5x",
    "js-kv-get-chacha": ">= 1.5x",
    "js-filter-chacha": ">= 1.5x",
    "js-written-1": "<= 8192 B",
    "js-written-10000": "<= 384 B",
    "js-open": "<= 1.00 s",
    "js-open-ratio": "<= 1.0x",
    "js-open-ready": "<= 1.0x",
    "js-open-killed": "<= 1.0x",
    "js-disk": "<= 1.0x",
    "js-resident": "<= 0.5x",
    "js-anonymous": "<= 0.5x",
}
TITLE_CHARACTERS_MAX = 28  # or the table does not fit into 80 columns


def test_goals() -> None:
    assert {row.name: row.goal.text for load in LOADS for row in load.rows} == GOALS
    assert {row.name: row.goal.text for load in STREAM_LOADS for row in load.rows} == STREAM_GOALS


def test_only_the_leaf_load_runs_over_a_leaf_link() -> None:
    assert [load.name for load in LOADS if load.leaf] == ["leaf"]
    assert all(load.leaf == (load.arguments[0] == "leaf") for load in LOADS)


def test_memory_is_read_while_connections_are_held() -> None:
    for load in ALL:
        assert (load.messages is None) == (load.arguments[0] == "idle") == (load.kind is Kind.MEMORY)


def test_names_are_unique_and_titles_short() -> None:
    rows = [row for load in ALL for row in load.rows]
    assert len({row.name for row in rows}) == len(rows)
    assert len({load.name for load in ALL}) == len(ALL)
    assert [row.title for row in rows if len(row.title) > TITLE_CHARACTERS_MAX] == []


def test_streams_are_json_and_hold_what_the_titles_say() -> None:
    for load in STREAM_LOADS:
        assert load.scene is not None
        assert all("name" in json.loads(text) for text in load.scene.streams)
        assert load.arguments[load.arguments.index("--size") + 1] == str(PAYLOAD_BYTES)
    assert (LARGE_MESSAGES, LARGE_SUBJECTS) == (10_000_000, 1_000_000)


def test_durable_loads_stand_beside_a_durable_baseline() -> None:
    always = {load.name for load in STREAM_LOADS if load.scene and load.scene.sync_interval == "always"}
    assert always == {"js-pub-always", "js-pub-1", "js-written-1", "js-written-10000"}


def test_a_quick_look_leaves_long_loads_out_unless_they_are_asked_for() -> None:
    long = {load for load in ALL if load.is_long}
    assert set(chosen((), quick=True, big=None)) == set(ALL) - long
    assert chosen((), quick=True, big=True) == chosen((), quick=False, big=None) == list(ALL)
    assert set(chosen((), quick=False, big=False)) == set(ALL) - long
    assert [load.name for load in chosen(("js-large",), quick=True, big=None)] == ["js-large"]
