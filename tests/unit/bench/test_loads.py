"""The declared rows: the goals are part of what the project promises, so changing one is a visible change."""

from tests.bench.loads import LOADS

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
    "memory-idle": "<= 40.0 MB",
    "memory-1000": "<= 1.0x",
}


def test_goals() -> None:
    assert {row.name: row.goal.text for load in LOADS for row in load.rows} == GOALS


def test_only_the_leaf_load_runs_over_a_leaf_link() -> None:
    assert [load.name for load in LOADS if load.leaf] == ["leaf"]
    assert all(load.leaf == (load.arguments[0] == "leaf") for load in LOADS)


def test_memory_is_read_while_connections_are_held() -> None:
    assert all((load.messages is None) == (load.arguments[0] == "idle") for load in LOADS)
