"""Stages between decoder and disk, at times that the tests say."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.firmware_bridge.reading import Quality, Reading, Value
from phloem.firmware_bridge.shaping.aggregate import NUMBERS, Aggregate
from phloem.firmware_bridge.shaping.changes import Changes, Rule
from phloem.firmware_bridge.shaping.convert import UNITS, Convert, converted
from phloem.firmware_bridge.shaping.ranges import Limits, Ranges
from phloem.firmware_bridge.shaping.stage import CHANNELS_MAX, Stage

S = 10**9
GOOD, UNCERTAIN, BAD = Quality.GOOD, Quality.UNCERTAIN, Quality.BAD


def t(value: Value, unit: str = "", quality: Quality = GOOD, channel: str = "t") -> Reading:
    return Reading(channel, value, unit, quality)


def said(stage: Stage, value: Value, now_ns: int) -> list[Value]:
    return [reading.value for reading in stage.take([t(value)], now_ns)]


# --- units --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "have", "want", "expected"),
    [
        (21.5, "Cel", "K", 294.65),
        (212, "[degF]", "Cel", 100),
        (1013.25, "hPa", "[psi]", 14.6959),
        (10, "[kn_i]", "km/h", 18.52),
        (1, "kW.h", "J", 3.6e6),
        (180, "deg", "rad", 3.14159265),
        (50, "%", "1", 0.5),
    ],
)
def test_units(value: float, have: str, want: str, expected: float) -> None:
    assert converted(value, have, want) == pytest.approx(expected, rel=1e-5)


@given(
    value=st.floats(-1e6, 1e6), pair=st.tuples(st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(UNITS)))
)
def test_there_and_back(value: float, pair: tuple[str, str]) -> None:
    have, want = pair
    if UNITS[have].dimension == UNITS[want].dimension:
        assert converted(converted(value, have, want), want, have) == pytest.approx(value, rel=1e-6, abs=1e-6)
    else:
        with pytest.raises(ValueError, match="is a"):
            converted(value, have, want)


def test_convert_leaves_what_it_cannot() -> None:
    stage = Convert({"t": "K"})
    given_ = [t(20, "Cel"), t(5), t("warm", "Cel"), t(True, "Cel"), t(7, "hPa"), t(1, "K"), t(3, channel="x")]
    out = stage.take(given_, 0)
    assert out[0] == t(pytest.approx(293.15), "K")
    assert out[1:] == given_[1:]
    assert stage.not_converted == 4


# --- ranges -------------------------------------------------------------------------------------------------

LIMITS = Limits(type="number", possible=(-40, 85), usual=(0, None))


@pytest.mark.parametrize(
    ("reading", "quality"),
    [
        (t(20), GOOD),
        (t(-5), UNCERTAIN),
        (t(-40), UNCERTAIN),
        (t(86), BAD),
        (t("20"), BAD),
        (t(True), BAD),
        (t(20, quality=BAD), BAD),
        (t(20, quality=UNCERTAIN), UNCERTAIN),
        (t(99, channel="other"), GOOD),
    ],
)
def test_ranges_mark(reading: Reading, quality: Quality) -> None:
    assert [r.quality for r in Ranges({"t": LIMITS}).take([reading], 0)] == [quality]


def test_ranges_withhold() -> None:
    stage = Ranges({"t": LIMITS}, closed=True, drop_bad=True)
    assert stage.take([t(1), t(100), t(1, channel="x")], 0) == [t(1)]
    assert (stage.withheld, stage.bad) == (2, 1)


@pytest.mark.parametrize("change", [{"type": "float"}, {"possible": (2, 1)}, {"usual": (0.5, 0)}])
def test_limits_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"none of|is above"):
        Limits(**change)  # type: ignore[arg-type]


# --- windows ------------------------------------------------------------------------------------------------


def test_a_window() -> None:
    stage = Aggregate(10 * S, list(NUMBERS))
    assert stage.due_ns is None
    for second, value in enumerate([3, 1, 8]):
        assert stage.take([t(value, "Cel")], second * S) == ()
    assert stage.due_ns == 10 * S
    assert stage.expire(10 * S - 1) == ()
    made = {r.channel: (r.value, r.unit, r.mono_ns) for r in stage.expire(10 * S)}
    assert made == {
        "t_mean": (4, "Cel", 10 * S),
        "t_min": (1, "Cel", 10 * S),
        "t_max": (8, "Cel", 10 * S),
        "t_last": (8, "Cel", 10 * S),
        "t_count": (3, "", 10 * S),
    }
    assert stage.due_ns is None
    assert stage.take([t(5)], 12 * S) == ()
    assert stage.due_ns == 20 * S  # end to end, where nothing was missed
    assert [r.value for r in stage.take([t(6)], 100 * S)] == [5, 5, 5, 5, 1]
    assert stage.due_ns == 110 * S


def test_what_is_no_number_is_not_averaged() -> None:
    stage = Aggregate(S, ["mean"])
    stage.take(
        [t(1), t(3, quality=UNCERTAIN), t(99, quality=BAD), t(98, quality=BAD), t("x", channel="s")], 0
    )
    assert list(stage.expire(S)) == [
        Reading("t", 2, "", UNCERTAIN, S),
        t(98, quality=BAD),
        t("x", channel="s"),
    ]
    assert stage.withheld == 1


def test_windows_are_bounded() -> None:
    stage = Aggregate(S, ["last"])
    stage.take([t(1, channel=f"c{n}") for n in range(CHANNELS_MAX + 5)], 0)
    assert (len(stage.expire(S)), stage.withheld) == (CHANNELS_MAX, 5)


@given(values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50))
def test_numbers_of_a_window(values: list[float]) -> None:
    stage = Aggregate(S, ["mean", "min", "max"])
    stage.take([t(value) for value in values], 0)
    mean, least, most = (r.value for r in stage.expire(S))
    assert (least, most) == (min(values), max(values))
    assert mean == pytest.approx(sum(values) / len(values), rel=1e-9, abs=1e-3)


# --- changes ------------------------------------------------------------------------------------------------


def test_deadband() -> None:
    stage = Changes({}, Rule(deadband=0.5))
    assert [said(stage, value, 0) for value in (20.0, 20.5, 20.6, 20.2, 20.0)] == [
        [20.0],
        [],
        [20.6],
        [],
        [20.0],
    ]
    assert stage.withheld == 2


def test_deadband_percent_and_other_channels() -> None:
    stage = Changes({"t": Rule(deadband_percent=10)}, Rule())
    assert [said(stage, value, 0) for value in (100, 110, 111, 0, 0)] == [[100], [], [111], [0], []]
    assert stage.take([t(1, channel="x"), t(1, channel="x")], 0) == [t(1, channel="x")] * 2


def test_a_change_of_quality_unit_or_type_is_one() -> None:
    stage = Changes({}, Rule(deadband=5))
    readings = [t(1), t(2, quality=BAD), t(2), t(2, "Cel"), t("2", "Cel"), t(True, "Cel"), t(True, "Cel")]
    assert stage.take(readings, 0) == readings[:-1]
    assert said(Changes({}, Rule(on_change=True)), 1, 0) == [1]


def test_min_interval_holds_the_newest() -> None:
    stage = Changes({}, Rule(on_change=True, min_interval_ns=10))
    assert said(stage, 1, 0) == [1]
    assert said(stage, 2, 3) == []
    assert said(stage, 3, 5) == []
    assert stage.due_ns == 10
    assert [r.value for r in stage.expire(10)] == [3]
    assert stage.due_ns is None
    assert said(stage, 4, 12) == []
    assert said(stage, 3, 15) == []  # as it was: nothing to say any more
    assert stage.due_ns is None
    assert said(stage, 5, 21) == [5]
    assert stage.withheld == 3


def test_max_interval_says_the_next_one() -> None:
    stage = Changes({}, Rule(deadband=5, max_interval_ns=100))
    assert said(stage, 1, 0) == [1]
    assert said(stage, 1, 99) == []
    assert said(stage, 1, 100) == [1]
    assert stage.due_ns is None


@settings(max_examples=200)
@given(
    steps=st.lists(st.tuples(st.integers(0, 30), st.integers(-5, 5)), max_size=40),
    rule=st.builds(
        Rule,
        deadband=st.sampled_from([0, 1, 3]),
        on_change=st.booleans(),
        min_interval_ns=st.sampled_from([0, 10]),
        max_interval_ns=st.sampled_from([0, 50]),
    ),
)
def test_every_reading_is_said_held_or_counted(steps: list[tuple[int, int]], rule: Rule) -> None:
    stage, now, out = Changes({}, rule), 0, list[tuple[int, Value]]()
    for passed, value in steps:
        now += passed
        out += [(now, reading.value) for reading in stage.take([t(value)], now)]
    held = stage.due_ns is not None
    assert len(out) + stage.withheld + held == len(steps)
    assert all(b - a >= rule.min_interval_ns for (a, _), (b, _) in pairwise(out))
    if steps and not held and not rule.min_interval_ns:
        assert abs(steps[-1][1] - out[-1][1]) <= rule.deadband  # type: ignore[operator]


@pytest.mark.parametrize(
    "change", [{"deadband": -1.0}, {"min_interval_ns": -1}, {"min_interval_ns": 5, "max_interval_ns": 4}]
)
def test_rules_that_cannot_be(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"0 or more|below"):
        Rule(**change)  # type: ignore[arg-type]
