"""The ledger of one account: a document for each device in a KV bucket, written when something has changed.

What changes the state of a device is written within a second. Figures are, as long as somebody watches the bucket; else
every 15 seconds, because each document costs the disk some kilobytes. No more than ``LEDGER_WRITES`` are written in a
second, and of figures that nobody watches no more than ``LEDGER_CALM_WRITES``; who needs somebody comes first, then who
has waited longest. What is due goes into the bucket at once, as one batch. On a full disk nothing is written.

The bucket is what the hub remembers of devices that are away: after a start those that were there have a minute to come
back.
"""

import logging
from typing import TYPE_CHECKING

from phloem.hub.collect.device import Device
from phloem.hub.collect.fleet_streams import made
from phloem.shared import limits
from phloem.shared.forward import ledger
from phloem.shared.forward.receiver import Refused
from phloem.shared.jetstream.times import rfc3339
from phloem.shared.store.log import Damaged

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.stream import Stream

log = logging.getLogger("phloem.fleet")

CONFIG: dict[str, object] = {
    "name": ledger.STREAM,
    "description": "what the hub knows of each device",
    "subjects": [f"{ledger.PREFIX}>"],
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "max_msgs_per_subject": 1,
    "allow_direct": True,
    "allow_rollup_hdrs": True,
    "deny_delete": True,
    "compression": "s2",
}


class Ledger:
    """Reads and writes the bucket."""

    def __init__(self, home: "AccountJetStream", now_ns: int) -> None:
        self._home = home
        self._server = home.system.server
        self._absent: set[str] = set()  # they were online when the hub stopped
        self._absent_due_ns = now_ns + limits.LEDGER_ABSENT_NS
        self._changed: dict[str, Device] = {}
        self._refused = ""
        self.known = self._load()
        self.written = 0
        self.watched = False  # by somebody, when it was looked last

    def _load(self) -> int:
        """Who was there when the hub stopped; how many devices there are."""
        bucket = self._home.streams.get(ledger.STREAM)
        if bucket is None:
            return 0
        seqs = bucket.log.last_of_subjects((f"{ledger.PREFIX}>".encode(),))
        for seq in seqs:
            found = self._document(bucket, seq)
            if found is not None and found.state == ledger.ONLINE:
                self._absent.add(found.device)
        return len(seqs)

    def _document(self, bucket: "Stream", seq: int) -> ledger.Document | None:
        try:
            message = bucket.log.read(seq)
        except Damaged:
            return None
        found = ledger.decode(message.payload) if message is not None else None
        name = message.subject.removeprefix(ledger.PREFIX.encode()).decode() if message is not None else ""
        return found if found is not None and found.device == name else None

    def read(self, device: str) -> ledger.Document | None:
        """What the bucket has of it."""
        bucket = self._home.streams.get(ledger.STREAM)
        if bucket is None:
            return None
        _, _, last = bucket.log.subject(f"{ledger.PREFIX}{device}".encode())
        return self._document(bucket, last) if last else None

    def changed(self, device: Device) -> None:
        """If its document is not what it should be, it is written when it is due."""
        if device.dirty or device.urgent:
            self._changed[device.name] = device

    def write_all(self, now_ns: int, wall_ns: int) -> None:
        """The hub stops."""
        if not self._home.system.out_of_space:
            self._write(list(self._changed.values()), now_ns, wall_ns)

    def back(self, device: str) -> None:
        """It has come back after the start."""
        self._absent.discard(device)

    def work(self, now_ns: int, wall_ns: int) -> None:
        """What is due. To be called once a second."""
        if self._home.system.out_of_space:
            return
        bucket = self._home.streams.get(ledger.STREAM)
        self.watched = bucket is not None and _is_watched(bucket)
        after = limits.LEDGER_WATCHED_NS if self.watched else limits.LEDGER_CALM_NS
        due, calm = [], []
        for device in self._changed.values():
            if device.urgent:
                due.append(device)
            elif device.dirty and now_ns - device.written_ns >= after:
                calm.append(device)
        room = limits.LEDGER_WRITES
        due = _longest(due, room)
        due += _longest(
            calm, room - len(due) if self.watched else min(limits.LEDGER_CALM_WRITES, room - len(due))
        )
        self._write(due, now_ns, wall_ns)
        if self._absent and now_ns >= self._absent_due_ns:
            self._give_up(room - len(due), wall_ns)

    def _give_up(self, room: int, wall_ns: int) -> None:
        gone = []
        for device in list(self._absent)[:room]:
            self._absent.discard(device)
            found = self.read(device)
            if found is not None:
                found.state, found.since, found.updated = ledger.OFFLINE, found.seen, rfc3339(wall_ns)
                found.totals.rate = 0.0
                for stream in found.streams.values():
                    stream.rate, stream.eta_s = 0.0, -1
                gone.append((device, ledger.encode(found)))
        self._put(gone)

    def _write(self, due: list[Device], now_ns: int, wall_ns: int) -> None:
        """Documents of those of whom there is something new to say."""
        new, said_of = [], []
        for device in due:
            document = device.document(now_ns, wall_ns)
            seen, updated = document.seen, document.updated
            document.seen = document.updated = ""
            said = hash(ledger.encode(document))
            document.seen, document.updated = seen, updated
            device.dirty = device.urgent = False
            self._changed.pop(device.name, None)
            if said != device.written:
                new.append((device.name, ledger.encode(document)))
                said_of.append((device, said))
        if self._put(new):
            for device, said in said_of:
                device.written, device.written_ns = said, now_ns

    def _put(self, documents: list[tuple[str, bytes]]) -> bool:
        if not documents or (ledger.STREAM not in self._home.streams and not self._make()):
            return False
        prefix = ledger.PREFIX
        messages = [(f"{prefix}{device}".encode(), b"", data) for device, data in documents]
        self._server.kernel.publish_all(self._home.kernel_account, messages)
        self.written += len(messages)
        return True

    def _make(self) -> bool:
        try:
            made(self._home, CONFIG)
        except Refused as problem:
            if problem.why != self._refused:
                log.error("There is no ledger of devices: %s", problem.why)
            self._refused = problem.why
            return False
        self._refused = ""
        return True


def _longest(devices: list[Device], room: int) -> list[Device]:
    """Those that have waited longest."""
    if len(devices) <= room:
        return devices
    return sorted(devices, key=lambda device: device.written_ns)[: max(room, 0)]


def _is_watched(bucket: "Stream") -> bool:
    return any(
        one.engine.numbers["push_bound"] or one.engine.numbers["num_waiting"]
        for one in bucket.consumers.values()
    )
