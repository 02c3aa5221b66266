"""Each reading once and in order, over lines that damage, with hosts that crash and boards that are reset."""

import itertools
import struct
from random import Random

import pytest
from tests.support.sampling import rest
from tests.unit.bridge.boards.board import Board
from tests.unit.bridge.boards.conftest import Make
from tests.unit.bridge.boards.host import Host
from tests.unit.bridge.boards.line import Line

STEPS_MAX = 40_000


def values(host: Host) -> list[int]:
    return [struct.unpack("<I", payload[5:])[0] for frames in host.durable.values() for payload in frames]


class World:
    """A board, a line and a host, and what the board said that it kept."""

    def __init__(self, board: Board, seed: int, errors: float) -> None:
        self.random = Random(seed)
        self.board, self.host, self.line = board, Host(1), Line(self.random, errors)
        self.kept: list[int] = []
        self.now_ms = self._value = 0
        self._to_board = b""

    def step(self) -> None:
        r = self.random
        self.now_ms += r.choice((1, 5, 20, 60))
        out = self.board.tick(self.now_ms, self._to_board)
        answer = self.host.tick(self.now_ms, self.line.carry(out))
        if r.random() < 0.4:
            answer += self.host.sync()
        self._to_board = self.line.carry(answer)

    def put(self) -> None:
        self._value += 1
        if self.board.put((0, "uint", self._value)):
            self.kept.append(self._value)

    def crash_host(self) -> None:
        self.host.crash(self.random.getrandbits(32))
        self._to_board = b""

    def drain(self) -> None:
        for _ in range(STEPS_MAX):
            if self.board.state()["waiting"] == 0:
                return
            self.step()
        raise AssertionError(f"still waiting: {self.board.state()}")


@pytest.mark.parametrize(
    ("errors", "seed"),
    [
        case if case in ((0.0, 0), (0.002, 3), (0.02, 1)) else rest(*case)
        for case in itertools.product((0.0, 0.002, 0.02), range(4))
    ],
)
def test_each_reading_once_and_in_order(make: Make, errors: float, seed: int) -> None:
    world = World(make(window=1 + 2 * seed, ring=600), seed, errors)
    for _ in range(400):
        if world.random.random() < 0.5:
            world.put()
        if world.random.random() < 0.01:
            world.crash_host()
        world.step()
    world.drain()
    assert len(world.kept) > 60
    assert values(world.host) == world.kept
    assert world.host.gaps == []
    state = world.board.state()
    assert state["renewed"] == 0
    assert errors or not state["noise"]


@pytest.mark.parametrize("seed", [0, 1, *map(rest, range(2, 6))])
def test_a_kept_ring_survives_resets_and_torn_writes(make_c: Make, seed: int) -> None:
    """Power goes at any byte that is written into the ring: only the frame that was being written may be missing."""
    board = make_c(ring=400, kept=True, window=8)
    world = World(board, seed, 0.003)
    r, torn = world.random, set[int]()
    for _ in range(500):
        chance = r.random()
        if chance < 0.4:
            world.put()
        if chance > 0.95:
            board.lose_power_after(r.randrange(60))
            if r.random() < 0.5:
                world.step()  # what it acknowledges may not be in the ring
            before = len(world.kept)
            world.put()
            torn.update(world.kept[before:])
            board.restart(r.getrandbits(32))
        elif chance > 0.94:
            world.crash_host()
        world.step()
    world.drain()
    got = values(world.host)
    assert len(got) > 50
    assert len(world.host.durable) == 1
    assert world.host.gaps == []
    assert got == [value for value in world.kept if value not in torn or value in got]
    assert board.state()["renewed"] == 0


def test_a_ring_in_ram_begins_a_new_epoch_with_each_reset(make: Make) -> None:
    world = World(make(), 1, 0.005)
    for life in range(5):
        for _ in range(60):
            world.put()
            world.step()
        world.drain()
        world.board.restart(100 + life)
    assert values(world.host) == world.kept
    assert len(world.host.durable) == 5


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_ring_costs_readings_and_nothing_else(make_c: Make, seed: int) -> None:
    """The board goes on; what it says after the damage is no worse than lost."""
    board = make_c(ring=300, kept=True)
    world = World(board, seed, 0.0)
    for _ in range(6):
        for _ in range(20):
            world.put()
            if world.random.random() < 0.7:
                world.step()
        board.damage(world.random.randrange(300), 1 << world.random.randrange(8))
        if world.random.random() < 0.5:
            board.restart(world.random.getrandbits(32))
    world.drain()
    already = len(world.kept)
    for _ in range(30):
        world.put()
        world.step()
    world.drain()
    assert len(world.kept) > already
    assert values(world.host)[already - len(world.kept) :] == world.kept[already:]
