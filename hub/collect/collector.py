"""Receives what devices forward into fleet streams of one account.

A device speaks on ``$PHL.UP.<device>``, and permissions decide which device may. Its messages get the subject
``fleet.<entry>.<device>.<subject>`` and the header ``Phloem-Origin`` in the stream that the entry names.
"""

import logging
from typing import TYPE_CHECKING

import msgspec

from phloem.hub.collect.expand import Dictionaries
from phloem.shared.engine.parcel import Unpacker, Unreadable
from phloem.shared.forward.identity import Record
from phloem.shared.forward.messages import HISTORICAL, Epoch, Malformed, Offer, Parcel, decode, down_subject
from phloem.shared.forward.receiver import Answer, Broken, Effect, Event, Receiver, Refused, Stored
from phloem.shared.jetstream.errors import ApiError
from phloem.shared.jetstream.identity import text_of
from phloem.shared.limits import FLEET_DEVICES
from phloem.shared.server.jetstream.api import Request
from phloem.shared.server.jetstream.api_streams import create

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.fleet")

UP = b"$PHL.UP.*"
KEY = b"fr/"


class _Sink:
    """Where one device's messages go."""

    def __init__(self, collector: "Collector", device: str) -> None:
        self._collector = collector
        self._device = device
        self._unpackers: dict[str, tuple[Stream, Unpacker]] = {}

    def check(self, offer: Offer) -> None:
        """As in ``Sink``."""
        self._collector.stream(offer)

    def _key(self, name: str) -> bytes:
        return KEY + f"{self._collector.account}/{self._device}/{name}".encode()

    def load(self, name: str) -> Record | None:
        """As in ``Sink``."""
        data = self._collector.store.get(self._key(name))
        return msgspec.msgpack.decode(data, type=Record) if data else None

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
        stream = self._collector.stream(offer)
        known = self._unpackers.get(offer.name)
        if known is None or known[0] is not stream:
            prefix = f"fleet.{offer.name}.{self._device}.".encode()
            known = self._unpackers[offer.name] = (stream, Unpacker(stream.engine, prefix))
        origin = f"{text_of(offer.store.to_bytes(8), 11)}.{text_of(epoch.ident.to_bytes(8), 11)}".encode()
        shift, words = _time_of(clock)
        try:
            done = known[1].store(
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
        why = self._collector.why_not(stream) if done.next_seq < parcel.next_seq else ""
        return Stored(done.messages, done.duplicates, done.refused, done.next_seq, why)

    def has_dictionary(self, ident: int) -> bool:
        """As in ``Sink``."""
        return self._collector.dictionaries.has(ident)

    def add_dictionary(self, ident: int, data: bytes) -> None:
        """As in ``Sink``."""
        self._collector.dictionaries.add(ident, data)


def _time_of(clock: Epoch | None) -> tuple[int, bytes]:
    """What to add to a device's time stamps, and how far to trust the sum."""
    if clock is None or clock.error_ns < 0:
        return 0, b"unsynced"
    return clock.true_ahead_ns - clock.ahead_ns, b"%d" % clock.error_ns


class Collector:
    """All devices of one account."""

    def __init__(self, server: "Server", home: "AccountJetStream") -> None:
        self.server = server
        self.account = home.name
        self._home = home
        self._system = home.system
        self.store = home.system.store
        self.dictionaries = Dictionaries(self.store)
        self.devices: dict[str, Receiver] = {}
        self._sub = server.kernel.subscribe(home.kernel_account, UP, None, self._heard)
        self._timer = server.call_later(1, self._tick)

    def stream(self, offer: Offer) -> "Stream":
        """The fleet stream of an entry, made if it is not there. Raises Refused."""
        name = offer.to or f"FLEET_{offer.name}"
        stream = self._home.streams.get(name)
        if stream is not None:
            if stream.config.mirror is not None or stream.config.sealed:
                raise Refused(f"stream {name} takes no messages", for_good=True)
            return stream
        config = {
            "name": name,
            "subjects": [f"fleet.{offer.name}.>"],
            "retention": "limits",
            "storage": "file",
        }
        request = Request(
            self._home, f"$JS.API.STREAM.CREATE.{name}", [name], b"", b"", msgspec.json.encode(config)
        )
        try:
            create(request)
        except ApiError as error:
            raise Refused(f"stream {name} cannot be made: {error}", for_good=True) from error
        log.info("Stream '%s > %s' was made for what devices forward", self.account, name)
        return self._home.streams[name]

    def why_not(self, stream: "Stream") -> str:
        """Why a stream takes nothing more."""
        if self._system.out_of_space:
            return "the hub has no space on its disk"
        return stream.lost() or f"stream {stream.name} is full"

    def _heard(self, subject: bytes, _reply: bytes, _header: bytes, payload: bytes) -> None:
        device = subject.rpartition(b".")[2].decode(errors="replace")
        try:
            message = decode(payload)
        except Malformed as error:
            log.warning("%s: what it sends is not understood: %s", device, error)
            return
        receiver = self.devices.get(device)
        if receiver is None:
            if len(self.devices) >= FLEET_DEVICES:
                log.error("%s: there are %d devices already, which is the most", device, FLEET_DEVICES)
                return
            receiver = self.devices[device] = Receiver(device, self.server.name, _Sink(self, device))
        clock = self.server.clock
        self._do(receiver, receiver.received(message, clock.monotonic_ns(), clock.wall_ns()))

    def _do(self, receiver: Receiver, effects: list[Effect]) -> None:
        engine, account = self._system.engine, self._home.kernel_account
        to = down_subject(receiver.device)
        for effect in effects:
            match effect:
                case Answer(data, durable):
                    engine.answer(account, to, b"", data, durable=durable)
                case Event(stream, text):
                    log.warning("%s%s: %s", receiver.device, f" > {stream}" if stream else "", text)
        engine.wake()

    def _tick(self) -> None:
        """Acknowledgements that could wait."""
        clock = self.server.clock
        now = clock.monotonic_ns()
        for receiver in self.devices.values():
            if 0 < receiver.due_ns <= now:
                self._do(receiver, receiver.acknowledge(clock.wall_ns()))
        self._timer = self.server.call_later(1, self._tick)

    def stop(self) -> None:
        """Nothing more is received."""
        self._timer.cancel()
        self.server.kernel.unsubscribe(self._sub)
