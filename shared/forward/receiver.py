"""The hub's side of store-and-forward: what is taken, and what the device is told. Pure; ``hub/collect`` drives it.

What has been received of a stream is written in the same batch as the messages themselves (``Sink.keep`` right behind
``Sink.store``), so a crash leaves both or neither: that makes delivery exactly once, without any window of time. An
acknowledgement is an effect that the driver sends when that batch is on the disk.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from phloem.shared import limits
from phloem.shared.forward.identity import REIMAGED, Record, covered, recorded, resume
from phloem.shared.forward.messages import (
    HISTORICAL,
    SOON,
    VERSION,
    WITH_DICTIONARY,
    ZSTD,
    Ack,
    Again,
    Clocks,
    Dictionary,
    Epoch,
    Gap,
    Hello,
    Message,
    Offer,
    Parcel,
    Pause,
    Place,
    Status,
    Welcome,
    encode,
    history,
)
from phloem.shared.limits import SECOND_NS

ACK_LATER_NS = 5 * SECOND_NS  # for parcels whose sender is not waiting
FOUND = "what the hub knew of it was lost; it goes on behind its last message in the hub's stream"
RETRY_S = 5  # for a stream that cannot take anything now


class Refused(Exception):
    """The stream cannot take messages. ``for_good``: until somebody changes something."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.for_good = for_good


class Broken(Exception):
    """The columns of a parcel are not what a parcel has, or its dictionary is not known."""


class Stored(NamedTuple):
    """What came of a parcel."""

    messages: int
    duplicates: int
    refused: tuple[int, ...]  # sequences that the hub's stream would never take
    next_seq: int  # everything below is dealt with; before the parcel's end if the stream is full
    why: str = ""  # it is


class Sink(Protocol):
    """Where a device's messages go, and what is remembered of it."""

    def check(self, offer: Offer) -> None:
        """Whether this stream may be received, making the hub's stream if it is not there. Raises Refused."""

    def load(self, name: str) -> Record | None:
        """What was kept of a stream of the device."""

    def found(self, offer: Offer) -> Record | None:
        """What the hub's stream itself has of a stream whose record is gone; None: nothing that says enough."""

    def keep(self, name: str, record: Record) -> None:
        """Goes to the disk together with what was stored before it in the same call from the driver."""

    def forget(self, name: str) -> None:
        """What was kept under this name is not needed any more."""

    def expand(self, parcel: Parcel, dictionary: int, before: bytes) -> bytes:
        """The parcel's columns, not compressed. Raises Broken."""

    def store(
        self, offer: Offer, parcel: Parcel, columns: bytes, from_seq: int, epoch: Epoch, clock: Epoch | None
    ) -> Stored:
        """Store the parcel's messages from ``from_seq`` on; as far as there is room.

        Raises Refused, and Broken.
        """

    def has_dictionary(self, ident: int) -> bool:
        """Whether this dictionary is here."""

    def add_dictionary(self, ident: int, data: bytes) -> None:
        """Keep it. Raises Broken, if it is none."""


# --- what the driver has to do -------------------------------------------------------------------------


class Answer(NamedTuple):
    """Send this to the device; ``durable``: when everything that was stored so far is on the disk."""

    data: bytes
    durable: bool = False


class Event(NamedTuple):
    """Something that people have to know; ``stream`` may be empty."""

    stream: str
    text: str


Effect = Answer | Event


class Lane:
    """One stream of the device in this session."""

    def __init__(self, offer: Offer, record: Record | None, expected: int, refused: str) -> None:
        self.offer = offer
        self.record = record or Record(offer.store, [])
        self.expected = expected
        self.refused = refused
        self.for_good = False  # in this session: the offer makes no sense
        self.clocks: tuple[Epoch, ...] = ()  # of all epochs that were offered
        self.paused: Pause | None = None  # said, and nothing was taken since
        self.dictionary = offer.dictionary
        self.history = b""

    def use(self, clocks: Sequence[Epoch]) -> None:
        """What the device knows of its clock. All of it holds in this session; the record, which is written with each
        parcel, has the end of it."""
        self.clocks = tuple(clocks)
        self.record.clocks = list(clocks[-limits.FORWARD_CLOCKS :])


class Receiver:
    """Receives from one device. The newest session counts: a connection that hangs may still say something."""

    def __init__(self, device: str, hub: str, sink: Sink) -> None:
        self.device = device
        self._hub = hub
        self._sink = sink
        self.session = 0
        self.lanes: dict[int, Lane] = {}
        self.figures: dict[str, object] = {}
        self.hello: Hello | None = None
        self.heard_ns = 0
        self._order = 0  # of the last parcel or gap
        self._acked = 0
        self.due_ns = 0  # when an acknowledgement is due; 0: none is

    def received(self, message: Message | Parcel, now_ns: int, wall_ns: int) -> list[Effect]:
        """One message of the device."""
        self.heard_ns = now_ns
        if isinstance(message, Parcel) and message.session == self.session != 0:  # most are
            return self._numbered(message, now_ns, wall_ns)
        if isinstance(message, Hello):
            return self._welcome(message, wall_ns)
        if not isinstance(message, Parcel | Gap | Dictionary | Status | Clocks):
            return []
        if not self.session or message.session != self.session:
            return [Answer(encode(Again(message.session, "the hub does not know this session")))]
        match message:
            case Parcel() | Gap() | Dictionary():
                return self._numbered(message, now_ns, wall_ns)
            case Status():
                self.figures = message.figures
            case Clocks():
                self._clocks(message)
        return []

    def _welcome(self, hello: Hello, wall_ns: int) -> list[Effect]:
        self.session, self.hello, self.lanes = hello.session, hello, {}
        self._order = self._acked = self.due_ns = 0
        effects: list[Effect] = []
        if hello.device != self.device:
            return [Event("", f"it calls itself {hello.device}, and may speak for {self.device} only")]
        places = []
        names: set[str] = set()
        for offer in hello.streams[: limits.FORWARD_STREAMS]:
            if offer.number in self.lanes:
                continue
            lane, place = self._place(offer, twice=offer.name in names)
            names.add(offer.name)
            self.lanes[offer.number] = lane
            places.append(place)
            effects += [Event(offer.name, text) for text in place.noticed]
        welcome = Welcome(VERSION, self.session, wall_ns, self._hub, tuple(places))
        # A place acknowledges all before it, and what was stored last may not be on the disk yet.
        confirms = any(not place.refused for place in places)
        return [*effects, Answer(encode(welcome), durable=confirms)]

    def _place(self, offer: Offer, *, twice: bool) -> tuple[Lane, Place]:
        if wrong := "offered twice" if twice else _wrong(offer):
            lane = Lane(offer, Record(0, []), 0, wrong)
            lane.for_good = True
            return lane, Place(offer.number, refused=wrong)
        record = self._sink.load(offer.name)
        try:
            self._sink.check(offer)
        except Refused as problem:
            return Lane(offer, record, 0, problem.why), Place(offer.number, refused=problem.why)
        noticed: tuple[str, ...] = ()
        if record is None and (record := self._sink.found(offer)) is not None:
            noticed = (FOUND,)
        elif record is not None and record.store != offer.store:
            record, noticed = self._exchanged(offer, record)
        going_on = resume(offer, record)
        noticed += going_on.noticed
        lane = Lane(offer, record, going_on.seq, "")
        lane.use(offer.epochs)
        known = bool(offer.dictionary) and self._sink.has_dictionary(offer.dictionary)
        return lane, Place(offer.number, going_on.seq, "", noticed, known)

    def _exchanged(self, offer: Offer, current: Record) -> tuple[Record, tuple[str, ...]]:
        """Another store than last time. What is known of the one before is set aside: it may come back, as when two
        devices have one name, or a card is put in again."""
        sink, name = self._sink, offer.name
        again = sink.load(_aside(name, offer.store))
        sink.keep(_aside(name, current.store), current)
        former = [one for one in current.former if one[0] not in (offer.store, current.store)]
        former.append((current.store, current.received))
        for store, _ in former[: -limits.FORWARD_FORMER]:
            sink.forget(_aside(name, store))
        former = former[-limits.FORWARD_FORMER :]
        if again is None:
            record = Record(offer.store, [], former=former)
            why = REIMAGED
        else:
            record, why = (
                again,
                "another store of this device, which was here before: two devices of one name?",
            )
            record.former = former
            sink.forget(_aside(name, offer.store))
        sink.keep(name, record)
        return record, (why,)

    def look_again(self) -> list[Effect]:
        """A stream that was refused may be taken by now: the device is to offer it again."""
        for lane in self.lanes.values() if self.session else ():
            if lane.refused and not lane.for_good:
                try:
                    self._sink.check(lane.offer)
                except Refused as problem:
                    lane.refused = problem.why
                else:
                    return self._again(f"{lane.offer.name} can be received now")
        return []

    # --- parcels and gaps --------------------------------------------------------------------------------

    def _numbered(self, message: Parcel | Gap | Dictionary, now_ns: int, wall_ns: int) -> list[Effect]:
        if message.order <= self._order:
            return []  # the same again: a connection was doubled
        if message.order != self._order + 1:
            return self._again(f"{message.order} came after {self._order}")
        lane = self.lanes.get(message.number)
        if lane is None or lane.refused:
            return self._again("a stream that was not offered")
        self._order = message.order
        match message:
            case Dictionary():
                return self._dictionary(lane, message)
            case Gap():
                effects = self._gap(lane, message, wall_ns)
            case Parcel():
                effects = self._parcel(lane, message, wall_ns)
        soon = isinstance(message, Parcel) and message.flags & SOON
        if not self.session:
            return effects
        if soon:
            return [*effects, *self.acknowledge(wall_ns)]
        if not self.due_ns:
            self.due_ns = now_ns + ACK_LATER_NS
        return effects

    def acknowledge(self, wall_ns: int) -> list[Effect]:
        """What has been received, when it is on the disk."""
        self.due_ns = 0
        if self._acked == self._order:
            return []
        self._acked = self._order
        paused = tuple(lane.paused for lane in self.lanes.values() if lane.paused is not None)
        return [Answer(encode(Ack(self.session, self._order, wall_ns, paused)), durable=True)]

    def _parcel(self, lane: Lane, parcel: Parcel, wall_ns: int) -> list[Effect]:
        offer, record = lane.offer, lane.record
        if parcel.epoch >= len(offer.epochs):
            return self._again("a parcel of an epoch that was not offered")
        if parcel.from_seq > lane.expected:
            if lane.paused:
                return []  # what was under way when the device was told to wait
            return self._again(f"{offer.name}: {parcel.from_seq} came instead of {lane.expected}")
        epoch = offer.epochs[parcel.epoch]
        try:
            columns = self._sink.expand(parcel, lane.dictionary, lane.history)
            clock = clock_of(lane.clocks, epoch, parcel.from_seq)
            stored = self._sink.store(offer, parcel, columns, lane.expected, epoch, clock)
        except Refused as problem:
            return self._pause(lane, parcel, problem)
        except Broken as problem:
            return self._again(str(problem))
        lane.paused = None
        lane.history = history(lane.history, columns, parcel.flags)
        record.received += stored.messages
        record.duplicates += stored.duplicates
        effects = self._refused(lane, stored.refused, wall_ns)
        if stored.next_seq > lane.expected:
            lane.expected = stored.next_seq
            recorded(record, epoch, lane.expected - 1)
        self._sink.keep(offer.name, record)
        if stored.next_seq < parcel.next_seq:
            effects += self._pause(lane, parcel, Refused(stored.why))
        return effects

    def _refused(self, lane: Lane, seqs: Sequence[int], wall_ns: int) -> list[Effect]:
        """Those that follow one another are one gap."""
        record, why = lane.record, "larger than the hub's stream takes"
        if not seqs:
            return []
        first = before = seqs[0]
        for seq in (*seqs[1:], 0):
            if seq != before + 1:
                record.gaps.append((first, before, before - first + 1, why, wall_ns))
                first = seq
            before = seq
        del record.gaps[: -limits.FORWARD_GAPS]
        record.missing += len(seqs)
        if len(seqs) == 1:
            return [Event(lane.offer.name, f"message {seqs[0]} is lost: it is {why}")]
        text = f"{len(seqs)} messages are lost, {seqs[0]} to {seqs[-1]}: they are {why}"
        return [Event(lane.offer.name, text)]

    def _pause(self, lane: Lane, parcel: Parcel, problem: Refused) -> list[Effect]:
        first = lane.paused is None
        lane.paused = Pause(self.session, parcel.number, parcel.order, problem.why, RETRY_S)
        effects: list[Effect] = [Answer(encode(lane.paused))]
        return [Event(lane.offer.name, problem.why), *effects] if first else effects

    def _gap(self, lane: Lane, gap: Gap, wall_ns: int) -> list[Effect]:
        offer, record = lane.offer, lane.record
        if not gap.first <= lane.expected <= gap.last + 1 or gap.last > limits.SEQUENCE_MAX:
            if lane.paused:
                return []
            return self._again(f"{offer.name}: a gap from {gap.first} to {gap.last}, {lane.expected} is next")
        if lane.expected > gap.last or not offer.epochs:
            return []
        first = lane.expected
        count = max(min(gap.count, gap.last - first + 1), -1)  # a part of it may have come
        reason = gap.reason[: limits.FORWARD_REASON]
        record.gaps.append((first, gap.last, count, reason, wall_ns))
        del record.gaps[: -limits.FORWARD_GAPS]
        record.missing += max(count, 0)
        lane.paused = None
        lane.expected = gap.last + 1
        for epoch, last in covered(offer.epochs, first, gap.last):
            recorded(record, epoch, last)
        self._sink.keep(offer.name, record)
        return [
            Event(
                offer.name,
                f"{count if count >= 0 else 'some'} messages will not come, {first} to {gap.last}: {reason}",
            )
        ]

    def _again(self, why: str) -> list[Effect]:
        session, self.session = self.session, 0
        self.due_ns = 0
        return [Answer(encode(Again(session, why))), Event("", f"the session starts over: {why}")]

    # --- the rest ----------------------------------------------------------------------------------------

    def _dictionary(self, lane: Lane, message: Dictionary) -> list[Effect]:
        if len(message.data) > limits.FORWARD_DICTIONARY_BYTES:
            return self._again("a dictionary for nothing")
        try:
            self._sink.add_dictionary(message.ident, message.data)
        except Broken as problem:
            return self._again(str(problem))
        lane.dictionary = message.ident
        return []

    def _clocks(self, message: Clocks) -> None:
        lane = self.lanes.get(message.number)
        if lane is not None:
            lane.use(message.epochs)
            self._sink.keep(lane.offer.name, lane.record)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def _wrong(offer: Offer) -> str:
    """What is wrong with an offer; empty: nothing. Names become subjects and keys, numbers have their sizes."""
    if not _NAME.fullmatch(offer.name):
        return "a name has letters, digits, - and _"
    if not offer.epochs or not 0 < offer.store < 1 << 63:
        return "a stream without identity"
    seqs = [epoch.first_seq for epoch in offer.epochs]
    if seqs != sorted(seqs) or any(not 0 < epoch.ident < 1 << 63 for epoch in offer.epochs):
        return "epochs out of order"
    if not 1 <= offer.began <= limits.SEQUENCE_MAX or not 1 <= seqs[0] <= seqs[-1] <= limits.SEQUENCE_MAX:
        return "sequences that no stream has"
    return ""


def _aside(name: str, store: int) -> str:
    """Under which a record is kept whose store is not the current one; no entry has such a name."""
    return f"{name}/{store:016x}"


def clock_of(clocks: Sequence[Epoch], epoch: Epoch, seq: int) -> Epoch | None:
    """What is known of the clock that stamped a message: the last entry of its epoch that began by then."""
    mine = [one for one in clocks if one.ident == epoch.ident and one.first_seq <= seq]
    return mine[-1] if mine else None


__all__ = [
    "HISTORICAL",
    "WITH_DICTIONARY",
    "ZSTD",
    "Answer",
    "Broken",
    "Event",
    "Lane",
    "Receiver",
    "Refused",
    "Sink",
    "Stored",
]
