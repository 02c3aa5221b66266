"""The disk budget as a pure machine: lines, hysteresis, the reserve, whose messages go."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.edge.storage.budget import Budget, Limits, Reading, limits_of
from phloem.edge.storage.settings import check
from phloem.edge.storage.victims import next_victim
from phloem.shared.errors import ConfigError
from phloem.shared.forward.entries import Class
from phloem.shared.server.load import as_options

MB = 1_000_000
LIMITS = Limits(budget=1000 * MB, floor=200 * MB, reserve=16 * MB, slack=20 * MB)


def reading(
    live: int, *, file: int = 0, free: int = 10_000 * MB, reserve: int = 16 * MB, full: bool = False
) -> Reading:
    return Reading(file or live, live, 14 * MB, reserve, free, full)


def test_below_the_high_line_nothing_happens() -> None:
    budget = Budget(LIMITS)
    assert budget.look(reading(900 * MB)) == (0, False, False, False)
    assert (budget.allowed, budget.high, budget.held) == (1000 * MB, 980 * MB, "")


def test_shedding_goes_on_to_the_low_line_and_begins_again_at_the_high_one() -> None:
    budget = Budget(LIMITS)
    plan = budget.look(reading(951 * MB))
    assert plan.shed == 951 * MB + 30 * MB - budget.low == 51 * MB
    assert budget.look(reading(920 * MB)).shed == 20 * MB
    assert budget.look(reading(900 * MB)).shed == 0
    assert budget.look(reading(949 * MB)).shed == 0
    assert budget.look(reading(951 * MB)).shed > 0
    assert not budget.held


def test_others_have_filled_the_disk() -> None:
    """The file does not grow then; what it has is not given up because of others."""
    budget = Budget(LIMITS)
    plan = budget.look(reading(500 * MB, file=600 * MB, free=100 * MB))
    assert budget.allowed == 630 * MB
    assert (plan.shed, plan.give, budget.held) == (0, False, "")
    plan = budget.look(reading(595 * MB, file=600 * MB, free=100 * MB))
    assert plan.shed > 0
    assert not plan.desperate


def test_the_reserve_is_given_back_before_the_disk_is_full_and_taken_again() -> None:
    budget = Budget(LIMITS)
    plan = budget.look(reading(590 * MB, file=600 * MB, free=10 * MB))
    assert plan.give
    assert budget.held == "the disk has no space left"
    plan = budget.look(reading(590 * MB, file=600 * MB, free=26 * MB, reserve=0))
    assert not plan.give
    assert not plan.take
    assert budget.held  # still above the line
    plan = budget.look(reading(500 * MB, file=600 * MB, free=150 * MB, reserve=0))
    assert not budget.held
    assert not plan.take
    assert budget.look(reading(500 * MB, file=600 * MB, free=216 * MB, reserve=0)).take


def test_when_shedding_does_not_help_only_alarms_are_taken() -> None:
    budget = Budget(LIMITS)
    plan = budget.look(reading(980 * MB))
    assert plan.desperate
    assert budget.held == "the disk budget is used up"
    budget.look(reading(960 * MB))
    assert budget.held
    budget.look(reading(945 * MB))
    assert not budget.held


def test_a_full_store_holds_whatever_is_measured() -> None:
    budget = Budget(LIMITS)
    plan = budget.look(reading(100 * MB, full=True))
    assert plan.give
    assert plan.desperate
    assert budget.held


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1500 * MB), st.integers(0, 500 * MB), st.integers(0, 2000 * MB), st.booleans()
        ),
        max_size=20,
    )
)
def test_whatever_is_measured(readings: list[tuple[int, int, int, bool]]) -> None:
    budget = Budget(LIMITS)
    for live, unused, free, full in readings:
        now = reading(live, file=live + unused, free=free, full=full)
        plan = budget.look(now)
        assert 0 <= plan.shed <= now.used
        assert budget.allowed <= LIMITS.budget
        assert not (plan.give and plan.take)
        assert bool(plan.shed) <= budget.shedding
        if now.used > budget.allowed:
            assert plan.shed
            assert budget.held
        if full:
            assert budget.held
            assert plan.give


def test_defaults() -> None:
    small = limits_of(-1, -1, -1, total=1000 * MB, free=400 * MB, own=0, slack=16 * MB)
    assert small == Limits(300 * MB, 50 * MB, 4_687_500, 16 * MB)
    large = limits_of(-1, -1, -1, total=64_000 * MB, free=40_000 * MB, own=1000 * MB, slack=16 * MB)
    assert large == Limits(30_750 * MB, 200 * MB, 16 * MB, 16 * MB)
    full = limits_of(-1, -1, -1, total=1000 * MB, free=0, own=900 * MB, slack=16 * MB)
    assert full.budget == 900 * MB  # what is there already is not shed because of a default


@pytest.mark.parametrize(
    ("disk", "text"),
    [
        ({"budget": 1000}, "too small"),
        ({"budget": 100 * MB, "reserve": 50 * MB}, "more than a quarter"),
        ({"free_floor": -5}, "are bytes"),
    ],
)
def test_what_cannot_work_is_refused(disk: dict[str, int], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        check(as_options({"disk": disk}), 4 << 20)


@dataclass
class Stream:
    cls: Class | None
    messages: int
    oldest_ns: int = 0
    spare: int = 0


def test_the_least_important_and_oldest_goes_first() -> None:
    debug, old = Stream(Class.DEBUG, 1, 9), Stream(Class.DEBUG, 1, 5)
    telemetry, event, alarm = (Stream(cls, 1, 1) for cls in (Class.TELEMETRY, Class.EVENT, Class.ALARM))
    kept = Stream(None, 1)
    order = []
    streams = [kept, alarm, event, telemetry, debug, old]
    while (found := next_victim(streams, desperate=True)) is not None:
        order.append(found[0])
        found[0].messages = 0
    assert order == [old, debug, telemetry, event, alarm]
    assert kept.messages == 1


def test_alarms_go_only_in_despair() -> None:
    assert next_victim([Stream(Class.ALARM, 1)], desperate=False) is None
    assert next_victim([Stream(Class.ALARM, 1)], desperate=True) is not None


def test_what_the_hub_has_goes_before_what_it_has_not() -> None:
    debug, alarm = Stream(Class.DEBUG, 5), Stream(Class.ALARM, 5, spare=2)
    found = next_victim([debug, alarm], desperate=False)
    assert found == (alarm, True)
