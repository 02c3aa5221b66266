"""From frames to a stream and back: in order, once, and what of it is durable. Pure; one for all ports of an edge.

Each board has a lane, whichever port it is on. A lane stores one group of messages after the other, and begins the
next when it knows which message of the stream the last one of a group is. Where the stream is in the same process that
is known before it is durable (``placed``), and a server of phloem's need not be told it (``BEHIND``), so that some
groups are on their way to the disk at once, in order. If nobody knows what became of a group, the stream is asked for
its last message of the board, which says frame and part; what is behind it is stored again, so that neither an answer
that was lost nor a message of many that was stored brings anything twice.
Each group says which message of its board it expects to be the last one: what arrives late is refused by the stream.
"""

from collections import deque
from collections.abc import Iterable, Sequence, Set
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from phloem.firmware_bridge.edgelink import limits
from phloem.firmware_bridge.edgelink.repeating import Repeating
from phloem.firmware_bridge.edgelink.sequence import WRAP, ahead
from phloem.firmware_bridge.headers import Encoded

BEHIND = -1  # instead of a stream's number: that of the last message of the group that was sent before


class Position(NamedTuple):
    """What the last stored message of a board is: part ``part``, from 0, of ``parts`` of the frame ``seq``; it is the
    stream's message ``stream_seq``."""

    epoch: int
    seq: int
    part: int
    parts: int
    stream_seq: int

    @property
    def next(self) -> int:
        """The first frame that is not stored, or not wholly."""
        return self.seq if self.part + 1 < self.parts else (self.seq + 1) % WRAP


class Store(NamedTuple):
    """Publish these in order if the board's last message in the stream is ``after`` (0: there is none; ``BEHIND``: the
    last one of the group before), and answer with ``Ledger.stored`` and ``number``. If it fails any first part of them
    may be there, or come to be."""

    uid: bytes
    number: int
    after: int
    messages: Sequence[Encoded]


class Find(NamedTuple):
    """Answer with ``Ledger.found`` what is stored last of this board, or with ``Ledger.not_found`` that nobody says."""

    uid: bytes


class Located(NamedTuple):
    """For ``Session.located`` of the port that has this board."""

    uid: bytes
    epoch: int
    next: int | None


class Durable(NamedTuple):
    """For ``Session.durable`` of the port that has this board."""

    uid: bytes
    epoch: int
    next: int


Task: TypeAlias = Store | Find | Located | Durable


class _Entry(NamedTuple):
    epoch: int
    seq: int
    messages: Sequence[Encoded]


class _Group(NamedTuple):
    number: int
    entries: list[_Entry]


class _Waits(Enum):
    """What a lane does not go on without."""

    FIND = auto()
    STORE = auto()  # the last group that is under way


class _Lane:
    """One board's."""

    def __init__(self, uid: bytes) -> None:
        self.uid = uid
        self._waits: _Waits | None = None
        self._queue: deque[_Entry] = deque()
        self._under_way: deque[_Group] = deque()
        self._number = 0  # of the last group
        self._lost = False  # nobody knows what became of some group that is under way
        self._asked: list[int] = []  # epochs that ``Locate`` named
        self._last: Position | None = None  # what the stream said when it was asked
        self._top: tuple[int, int] | None = None  # the ring and frame that was handed up last
        self._patience = Repeating(limits.STORE_MIN_NS, limits.STORE_MAX_NS, 0)
        self._resting = False
        self._overtaken = False  # so said the stream when it was last asked to store something
        self._after: int | None = None  # the board's last message in the stream

    @property
    def due_ns(self) -> int | None:
        return self._patience.due_ns if self._resting else None

    def put(self, epoch: int, frames: Iterable[tuple[int, Sequence[Encoded]]]) -> list[Task]:
        """Two ports may hand up one frame, when a board moves while its bytes are on their way."""
        tasks: list[Task] = []
        top = self._top[1] if self._top is not None and self._top[0] == epoch else None
        elsewhere = self._last is not None and self._last.epoch == epoch
        for seq, messages in frames:
            if top is None or ahead(seq, top) > 0:
                top = seq
                entry = _Entry(epoch, seq, messages)
                self._queue.append(self._left_of(entry) if elsewhere else entry)
            elif not self._queue and not self._under_way:
                tasks.append(Durable(self.uid, epoch, (top + 1) % WRAP))
        if top is not None:
            self._top = epoch, top
        return tasks

    def ask(self, epoch: int) -> None:
        if epoch not in self._asked:
            self._asked = [*self._asked[1 - limits.ASKED_MAX :], epoch]

    @property
    def idle(self) -> bool:
        return not (self._waits or self._queue or self._under_way or self._asked)

    def pump(self, now_ns: int) -> list[Task]:
        """The next thing to do, unless something is being done."""
        if self._waits is not None or (self._resting and now_ns < self._patience.due_ns):
            return []
        self._resting = False
        if self._lost or self._after is None:
            return self._find() if self._lost or self._queue or self._asked else []
        if len(self._under_way) >= limits.STORES_MAX:
            return []
        group: list[_Entry] = []
        messages: list[Encoded] = []
        while self._queue and len(messages) < limits.STORE_MESSAGES:
            group.append(self._queue.popleft())
            messages += group[-1].messages
        if messages:
            self._waits = _Waits.STORE
            self._number += 1
            self._under_way.append(_Group(self._number, group))
            return [Store(self.uid, self._number, self._after, messages)]
        if group and self._under_way:  # they say nothing, and are durable when all before them is
            self._under_way[-1].entries.extend(group)
        elif group:
            return [*self._durable(group), *self.pump(now_ns)]
        return self._find() if self._asked and not self._under_way else []

    def placed(self, number: int, stream_seq: int, now_ns: int) -> list[Task]:
        if self._waits is not _Waits.STORE or number != self._number:
            return []
        self._waits, self._overtaken, self._after = None, False, stream_seq
        return self.pump(now_ns)

    def stored(self, number: int, stream_seq: int | None, overtaken: bool, now_ns: int) -> list[Task]:
        if all(group.number != number for group in self._under_way):
            return []  # the stream has been asked what became of it
        if number == self._number:  # nothing is under way behind it
            if self._waits is _Waits.STORE:
                self._waits = None
            if stream_seq is not None:
                self._after = stream_seq
        if stream_seq is None:
            return self._failed(overtaken, now_ns)
        self._overtaken = False
        self._patience.again(now_ns)
        done: list[_Entry] = []
        while self._under_way and self._under_way[0].number <= number:  # what is before it is durable as well
            done += self._under_way.popleft().entries
        self._lost = self._lost and bool(self._under_way)
        return [*self._durable(done), *self.pump(now_ns)]

    def _failed(self, overtaken: bool, now_ns: int) -> list[Task]:
        """What is behind such a group is not believed, either, until the stream was asked."""
        self._lost = True
        if self._waits is not None or self._resting:
            return []
        again, self._overtaken = overtaken and not self._overtaken, overtaken
        return self.pump(now_ns) if again else self._rest(now_ns)

    def found(self, last: Position | None, now_ns: int) -> list[Task]:
        self._waits = None
        self._last, self._after = last, last.stream_seq if last is not None else 0
        self._sort_out()
        tasks: list[Task] = []
        if not self._queue:
            self._patience.again(now_ns)
            asked, self._asked = self._asked, []
            tasks += [Located(self.uid, epoch, self._next_of(epoch)) for epoch in asked]
        return tasks + self.pump(now_ns)

    def not_found(self, now_ns: int) -> list[Task]:
        self._waits = None
        return self._rest(now_ns)

    def _next_of(self, epoch: int) -> int | None:
        """Where a ring begins when all that was handed up is durable. The stream may have less than that, as it gives
        back what was forwarded, or more, of another process."""
        stored = self._last.next if self._last is not None and self._last.epoch == epoch else None
        handed = (self._top[1] + 1) % WRAP if self._top is not None and self._top[0] == epoch else None
        if stored is None or handed is None:
            return handed if stored is None else stored
        return handed if ahead(handed, stored) > 0 else stored

    def _find(self) -> list[Task]:
        self._waits = _Waits.FIND
        return [Find(self.uid)]

    def _rest(self, now_ns: int) -> list[Task]:
        self._resting = True
        self._patience.said(now_ns)
        return []

    def _sort_out(self) -> None:
        """What the stream has of what was handed up need not be stored: also of what was not under way, if an earlier
        process's group arrived late."""
        entries = [entry for group in self._under_way for entry in group.entries]
        entries += self._queue
        self._under_way.clear()
        self._lost = False
        left = [self._left_of(entry) for entry in entries]
        stored = max((at for at, entry in enumerate(left) if entry is not entries[at]), default=0)
        before = [entry._replace(messages=()) for entry in left[:stored]]  # of a ring that it had earlier
        self._queue = deque([*before, *left[stored:]])

    def _left_of(self, entry: _Entry) -> _Entry:
        """The messages of it that the stream does not have; itself if that is all of them."""
        last = self._last
        if last is None or last.epoch != entry.epoch or ahead(last.seq, entry.seq) < 0:
            return entry
        left = last.parts - 1 - last.part if last.seq == entry.seq else 0
        return entry._replace(messages=entry.messages[max(0, len(entry.messages) - left) :])

    def _durable(self, group: Sequence[_Entry]) -> list[Task]:
        ends = {entry.epoch: entry.seq for entry in group}
        return [Durable(self.uid, epoch, (seq + 1) % WRAP) for epoch, seq in ends.items()]


class Ledger:
    """All lanes. What it returns is to be done; ``placed``, ``stored``, ``found`` and ``not_found`` say
    what came of it."""

    def __init__(self) -> None:
        self._lanes: dict[bytes, _Lane] = {}

    @property
    def boards(self) -> Set[bytes]:
        """Those that have a lane."""
        return self._lanes.keys()

    @property
    def due_ns(self) -> int | None:
        """When ``expire`` wants to be called."""
        return min((due for lane in self._lanes.values() if (due := lane.due_ns) is not None), default=None)

    def put(
        self, uid: bytes, epoch: int, frames: Iterable[tuple[int, Sequence[Encoded]]], now_ns: int
    ) -> list[Task]:
        """Frames of a ring that were handed up: their numbers, in order, and their messages, of which there may be
        none."""
        lane = self._lane(uid)
        return lane.put(epoch, frames) + lane.pump(now_ns)

    def locate(self, uid: bytes, epoch: int, now_ns: int) -> list[Task]:
        """Say where this ring begins, when all that was put is settled."""
        lane = self._lane(uid)
        lane.ask(epoch)
        return lane.pump(now_ns)

    def placed(self, uid: bytes, number: int, stream_seq: int, now_ns: int) -> list[Task]:
        """The stream has taken a group, or takes it before whatever is sent from now on. Its last message is
        ``stream_seq``, or ``BEHIND`` if that is not known yet; ``stored`` follows when it is durable, and what the
        stream takes afterwards is not durable before that."""
        return self._lane(uid).placed(number, stream_seq, now_ns)

    def stored(
        self, uid: bytes, number: int, stream_seq: int | None, now_ns: int, *, overtaken: bool = False
    ) -> list[Task]:
        """A group is durable and its last message is ``stream_seq``, or (None) nobody knows. ``overtaken``: nothing of
        it is stored, as the board's last message is another one: that is asked for at once, unless it was just now."""
        return self._lane(uid).stored(number, stream_seq, overtaken, now_ns)

    def found(self, uid: bytes, last: Position | None, now_ns: int) -> list[Task]:
        """The last message of the board; None if there is none."""
        return self._lane(uid).found(last, now_ns)

    def not_found(self, uid: bytes, now_ns: int) -> list[Task]:
        """The stream does not answer; it is asked again."""
        return self._lane(uid).not_found(now_ns)

    def expire(self, now_ns: int) -> list[Task]:
        """What is due again after a failure."""
        return [
            task for lane in self._lanes.values() if lane.due_ns is not None for task in lane.pump(now_ns)
        ]

    def _lane(self, uid: bytes) -> _Lane:
        lane = self._lanes.pop(uid, None) or _Lane(uid)
        self._lanes[uid] = lane  # the one that was used last is last
        if len(self._lanes) > limits.BOARDS_MAX:
            idle = next((old for old, other in self._lanes.items() if other.idle and old != uid), None)
            if idle is not None:
                del self._lanes[idle]
        return lane
