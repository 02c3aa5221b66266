"""phloem's own host and both boards, over lines that damage, with restarts of the host and resets of the board."""

from random import Random

import pytest
from tests.unit.bridge.boards.board import Board
from tests.unit.bridge.boards.conftest import Make
from tests.unit.bridge.boards.line import Line

from phloem.firmware_bridge.edgelink import effects, limits
from phloem.firmware_bridge.edgelink.schema import Dictionary
from phloem.firmware_bridge.edgelink.session import Session

MS = limits.MILLISECOND_NS
CHANNELS = ((3, 5, 0, "count", ""), (4, 4, -1, "temperature", "Cel"))


class Edge:
    """The driver that a session needs: what was handed up becomes durable in ``sync``."""

    def __init__(self) -> None:
        self.stream: dict[int, list[int]] = {}  # by epoch: the counts, in order
        self.next: dict[int, int] = {}  # by epoch: the first number that is not durable
        self.gaps: list[effects.Gap] = []
        self.outcomes: list[effects.Outcome] = []
        self.said: list[str] = []
        self._schemas: dict[int, Dictionary] = {}
        self.open(1, 0)

    def open(self, number: int, now_ms: int) -> None:
        """The host starts, or starts again: what was not durable is forgotten."""
        self.session = Session(number, self._schemas, now_ms * MS)
        self._up: list[effects.Taken | effects.Gap] = []
        self._locate: effects.Locate | None = None

    def tick(self, now_ms: int, data: bytes) -> bytes:
        out = self._do(self.session.receive(data, now_ms * MS), now_ms)
        if self.session.due_ns <= now_ms * MS:
            out += self._do(self.session.expire(now_ms * MS), now_ms)
        return out

    def sync(self, now_ms: int) -> bytes:
        out = b""
        taken, self._up = self._up, []
        for step in taken:
            if isinstance(step, effects.Gap):
                self.gaps.append(step)
                self.next[step.epoch] = step.next
            else:
                assert step.seq == self.next.setdefault(step.epoch, step.seq)
                self.next[step.epoch] += 1
                values = {sample.channel.name: sample.value for sample in step.samples}
                assert values["temperature"] == pytest.approx(-(int(str(values["count"])) % 500) / 10)
                self.stream.setdefault(step.epoch, []).append(int(str(values["count"])))
        if taken:
            last = taken[-1]
            following = self.next[last.epoch]
            out += self._do(self.session.durable(last.uid, last.epoch, following, now_ms * MS), now_ms)
        if self._locate is not None and not self._up:
            where, self._locate = self._locate, None
            following_or_none = self.next.get(where.epoch)
            out += self._do(
                self.session.located(where.uid, where.epoch, following_or_none, now_ms * MS), now_ms
            )
        return out

    def _do(self, told: list[effects.Effect], now_ms: int) -> bytes:
        out = b""
        for effect in told:
            match effect:
                case effects.Send(data):
                    out += data
                case effects.Taken() | effects.Gap():
                    self._up.append(effect)
                case effects.Locate():
                    self._locate = effect
                case effects.Outcome():
                    self.outcomes.append(effect)
                case effects.Said(text):
                    self.said.append(text)
                case effects.Noticed(text):
                    raise AssertionError(text)
        return out


class World:
    def __init__(self, board: Board, seed: int, errors: float) -> None:
        self.random = Random(seed)
        self.board, self.edge, self.line = board, Edge(), Line(self.random, errors)
        self.kept: list[int] = []
        self.now_ms = self._value = 0
        self._to_board = b""

    def step(self) -> None:
        r = self.random
        self.now_ms += r.choice((1, 5, 20, 60))
        out = self.line.carry(self.board.tick(self.now_ms, self._to_board))
        answer = self.edge.tick(self.now_ms, out)
        if r.random() < 0.4:
            answer += self.edge.sync(self.now_ms)
        self._to_board = self.line.carry(answer)

    def put(self) -> None:
        self._value += 1
        if self.board.put((3, "uint", self._value), (4, "int", -(self._value % 500))):
            self.kept.append(self._value)

    def drain(self) -> None:
        for _ in range(20_000):
            if self.board.state()["waiting"] == 0:
                return
            self.step()
        raise AssertionError(f"still waiting: {self.board.state()}")

    def values(self) -> list[int]:
        return [value for frames in self.edge.stream.values() for value in frames]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("errors", [0.0, 0.005])
def test_each_reading_once_and_in_order(make: Make, seed: int, errors: float) -> None:
    world = World(make(CHANNELS, window=2 + 3 * seed, ring=600), seed, errors)
    for _ in range(300):
        if world.random.random() < 0.5:
            world.put()
        if world.random.random() < 0.01:
            world.edge.open(world.random.getrandbits(32), world.now_ms)
        world.step()
    world.drain()
    assert len(world.kept) > 60
    assert world.values() == world.kept
    assert world.edge.gaps == []


@pytest.mark.parametrize("seed", range(4))
def test_a_kept_ring_goes_on_after_resets(make_c: Make, seed: int) -> None:
    world = World(make_c(CHANNELS, window=8, ring=500, kept=True), seed, 0.003)
    for _ in range(400):
        if world.random.random() < 0.4:
            world.put()
        if world.random.random() < 0.03:
            world.board.restart(world.random.getrandbits(32))
        world.step()
    world.drain()
    assert world.values() == world.kept
    assert len(world.edge.stream) == 1
    assert world.edge.gaps == []


def test_commands_over_a_bad_line_are_done_once(make: Make) -> None:
    world = World(make(CHANNELS), 5, 0.01)
    for number in range(20):
        while not world.edge.session.welcomed:
            world.step()
        asked = world.edge.session.command(number, "echo", b"%d" % number, 0, world.now_ms * MS)
        world._to_board += world.edge._do(asked, world.now_ms)
        while len(world.edge.outcomes) <= number:
            world.step()
    assert [(o.ticket, o.status, o.result) for o in world.edge.outcomes] == [
        (number, 0, b"%d" % number) for number in range(20)
    ]
    assert [argument for _, argument in world.board.commands] == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize("seed", range(6))
def test_a_kept_ring_that_loses_its_end_costs_what_is_gone_and_nothing_else(make_c: Make, seed: int) -> None:
    """The host has frames that the ring has lost, and the board gives their numbers to others."""
    world = World(make_c(CHANNELS, window=8, ring=500, kept=True), seed, 0.003)
    gone, cuts = set[int](), 0
    for _ in range(600):
        if world.random.random() < 0.4:
            world.put()
        if world.random.random() < 0.05 and world.board.state()["welcomed"]:
            gone |= set(world.kept) - set(world.values())  # perhaps; the host may have some of them
            world.board.damage(world.random.randrange(32, 500), 0x55)
            world.board.restart(world.random.getrandbits(32))
            cuts += 1
        world.step()
    world.drain()
    values = world.values()
    assert cuts > 10
    assert values == sorted(set(values)), "none twice, none behind a later one"
    assert set(world.kept) - gone <= set(values) <= set(world.kept)
    assert len(values) > len(world.kept) * 0.9
    named = sum(gap.next - gap.first for gap in world.edge.gaps)
    assert named <= len(world.kept) - len(values), "what is damaged at the end of the ring nobody can name"


@pytest.mark.parametrize("restarted", [True, False])
def test_a_frame_that_is_damaged_in_the_ring_is_a_gap(make_c: Make, restarted: bool) -> None:
    world = World(make_c(CHANNELS, window=8, ring=500, kept=True), 1, 0.0)
    for _ in range(9):
        world.put()
    world.board.damage(32 + 4 * 18 + 1, 0x10)  # two slots, then frames of 18 bytes; of the fifth its size
    if restarted:
        world.board.restart(5)
    world.drain()
    assert world.values() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert [(gap.first, gap.next) for gap in world.edge.gaps] == [(4, 5)]
