"""When a peer is asked, and when it is given up."""

import random

import pytest

from phloem.shared.leaf.pulse import LOOKS, RATE, Pulse, Sign, Verdict, due_within
from phloem.shared.leaf.tcp import segments, tuning

SECOND_NS = 1_000_000_000
ASK_NS = PATIENCE_NS = 4 * SECOND_NS


def look(
    pulse: Pulse,
    at_s: float,
    in_bytes: int,
    out_msgs: int,
    out_bytes: int = 0,
    *,
    asked: bool = True,
    strict: bool = True,
) -> Verdict:
    sign = Sign(in_bytes, out_msgs, out_bytes, asked)
    return pulse.look(
        int(at_s * SECOND_NS), sign, ask_after_ns=ASK_NS, patience_ns=PATIENCE_NS, strict=strict
    )


def test_an_idle_link_is_never_asked() -> None:
    pulse = Pulse(Sign(100, 5, 0))
    assert {look(pulse, at, 100, 5) for at in range(10_000)} == {Verdict.WELL}


def test_the_pongs_of_both_ends_do_not_count() -> None:
    """What comes in without messages going out is no reason to ask."""
    pulse = Pulse(Sign(100, 5, 0))
    assert {look(pulse, at, 100 + 6 * at, 5) for at in range(1000)} == {Verdict.WELL}


def test_no_answer_is_asked_for_and_then_the_end() -> None:
    pulse = Pulse(Sign(100, 5, 0))
    found = [look(pulse, at, 100, 6) for at in range(10)]
    assert found == [Verdict.WELL] * 4 + [Verdict.ASK] + [Verdict.WELL] * 3 + [Verdict.DEAD] * 2


def test_a_pong_is_an_answer() -> None:
    pulse = Pulse(Sign(100, 5, 0))
    assert [look(pulse, at, 100, 6) for at in range(5)][-1] is Verdict.ASK
    assert look(pulse, 5, 106, 6, asked=False) is Verdict.WELL
    assert {look(pulse, at, 106, 6, asked=False) for at in range(6, 1000)} == {Verdict.WELL}


@pytest.mark.parametrize("strict", [True, False])
def test_what_comes_in_by_itself_is_an_answer_where_bytes_cost(strict: bool) -> None:
    pulse = Pulse(Sign(0, 0, 0))
    found = {look(pulse, at, 100 * at, at, strict=strict) for at in range(1, 60)}
    assert (Verdict.DEAD in found) is strict
    assert (Verdict.ASK in found) is strict


def test_a_long_queue_is_worth_patience() -> None:
    pulse = Pulse(Sign(100, 5, 0))
    queue = 60 * RATE
    found = [look(pulse, at, 100, 6, queue) for at in range(80)]
    assert found.index(Verdict.ASK) == 4
    assert found.index(Verdict.DEAD) == 4 + 4 + 60


def test_traffic_is_asked_about_now_and_then() -> None:
    pulse, asked = Pulse(Sign(0, 0, 0)), 0
    waiting = False
    for at in range(60):
        verdict = look(pulse, at, 0, at, asked=waiting)
        waiting = verdict is Verdict.ASK  # and answered until the next look
        asked += waiting
        assert verdict is not Verdict.DEAD
    assert 7 <= asked <= 12


def test_a_link_that_rests_is_asked_and_given_up_at_the_same_time() -> None:
    """Whoever looks only when the pulse does not rest learns the same, and looks less."""
    rng, looks, seconds = random.Random(5), 0, 3000
    always, seldom = Pulse(Sign(0, 0, 0)), Pulse(Sign(0, 0, 0))
    look(always, 0, 0, 0, asked=False)
    look(seldom, 0, 0, 0, asked=False)
    sent, answer_at = 0, 0
    for at in range(1, seconds):
        sent += rng.random() < 0.1
        waiting = at < answer_at
        found = look(always, at, 0, sent, asked=waiting)
        if seldom.rests(at * SECOND_NS, sent):
            assert found is Verdict.WELL
        else:
            looks += 1
            assert look(seldom, at, 0, sent, asked=waiting) is found
        if found is Verdict.ASK:
            answer_at = at + rng.randrange(1, 4)
        assert found is not Verdict.DEAD
    assert looks < seconds / 3


def test_what_tcp_is_told() -> None:
    assert tuning(10 * SECOND_NS, quiet=False) == (8000, 5, 2)
    assert tuning(10 * SECOND_NS, quiet=True) == (8000, -1, 2)
    assert tuning(0, quiet=True) == (0, 0, 0)
    assert tuning(1, quiet=False) == (1600, 1, 1)  # the system knows seconds only
    assert tuning(10 * SECOND_NS, quiet=False, rtt_ns=3 * SECOND_NS).user_timeout_ms == 19_200


def test_an_old_system_knows_less() -> None:
    assert segments(b"") is None
    short = segments(bytes(104))
    assert short is not None
    assert short.wire_bytes(v6=False) == 0


@pytest.mark.parametrize("seed", range(20))
def test_looks_that_come_a_moment_early_or_late_are_in_time(seed: int) -> None:
    rng, dead_after_ns = random.Random(seed), 10 * SECOND_NS
    ask_after_ns, patience_ns = due_within(dead_after_ns)
    every_ns = dead_after_ns // LOOKS
    began_ns = rng.randrange(every_ns)  # when the first message was sent that nobody has
    pulse, asked = Pulse(Sign(0, 0, 0)), False
    for number in range(1, 20):
        now_ns = number * every_ns + rng.randrange(-every_ns // 20, every_ns // 20)
        sign = Sign(0, number, 0, asked)
        verdict = pulse.look(now_ns, sign, ask_after_ns=ask_after_ns, patience_ns=patience_ns)
        asked = asked or verdict is Verdict.ASK
        if verdict is Verdict.DEAD:
            break
    assert 7 * every_ns <= now_ns - began_ns <= 9 * every_ns
