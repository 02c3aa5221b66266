"""Calibration, and what becomes of a load that cannot be measured."""

import pytest
from tests.bench import rounds
from tests.bench.generator import Figures, LoadFailed
from tests.bench.loads import LOADS, Load
from tests.bench.servers import PRODUCTS, Deployment

BASELINE, CANDIDATE = PRODUCTS["nats-server"], PRODUCTS["phloem"]
LOAD = next(load for load in LOADS if load.name == "rtt")


@pytest.mark.parametrize("rate", [1e2, 1e4, 3e6, 5e7])
@pytest.mark.parametrize("start_up_seconds", [0.0, 0.05])
def test_calibration_finds_runs_that_are_long_enough(rate: float, start_up_seconds: float) -> None:
    def seconds_of(messages: int) -> float:
        return start_up_seconds + messages / rate

    count = rounds.calibrate(seconds_of, 1_000, 1.2)
    assert 1.0 <= count / rate + start_up_seconds <= 1.3


def test_calibration_steps_are_bounded() -> None:
    asked: list[int] = []

    def seconds_of(messages: int) -> float:
        asked.append(messages)
        return messages / 1e6

    assert rounds.calibrate(seconds_of, 1_000, 1.0) == 1_000_000
    assert asked == [1_000, 8_000, 64_000, 512_000]


def test_calibration_ends_where_the_generator_can_count_no_further() -> None:
    assert rounds.calibrate(lambda _: 0.0, 1, 1.2) == rounds.MESSAGES_MAX


def test_calibration_ends_where_the_scene_holds_no_more() -> None:
    assert rounds.calibrate(lambda count: count / 1e6, 1_000, 1.2, 50_000) == 50_000


class Script:
    """Stands in for servers and generator: each sample is the next one of the script."""

    def __init__(self, samples: list[Figures | LoadFailed]) -> None:
        self.samples = iter(samples)
        self.advanced = 0

    def turn(self) -> Figures:
        sample = next(self.samples)
        if isinstance(sample, LoadFailed):
            raise sample
        return sample

    def advance(self) -> None:
        self.advanced += 1


def _measured(script: Script, monkeypatch: pytest.MonkeyPatch) -> list[rounds.Outcome]:
    def ready(load: Load, product: object, run_seconds: float) -> "_Ready":
        return _Ready(script)

    monkeypatch.setattr(rounds, "ready", ready)
    return rounds.measure(LOAD, BASELINE, CANDIDATE, 2, 1.0, script.advance)


class _Ready:
    def __init__(self, script: Script) -> None:
        self.script = script

    def __enter__(self) -> rounds.Turn:
        return self.script.turn

    def __exit__(self, *_: object) -> None:
        return None


def test_servers_take_turns_and_one_run_gives_all_rows_of_a_load(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [{"p50_us": p50, "p99_us": 10 * p50} for p50 in (100.0, 60.0, 200.0, 140.0)]
    script = Script([*samples])
    median, p99 = _measured(script, monkeypatch)
    assert median.pairs is not None
    assert p99.pairs is not None
    assert median.pairs.baseline == [100.0, 200.0]
    assert median.pairs.candidate == [60.0, 140.0]
    assert median.pairs.ratio == pytest.approx(0.65)
    assert p99.pairs.candidate == [600.0, 1400.0]
    assert script.advanced == 2


def test_a_load_that_fails_is_a_row_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"p50_us": 1.0, "p99_us": 1.0}
    script = Script([good, good, good, LoadFailed("lost 3 messages")])
    outcomes = _measured(script, monkeypatch)
    assert [(outcome.pairs, outcome.failure) for outcome in outcomes] == [(None, "lost 3 messages")] * 2
    assert outcomes[0].baseline == (1.0, 1.0), "what the baseline did is not lost"
    assert script.advanced == 2, "the progress bar gets to its end all the same"


def test_a_sample_names_its_server_and_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, ...]] = []

    class Here(Deployment):
        def __init__(self) -> None: ...

        def arguments(self) -> tuple[str, ...]:
            return ("--port", "1")

    def run(arguments: tuple[str, ...]) -> Figures:
        seen.append(arguments)
        return {}

    monkeypatch.setattr(rounds, "run", run)
    rounds._sample(LOAD, Here(), 7)
    assert seen == [("rtt", "--pairs", "1", "--port", "1", "--messages", "7")]
