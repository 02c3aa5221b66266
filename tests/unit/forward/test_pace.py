"""How much is on its way: enough for any link, and no more than an alarm may stand behind."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.shared.forward.entries import Class, Entry, Turn, in_order
from phloem.shared.forward.pace import WINDOW_MAX, WINDOW_MIN, Pace, Ticket
from phloem.shared.limits import SECOND_NS

MS = SECOND_NS // 1000


def driven(pace: Pace, rate: int, delay_ns: int, seconds: int) -> tuple[int, float]:
    """A link that is always used: bytes that were delivered, and the longest queue of the second half, in seconds."""
    now = free = SECOND_NS
    end, half = now + seconds * SECOND_NS, now + seconds * SECOND_NS // 2
    under_way: deque[tuple[int, int, Ticket]] = deque()
    delivered, worst = 0, 0
    while now < end:
        while pace.room() >= min(2048, pace.window) or not pace.in_flight:
            size = min(max(pace.window // 4, 2048), 128 << 10)
            free = max(free, now) + size * SECOND_NS // rate
            under_way.append((free + delay_ns, now, pace.sent(size)))
        worst = max(worst, free - now) if now > half else worst
        now, sent_ns, ticket = under_way.popleft()
        delivered += ticket.size
        pace.acknowledged(ticket, sent_ns, now, timed=True)
    return delivered, worst / SECOND_NS


@given(st.sampled_from([20_000, 125_000, 1_000_000]), st.integers(1, 800))
@settings(max_examples=15, deadline=None)
def test_a_link_is_filled_and_its_queue_stays_short(rate: int, delay_ms: int) -> None:
    pace = Pace()
    seconds = 60
    delivered, queue = driven(pace, rate, delay_ms * MS, seconds)
    fits = min(1.0, WINDOW_MAX / (rate * delay_ms / 1000))
    assert delivered > 0.6 * fits * rate * seconds
    assert queue < 3 * delay_ms / 1000 + 1.0


@pytest.mark.parametrize(("rate", "delay_ms"), [(10_000, 20), (125_000, 150), (10_000, 150)])
def test_the_queue_of_a_link_that_is_full_for_long_does_not_grow(rate: int, delay_ms: int) -> None:
    """It is a part of each delay that is measured, so now and then nothing is sent that would stand in it."""
    pace = Pace()
    delivered, queue = driven(pace, rate, delay_ms * MS, 900)
    assert queue < 1
    assert delivered > 0.97 * rate * 900


@pytest.mark.parametrize(("rate", "window"), [(2_000, 8 << 10), (20_000, 20_000), (10**8, 32 << 10)])
def test_a_link_that_was_measured_begins_with_a_second_of_it(rate: int, window: int) -> None:
    pace = Pace()
    driven(pace, rate, 20 * MS, 30)
    pace.forgotten()
    assert abs(pace.window - window) < window / 20
    assert pace.in_flight == 0


acks = st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(0, 10**11), st.booleans()), max_size=60)


@given(acks)
def test_the_window_has_bounds_whatever_is_acknowledged(listed: list[tuple[int, int, bool]]) -> None:
    pace, now = Pace(), SECOND_NS
    for size, took, timed in listed:
        ticket = pace.sent(size)
        assert pace.in_flight == size
        now += took
        pace.acknowledged(ticket, now - took, now, timed=timed)
        assert pace.in_flight == 0
        assert WINDOW_MIN <= pace.window <= max(WINDOW_MAX, 32 << 10)
        if took % 7 == 0:
            pace.shrunk()
            assert pace.window >= WINDOW_MIN


@given(st.integers(1, 10**6), st.lists(st.tuples(st.integers(0, 10**10), st.integers(1, 10**5)), max_size=80))
def test_no_more_than_its_rate_is_spent_and_waiting_ends(rate: int, listed: list[tuple[int, int]]) -> None:
    turn = Turn(Entry(name="tele", stream="T", rate=rate))
    now = began = SECOND_NS
    spent = largest = 0
    for passed, size in listed:
        now += passed
        wait = turn.wait_ns(now, None)
        if wait:
            assert turn.wait_ns(now + wait, None) == 0
            now += wait
        turn.spent(size)
        spent, largest = spent + size, max(largest, size)
        assert spent <= rate + largest + rate * (now - began) / SECOND_NS + 1


def test_classes_come_in_their_order() -> None:
    entries = [Entry(name=f"{cls.name}{i}", stream="S", cls=cls) for i in range(2) for cls in reversed(Class)]
    assert [entry.cls for entry in in_order(entries)] == sorted(entry.cls for entry in entries)
    assert [entry.name for entry in in_order(entries)][:2] == ["ALARM0", "ALARM1"]
