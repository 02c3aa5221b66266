"""What the true time is: who is believed, ranges, boots that ended before anybody knew."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.edge.forward.clock import Boot, Clockwork, Fix, Known, agreed, bounded
from phloem.shared.clock_quality import SystemSays, quality_of
from phloem.shared.forward.identity import Received, Record, resume
from phloem.shared.forward.messages import Epoch, Offer
from phloem.shared.limits import SECOND_NS

TRUE = 1_800_000_000 * SECOND_NS  # when the boot began
HOUR = 3600 * SECOND_NS


def test_the_word_for_the_clock() -> None:
    clock, right, nobody = Clockwork(None, 1, 0), SystemSays(True, SECOND_NS), SystemSays()
    assert clock.quality(0, TRUE, nobody) == "unsynced"
    assert clock.quality(0, TRUE, right) == "synced"
    assert clock.quality(0, 5, right) == "unsynced"  # synchronised with 1970
    clock.hub_says(TRUE, 0, SECOND_NS)
    clock.judge(0, 5, nobody)
    assert clock.quality(HOUR, 5 + HOUR, nobody) == "unsynced"
    assert clock.quality(HOUR, TRUE + HOUR + SECOND_NS, nobody) == "est"
    assert clock.quality(HOUR, TRUE + HOUR + 2 * SECOND_NS, nobody) == "unsynced"
    clock.judge(HOUR, TRUE + 2 * HOUR, right)  # the hub says otherwise: it is one of the two, or between
    assert clock.quality(HOUR, TRUE + 2 * HOUR, right) == "est"
    assert clock.quality(HOUR, TRUE + 4 * HOUR, right) == "unsynced"


@pytest.mark.parametrize(
    ("says", "wall_ns", "word"),
    [
        (SystemSays(True, 1), TRUE, "synced"),
        (SystemSays(True, 1), 5, "unsynced"),
        (SystemSays(), TRUE, "unsynced"),
        (SystemSays(silent=True), TRUE, ""),
        (SystemSays(silent=True), 5, "unsynced"),
    ],
)
def test_the_word_where_only_the_system_is_asked(says: SystemSays, wall_ns: int, word: str) -> None:
    assert quality_of(says, wall_ns) == word


def test_nobody_knows() -> None:
    clock = Clockwork(None, 1, SECOND_NS)
    assert clock.judge(SECOND_NS, TRUE, SystemSays()) == {}
    assert clock.now_ns(SECOND_NS) is None
    assert clock.judge(SECOND_NS, 5, SystemSays(True, 1)) == {}  # synchronised with 1970
    assert clock.known.floor_ns == 0


def test_the_system_is_synchronised() -> None:
    clock = Clockwork(None, 1, 0)
    assert clock.judge(HOUR, TRUE + HOUR, SystemSays(True, SECOND_NS)) == {1: Fix(TRUE, SECOND_NS)}
    assert clock.judge(HOUR, TRUE + HOUR, SystemSays(True, SECOND_NS)) == {}  # nothing new
    assert clock.judge(HOUR, TRUE + HOUR, SystemSays(True, SECOND_NS // 4)) == {1: Fix(TRUE, SECOND_NS // 4)}
    assert clock.now_ns(2 * HOUR) == TRUE + 2 * HOUR


def test_the_hub_says_it() -> None:
    clock = Clockwork(None, 1, 0)
    clock.hub_says(TRUE + HOUR, HOUR, SECOND_NS)
    assert clock.judge(HOUR, 17, SystemSays()) == {1: Fix(TRUE, SECOND_NS)}
    assert not clock.contradicted
    clock.judge(20 * HOUR, 17, SystemSays())
    assert clock.fix == Fix(TRUE, SECOND_NS)  # its word grows old, what was known stays


def test_who_contradicts_the_hub_makes_a_range() -> None:
    clock = Clockwork(None, 1, 0)
    clock.hub_says(TRUE, 0, SECOND_NS)
    fixes = clock.judge(0, TRUE + HOUR, SystemSays(True, SECOND_NS))
    assert clock.contradicted
    assert fixes == {1: Fix(TRUE + HOUR // 2, HOUR // 2 + SECOND_NS)}
    assert clock.judge(0, TRUE + HOUR, SystemSays(True, SECOND_NS)) == {}
    later = Clockwork(None, 1, 0)
    later.hub_says(TRUE, 0, SECOND_NS)
    assert later.judge(0, 17, SystemSays()) == {1: Fix(TRUE, SECOND_NS)}
    assert later.judge(0, TRUE + HOUR, SystemSays(True, SECOND_NS)) == fixes  # now there is another opinion
    clock.hub_says(TRUE + HOUR, 0, SECOND_NS)
    assert clock.judge(0, TRUE + HOUR, SystemSays(True, SECOND_NS)) == {1: Fix(TRUE + HOUR, SECOND_NS)}


@given(
    st.integers(-(10**12), 10**12),
    st.integers(0, 10**10),
    st.integers(-(10**12), 10**12),
    st.integers(0, 10**10),
)
def test_a_range_holds_the_truth_if_either_says_it(a: int, da: int, b: int, db: int) -> None:
    both = agreed(Fix(a, da), Fix(b, db))
    assert both is not None
    if not Fix(a, da).agrees(Fix(b, db)):
        for truth in (a - da, a + da, b - db, b + db):
            assert abs(truth - both.ahead_ns) <= both.error_ns


def test_a_boot_that_ended_before_anybody_knew() -> None:
    boots = [Boot(1, 0, HOUR, Fix(TRUE, 0)), Boot(2, TRUE + HOUR, HOUR), Boot(3, TRUE + HOUR, HOUR)]
    assert bounded(boots) == {}
    boots.append(Boot(4, 0, 0, Fix(TRUE + 10 * HOUR, 0)))
    assert bounded(boots) == {
        2: Fix(TRUE + HOUR * 9 // 2, HOUR * 7 // 2),  # from 1 to 8
        3: Fix(TRUE + HOUR * 11 // 2, HOUR * 7 // 2),  # from 2 to 9
    }


def story(seed: int) -> None:
    rng = random.Random(seed)
    known: Known | None = None
    truth: dict[int, int] = {}
    at = TRUE
    for number in range(1, 20):
        at += rng.randrange(20 * HOUR)
        truth[number] = at
        lasts, wall_at_boot = rng.randrange(1, 10 * HOUR), rng.choice([0, at])
        mono = rng.randrange(lasts)
        clock = Clockwork(known, number, mono)
        system = SystemSays(rng.random() < 0.3, SECOND_NS)
        if system.synchronised:
            wall_at_boot = at + rng.randrange(-SECOND_NS, SECOND_NS)
        elif rng.random() < 0.3:
            error = rng.randrange(SECOND_NS)
            clock.hub_says(at + mono + rng.randrange(-error, error + 1), mono, error)
        fixes = clock.judge(mono, wall_at_boot + mono, system)
        clock.judge(lasts, wall_at_boot + lasts, system)
        for boot, fix in fixes.items():
            assert abs(truth[boot] - fix.ahead_ns) <= fix.error_ns
        assert clock.known.floor_ns <= at + lasts
        known = clock.known
        at += lasts


def test_stories_of_boots() -> None:
    """Whatever is known of a boot, now or afterwards, holds its true time."""
    for seed in range(200):
        story(seed)


def offer(*epochs: Epoch, last: int) -> Offer:
    return Offer(0, "t", "", 7, epochs, 1, last, 0)


@pytest.mark.parametrize("upto", [10, 49, 50, 120])
def test_an_epoch_in_which_the_clock_was_set_is_still_one(upto: int) -> None:
    epochs = (Epoch(1, 1), Epoch(2, 31), Epoch(2, 50, 1, 5), Epoch(2, 100, 1, 6))
    received = [Received(1, 1, min(upto, 30))]
    if upto > 30:
        received.append(Received(2, 31, upto))
    going_on = resume(offer(*epochs, last=150), Record(7, received))
    assert going_on == (upto + 1, ())
