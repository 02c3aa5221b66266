"""A hub of store-and-forward on a simulated disk: the real Receiver, with streams that are lists."""

import random
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from phloem.shared.forward.identity import Record, epoch_of
from phloem.shared.forward.messages import (
    WITH_DICTIONARY,
    ZSTD,
    Epoch,
    Gap,
    Hello,
    Offer,
    Parcel,
    decode,
)
from phloem.shared.forward.receiver import Answer, Broken, Effect, Event, Lane, Receiver, Refused, Stored
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing.schedule import Schedule
from phloem.shared.testing.simulated_columns import expand, unpack
from phloem.shared.testing.simulated_disk import SimulatedDisk, Trouble

NO_SPACE = "the hub has no space on its disk"
SPACE_RETRY_NS = SECOND_NS // 5
DATE_NS = 1_700_000_000 * SECOND_NS
Send = Callable[[bytes], None]


class Arrived(NamedTuple):
    """A message in a fleet stream."""

    stream: str
    store: int
    epoch: int
    seq: int
    ident: int


class Announced(NamedTuple):
    """Sequences that will not come. ``spans``: first, last and epoch of the parts."""

    stream: str
    store: int
    epochs: tuple[Epoch, ...]
    first: int
    last: int
    reason: str


class _Receiver(Receiver):
    """Writes every gap down; a record has the latest only."""

    def _gap(self, lane: Lane, gap: Gap, wall_ns: int) -> list[Effect]:
        first = lane.expected
        effects = super()._gap(lane, gap, wall_ns)
        if lane.expected > first:
            offer = lane.offer
            told = Announced(offer.name, offer.store, offer.epochs, first, gap.last, gap.reason)
            assert isinstance(self._sink, _Sink)
            self._sink.disk.do("add", f"gaps/{self.device}", told)
        return effects


class _Sink:
    def __init__(self, hub: "SimulatedHub", device: str) -> None:
        self._hub = hub
        self._device = device
        self.disk = hub.disk

    def check(self, offer: Offer) -> None:
        if offer.name in self._hub.refused:
            raise Refused("its subjects overlap with another stream's", for_good=True)
        if not self.disk.takes:
            raise Refused(NO_SPACE)

    def load(self, name: str) -> Record | None:
        data = self.disk.live.pairs.get(f"fr/{self._device}/{name}")
        return msgspec.msgpack.decode(data, type=Record) if data else None

    def found(self, _offer: Offer) -> Record | None:
        return None  # its messages and its records are on one disk

    def keep(self, name: str, record: Record) -> None:
        self.disk.do("put", f"fr/{self._device}/{name}", msgspec.msgpack.encode(record))

    def forget(self, name: str) -> None:
        self.disk.do("forget", f"fr/{self._device}/{name}")

    def expand(self, parcel: Parcel, dictionary: int, before: bytes) -> bytes:
        flags = parcel.flags
        if not flags & ZSTD:
            return parcel.columns
        if flags & WITH_DICTIONARY and f"fd/{dictionary}" not in self.disk.live.pairs:
            raise Broken("a dictionary that is not here")
        return expand(parcel.columns, flags, dictionary, before)

    def store(
        self, offer: Offer, parcel: Parcel, columns: bytes, from_seq: int, epoch: Epoch, _clock: Epoch | None
    ) -> Stored:
        messages = unpack(columns)
        assert messages, "a parcel without messages"
        assert parcel.from_seq <= messages[0][0], "a message before its parcel's first"
        assert messages[-1][0] < parcel.next_seq, "a message behind its parcel's end"
        stored = passed = 0
        refused = []
        for seq, ident, size in messages:
            if seq < from_seq:
                passed += 1
            elif size > self._hub.message_max:
                refused.append(seq)
                told = Announced(offer.name, offer.store, offer.epochs, seq, seq, "too large")
                self.disk.do("add", f"gaps/{self._device}", told)
            elif not self.disk.takes:
                return Stored(stored, passed, tuple(refused), seq, NO_SPACE)
            elif self._hub.room <= 0:
                return Stored(stored, passed, tuple(refused), seq, "the stream is full")
            else:
                self._hub.room -= 1
                stored += 1
                told_epoch = offer.epochs[epoch_of(offer.epochs, seq)].ident
                assert told_epoch == epoch.ident or seq < epoch.first_seq, "a message of another epoch"
                came = Arrived(offer.name, offer.store, epoch.ident, seq, ident)
                self.disk.do("add", f"came/{self._device}", came)
        return Stored(stored, passed, tuple(refused), parcel.next_seq)

    def has_dictionary(self, ident: int) -> bool:
        return f"fd/{ident}" in self.disk.live.pairs

    def add_dictionary(self, ident: int, data: bytes) -> None:
        self.disk.do("put", f"fd/{ident}", data)


class SimulatedHub:
    """One process after the other on one disk. ``told``: what people would read in its log."""

    def __init__(self, schedule: Schedule, rng: random.Random, name: str) -> None:
        self.name = name
        self.disk = SimulatedDisk()
        self.room = 1 << 60  # messages that its streams still take
        self.message_max = 1 << 60
        self.refused: set[str] = set()  # entries whose stream it does not take
        self.disk_works = True
        self.alive = True
        self.told: list[str] = []
        self._schedule, self._rng = schedule, rng
        self._receivers: dict[str, _Receiver] = {}
        self._ways: dict[str, Send] = {}  # to devices, as they were heard last
        self._owed: list[tuple[int, Send, bytes]] = []  # until this batch is on the disk
        self._life = 0
        self._syncing = False

    # --- what happens to it --------------------------------------------------------------------------

    def crash(self, survive: int) -> None:
        """The process ends; so many pending batches survive."""
        self.alive = False
        self._life += 1
        self._receivers, self._ways, self._owed, self._syncing = {}, {}, [], False
        self.disk.lose_power(survive)

    def start(self) -> None:
        """Another process."""
        self.alive = True

    def mended(self) -> None:
        """There is room on its disk again, and it finds that out."""
        self.disk.trouble = Trouble.NONE
        self.sync_soon()
        for device, receiver in self._receivers.items():
            self._do(receiver.look_again(), self._ways[device])

    def heard(self, device: str, data: bytes, answer: Send) -> None:
        """A frame of a device, and how to answer it."""
        if not self.alive:
            return
        self._ways[device] = answer
        receiver = self._receivers.get(device)
        if receiver is None:
            receiver = self._receivers[device] = _Receiver(device, self.name, _Sink(self, device))
        message = decode(data)
        assert isinstance(message, Parcel | Hello) or receiver is not None
        now = self._schedule.now_ns
        self._do(receiver.received(message, now, DATE_NS + now), answer)
        if receiver.due_ns:
            life = self._life
            self._schedule.at(receiver.due_ns, lambda: self._tick(receiver, answer, life))

    def _tick(self, receiver: _Receiver, answer: Send, life: int) -> None:
        now = self._schedule.now_ns
        if life == self._life and self.alive and 0 < receiver.due_ns <= now:
            self._do(receiver.acknowledge(DATE_NS + now), answer)

    def _do(self, effects: list[Effect], answer: Send) -> None:
        batch = self.disk.seal()
        for effect in effects:
            match effect:
                case Answer(data, durable):
                    if durable and (batch > self.disk.synced or not self.disk_works):
                        self._owed.append((batch, answer, data))
                    else:
                        answer(data)
                case Event(stream, text):
                    self.told.append(f"{stream}: {text}")
        self.sync_soon()

    def sync_soon(self) -> None:
        """What is pending goes to the disk after a while, if it works."""
        if self._syncing or not self.disk_works or not (self.disk.pending or self._owed):
            return
        self._syncing, life = True, self._life

        def synced() -> None:
            if life == self._life and self.disk_works:
                self.disk.sync()
                if self.disk.pending:
                    self._schedule.later(SPACE_RETRY_NS, synced)
                    return
                owed, self._owed = self._owed, []
                for _, answer, data in owed:
                    answer(data)
            self._syncing = False

        self._schedule.later(self._rng.randrange(1, 40) * SECOND_NS // 1000, synced)
