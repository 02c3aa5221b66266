"""Messages of a broker on their way into a stream, and when the broker hears of it. Pure.

* A message is acknowledged when it is on the disk, and not before; acknowledgements go out in the order in which the
  messages came (MQTT 4.6), each on the connection that its message came over.
* **Duplicates.** An identifier that was never acknowledged cannot stand for another message when the session is
  resumed: what comes again with it is the same message for certain, and is not stored twice. If the acknowledgement may
  have got lost on its way, nobody can tell: the identifier may be in use for another message, with the same content
  perhaps. Such a message is stored, and said to be a possible duplicate.
* **Refusals.** What the stream does not take now is offered again, in order, with growing pauses; meanwhile the broker
  gets no acknowledgements and stops by itself at its window. A broker without a window is cut off at ours, which loses
  nothing: it sends again what was not acknowledged. Messages of QoS 0 are let go then, and counted.
"""

from enum import Enum
from typing import NamedTuple, TypeAlias

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.backoff import Backoff


class Arrival(NamedTuple):
    """A PUBLISH of the broker. ``mid``: its packet identifier, 0 for QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    mid: int = 0
    dup: bool = False
    retained: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Bytes that it takes while it waits, on the safe side."""
        return len(self.payload) + len(self.topic) + limits.PUBLISH_MESSAGE_OVERHEAD_BYTES


class Put(NamedTuple):
    """Put this message into the stream, and tell ``stored`` or ``refused``."""

    number: int
    arrival: Arrival


class Ack(NamedTuple):
    """Acknowledge this identifier on the connection there is."""

    mid: int


class Cut(NamedTuple):
    """End the connection. The broker sends again what was not acknowledged, so nothing is lost."""

    why: str


Effect: TypeAlias = Put | Ack | Cut


class _State(Enum):
    WAITING = 1
    UNDER_WAY = 2
    OVER = 3  # stored, or given up


class _Entry:
    __slots__ = ("arrival", "awaited", "state")

    def __init__(self, arrival: Arrival, state: _State) -> None:
        self.arrival, self.state = arrival, state
        self.awaited = arrival.qos > 0  # an acknowledgement is owed, on this connection or the next

    def is_same(self, other: Arrival) -> bool:
        mine = self.arrival
        return (mine.topic, mine.payload, mine.qos) == (other.topic, other.payload, other.qos)


class Counts:
    """Messages, since the start."""

    def __init__(self) -> None:
        self.received = self.stored = self.retried = 0
        self.duplicates = 0  # for certain, not stored twice
        self.unsure = 0  # stored, and perhaps once more
        self.lost = 0  # of QoS 0, while there was no room
        self.given_up = 0  # cannot be stored, ever


class Intake:
    """One broker's messages; at most so many, and so many bytes, wait at a time. Times are the monotonic clock's."""

    def __init__(self, backoff: Backoff, *, messages_max: int, bytes_max: int) -> None:
        self.counts = Counts()
        self.bytes = 0
        self._messages_max, self._bytes_max = messages_max, bytes_max
        self._backoff = backoff
        self._entries: dict[int, _Entry] = {}  # by number, in order of arrival
        self._numbers = 0
        self._owed: dict[int, int] = {}  # number by identifier, of this connection, in order of arrival
        self._before: dict[int, int] = {}  # the same of connections that are over
        self._pause_until_ns = 0

    def __len__(self) -> int:
        """How many are not stored, or stored and not acknowledged."""
        return len(self._entries)

    @property
    def unstored(self) -> int:
        """How many are not on the disk."""
        return sum(entry.state is not _State.OVER for entry in self._entries.values())

    @property
    def due_ns(self) -> int:
        """When ``work`` has something to do; 0: it has not."""
        return self._pause_until_ns

    def connected(self, *, resumed: bool) -> None:
        """A connection is up. Without its session the broker has forgotten what it had sent."""
        if not resumed:
            before, self._before = self._before, {}
            for number in before.values():
                self._let_go(number)

    def lost(self) -> None:
        """The connection is over; what it was owed comes again with the same identifiers."""
        self._before.update(self._owed)
        self._owed.clear()

    def received(self, arrival: Arrival) -> list[Effect]:
        """A message of the broker."""
        if arrival.qos:
            if (number := self._owed.get(arrival.mid)) is not None:
                return self._sent_again(number, arrival)
            if self._is_again(arrival):
                return self._acks()
        if len(self._entries) >= self._messages_max or self.bytes + arrival.size > self._bytes_max:
            if arrival.qos:
                return [Cut(f"{len(self._entries)} messages with {self.bytes} bytes wait for the disk")]
            self.counts.lost += 1
            return []
        self.counts.received += 1
        self.counts.unsure += arrival.dup
        number = self._numbers = self._numbers + 1
        state = _State.WAITING if self._pause_until_ns else _State.UNDER_WAY
        self._entries[number] = _Entry(arrival, state)
        self.bytes += arrival.size
        if arrival.qos:
            self._owed[arrival.mid] = number
        return [Put(number, arrival)] if state is _State.UNDER_WAY else []

    def stored(self, number: int) -> list[Effect]:
        """A ``Put`` is on the disk."""
        self.counts.stored += 1
        if not self._pause_until_ns:
            self._backoff.reset()
        return self._over(number)

    def given_up(self, number: int) -> list[Effect]:
        """A ``Put`` that nothing can come of; the broker would send it for ever."""
        self.counts.given_up += 1
        return self._over(number)

    def refused(self, number: int, now_ns: int) -> None:
        """A ``Put`` that did not reach the disk, and shall be tried again."""
        self.counts.retried += 1
        self._entries[number].state = _State.WAITING
        if not self._pause_until_ns:
            self._pause_until_ns = now_ns + self._backoff.next_ns()

    def work(self, now_ns: int) -> list[Effect]:
        """What is due."""
        if not self._pause_until_ns or now_ns < self._pause_until_ns:
            return []
        self._pause_until_ns = 0
        again = list[Effect]()
        for number, entry in self._entries.items():
            if entry.state is _State.WAITING:
                entry.state = _State.UNDER_WAY
                again.append(Put(number, entry.arrival))
        return again

    def _sent_again(self, number: int, arrival: Arrival) -> list[Effect]:
        """An identifier that waits for its acknowledgement: brokers of old repeat themselves on one connection."""
        if arrival.dup and self._entries[number].is_same(arrival):
            self.counts.duplicates += 1
            return []
        return [Cut(f"packet identifier {arrival.mid} is in use for two messages")]

    def _is_again(self, arrival: Arrival) -> bool:
        """Whether this is here already. An identifier of before is used up by whatever comes with it."""
        number = self._before.pop(arrival.mid, 0)
        if not number:
            return False
        if arrival.dup and self._entries[number].is_same(arrival):
            self._owed[arrival.mid] = number
            self.counts.duplicates += 1
            return True
        self._let_go(number)
        return False

    def _over(self, number: int) -> list[Effect]:
        entry = self._entries[number]
        entry.state = _State.OVER
        if not entry.awaited:
            self._let_go(number)
        return self._acks()

    def _acks(self) -> list[Effect]:
        ready = list[int]()
        for mid, number in self._owed.items():
            if self._entries[number].state is not _State.OVER:
                break
            ready.append(mid)
        for mid in ready:
            self._let_go(self._owed.pop(mid))
        return [Ack(mid) for mid in ready]

    def _let_go(self, number: int) -> None:
        """Nobody waits for its acknowledgement any more; if it is not on the disk it still goes there."""
        entry = self._entries[number]
        entry.awaited = False
        if entry.state is _State.OVER:
            self.bytes -= entry.arrival.size
            del self._entries[number]
