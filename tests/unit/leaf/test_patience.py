"""How long steps may take and how long pauses are."""

import random

from hypothesis import given
from hypothesis import strategies as st

from phloem.shared import limits
from phloem.shared.leaf.patience import STEPS, Patience, Pauses

SECOND_NS = 1_000_000_000


def test_a_first_attempt_has_the_configured_times() -> None:
    patience = Patience(10 * SECOND_NS)
    assert [patience.within_ns(step, SECOND_NS) for step in STEPS] == [SECOND_NS] * 3


def test_times_grow_with_each_time_out_up_to_the_bound() -> None:
    patience, seen = Patience(10 * SECOND_NS), []
    for _ in range(8):
        patience.late("dial")
        seen.append(patience.within_ns("dial", SECOND_NS) / 1e9)
    assert seen[:3] == [1.5, 2.25, 3.375]
    assert seen[-2:] == [10, 10]
    assert patience.within_ns("info", SECOND_NS) == SECOND_NS  # another step's time is its own


def test_what_a_step_took_is_remembered() -> None:
    patience = Patience(10 * SECOND_NS)
    patience.late("info")
    patience.done("info", 1_200_000_000)
    assert patience.within_ns("info", SECOND_NS) == 3_600_000_000
    patience.done("info", 10_000_000)
    assert patience.within_ns("info", SECOND_NS) == SECOND_NS


def test_the_round_trip_counts() -> None:
    patience = Patience(10 * SECOND_NS)
    patience.round_trip(700_000_000)
    assert patience.within_ns("dial", SECOND_NS) == 2_100_000_000
    assert patience.within_ns("tls", 2 * SECOND_NS) == 6_300_000_000


def test_nothing_adapts_without_a_bound_or_below_what_is_configured() -> None:
    for patience in (Patience(0), Patience(SECOND_NS)):
        patience.late("dial")
        assert patience.within_ns("dial", 2 * SECOND_NS) == 2 * SECOND_NS
    assert Patience(SECOND_NS).within_ns("info", 0) == 0  # no time is to be kept


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(-1, 40 * SECOND_NS)), max_size=200))
def test_a_time_is_never_below_what_is_configured_nor_above_the_bound(
    story: list[tuple[str, int]],
) -> None:
    patience = Patience(10 * SECOND_NS)
    for step, took_ns in story:
        if took_ns < 0:
            patience.late(step)
        else:
            patience.done(step, took_ns)
            patience.round_trip(took_ns)
        assert all(SECOND_NS <= patience.within_ns(each, SECOND_NS) <= 10 * SECOND_NS for each in STEPS)


def outage(pauses: Pauses, until_s: float) -> list[tuple[float, float]]:
    """Attempts that fail at once, until ``until_s``: when each is made, and how long it waited."""
    now_ns, attempts = 0, []
    pause_ns = pauses.lost(now_ns)
    while now_ns < until_s * SECOND_NS:
        now_ns += max(pause_ns, 1_000_000)
        attempts.append((now_ns / 1e9, pause_ns / 1e9))
        pause_ns = pauses.failed(now_ns)
    return attempts


def test_a_short_outage_is_followed_by_a_short_pause() -> None:
    for seed in range(50):
        pauses = Pauses(SECOND_NS, 10 * SECOND_NS, random.Random(seed))
        assert all(pause <= max(1, at / 8) for at, pause in outage(pauses, 16))


def test_pauses_end_at_the_bound_and_grow_no_further() -> None:
    late = [
        pause for at, pause in outage(Pauses(SECOND_NS, 10 * SECOND_NS, random.Random(1)), 20_000) if at > 100
    ]
    assert 9 < max(late) <= 10
    assert min(late) < 1  # full jitter
    assert 4.5 < sum(late) / len(late) < 5.5


def test_a_fleet_does_not_come_back_at_once() -> None:
    """A thousand edges lose their hub in the same instant for two minutes: what comes in a tenth of a second."""
    tenths: dict[int, int] = {}
    for seed in range(1000):
        pauses = Pauses(SECOND_NS, 10 * SECOND_NS, random.Random(seed))
        first = next(at for at, _ in outage(pauses, 140) if at >= 120)
        tenths[int(first * 10)] = tenths.get(int(first * 10), 0) + 1
    assert max(tenths.values()) < 50
    assert max(tenths) < 1300


def test_a_link_that_was_well_has_short_pauses_again_and_one_that_flaps_has_not() -> None:
    pauses = Pauses(SECOND_NS, 60 * SECOND_NS, random.Random(1))
    for at_s in range(0, 1000, 10):
        pauses.failed(at_s * SECOND_NS)
    pauses.up(1000 * SECOND_NS)
    now_ns = 1000 * SECOND_NS + limits.LINK_STEADY_NS - 1
    assert max(pauses.lost(now_ns) for _ in range(100)) > 30 * SECOND_NS
    pauses.up(1010 * SECOND_NS)
    now_ns = 1010 * SECOND_NS + limits.LINK_STEADY_NS
    assert max(pauses.lost(now_ns) for _ in range(100)) <= SECOND_NS


def test_hope_makes_pauses_short() -> None:
    pauses = Pauses(SECOND_NS, 60 * SECOND_NS, random.Random(1))
    pauses.failed(0)
    pauses.fresh(1000 * SECOND_NS)
    assert max(pauses.failed(1000 * SECOND_NS) for _ in range(100)) <= SECOND_NS


def test_nats_servers_pauses_do_not_grow() -> None:
    pauses = Pauses(SECOND_NS, 0, random.Random(1))
    assert {pauses.lost(at * SECOND_NS) for at in range(1000)} == {SECOND_NS}
    assert all(SECOND_NS <= pauses.failed(at * SECOND_NS) < 2 * SECOND_NS for at in range(1000))
