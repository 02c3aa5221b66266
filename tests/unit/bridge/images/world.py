"""A machine with a disk, a bucket and a board, any of which may be cut off at any step; for tests.

``disk`` and ``board`` outlive a cut, everything else is of a process. What the machine asks for is carried out one
piece at a time by ``step``; ``cut`` forgets the process and begins the next.
"""

from dataclasses import dataclass, field

from phloem.firmware_bridge.images.machine import (
    Check,
    Effect,
    Fetch,
    Flash,
    Flashed,
    Machine,
    Proof,
    Prove,
    Remember,
    Stop,
)
from phloem.firmware_bridge.images.record import Record, State, Target

OLD = "0"


def target(number: int, *, refused: str = "") -> Target:
    return Target(f"id{number}", str(number), 100, f"sha{number}", refused)


@dataclass
class Board:
    """``runs`` is the version, None when nothing that runs is on it. What ``dies`` has makes it so; what ``returns``
    has makes it go back to what it ran."""

    runs: str | None = OLD
    there: bool = True
    dies: set[str] = field(default_factory=set)
    returns: set[str] = field(default_factory=set)
    flashes: list[str] = field(default_factory=list)


class World:
    def __init__(self, proof: Proof, *, tool: bool, hears: bool) -> None:
        self.proof, self.tool, self.hears = proof, tool, hears
        self.disk, self.board = Record(), Board()
        self.files: dict[str, int] = {}  # by SHA-256: bytes that are there
        self.damaged: set[str] = set()
        self.bucket: Target | None = None
        self.now = 0
        self.states: list[State] = []
        self.cut()

    def cut(self) -> None:
        """The process ends, wherever it is, and another one begins."""
        self.machine = Machine(self.disk, proof=self.proof, tool=self.tool, hears=self.hears)
        self.checked: set[str] = set()
        self.work: Effect | None = None
        self.todo: list[Effect] = self.machine.start(self.now)
        self.look()
        if self.board.there:
            self.say_hello()

    def look(self) -> None:
        self.todo += self.machine.wanted(self.bucket, self.now)

    def put(self, wanted: Target | None) -> None:
        self.bucket = wanted
        self.look()

    def say_hello(self) -> None:
        if not self.hears:
            self.todo += self.machine.present("", self.now)
        elif self.board.runs is not None:
            self.todo += self.machine.present(self.board.runs, self.now)

    def leave(self) -> None:
        self.board.there = False
        self.machine.absent()
        if isinstance(self.work, Flash) and not self.tool:
            self.work = None
            self.todo += self.machine.flashed(Flashed.INTERRUPTED, "gone", self.now)

    def come(self) -> None:
        self.board.there = True
        self.say_hello()

    def wait(self) -> None:
        self.now += 10**12
        self.todo += self.machine.expire(self.now)

    @property
    def idle(self) -> bool:
        return not self.todo and self.work is None

    def step(self) -> None:
        """One effect, or the end of what is under way."""
        if self.todo:
            self._carry_out(self.todo.pop(0))
        elif self.work is not None:
            work, self.work = self.work, None
            self._finish(work)

    def run(self) -> None:
        """Until nothing happens by itself."""
        for _ in range(2000):
            if self.idle and self.machine.due_ns is None:
                return
            if self.idle:
                self.wait()
            self.step()
        raise AssertionError(f"it never ends: {self.machine.record}")

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Remember(record):
                self.disk = record
                self.states.append(record.state)
                self.files = {sha: size for sha, size in self.files.items() if sha in record.images}
                self.checked &= record.images
            case Stop():
                self.work = None
            case _:
                assert self.work is None, "two things at once"
                self.work = effect
                if isinstance(effect, Flash):
                    self._flash(effect.target)

    def _flash(self, wanted: Target) -> None:
        """The beginning of it, from which there is no way back for a tool."""
        assert wanted.sha256 in self.checked, "flashed without a check"
        assert not wanted.refused
        assert self.disk.state == State.FLASHING, "flashed before that is on the disk"
        assert self.disk.flashed == wanted
        self.board.flashes.append(wanted.version)
        if self.tool:
            self.board.runs = None

    def _finish(self, work: Effect) -> None:
        match work:
            case Fetch(wanted):
                self.files[wanted.sha256] = wanted.size
                self.todo += self.machine.fetched()
            case Check(wanted):
                good = self.files.get(wanted.sha256) == wanted.size and wanted.sha256 not in self.damaged
                if good:
                    self.checked.add(wanted.sha256)
                else:
                    self.files.pop(wanted.sha256, None)
                self.todo += self.machine.checked("" if good else "not what was signed", self.now)
            case Flash(wanted):
                self._end_flash(wanted)
            case Prove(wanted):
                runs = self.board.runs == wanted.version
                self.todo += self.machine.proven("" if runs else "it does not run", self.now)
            case _:
                raise AssertionError(work)

    def _end_flash(self, wanted: Target) -> None:
        before = self.board.runs
        self.board.runs = None if wanted.version in self.board.dies else wanted.version
        if self.tool:
            self.todo += self.machine.flashed(Flashed.WRITTEN, "", self.now)
            self.machine.absent()
            self.say_hello()
            return
        if wanted.version in self.board.dies | self.board.returns:
            self.board.runs = before
            self.todo += self.machine.flashed(Flashed.RETURNED, f"came back with {before}", self.now)
            return
        self.say_hello()
        self.todo += self.machine.flashed(Flashed.PROVEN, "", self.now)
