"""Receives what devices forward into fleet streams of one account.

A device speaks on ``$PHL.UP.<device>``, and permissions decide which device may. Its messages get the subject
``fleet.<entry>.<device>.<subject>`` and the header ``Phloem-Origin`` in the stream that the entry names. What is
known of each device is in the ledger.

A device is there as long as its own interest in ``$PHL.DOWN.<device>`` is: it comes and goes with the link.

What a thousand devices cost is wake-ups and syncs, one for each parcel if nothing is done about it. So parcels that
come shortly after others wait for ``FLEET_GATHER_NS``, and share one batch of the journal. A device of which two are
waiting has more to say, and then nobody's parcels wait any longer. Everything that a device says is dealt with in the
order in which it came.
"""

import asyncio
import logging
from collections import deque
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from phloem.hub.collect.device import Device
from phloem.hub.collect.expand import Dictionaries
from phloem.hub.collect.fleet_streams import NAME, FleetStreams
from phloem.hub.collect.ledger import Ledger
from phloem.hub.collect.origins import record_in
from phloem.shared import limits
from phloem.shared.engine.parcel import Unpacker, Unreadable
from phloem.shared.forward import figures
from phloem.shared.forward.identity import Record
from phloem.shared.forward.messages import (
    HISTORICAL,
    PARCEL,
    Epoch,
    Hello,
    Malformed,
    Message,
    Offer,
    Parcel,
    Status,
    decode,
)
from phloem.shared.forward.receiver import Answer, Broken, Effect, Event, Receiver, Refused, Stored
from phloem.shared.jetstream.identity import text_of
from phloem.shared.server.monitor.records import FleetDevice, FleetFigures
from phloem.shared.store.log import Damaged

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.fleet")

UP = b"$PHL.UP.*"
KEY = b"fr/"
ORIGIN = b"Phloem-Origin: "
ORIGINS = 4096
LOOKS = 1000  # devices whose rates are looked at in a second; with more, each has its turn less often
LOOKS_LEAST = 20  # while nobody watches they have their turns within LOOK_TICKS, but for so many
LOOK_TICKS = 5
SETTLE_TICKS = 10  # what changes only because time has passed is looked at so often


class _Sink:
    """Where one device's messages go."""

    def __init__(self, collector: "Collector", device: str) -> None:
        self._collector = collector
        self._device = device
        self._newest: dict[str, tuple[Stream, int]] = {}  # the last message that was stored

    def check(self, offer: Offer) -> None:
        """As in ``Sink``; a device that calls its streams otherwise each time does not fill the store with records."""
        self._collector.streams.check(offer)
        store, key = self._collector.store, self._key(offer.name)
        if store.get(key) is None:
            known = sum(1 for _ in islice(store.scan(self._key("")), limits.FORWARD_RECORDS))
            if known >= limits.FORWARD_RECORDS:
                raise Refused(f"{known} streams of this device are known already", for_good=True)

    def _key(self, name: str) -> bytes:
        return KEY + f"{self._collector.account}/{self._device}/{name}".encode()

    def load(self, name: str) -> Record | None:
        """As in ``Sink``."""
        data = self._collector.store.get(self._key(name))
        return msgspec.msgpack.decode(data, type=Record) if data else None

    def found(self, offer: Offer) -> Record | None:
        """As in ``Sink``."""
        prefix = f"fleet.{offer.name}.{self._device}."
        try:
            return record_in(self._collector.streams.of(offer).log, prefix, offer)
        except Damaged:
            return None

    def keep(self, name: str, record: Record) -> None:
        """As in ``Sink``: the store has one batch for both, because nothing is handed over in between."""
        self._collector.store.put(self._key(name), msgspec.msgpack.encode(record))

    def forget(self, name: str) -> None:
        """As in ``Sink``."""
        self._collector.store.delete(self._key(name))

    def expand(self, parcel: Parcel, dictionary: int, before: bytes) -> bytes:
        """As in ``Sink``."""
        return self._collector.dictionaries.expand(parcel, dictionary, before)

    def store(
        self, offer: Offer, parcel: Parcel, columns: bytes, from_seq: int, epoch: Epoch, clock: Epoch | None
    ) -> Stored:
        """As in ``Sink``."""
        stream = self._collector.streams.of(offer)
        unpacker = self._collector.unpacker(stream, f"fleet.{offer.name}.{self._device}.")
        origin = _origin(offer.store, epoch.ident)
        shift, words = _time_of(clock)
        try:
            done = unpacker.store(
                columns,
                parcel.from_seq,
                parcel.next_seq,
                from_seq,
                origin,
                shift,
                words,
                bool(parcel.flags & HISTORICAL),
                self._collector.server.clock.wall_ns(),
            )
        except Unreadable as error:
            raise Broken(str(error)) from error
        if done.messages:
            self._newest.pop(offer.name, None)
            self._newest[offer.name] = (stream, stream.log.last_seq)
            if len(self._newest) > limits.FORWARD_STREAMS:  # one that is not offered any more
                del self._newest[next(iter(self._newest))]
        why = self._collector.streams.why_not(stream) if done.next_seq < parcel.next_seq else ""
        return Stored(done.messages, done.duplicates, done.refused, done.next_seq, why)

    def newest(self, name: str) -> tuple[int, int]:
        """As in ``device.Newest``: from the header of the last message that was stored."""
        stream, seq = self._newest.get(name, (None, 0))
        try:
            message = stream.log.read(seq) if stream is not None else None
        except Damaged:
            message = None
        at = message.header.rfind(ORIGIN) if message is not None else -1  # ours is the last one
        if message is None or at < 0:
            return 0, -1
        _, _, when, clock = message.header[at + len(ORIGIN) :].split(b"\r\n", 1)[0].split(b" ")
        return int(when), int(clock) if clock.isdigit() else -1

    def has_dictionary(self, ident: int) -> bool:
        """As in ``Sink``."""
        return self._collector.dictionaries.has(ident)

    def add_dictionary(self, ident: int, data: bytes) -> None:
        """As in ``Sink``."""
        self._collector.dictionaries.add(ident, data, f"{self._collector.account}/{self._device}")


@lru_cache(ORIGINS)
def _origin(store: int, epoch: int) -> bytes:
    return f"{text_of(store.to_bytes(8), 11)}.{text_of(epoch.to_bytes(8), 11)}".encode()


def _time_of(clock: Epoch | None) -> tuple[int, bytes]:
    """What to add to a device's time stamps, and how far to trust the sum."""
    if clock is None or clock.error_ns < 0:
        return 0, b"unsynced"
    ahead_ns = clock.true_ahead_ns - clock.ahead_ns
    if max(abs(ahead_ns), clock.error_ns) > limits.CLOCK_LATEST_NS:
        return 0, b"unsynced"
    return ahead_ns, b"%d" % clock.error_ns


class Collector:
    """All devices of one account."""

    def __init__(self, server: "Server", home: "AccountJetStream") -> None:
        self.server = server
        self.account = home.name
        self._home = home
        self._system = home.system
        self.store = home.system.store
        self.streams = FleetStreams(home)
        self.dictionaries = Dictionaries(self.store)
        self.devices: dict[str, Device] = {}
        self._unpackers: dict[Stream, Unpacker] = {}
        self._waiting: deque[tuple[str, bytes]] = deque()  # devices and what they sent
        self._waiting_of: set[str] = set()
        self._waiting_bytes = 0
        self._gather: asyncio.TimerHandle | None = None
        self._gathers_until_ns = 0
        self._there: dict[bytes, Device] = {}  # those online, by the subject that they listen to
        self._owed: set[str] = set()  # devices to which an acknowledgement is due
        self._moving: dict[str, None] = {}  # devices whose rates are not 0, whose turn it is first
        self._ticks = 0
        self.ledger = Ledger(home, server.clock.monotonic_ns())
        self._sub = server.kernel.subscribe(home.kernel_account, UP, None, self._heard)
        self._timer = server.call_about(1, self._due)

    def unpacker(self, stream: "Stream", prefix: str) -> Unpacker:
        """For a device's messages, until the next call."""
        found = self._unpackers.get(stream)
        if found is None:
            for gone in [one for one in self._unpackers if self._home.streams.get(one.name) is not one]:
                del self._unpackers[gone]
            found = self._unpackers[stream] = Unpacker(stream.engine, b"")
        found.prefix = prefix.encode()
        return found

    # --- what happens ------------------------------------------------------------------------------------

    def _heard(self, subject: bytes, _reply: bytes, _header: bytes, payload: bytes) -> None:
        name = subject.rpartition(b".")[2].decode(errors="replace")
        now_ns = self.server.clock.monotonic_ns()
        if not payload.startswith(PARCEL):
            self.take()
            self._received(name, payload)
            return
        more = name in self._waiting_of
        self._waiting.append((name, payload))
        self._waiting_of.add(name)
        self._waiting_bytes += len(payload)
        if more or now_ns >= self._gathers_until_ns or self._waiting_bytes >= limits.FLEET_GATHER_BYTES:
            self._gathers_until_ns = now_ns + limits.FLEET_GATHER_NS
            self.take()
        elif self._gather is None:
            self._gather_later(self._gathers_until_ns - now_ns)

    def _gather_later(self, after_ns: int) -> None:
        self._gather = self.server.call_later(after_ns / limits.SECOND_NS, self._gathered)

    def _gathered(self) -> None:
        self._gather = None
        self._gathers_until_ns = self.server.clock.monotonic_ns() + limits.FLEET_GATHER_NS
        self.take()

    def take(self) -> None:
        """Parcels that wait are received."""
        if self._gather is not None:
            self._gather.cancel()
            self._gather = None
        self._waiting_of.clear()
        self._waiting_bytes = 0
        try:
            while self._waiting:
                self._received(*self._waiting.popleft())
        finally:
            if self._waiting:  # one of them was a fault of ours, which is reported; the others come next
                self._gather_later(0)

    def _received(self, name: str, payload: bytes) -> None:
        try:
            message = decode(payload)
        except Malformed as error:
            log.warning("%s: what it sends is not understood: %s", name, error)
            return
        device = self.devices.get(name) or self._met(name)
        if device is None:
            return
        now, wall = self.server.clock.monotonic_ns(), self.server.clock.wall_ns()
        receiver = device.receiver
        told = receiver.figures
        effects = receiver.received(message, now, wall)
        device.seen_ns = wall
        if not isinstance(message, Hello) and message.session != receiver.session:
            self._do(device, effects)
            return
        self._happened(device, message, now, wall)
        if receiver.figures is not told:
            device.told(figures.read(receiver.figures), now, wall)
        self._do(device, effects)

    def _happened(self, device: Device, message: Message | Parcel, now_ns: int, wall_ns: int) -> None:
        if isinstance(message, Hello):
            self.ledger.back(device.name)
            device.literal = self.server.kernel.listened(self._home.kernel_account, device.subject)
            if device.said_hello(message, now_ns, wall_ns):
                text = "another device of this name was heard before: one is a copy of the other"
                device.note("", text, wall_ns)
                log.error("%s: %s", device.name, text)
        elif isinstance(message, Status):
            device.dirty = True
        else:
            self._moving.setdefault(device.name)
        device.came(wall_ns)
        self._there[device.subject] = device

    def _met(self, name: str) -> Device | None:
        """A device that is not in memory."""
        if not NAME.fullmatch(name):
            log.warning(
                "a device of the name %r is not heard: letters, digits, - and _ are possible", name[:80]
            )
            return None
        if len(self.devices) >= limits.FLEET_DEVICES and not self._forget(at_once=True):
            log.error("%s: there are %d devices already, which is the most", name, limits.FLEET_DEVICES)
            return None
        sink = _Sink(self, name)
        kept = self.ledger.read(name)
        if kept is None:
            self.ledger.known += 1
        receiver = Receiver(name, self.server.name, sink)
        device = Device(name, self.server.name, receiver, sink.newest, kept, self.server.clock.wall_ns())
        device.looked_ns = self.server.clock.monotonic_ns()
        self.devices[name] = device
        return device

    def _do(self, device: Device, effects: list[Effect]) -> None:
        engine, account = self._system.engine, self._home.kernel_account
        to = device.subject
        for effect in effects:
            match effect:
                case Answer(data, durable):
                    engine.answer(account, to, b"", data, durable=durable)
                case Event(stream, said):
                    stream, text = (
                        figures.printable(stream[: limits.FLEET_TEXT]),
                        figures.printable(said[: limits.FLEET_SAID]),
                    )
                    log.warning("%s%s: %s", device.name, f" > {stream}" if stream else "", text)
                    device.note(stream, text, self.server.clock.wall_ns())
        self.ledger.changed(device)
        (self._owed.add if device.receiver.due_ns else self._owed.discard)(device.name)
        engine.wake()

    # --- once a second -----------------------------------------------------------------------------------

    def _due(self) -> None:
        self._timer = self.server.call_about(1, self._due)
        self.tick()

    def tick(self) -> None:
        """Acknowledgements that could wait, who is there, rates, the ledger."""
        self.take()
        now, wall = self.server.clock.monotonic_ns(), self.server.clock.wall_ns()
        for name in [name for name in self._owed if self.devices[name].receiver.due_ns <= now]:
            self._do(self.devices[name], self.devices[name].receiver.acknowledge(wall))
        looks = LOOKS if self.ledger.watched else max(LOOKS_LEAST, len(self._moving) // LOOK_TICKS)
        for name in list(islice(self._moving, looks)):
            del self._moving[name]
            if self.devices[name].look(now, wall):
                self._moving[name] = None
                self.ledger.changed(self.devices[name])
        for device in self._gone():
            device.went(wall)
            del self._there[device.subject]
            self.ledger.changed(device)
            log.info("%s: its link is gone", device.name)
        self._ticks += 1
        if self._ticks % SETTLE_TICKS == 0:
            self._settle(now, wall)
        self.ledger.work(now, wall)

    def _gone(self) -> list[Device]:
        """Those who are not there any more."""
        kernel, account = self.server.kernel, self._home.kernel_account
        gone = [self._there[subject] for subject in kernel.unlistened(account, self._there)]
        # Where a wildcard stands for the device's own interest, what reaches anybody reaches it.
        return [one for one in gone if one.literal or not kernel.interested(account, one.subject)]

    def _settle(self, now_ns: int, wall_ns: int) -> None:
        for device in self.devices.values():
            device.settle(now_ns, wall_ns)
            self.ledger.changed(device)
            if device.online and now_ns - device.hello_ns >= limits.FLEET_RECHECK_NS:
                effects = device.receiver.look_again()
                if effects:
                    self._do(device, effects)
        self._forget()

    def _forget(self, *, at_once: bool = False) -> int:
        """Devices that are away are read from the store again when they come; how many were forgotten."""
        wall = self.server.clock.wall_ns()
        gone = [
            name
            for name, device in self.devices.items()
            if not (device.online or device.urgent or device.dirty)
            and (at_once or wall - device.since_ns >= limits.FLEET_FORGET_NS)
        ]
        for name in gone:
            del self.devices[name]
            self._owed.discard(name)
            self._moving.pop(name, None)
        return len(gone)

    def stop(self) -> None:
        """Nothing more is received; what the ledger does not have yet is written."""
        self._timer.cancel()
        self.take()
        self.server.kernel.unsubscribe(self._sub)
        self.ledger.write_all(self.server.clock.monotonic_ns(), self.server.clock.wall_ns())

    # --- what others ask -----------------------------------------------------------------------------------

    def figures(self) -> FleetFigures:
        """For monitoring."""
        found = []
        for name, device in sorted(self.devices.items()):
            lanes = list(device.receiver.lanes.values())
            found.append(
                FleetDevice(
                    name=name,
                    online=device.online,
                    since_wall_ns=device.since_ns,
                    streams=len(lanes),
                    received=sum(lane.record.received for lane in lanes),
                    duplicates=sum(lane.record.duplicates for lane in lanes),
                    missing=sum(lane.record.missing for lane in lanes),
                    backlog=device.left(),
                    paused=sum(lane.paused is not None for lane in lanes),
                    refused=sum(bool(lane.refused) for lane in lanes),
                    copies=device.clone is not None,
                )
            )
        return FleetFigures(self.account, self.ledger.known, self.ledger.written, found)
