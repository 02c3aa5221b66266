"""Scenes on a real server, small ones: what is made, filled and measured, and what a refusal becomes."""

import json
from dataclasses import replace

import pytest
from tests.bench import large, rounds, stages
from tests.bench.generator import LoadFailed
from tests.bench.loads import Kind, Load, Row, Scene
from tests.bench.ratios import Goal, Unit
from tests.bench.servers import PRODUCTS

NATS = PRODUCTS["nats-server"]
STREAM = json.dumps({"name": "bench", "subjects": ["bench.>"]})
SCENE = Scene("small", (STREAM,), ("js-pub --messages 300 --window 50 --size 16",))
ROW = Row("pull", "pull", "delivered_per_s", Unit.PER_SECOND, Goal(at_least=1.0))
PULL = Load("pull", ("js-pull", "--batch", "50"), 300, (ROW,), kind=Kind.WHOLE, scene=SCENE)
BROKEN = replace(PULL, name="broken", arguments=("js-pull", "--stream", "none"))
PAIR = (NATS, NATS)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "SETTLE_SECONDS", 0.001)


class Steps:
    """What a progress bar is told."""

    def __init__(self) -> None:
        self.advanced = 0
        self.said: list[str] = []

    def advance(self) -> None:
        self.advanced += 1

    def says(self, text: str) -> None:
        self.said.append(text)


def test_loads_of_a_scene_share_its_servers_and_a_broken_one_stands_alone() -> None:
    steps = Steps()
    loads = (BROKEN, PULL)
    broken, good = rounds.measure_on(SCENE, loads, PAIR, 2, 0.1, steps.advance, steps.says)
    assert "stream not found" in broken.failure
    assert good.pairs is not None
    assert len(good.pairs.candidate) == 2
    assert steps.advanced == 4
    assert steps.said == ["small: filling nats-server", "small: filling nats-server", "pull", "pull"]


def test_a_scene_that_cannot_be_made_fails_all_its_loads() -> None:
    steps = Steps()
    refused = replace(SCENE, streams=(STREAM, json.dumps({"name": "again", "subjects": ["bench.a"]})))
    outcomes = rounds.measure_on(refused, (PULL, PULL), PAIR, 2, 0.1, steps.advance)
    assert [outcome.pairs for outcome in outcomes] == [None, None]
    assert all("10065" in outcome.failure for outcome in outcomes)
    assert steps.advanced == 4


def test_a_calibrated_load_stays_within_its_scene() -> None:
    load = replace(PULL, kind=Kind.RUN, messages=100, messages_max=300)
    with stages.staged(SCENE, NATS, "") as stage:
        assert rounds.turn_on(load, stage, 5.0, is_candidate=True)()["delivered"] == 300


def test_a_paced_run_tells_what_was_written_for_each_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "RATE_KEPT_MIN", 0.01)  # a disk that others keep busy is no failure here
    arguments = ("js-pub", "--window", "10", "--rate", "1000")
    load = replace(PULL, arguments=arguments, messages=50, kind=Kind.WRITTEN)
    hasty = replace(load, arguments=("js-pub", "--window", "1", "--rate", "1000000"))
    with stages.staged(SCENE, NATS, "always") as stage:
        figures = rounds.turn_on(load, stage, 1.0, is_candidate=True)()
        assert figures["written_per_message"] > 16
        monkeypatch.setattr(stages, "RATE_KEPT_MIN", 0.9)
        with pytest.raises(LoadFailed, match="of 1,000,000 msg/s"):
            rounds.turn_on(hasty, stage, 1.0, is_candidate=True)()
        monkeypatch.setattr(stages, "STOP_COUNTS_MESSAGES_MIN", 50)
        assert rounds.turn_on(hasty, stage, 1.0, is_candidate=False)()["written_per_message"] > 16
        assert stage.server.process.poll() is not None, "what is written at the stop has been counted"


def test_a_large_store_is_weighed_and_opened_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "FILL_CHUNK", 1_000)
    monkeypatch.setattr(large, "LATE_MESSAGES", 10)
    arguments = ("js-pub", "--window", "100", "--keys", "500", "--size", "16")
    load = replace(PULL, arguments=arguments, messages=2_500, kind=Kind.LARGE, scene=replace(SCENE, fills=()))
    steps = Steps()
    figures = large.large(load, NATS, "", steps.says)
    assert figures["resident_mb"] > figures["anonymous_mb"] > 1
    assert figures["disk_per_message"] > 16
    assert figures["open_s"] > figures["from_ready_s"] > 0
    assert figures["open_killed_s"] > 0
    assert steps.said == [
        "nats-server: 0 of 2,500 messages",
        "nats-server: 1,000 of 2,500 messages",
        "nats-server: 2,000 of 2,500 messages",
        "nats-server: opening 2,500 messages",
        "nats-server: opening 2,500 messages after kill -9",
    ]
