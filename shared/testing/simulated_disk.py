"""A disk whose writes vanish with the power: what was not synced is lost from some point on, batch by batch.

As the store has it: changes are in order, those of one call of a driver are one batch, and of a batch there is all or
nothing. A ``kill`` loses what was not handed over, which looks the same.

A disk that refuses is met as by the store (``journal.pyx``, ``generations.pyx``): messages are refused from then on;
what gives space back, and the pairs that say so, are taken and wait with the batches that were begun.
"""

from enum import Enum
from typing import Any, NamedTuple, Self


class Trouble(Enum):
    """What a disk refuses. The first two are over when somebody makes room, the third with another start."""

    NONE = "nothing"
    APPEND = "no space: what is written to the journal waits"
    GROWTH = "no space: the journal has room, and what it has cannot be moved to a file that would grow"
    SYNC = "a sync fails: what was not on the disk may be there or not, and is never acknowledged"


class Kept(NamedTuple):
    """A message of a simulated log."""

    ident: int  # never given twice
    size: int


class SimulatedLog:
    """Messages by sequence."""

    def __init__(self, created_ns: int) -> None:
        self.created_ns = created_ns
        self.messages: dict[int, Kept] = {}
        self.first_seq = 1
        self.last_seq = 0

    def copied(self) -> "SimulatedLog":
        """Another one with the same messages."""
        twin = SimulatedLog(self.created_ns)
        twin.messages, twin.first_seq, twin.last_seq = dict(self.messages), self.first_seq, self.last_seq
        return twin

    def append(self, message: Kept) -> None:
        """At the end."""
        self.last_seq += 1
        self.messages[self.last_seq] = message
        self._first()

    def remove(self, seq: int) -> None:
        """From anywhere."""
        self.messages.pop(seq, None)
        self._first()

    def purge(self, below: int) -> None:
        """Everything before a sequence."""
        for seq in range(self.first_seq, min(below, self.last_seq + 1)):
            self.messages.pop(seq, None)
        self._first()

    def _first(self) -> None:
        while self.first_seq <= self.last_seq and self.first_seq not in self.messages:
            self.first_seq += 1


class State:
    """Everything on a disk: pairs, logs, and lists that only grow."""

    def __init__(self) -> None:
        self.pairs: dict[str, bytes] = {}
        self.logs: dict[str, SimulatedLog] = {}
        self.lists: dict[str, list[Any]] = {}

    def copied(self) -> Self:
        """Another one with the same content."""
        twin = type(self)()
        twin.pairs = dict(self.pairs)
        twin.logs = {name: log.copied() for name, log in self.logs.items()}
        twin.lists = {name: list(one) for name, one in self.lists.items()}
        return twin

    def apply(self, kind: str, name: str, value: Any) -> None:
        """One change."""
        match kind:
            case "put":
                self.pairs[name] = value
            case "forget":
                self.pairs.pop(name, None)
            case "make":
                self.logs[name] = SimulatedLog(value)
            case "append":
                self.logs[name].append(value)
            case "remove":
                self.logs[name].remove(value)
            case "purge":
                self.logs[name].purge(value)
            case "add":
                self.lists.setdefault(name, []).append(value)
            case _:
                raise AssertionError(kind)


class SimulatedDisk:
    """``live`` is what a program sees, ``durable`` what is there whatever happens."""

    def __init__(self) -> None:
        self.live = State()
        self.durable = State()
        self.batches = 0  # that were begun
        self.synced = 0
        self.trouble = Trouble.NONE
        self._pending: list[list[tuple[str, str, Any]]] = [[]]

    def do(self, kind: str, name: str, value: Any = None) -> None:
        """A change."""
        self.live.apply(kind, name, value)
        self._pending[-1].append((kind, name, value))

    def seal(self) -> int:
        """The end of a batch; the number that ``synced`` has when it is on the disk."""
        if self._pending[-1]:
            self.batches += 1
            self._pending.append([])
        return self.batches

    @property
    def takes(self) -> bool:
        """Whether messages may be stored."""
        return self.trouble is Trouble.NONE

    @property
    def writes(self) -> bool:
        """Whether a sync does anything."""
        return self.trouble in (Trouble.NONE, Trouble.GROWTH)

    def sync(self) -> None:
        """Everything is on the disk, if it writes."""
        self.seal()
        if not self.writes:
            return
        self._take(len(self._pending) - 1)

    def _take(self, count: int) -> None:
        for batch in self._pending[:count]:
            for change in batch:
                self.durable.apply(*change)
        del self._pending[:count]
        self.synced += count

    @property
    def pending(self) -> int:
        """Batches that are not on the disk yet."""
        return len(self._pending) - 1 + bool(self._pending[-1])

    def lose_power(self, survive: int) -> set[int]:
        """So many of the pending batches happen to be on the disk, the others are gone; numbers of the messages that
        were never on it, also of those that had been given back in the same moment."""
        self.seal()
        self._take(min(survive, len(self._pending) - 1))
        lost = {value.ident for batch in self._pending for kind, _, value in batch if kind == "append"}
        self._pending = [[]]
        self.batches = self.synced
        self.live = self.durable.copied()
        if self.trouble is Trouble.SYNC:
            self.trouble = Trouble.NONE
        return lost

    def copied(self) -> State:
        """A backup: what is durable now."""
        return self.durable.copied()

    def put_back(self, backup: State) -> None:
        """Another disk, which is as this one was."""
        self.live, self.durable = backup.copied(), backup.copied()
        self.trouble = Trouble.NONE
        self._pending = [[]]
        self.batches = self.synced
