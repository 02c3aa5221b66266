"""A stream of this server as the sender sees it: identity, what is left to send, and space given back.

The identity (``shared/forward/identity.py``) is a pair of the store; each start of the server adds an epoch to it,
which has to be on the disk before anything of it is sent. What the hub has confirmed is written down now and then; the
hub's word is what counts, and this only says what may go.
"""

from typing import TYPE_CHECKING

import msgspec

from phloem.edge.forward.clock import BETTER, Fix
from phloem.shared.engine.parcel import Packer
from phloem.shared.forward.entries import Entry
from phloem.shared.forward.grouping import Taken
from phloem.shared.forward.messages import Epoch
from phloem.shared.forward.source import Packed
from phloem.shared.forward.standing import DAMAGED, Standing
from phloem.shared.forward.wrap import Item
from phloem.shared.limits import SECOND_NS
from phloem.shared.store.log import Damaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phloem.shared.server.jetstream.stream import Stream as ServerStream

KEY = b"fs/"
SETTLE_NS = 10 * SECOND_NS  # what was confirmed is written down so often, if not much can be freed
SETTLE_BYTES = 1 << 20  # or when so much can
SAMPLE_MESSAGES = 4  # of one sample for a dictionary
SAMPLES = 400
OVERHEAD = 130  # bytes that a message has on the wire beside its own, when it is published by itself
ERAS_MAX = 16  # entries of one epoch: the clock is not set that often unless something is wrong with it


class LogStream:
    """One entry's view of its stream. As ``sender.Stream`` has it."""

    def __init__(self, entry: Entry, stream: "ServerStream", keep: int, now: Epoch) -> None:
        """``now``: the epoch that begins with this start, its first sequence not yet filled in."""
        self.stream = stream
        self._wish(entry, keep)
        self._key = KEY + f"{stream.account.name}/{entry.name}".encode()
        self._record = self._opened(now)
        self._written = self._record.confirmed
        self._settled_ns = 0
        self.written()
        self._free()  # a crash may have come between the word that it may go and its going

    def _wish(self, entry: Entry, keep: int) -> None:
        self.entry = entry
        self._keep = keep
        self._filters = tuple(subject.encode() for subject in entry.filters)
        self._packer = Packer(self.stream.log, self._filters)

    def use(self, entry: Entry, keep: int) -> None:
        """The same stream, and other wishes. Another selection holds from where the stream has come to."""
        if (entry, keep) != (self.entry, self._keep):
            self._wish(entry, keep)
            self.settle(self.stream.system.clock.monotonic_ns(), at_once=True)
            self._free()

    def _opened(self, now: Epoch) -> Standing:
        system, log = self.stream.system, self.stream.log
        data = system.store.get(self._key)
        before = msgspec.msgpack.decode(data, type=Standing) if data else None
        created, store = self.stream.record.created_ns, system.server.rng.getrandbits(63) | 1
        seqs, streams = (max(log.first_seq, 1), log.last_seq), len(system.server.options.forward)
        return Standing.opened(before, created, now, store, seqs, max(streams, 1))

    def written(self) -> None:
        """To the store, with the next batch."""
        self.stream.system.store.put(self._key, msgspec.msgpack.encode(self._record))

    # --- as the sender asks --------------------------------------------------------------------------

    @property
    def store(self) -> int:
        """Identity of the store."""
        return self._record.store

    @property
    def epochs(self) -> "Sequence[Epoch]":
        """All that are remembered."""
        return self._record.epochs

    @property
    def confirmed(self) -> int:
        """What the hub has."""
        return self._record.confirmed

    @property
    def began(self) -> int:
        """The first sequence that there was to send."""
        return self._record.began

    @property
    def first_seq(self) -> int:
        """Of the oldest message."""
        return self.stream.log.first_seq

    @property
    def last_seq(self) -> int:
        """Of the newest that is on the disk."""
        return self.stream.log.visible_seq

    def pack(self, start: int, end: int, size: int, live_ns: int, version: int) -> Packed | None:
        """Up to before what is damaged, which is a loss from then on."""
        packed = self._packer.pack(start, end, size, live_ns, version)
        if packed is not None and packed.damaged:
            for seq in packed.damaged:
                self.lose(seq, seq, 1, DAMAGED)
            end = packed.damaged[0] - 1
            packed = self._packer.pack(start, end, size, live_ns, version) if end >= start else None
        if packed is None:
            return None
        return Packed(packed.columns, packed.next_seq, packed.messages, packed.newest_ts, packed.size)

    def hole(self, seq: int) -> tuple[int, int] | None:
        """What is known to be lost."""
        found = self._record.hole(seq)
        return (found.first, found.last) if found else None

    def take(self, start: int, end: int, count: int, size: int, live_ns: int) -> Taken:
        """As ``grouping.Stream`` has it."""
        following, filters = self.stream.log.next, self._filters
        items: list[Item] = []
        early = False
        while start <= end and len(items) < count and size > 0:
            try:
                found = following(filters, start, end)
            except Damaged as damage:
                if items:
                    return Taken(items, damage.seq)
                return self._unreadable(damage.seq, end)
            if found is None:
                return Taken(items, end + 1)
            seq, ts, subject, header, payload = found
            if not items:
                early = ts < live_ns
            elif (ts < live_ns) != early:
                return Taken(items, seq)
            items.append(found)
            size -= len(subject) + len(header) + len(payload) + OVERHEAD
            start = seq + 1
        return Taken(items, start)

    def _unreadable(self, seq: int, end: int) -> Taken:
        damaged = 0
        while seq <= end:
            try:
                self.stream.log.next(self._filters, seq, end)
                break
            except Damaged as damage:
                self.lose(damage.seq, damage.seq, 1, DAMAGED)
                damaged += 1
                seq = damage.seq + 1
        return Taken([], seq, damaged)

    @property
    def waiting(self) -> int:
        """How many messages the hub does not have, as far as is known here."""
        first, log = max(self._record.confirmed + 1, self.first_seq), self.stream.log
        return log.count(self._filters, first, log.last_seq) if first <= log.last_seq else 0

    def bytes_from(self, seq: int) -> int:
        """By the average of what there is."""
        log = self.stream.log
        return (
            (self.last_seq + 1 - max(seq, log.first_seq)) * log.bytes // log.messages if log.messages else 0
        )

    def lost(self, first: int, last: int) -> tuple[int, str]:
        """As far as it was written down; other removals are the stream's own."""
        return self._record.lost_between(first, last, selection=not self.covers)

    # --- what is done with it ------------------------------------------------------------------------

    def lose(self, first: int, last: int, count: int, reason: str) -> None:
        """Messages go that were not sent: the hub is told when it comes to them."""
        self._record.lose(first, last, count, reason)
        self.written()

    def shed(self, below: int, reason: str) -> int:
        """Everything below goes to make room, by whoever calls this and in the same batch; how many of it the hub does
        not have."""
        first = max(self.first_seq, self._record.confirmed + 1)
        if first >= below:
            return 0
        count = self.stream.log.count(self._filters, first, below - 1)
        if count:
            self.lose(first, below - 1, count, reason)
        return count

    @property
    def covers(self) -> bool:
        """Whether all of the stream is forwarded, so that what is confirmed is at the hub as a whole."""
        wanted = set(self.entry.filters)
        return not wanted or ">" in wanted or wanted.issuperset(self.stream.config.subjects)

    def stepped(self, ahead_ns: int, fix: Fix | None) -> None:
        """The clock was set: what is stored from now on is stamped by ``monotonic + ahead_ns``."""
        epochs, first = self._record.epochs, self.stream.log.last_seq + 1
        last = epochs[-1]
        true, error = (fix.ahead_ns, fix.error_ns) if fix is not None else (0, -1)
        now = Epoch(last.ident, first, last.boot, ahead_ns, true, error)
        if last.first_seq >= first:
            epochs[-1] = now
        else:
            epochs.append(now)
        mine = [epoch for epoch in epochs if epoch.ident == last.ident]
        if len(mine) > ERAS_MAX:  # two are one: of what was stored in them only the order is known
            epochs.remove(mine[1])
            epochs[epochs.index(mine[0])] = Epoch(mine[0].ident, mine[0].first_seq)
        self.written()

    def learn(self, boot: int, fix: Fix) -> bool:
        """What the time was in a boot is known, or known better: whether that says anything new of what is here."""
        changed = False
        for i, epoch in enumerate(self._record.epochs):
            better = epoch.error_ns < 0 or fix.error_ns * BETTER < epoch.error_ns
            doubted = (
                fix.error_ns > epoch.error_ns * BETTER
            )  # the system and the hub contradict each other now
            if epoch.boot == boot and (better or doubted):
                self._record.epochs[i] = msgspec.structs.replace(
                    epoch, true_ahead_ns=fix.ahead_ns, error_ns=fix.error_ns
                )
                changed = True
        if changed:
            self.written()
        return changed

    def confirm(self, seq: int) -> None:
        """The hub has everything up to here."""
        self._record.confirmed = max(self._record.confirmed, seq)

    def settle(self, now_ns: int, *, at_once: bool = False) -> int:
        """Write down what was confirmed and give space back, if it is time; when to ask again, 0: not before more is
        confirmed."""
        record, log = self._record, self.stream.log
        if record.confirmed == self._written:
            return 0
        due = self._settled_ns + SETTLE_NS
        waiting = (record.confirmed - self._written) * (log.bytes // log.messages if log.messages else 0)
        if now_ns < due and waiting < SETTLE_BYTES and not at_once and not record.crossed(self._written):
            return due
        self._written, self._settled_ns = record.confirmed, now_ns
        record.settled()
        self.written()
        self._free()
        return 0

    def _free(self) -> None:
        log, below = self.stream.log, self._record.confirmed + 1
        if self._keep < 0 or not log.messages:
            return
        if self._keep:  # the oldest go until the rest is about that large
            excess = log.bytes - self._keep
            if excess <= 0:
                return
            below = min(below, log.first_seq + excess * log.messages // log.bytes + 1)
        if log.purge(self._filters, below=below):
            self.stream.engine.changed()

    def samples(self) -> list[bytes]:
        """Small parcels of the newest messages, to train a dictionary with."""
        found: list[bytes] = []
        at = max(self.last_seq + 1 - SAMPLES * SAMPLE_MESSAGES, self.first_seq)
        while len(found) < SAMPLES and at <= self.last_seq:
            packed = self._packer.pack(at, min(at + SAMPLE_MESSAGES - 1, self.last_seq), 1 << 20, 0)
            if packed is not None:
                found.append(packed.columns)
            at += SAMPLE_MESSAGES
        return found
