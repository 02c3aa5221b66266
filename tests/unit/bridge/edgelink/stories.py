"""Both ends of EdgeLink over lines that damage what they carry, in simulated time, from a seed.

What has to hold whatever happens: the stream has each frame of each ring once, in order, as it was pushed; what is
missing was named in a gap, and something had taken it; and in the end, when the lines are good again, everything that
a ring kept is there.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import log
from random import Random

from tests.unit.bridge.edgelink.far import Far

from phloem.firmware_bridge.edgelink import effects as up
from phloem.firmware_bridge.edgelink import ledger, limits
from phloem.firmware_bridge.edgelink.messages import Status
from phloem.firmware_bridge.edgelink.records import Records, position_of
from phloem.firmware_bridge.edgelink.schema import Channel, Dictionary
from phloem.firmware_bridge.edgelink.session import Session
from phloem.firmware_bridge.edgelink.simulated import SimulatedBoard
from phloem.firmware_bridge.headers import Encoded, decode_headers

MS = limits.MILLISECOND_NS
SECOND = limits.SECOND_NS
CHANNELS = (
    Channel(1, 5, 0, "count", ""),
    Channel(2, 4, -1, "temperature", "Cel"),
    Channel(9, 12, 0, "note", ""),
)


@dataclass
class Faults:
    """What lines and machines do, as chances: of a bit, of a byte, and once a second."""

    bit: float = 0.0
    lost: float = 0.0
    twice: float = 0.0
    reset_board: float = 0.0
    restart_host: float = 0.0
    stream_fails: float = 0.0
    swap: float = 0.0
    thief: float = 0.0
    chatter: float = 0.0
    forwards: float = 0.0
    forgets: float = 0.0


@dataclass
class Stored:
    """One message of the stream."""

    uid: bytes
    where: ledger.Position
    subject: str
    payload: bytes
    durable_ns: int  # a host that is killed before has not stored it, if the stream is in its process


@dataclass
class Line:
    """A port of the host, and which board is on it."""

    board: int
    session: Session | None = None
    due_ns: int = -1
    clear_ns: dict[bool, int] = field(default_factory=dict)  # a line carries bytes in order


class World:
    """``run`` tells a story; it raises AssertionError if something does not hold. ``here``: the stream is in the
    host's process, so that a group is in its place at once, durable later, and gone if the host is killed before.
    ``far``: it is in a server of phloem's, which takes groups that follow each other on a connection."""

    def __init__(
        self,
        seed: int,
        faults: Faults,
        *,
        survives: bool,
        boards: int = 1,
        here: bool = False,
        far: bool = False,
    ) -> None:
        self.rng, self.faults = Random(seed), faults
        self.now = 0
        self.calm = False
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self.boards = [
            SimulatedBoard(
                bytes([at + 1]) * 8,
                CHANNELS,
                Random(self.rng.random()),
                0,
                survives=survives,
                capacity=80 if here or far else 24,
                window=self.rng.choice((8, 12, 64) if here or far else (1, 2, 4, 8)),
                command=self._done,
                rate=self.rng.uniform(-5e-3, 5e-3),
            )
            for at in range(boards)
        ]
        self.board_due = [-1] * boards
        self.lines = [Line(at) for at in range(boards)]
        self.stream: list[Stored] = []
        self.here = here
        self.far = Far(self) if far else None
        self.disk_ns = 0  # when all of it will be durable
        self.given_back = 0  # messages of the stream that it has not any more
        self.generation = 0  # of the host
        self.asked_before = 0  # commands that died with the host
        self.ledger = ledger.Ledger()
        self.ledger_due = -1
        self.schemas: dict[int, Dictionary] = {}
        self.pushed: dict[tuple[bytes, int], dict[int, tuple[int, int]]] = {}  # ring -> seq -> value, time
        self.unsettled: list[dict[int, tuple[int, int]]] = [
            {} for _ in range(boards)
        ]  # as pushed, before a WELCOME
        self.stolen: set[tuple[bytes, int, int]] = set()
        self.pushes = 0
        self.done: list[str] = []
        self.asked: list[str] = []
        self.outcomes: dict[str, up.Outcome] = {}
        self.worst_stamp_ns = 0
        self._open_host()

    # --- time ------------------------------------------------------------------------------------------

    def at(self, when_ns: int, what: Callable[[], None]) -> None:
        heappush(self._events, (when_ns, next(self._order), what))

    def until(self, end_ns: int) -> None:
        while self._events and self._events[0][0] <= end_ns:
            self.now, _, what = heappop(self._events)
            what()
        self.now = end_ns

    def run(self, seconds: int = 20) -> None:
        """Trouble for so long, then calm until everything has arrived."""
        for board in range(len(self.boards)):
            self._wake_board(board)
            self.at(self.rng.randrange(SECOND), lambda board=board: self._measure(board))  # type: ignore[misc]
        for second in range(seconds):
            self.at(second * SECOND + self.rng.randrange(SECOND), self._happen)
        self.until(seconds * SECOND)
        self.calm = True
        while self.now < (seconds + 120) * SECOND and not self._arrived():
            self.until(self.now + 5 * SECOND)
        self.check()

    def _arrived(self) -> bool:
        """Nothing is left to wait for; a board that was not welcomed may have a ring that lost its end."""
        return all(board.settled and not board.ring.frames for board in self.boards) and set(
            self.outcomes
        ) >= set(self.asked[self.asked_before :])

    # --- what happens ----------------------------------------------------------------------------------

    def _happen(self) -> None:
        chance, faults = self.rng.random, self.faults
        if chance() < faults.reset_board:
            self._reset(self.rng.randrange(len(self.boards)), 0)
        if chance() < faults.forgets:
            self._reset(self.rng.randrange(len(self.boards)), self.rng.randrange(1, 8))
        if chance() < faults.restart_host:
            self._open_host()
        if self.far is not None and chance() < faults.restart_host:
            self.far.restart()
        if chance() < faults.swap:
            self.lines[0].board, self.lines[1].board = self.lines[1].board, self.lines[0].board
        if chance() < faults.thief:
            self._steal(self.rng.choice(self.boards))
        if chance() < faults.chatter:
            board = self.rng.randrange(len(self.boards))
            self._carry(board, False, b"hello, 21.5 degrees\n")
        if chance() < faults.forwards:
            durable = (at for at, one in enumerate(self.stream) if one.durable_ns > self.now)
            self.given_back = next(durable, len(self.stream))
        if chance() < 0.5:
            self._command()

    def _reset(self, at: int, forgotten: int) -> None:
        """``forgotten`` frames of its memory's end are gone after it, whether the host has them or not. What was made
        before a WELCOME goes by numbers that nobody has vouched for: that such a ring is reset again is not told."""
        board = self.boards[at]
        if self.faults.forgets and not board.settled:
            return
        for _ in range(min(forgotten, len(board.ring.frames))):
            board.ring.frames.pop()
        board.reset(self.now)
        if not board.survives:
            self.unsettled[at] = {}
        self._wake_board(at)

    def _steal(self, board: SimulatedBoard) -> None:
        """Another host took the oldest frames, or FRAM was damaged: the board does not have them any more."""
        gone = self.rng.randrange(1, 6)
        for _ in range(min(gone, len(board.ring.frames))):
            self.stolen.add((board.uid, board.ring.epoch, board.ring.first))
            board.ring.frames.popleft()
            board.ring.first += 1
        board.session, board._sent = None, 0
        board._hello_due_ns = self.now
        self._wake_board(self.boards.index(board))

    def _measure(self, at: int) -> None:
        board = self.boards[at]
        ring, seq = board.ring, board.ring.next
        value = self.pushes = self.pushes + 1
        readings = [("count", value), ("temperature", value % 500)]
        if self.rng.random() < 0.3:
            readings.append(("note", f"n{value}"))  # type: ignore[arg-type]
        if board.push(readings, self.now):
            if board.settled:
                self.pushed.setdefault((board.uid, ring.epoch), {})[seq] = (value, self.now)
            else:
                self.unsettled[at][seq] = (value, self.now)
        self._wake_board(at)
        if not self.calm:
            self.at(self.now + self.rng.randrange(1, 400) * MS, lambda: self._measure(at))

    def _command(self) -> None:
        line = self.rng.choice(self.lines)
        if line.session is None:
            return
        name = f"c{len(self.asked)}"
        self.asked.append(name)
        self._effects(line, line.session.command(len(self.asked) - 1, name, b"x", 3 * SECOND, self.now))

    def _done(self, name: str, _argument: bytes) -> tuple[Status, bytes]:
        self.done.append(name)
        return Status.DONE, name.encode()

    # --- lines -----------------------------------------------------------------------------------------

    def _carry(self, board: int, to_board: bool, data: bytes) -> None:
        """Put bytes on the line that the board is on."""
        if not data:
            return
        (line,) = (line for line in self.lines if line.board == board)
        if not self.calm:
            data = self._damage(data)
        pieces = [data]
        if len(data) > 1 and self.rng.random() < 0.5:
            cut = self.rng.randrange(1, len(data))
            pieces = [data[:cut], data[cut:]]
        for piece in pieces:
            when = max(line.clear_ns.get(to_board, 0), self.now + self.rng.randrange(1, 20) * MS)
            line.clear_ns[to_board] = when
            if to_board:
                self.at(when, lambda piece=piece: self._board_hears(line, piece))  # type: ignore[misc]
            else:
                self.at(when, lambda piece=piece, of=self.generation: self._host_hears(line, of, piece))  # type: ignore[misc]

    def _damage(self, data: bytes) -> bytes:
        faults, rng = self.faults, self.rng
        each = 8 * faults.bit + faults.lost + faults.twice
        if not each:
            return data
        out, at = bytearray(), 0
        while (good := at + int(log(1 - rng.random()) / log(1 - each))) < len(data):
            out += data[at:good]
            byte, what = data[good], rng.random() * each
            if what < 8 * faults.bit:
                out.append(byte ^ 1 << rng.randrange(8))
            elif what < 8 * faults.bit + faults.twice:
                out += bytes((byte, byte))
            at = good + 1
        return bytes(out + data[at:])

    def _board_hears(self, line: Line, data: bytes) -> None:
        board = self.boards[line.board]
        settled, next_ = board.settled, board.ring.next
        answer = board.receive(data, self.now)
        if board.settled and not settled:
            self._settle(line.board, board.ring.next - next_)
        self._carry(line.board, False, answer)
        self._wake_board(line.board)

    def _settle(self, at: int, moved: int) -> None:
        """The host has said where it is: what was made since the start has its numbers, which have ``moved`` so far,
        and what was forgotten none. (``fresh`` may move when they do not: if the oldest of them are gone by then.)"""
        board = self.boards[at]
        pushed = self.pushed.setdefault((board.uid, board.ring.epoch), {})
        made = {seq + moved: what for seq, what in self.unsettled[at].items()}
        for seq in [seq for seq in pushed if seq >= min(made, default=board.fresh)]:
            del pushed[seq]
        pushed |= made
        self.unsettled[at] = {}

    def _wake_board(self, at: int) -> None:
        board = self.boards[at]
        self._carry(at, False, board.expire(self.now))
        due = max(board.due_ns, self.now + MS)
        if self.board_due[at] <= self.now or due < self.board_due[at]:
            self.board_due[at] = due
            self.at(due, lambda: self._wake_board(at))

    # --- the host --------------------------------------------------------------------------------------

    def _open_host(self) -> None:
        """A process starts: of the one before only the stream is left."""
        self.generation += 1
        if self.here:
            self.lose_what_is_not_durable()
        self.asked_before = len(self.asked)
        self.ledger, self.ledger_due = ledger.Ledger(), -1
        self.schemas = {}
        for line in self.lines:
            line.session = Session(self.rng.getrandbits(32), self.schemas, self.now)
            line.due_ns = -1
            self._look_after(line)

    def _host_hears(self, line: Line, generation: int, data: bytes) -> None:
        if generation == self.generation and line.session is not None:
            self._effects(line, line.session.receive(data, self.now))

    def _look_after(self, line: Line) -> None:
        assert line.session is not None
        self._effects(line, line.session.expire(self.now))

    def _effects(self, line: Line, effects: list[up.Effect]) -> None:
        session = line.session
        assert session is not None
        for effect in effects:
            match effect:
                case up.Send(data):
                    self._carry(line.board, True, data)
                case up.Locate(uid, epoch):
                    self.tasks(self.ledger.locate(uid, epoch, self.now))
                case up.Taken():
                    self.tasks(self._put(effect))
                case up.Gap(uid, epoch, first, next_):
                    assert first < next_
                    message = Records(uid, epoch, "tele", "port").of_gap(effect, self.now, "synced")
                    self.tasks(self.ledger.put(uid, epoch, [(next_ - 1, [message])], self.now))
                case up.Outcome(ticket):
                    name = self.asked[ticket]
                    assert name not in self.outcomes
                    self.outcomes[name] = effect
        generation, due = self.generation, max(session.due_ns, self.now + MS)
        if line.due_ns <= self.now or due < line.due_ns:
            line.due_ns = due
            self.at(due, lambda: self._look_after(line) if generation == self.generation else None)

    def _put(self, frame: up.Taken) -> list[ledger.Task]:
        if frame.error_ns is not None:
            made = self.pushed[frame.uid, frame.epoch][frame.seq][1]
            assert abs(frame.mono_ns - made) <= frame.error_ns + 2 * MS, (frame, made)
            self.worst_stamp_ns = max(self.worst_stamp_ns, abs(frame.mono_ns - made))
        (messages,) = Records(frame.uid, frame.epoch, "tele", "port").of([frame], 0, "synced")
        return self.ledger.put(frame.uid, frame.epoch, [(frame.seq, messages)], self.now)

    def tasks(self, tasks: list[ledger.Task]) -> None:
        generation = self.generation
        for task in tasks:
            later = self.now + self.rng.randrange(1, 60) * MS
            match task:
                case ledger.Store() if self.here:
                    self._place(task, generation)
                case ledger.Store() if self.far is not None:
                    self.far.send(task)
                case ledger.Store():
                    self.at(later, lambda task=task: self._store(task, generation))  # type: ignore[misc]
                case ledger.Find(uid):
                    self.at(later, lambda uid=uid: self._find(uid, generation))  # type: ignore[misc]
                case ledger.Located(uid, epoch, next_):
                    self._each(uid, lambda s, u=uid, e=epoch, n=next_: s.located(u, e, n, self.now))  # type: ignore[misc]
                case ledger.Durable(uid, epoch, next_):
                    self._each(uid, lambda s, u=uid, e=epoch, n=next_: s.durable(u, e, n, self.now))  # type: ignore[misc]
        due = self.ledger.due_ns
        if due is not None and (self.ledger_due <= self.now or due < self.ledger_due):
            self.ledger_due = due

            def expire() -> None:
                if generation == self.generation:
                    self.tasks(self.ledger.expire(self.now))

            self.at(due, expire)

    def _each(self, uid: bytes, what: Callable[[Session], list[up.Effect]]) -> None:
        for line in self.lines:
            if line.session is not None and line.session.hello is not None and line.session.hello.uid == uid:
                self._effects(line, what(line.session))

    # --- the stream ------------------------------------------------------------------------------------

    def _store(self, task: ledger.Store, generation: int) -> None:
        """Some first part of it is stored, or all; the answer may be lost, and a failure may come true later."""
        bad = not self.calm and self.rng.random() < self.faults.stream_fails
        how = self.rng.choice(("not", "some", "silent", "late")) if bad else "all"
        whole = len(task.messages)
        if how == "late":
            self.at(self.now + 3 * SECOND, lambda: self.append(task, whole) and None)
        elif how != "not":
            size = self.rng.randrange(whole) if how == "some" else whole
            seq = self.append(task, size)
            how = how if seq is not None else "not"
        if generation == self.generation:
            after = len(self.stream) if how == "all" else None
            overtaken = not bad and after is None
            self.tasks(self.ledger.stored(task.uid, task.number, after, self.now, overtaken=overtaken))

    def _place(self, task: ledger.Store, generation: int) -> None:
        """Into a stream of the same process: all of it at once, or a first part; the answer comes from the disk, or not
        at all though the disk has it in the end."""
        bad = not self.calm and self.rng.random() < self.faults.stream_fails
        how = self.rng.choice(("not", "some", "silent")) if bad else "all"
        whole = len(task.messages)
        size = {"not": 0, "some": self.rng.randrange(whole)}.get(how, whole)
        overtaken = self.last(task.uid) != task.after
        seq = self.append(task, size)
        when = max(self.disk_ns, self.now + MS) if how == "all" else self.now + self.rng.randrange(1, 90) * MS

        def answer() -> None:
            if generation == self.generation:
                after = seq if how == "all" else None
                self.tasks(
                    self.ledger.stored(
                        task.uid, task.number, after, self.now, overtaken=overtaken and not bad
                    )
                )

        self.at(when, answer)
        if seq is not None and size == whole:
            self.tasks(self.ledger.placed(task.uid, task.number, seq, self.now))

    def lose_what_is_not_durable(self) -> None:
        """A kill: of what was on its way some first part may have reached the disk."""
        durable = next(
            (at for at, one in enumerate(self.stream) if one.durable_ns > self.now), len(self.stream)
        )
        del self.stream[self.rng.randrange(durable, len(self.stream) + 1) :]
        self.given_back = min(self.given_back, len(self.stream))
        self.disk_ns = self.now
        for one in self.stream:
            one.durable_ns = min(one.durable_ns, self.now)

    def append(self, task: ledger.Store, size: int) -> int | None:
        if self.last(task.uid) != task.after:
            return None
        if self.here or self.far is not None:
            self.disk_ns = max(self.disk_ns, self.now) + self.rng.randrange(1, 60) * MS
        for message in task.messages[:size]:
            self.stream.append(self._message(task.uid, message))
        return len(self.stream)

    def _message(self, uid: bytes, message: Encoded) -> Stored:
        subject, header, payload = message
        where = position_of(decode_headers(header), len(self.stream) + 1)
        assert where is not None
        return Stored(uid, where, subject.decode(), payload, self.disk_ns)

    def last(self, uid: bytes) -> int:
        for at in range(len(self.stream), self.given_back, -1):
            if self.stream[at - 1].uid == uid:
                return at
        return 0

    def _find(self, uid: bytes, generation: int) -> None:
        if generation != self.generation:
            return
        if not self.calm and self.rng.random() < self.faults.stream_fails:
            self.tasks(self.ledger.not_found(uid, self.now))
            return
        at = self.last(uid)
        last = self.stream[at - 1] if at else None

        def answer() -> None:
            if generation == self.generation:
                self.tasks(self.ledger.found(uid, last.where if last else None, self.now))

        if last is not None and last.durable_ns > self.now:  # what is not certain is not said
            self.at(last.durable_ns, answer)
        else:
            answer()

    # --- what has to hold ------------------------------------------------------------------------------

    def check(self) -> None:
        """Exactly once, in order, gaps named, nothing kept back."""
        for board in self.boards:
            rings: dict[int, list[Stored]] = {}
            for stored in self.stream:
                if stored.uid == board.uid:
                    rings.setdefault(stored.where.epoch, []).append(stored)
            for epoch, messages in rings.items():
                self._check_ring(board, epoch, messages)
            assert not board.ring.frames, f"{len(board.ring.frames)} frames are still in the ring"
            pushed = self.pushed.get((board.uid, board.ring.epoch), {})
            kept = [seq for seq in pushed if (board.uid, board.ring.epoch, seq) not in self.stolen]
            assert set(kept) <= {stored.where.seq for stored in rings.get(board.ring.epoch, [])}
        assert len(self.done) == len(set(self.done)), "a command was done twice"
        assert set(self.outcomes) >= set(self.asked[self.asked_before :]), "a command has no outcome"
        for name, outcome in self.outcomes.items():
            assert outcome.status is None or (name in self.done and outcome.result == name.encode())

    def _check_ring(self, board: SimulatedBoard, epoch: int, messages: list[Stored]) -> None:
        pushed = self.pushed.get((board.uid, epoch), {})
        steps: list[tuple[int, int]] = []
        for stored in messages:
            where = stored.where
            if stored.subject.endswith(".$gap"):
                told = json.loads(stored.payload)
                for seq in range(told["first"], told["next"]):
                    assert (board.uid, epoch, seq) in self.stolen, f"{seq} was there and is said to be gone"
                    if steps and seq > steps[-1][0]:  # else a group that arrived late had it
                        steps.append((seq, 0))
                continue
            steps.append((where.seq, where.part))
            if stored.subject.endswith(".count"):
                assert json.loads(stored.payload)["v"] == pushed[where.seq][0]
        assert steps == sorted(set(steps)), "out of order, or twice"
        seqs = sorted({seq for seq, _ in steps})
        if seqs:
            missing = set(range(seqs[0], seqs[-1])) - set(seqs)
            assert not missing, f"nobody named {missing}"
            # A host that knows nothing of a ring begins where the ring does.
            unnamed = {seq for seq in range(seqs[0]) if (board.uid, epoch, seq) not in self.stolen}
            assert not unnamed, f"{unnamed} are not there"
