"""Boards that may have more than eight frames under way, and hosts that take as many or do not know of it."""

import pytest
from tests.unit.bridge.boards.conftest import Make
from tests.unit.bridge.boards.test_board import ack, heard, put, seqs, welcome
from tests.unit.bridge.boards.test_phloem_host import CHANNELS, World

LONG = "c, 64 frames"


def test_a_host_that_does_not_know_of_it_gets_eight(make_c: Make) -> None:
    board = make_c(language=LONG, window=64, ring=4096)
    hello = welcome(board)
    assert (hello.window, hello.most) == (8, 64)
    put(board, 100)
    assert seqs(heard(board, 0)) == list(range(8))
    assert seqs(heard(board, 1, ack(hello, 3, 0b11111))) == [8, 9, 10]


@pytest.mark.parametrize(("offered", "under_way"), [(64, 64), (200, 64), (12, 12), (3, 8)])
def test_as_many_as_both_take(make_c: Make, offered: int, under_way: int) -> None:
    board = make_c(language=LONG, window=64, ring=4096)
    hello = welcome(board, more=bytes([offered]))
    put(board, 100)
    assert seqs(heard(board, 0)) == list(range(under_way))
    assert seqs(heard(board, 1, ack(hello, under_way))) == list(range(under_way, min(100, 2 * under_way)))


def test_another_host_may_take_fewer(make_c: Make) -> None:
    board = make_c(language=LONG, window=64, ring=4096)
    welcome(board, more=b"\x40")
    put(board, 100)
    assert len(heard(board, 0)) == 64
    hello = welcome(board, now_ms=1)
    assert seqs(heard(board, 2)) == []  # said in the turn of the WELCOME
    assert seqs(heard(board, 203, ack(hello, 2))) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_what_the_host_holds_of_all_that_is_under_way(make_c: Make) -> None:
    board = make_c(language=LONG, window=64, ring=4096)
    hello = welcome(board, more=b"\x40")
    put(board, 64)
    assert len(heard(board, 0)) == 64
    held = (1 << 64) - 1 & ~(1 << 0 | 1 << 9 | 1 << 40)
    assert seqs(heard(board, 10, ack(hello, 0, held))) == [0, 9, 40]
    assert seqs(heard(board, 20, ack(hello, 10, held >> 10))) == []
    assert seqs(heard(board, 220, ack(hello, 10, held >> 10))) == [40]
    assert heard(board, 230, ack(hello, 64)) == []
    assert board.state()["waiting"] == 0


def test_a_short_window_is_said_as_ever(make_c: Make) -> None:
    board = make_c(language=LONG, window=5)
    hello = welcome(board, more=b"\x40")
    assert (hello.window, hello.most) == (5, 0)
    put(board, 20)
    assert seqs(heard(board, 0)) == list(range(5))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kept", [False, True])
def test_each_reading_once_and_in_order(make_c: Make, seed: int, kept: bool) -> None:
    board = make_c(CHANNELS, language=LONG, window=(64, 12)[seed % 2], ring=2500, kept=kept)
    world = World(board, seed, 0.002 * (seed // 2))
    for _ in range(300):
        for _ in range(world.random.randrange(6)):
            world.put()
        if world.random.random() < 0.01:
            world.edge.open(world.random.getrandbits(32), world.now_ms)
        if kept and world.random.random() < 0.02:
            world.board.restart(world.random.getrandbits(32))
        world.step()
    world.drain()
    assert len(world.kept) > 200
    assert world.values() == world.kept
    assert world.edge.gaps == []
