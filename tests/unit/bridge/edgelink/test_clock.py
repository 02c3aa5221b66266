"""A board's clock on the edge's."""

from random import Random

import pytest

from phloem.firmware_bridge.edgelink import limits
from phloem.firmware_bridge.edgelink.clock import BoardClock, Exchanges
from phloem.firmware_bridge.edgelink.messages import Clock

MS, SECOND = limits.MILLISECOND_NS, limits.SECOND_NS


class Board:
    """``ahead_ms`` at time 0, and ``rate`` too fast."""

    def __init__(self, ahead_ms: int = 0, rate: float = 0.0) -> None:
        self.ahead_ms, self.rate = ahead_ms, rate

    def ms(self, now_ns: int) -> int:
        return (self.ahead_ms + int(now_ns * (1 + self.rate)) // MS) % (1 << 32)


def exchange(clock: BoardClock, board: Board, now_ns: int, there_ns: int, back_ns: int) -> bool:
    got = board.ms(now_ns + there_ns)
    return clock.exchanged(now_ns, now_ns + there_ns + back_ns, Clock(0, 0, got, got))


def test_a_stamp_is_within_its_error_for_days() -> None:
    rng = Random(3)
    for ahead_ms, rate in ((0, 0.0), (2**32 - 10_000, 80e-6), (12_345, -150e-6)):
        clock, board, now = BoardClock(), Board(ahead_ms, rate), SECOND
        assert clock.stamp(0, now) is None
        for round_ in range(500):
            for _ in range(8 if not round_ else 1):
                assert exchange(clock, board, now, rng.randrange(1, 20) * MS, rng.randrange(1, 20) * MS)
                now += 100 * MS
            for age_ns in (0, 3 * SECOND, 500 * SECOND):
                made = now - age_ns
                if made > 0:
                    stamp = clock.stamp(board.ms(made), now)
                    assert stamp is not None
                    assert abs(stamp.mono_ns - made) <= stamp.error_ns + MS, (round_, age_ns)
            now += 600 * SECOND
        stamp = clock.stamp(board.ms(now), now)
        assert stamp is not None
        assert stamp.error_ns < 40 * MS
        assert abs(clock.rate - rate) < 10e-6


@pytest.mark.parametrize("rate", [-18e-3, -5e-3, 0.0, 5e-3, 18e-3])
def test_a_stamp_is_within_its_error_whatever_the_oscillator(rate: float) -> None:
    """From the first exchange on, with the pauses that a host keeps."""
    rng = Random(4)
    clock, board, now = BoardClock(), Board(2**32 - 5000, rate), 4000 * SECOND
    exchanges = Exchanges(clock, 1)
    for _ in range(30):
        now = max(now, exchanges.due_ns)
        token, there, back = exchanges.ask(now), rng.randrange(1, 20) * MS, rng.randrange(1, 20) * MS
        got = board.ms(now + there)
        now += there + back
        assert exchanges.answered(Clock(0, token, got, got), now)
        for age_ns in (0, SECOND, 3600 * SECOND):
            for later_ns in (0, (exchanges.due_ns - now) // 2, exchanges.due_ns - now):
                made = now + later_ns - age_ns
                stamp = clock.stamp(board.ms(made), now + later_ns)
                assert stamp is not None
                assert abs(stamp.mono_ns - made) <= stamp.error_ns + MS, (age_ns, later_ns)
    assert stamp.error_ns < 600 * MS
    assert abs(clock.rate - rate) < 20e-6


def test_a_drift_that_changes_is_taken_for_one_that_does() -> None:
    clock, now, board_ns, worst = BoardClock(), SECOND, 0, 0
    for round_ in range(60):
        rate = 400e-6 if round_ // 10 % 2 else 100e-6  # as the sun comes and goes
        for _ in range(600):
            now, board_ns = now + SECOND, board_ns + round(SECOND * (1 + rate))
            stamp = clock.stamp(board_ns // MS % 2**32, now)
            if stamp is not None and round_ > 22:
                worst = max(worst, abs(stamp.mono_ns - now) - stamp.error_ns)
        got = board_ns // MS % 2**32
        assert clock.exchanged(now - 2 * MS, now + 2 * MS, Clock(0, 0, got, got))
    assert worst <= MS


def test_the_shortest_way_counts() -> None:
    clock, board = BoardClock(), Board(5000)
    for there, back in ((900, 10), (3, 3), (500, 900)):
        exchange(clock, board, SECOND, there * MS, back * MS)
    stamp = clock.stamp(board.ms(2 * SECOND), 3 * SECOND)
    assert stamp is not None
    assert abs(stamp.mono_ns - 2 * SECOND) < 5 * MS
    assert stamp.error_ns < 6 * MS + SECOND // 50  # nobody knows the drift yet


def test_what_cannot_be_is_not_taken() -> None:
    clock = BoardClock()
    assert not clock.exchanged(
        SECOND, SECOND + 10 * MS, Clock(0, 0, 1000, 1500)
    )  # longer inside than outside
    assert not clock.exchanged(SECOND, 9 * SECOND, Clock(0, 0, 1000, 5000))
    assert not clock.known


def test_asked_eight_times_and_then_now_and_then() -> None:
    clock, board, now = BoardClock(), Board(), SECOND
    exchanges = Exchanges(clock, 9)
    for _ in range(8):
        assert exchanges.due_ns <= now
        token = exchanges.ask(now)
        assert not exchanges.answered(Clock(0, token + 1, 0, 0), now)
        now += 4 * MS
        assert exchanges.answered(Clock(0, token, board.ms(now - 2 * MS), board.ms(now - 2 * MS)), now)
        assert not exchanges.answered(Clock(0, token, 0, 0), now)
    pauses = []
    for _ in range(12):
        pauses.append((exchanges.due_ns - now) // SECOND)
        now = exchanges.due_ns
        exchanges.answered(Clock(0, exchanges.ask(now), board.ms(now), board.ms(now)), now)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]


def test_a_board_that_does_not_answer_is_not_waited_for() -> None:
    exchanges = Exchanges(BoardClock(), 9)
    exchanges.ask(0)
    assert not exchanges.tried
    assert exchanges.due_ns == limits.CLOCK_WAIT_NS
    exchanges.ask(limits.CLOCK_WAIT_NS)
    assert exchanges.tried
