"""Goals and samples: what the benchmark calls reached."""

import pytest
from tests.bench.ratios import Goal, Pairs, Unit


def test_ratio_is_the_median_of_the_pairs_ratios_not_the_ratio_of_medians() -> None:
    pairs = Pairs(baseline=[1.0, 10.0, 100.0], candidate=[5.0, 20.0, 300.0])
    assert pairs.ratios == [5.0, 2.0, 3.0]
    assert pairs.ratio == 3.0
    assert pairs.candidate_median / pairs.baseline_median == 2.0


def test_an_even_number_of_rounds_takes_the_middle() -> None:
    assert Pairs([1.0, 1.0], [2.0, 4.0]).ratio == 3.0


@pytest.mark.parametrize(
    ("baseline", "candidate"), [([], []), ([1.0], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0])]
)
def test_samples_that_make_no_ratio_are_refused(baseline: list[float], candidate: list[float]) -> None:
    with pytest.raises(ValueError, match=r"ratio|samples"):
        Pairs(baseline, candidate)


@pytest.mark.parametrize(
    ("goal", "candidate", "reached"),
    [
        (Goal(at_least=5.0), 10.0, True),
        (Goal(at_least=5.0), 9.99, False),
        (Goal(at_most=0.8), 1.6, True),
        (Goal(at_most=0.8), 1.61, False),
        (Goal(at_most=40.0, unit=Unit.MEGABYTES), 40.0, True),
        (Goal(at_most=40.0, unit=Unit.MEGABYTES), 40.1, False),
    ],
)
def test_a_bound_is_kept_when_it_is_met_exactly(goal: Goal, candidate: float, reached: bool) -> None:
    assert goal.reached(Pairs([2.0], [candidate])) is reached


def test_a_goal_in_a_unit_looks_at_the_candidate_alone() -> None:
    pairs = Pairs(baseline=[1.0], candidate=[39.0])
    assert Goal(at_most=40.0, unit=Unit.MEGABYTES).reached(pairs)
    assert not Goal(at_most=1.0).reached(pairs)


@pytest.mark.parametrize("bounds", [{}, {"at_least": 1.0, "at_most": 2.0}])
def test_a_goal_has_one_bound(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="one bound"):
        Goal(**bounds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        (Goal(at_least=5.0), ">= 5.0x"),
        (Goal(at_most=0.8), "<= 0.8x"),
        (Goal(at_most=40.0, unit=Unit.MEGABYTES), "<= 40.0 MB"),
    ],
)
def test_goal_text(goal: Goal, text: str) -> None:
    assert goal.text == text


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (Unit.PER_SECOND, 3_214_000.0, "3.21 M/s"),
        (Unit.PER_SECOND, 48_260.0, "48.26 k/s"),
        (Unit.PER_SECOND, 999.0, "999 /s"),
        (Unit.MICROSECONDS, 57.14, "57.1 us"),
        (Unit.MEGABYTES, 18.24, "18.2 MB"),
    ],
)
def test_figures_are_printed_in_readable_units(unit: Unit, value: float, text: str) -> None:
    assert unit.text(value) == text
