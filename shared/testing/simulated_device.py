"""A device of store-and-forward on a simulated disk: the real Sender and Standing, with logs that are dicts."""

import random
from collections.abc import Callable, Mapping, Sequence

import msgspec

from phloem.shared.forward.effects import Alarm, Bounce, Confirmed, Effect, Noticed, Send
from phloem.shared.forward.entries import Class, Entry
from phloem.shared.forward.messages import Ack, Again, Epoch, Pause, Welcome, decode
from phloem.shared.forward.sender import Sender
from phloem.shared.forward.source import Packed
from phloem.shared.forward.standing import CONFIRMED, Standing
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing.schedule import Schedule
from phloem.shared.testing.simulated_columns import pack, press
from phloem.shared.testing.simulated_disk import Kept, SimulatedDisk, SimulatedLog

SETTLE_NS = 10 * SECOND_NS
SPACE_RETRY_NS = SECOND_NS // 5
Out = Callable[[bytes], None]


class SimulatedStream:
    """One entry's stream. As ``source.Stream`` has it."""

    def __init__(self, device: "SimulatedDevice", entry: Entry, keep: int) -> None:
        self.device, self.entry, self.keep = device, entry, keep
        self.damaged: set[int] = set()
        disk, name = device.disk, entry.name
        if name not in disk.live.logs:
            disk.do("make", name, device.rng.getrandbits(60))
        data = disk.live.pairs.get(f"fs/{name}")
        before = msgspec.msgpack.decode(data, type=Standing) if data else None
        log, fresh = self.log, Epoch(device.rng.getrandbits(63) | 1, 1, device.boot)
        store = device.rng.getrandbits(63) | 1
        seqs = (log.first_seq, log.last_seq)
        self.standing = Standing.opened(before, log.created_ns, fresh, store, seqs, len(device.entries))
        self._written, self._settled_ns = self.standing.confirmed, 0
        self.write()
        self._free()

    @property
    def log(self) -> SimulatedLog:
        """Its messages as they are now."""
        return self.device.disk.live.logs[self.entry.name]

    def write(self) -> None:
        """The standing goes to the disk."""
        self.device.disk.do("put", f"fs/{self.entry.name}", msgspec.msgpack.encode(self.standing))

    # --- as the sender asks ----------------------------------------------------------------------------

    @property
    def store(self) -> int:
        """As in ``Stream``."""
        return self.standing.store

    @property
    def epochs(self) -> Sequence[Epoch]:
        """As in ``Stream``."""
        return self.standing.epochs

    @property
    def confirmed(self) -> int:
        """As in ``Stream``."""
        return self.standing.confirmed

    @property
    def began(self) -> int:
        """As in ``Stream``."""
        return self.standing.began

    @property
    def first_seq(self) -> int:
        """As in ``Stream``."""
        return self.log.first_seq

    @property
    def last_seq(self) -> int:
        """As in ``Stream``."""
        log = self.log
        if self.device.relaxed or not self.device.disk.pending:
            return log.last_seq
        return self.device.disk.durable.logs[self.entry.name].last_seq if self.durable else 0

    @property
    def durable(self) -> bool:
        """Whether the log of this life is on the disk at all."""
        log = self.device.disk.durable.logs.get(self.entry.name)
        return log is not None and log.created_ns == self.log.created_ns

    def pack(self, start: int, end: int, size: int, _live_ns: int, version: int) -> Packed | None:
        """As in ``Stream``."""
        self.device.packed_as = version
        log, found, bytes_ = self.log, [], 0
        for seq in range(max(start, log.first_seq), end + 1):
            message = log.messages.get(seq)
            if message is None:
                continue
            if seq in self.damaged:
                self.damaged.discard(seq)
                self.lose(seq, seq, 1, "damaged")
                end = seq - 1
                break
            found.append((seq, message.ident, message.size))
            bytes_ += message.size + 10
            if bytes_ >= size:
                end = seq
                break
        return Packed(pack(found), end + 1, len(found), 0, bytes_) if found else None

    def hole(self, seq: int) -> tuple[int, int] | None:
        """As in ``Stream``."""
        found = self.standing.hole(seq)
        return (found.first, found.last) if found else None

    def bytes_from(self, seq: int) -> int:
        """As in ``Stream``."""
        return 100 * (self.last_seq + 1 - max(seq, self.first_seq))

    def lost(self, first: int, last: int) -> tuple[int, str]:
        """As in ``Stream``. Nobody may say of what can still be sent that it is lost."""
        count, reason = self.standing.lost_between(first, last)
        told = [one for one in self.standing.lost if one.reason == "damaged"]
        for seq in range(first, last + 1):
            if seq in self.log.messages and not any(one.first <= seq <= one.last for one in told):
                raise AssertionError(f"{self.entry.name} {seq} is announced as lost and is there: {reason}")
            if seq <= self.confirmed and CONFIRMED not in reason:
                raise AssertionError(f"{self.entry.name} {seq} was confirmed, and goes because: {reason}")
        return count, reason

    # --- what is done with it ----------------------------------------------------------------------------

    def lose(self, first: int, last: int, count: int, reason: str) -> None:
        """Messages are not going to be sent."""
        self.standing.lose(first, last, count, reason)
        self.write()

    def shed(self, below: int, *, told: bool) -> None:
        """The oldest go; ``told``: by the device's budget, which writes it down, else by the stream's limits."""
        log = self.log
        first = max(log.first_seq, self.confirmed + 1)
        if told and first < below:
            count = sum(seq in log.messages for seq in range(first, below))
            self.lose(first, below - 1, count, "shed")
        self.device.disk.do("purge", self.entry.name, below)

    def settle(self, now_ns: int, *, at_once: bool = False) -> int:
        """As ``LogStream.settle``."""
        standing = self.standing
        if standing.confirmed == self._written:
            return 0
        if now_ns < self._settled_ns + SETTLE_NS and not at_once and not standing.crossed(self._written):
            return self._settled_ns + SETTLE_NS
        self._written, self._settled_ns = standing.confirmed, now_ns
        standing.settled()
        self.write()
        if self.device.rng.random() < 0.5:
            self.device.disk.seal()
        self._free()
        return 0

    def _free(self) -> None:
        if self.keep == 0 and self.log.first_seq <= self.standing.confirmed:
            self.device.disk.do("purge", self.entry.name, self.standing.confirmed + 1)


class _Squeeze:
    """Dictionaries of a device; in memory, they are made anew by another process."""

    def __init__(self) -> None:
        self.dictionaries: dict[str, int] = {}

    def ident(self, stream: str) -> int:
        return self.dictionaries.get(stream, 0)

    def dictionary(self, stream: str) -> bytes:
        return self.dictionaries[stream].to_bytes(8)

    def press(self, columns: bytes, stream: str, flags: int, before: bytes) -> bytes:
        return press(columns, flags, self.ident(stream), before)


class _Allowance:
    def __init__(self) -> None:
        self.shut_ns = 0
        self.most = 1 << 30  # bytes that are left of what the link may cost

    def wait_ns(self, _cls: Class, now_ns: int) -> int:
        return max(self.shut_ns - now_ns, 0)

    def room(self, _cls: Class, most: int) -> int:
        return min(most, self.most)


class SimulatedDevice:
    """One process after the other on one disk, driven as ``edge/forward/forwarder.py`` does it."""

    def __init__(
        self,
        schedule: Schedule,
        rng: random.Random,
        name: str,
        entries: Mapping[Entry, int],
        *,
        relaxed: bool = False,
    ) -> None:
        """``entries`` with the bytes that each keeps (0: none, -1: all). ``relaxed``: sync mode "interval"."""
        self.rng, self.name, self.relaxed = rng, name, relaxed
        self.disk = SimulatedDisk()
        self.entries = entries
        self.streams: dict[str, SimulatedStream] = {}
        self.squeeze, self.allowance = _Squeeze(), _Allowance()
        self.wall_ns = 1_700_000_000 * SECOND_NS
        self.boot = 0
        self.alive = False
        self.out: Out | None = None  # to the hub, while there is a way
        self.on_bounce: Callable[[], None] = lambda: None
        self.packed_as = 0  # the version of the last parcel's columns
        self.on_synced: Callable[[], None] = lambda: None
        self.told: list[str] = []
        self.alarms: list[str] = []  # why, and nothing when it is over
        self._schedule = schedule
        self._life = 0
        self._syncing = False
        self._timer_ns = 0
        self._is_up = False
        self._begun = False

    # --- what happens to it --------------------------------------------------------------------------------

    def start(self) -> None:
        """A process begins."""
        self.alive = True
        self.boot += 1
        self._life += 1
        self.streams = {
            entry.name: SimulatedStream(self, entry, keep) for entry, keep in self.entries.items()
        }
        self.squeeze = _Squeeze()
        self.sender = self._sender()
        self._is_up, self._timer_ns, self._begun = False, 0, False
        self.changed()

    def _sender(self) -> Sender:
        return Sender(
            self.name,
            self.entries,
            self.streams,
            boot=self.boot,
            squeeze=self.squeeze,
            allowance=self.allowance,
        )

    def crash(self, survive: int) -> set[int]:
        """It ends; so many pending batches survive. Numbers of the messages that are lost by it."""
        self.alive, self.out = False, None
        self._life += 1
        self._syncing = False
        return self.disk.lose_power(survive)

    def publish(self, stream: str, ident: int, size: int) -> int:
        """A message; its sequence, 0 if the disk has no room and it is refused. It is acknowledged with the next sync,
        or at once in the sync mode "interval"."""
        if not self.disk.takes:
            return 0
        self.disk.do("append", stream, Kept(ident, size))
        self.changed()
        return self.disk.live.logs[stream].last_seq

    def changed(self) -> None:
        """Something was written."""
        self.disk.seal()
        if not self._syncing and self.disk.pending:
            self._syncing, life = True, self._life
            self._schedule.later(self.rng.randrange(1, 30) * SECOND_NS // 1000, lambda: self._synced(life))
        if self.relaxed:
            self.work()

    def _synced(self, life: int) -> None:
        if life != self._life:
            return
        self.disk.sync()
        if (
            self.disk.pending
        ):  # there was no space: a batch waits and is tried again, and one that failed never comes
            self._schedule.later(SPACE_RETRY_NS, lambda: self._synced(life))
            return
        self._syncing = False
        self.on_synced()
        self.work()

    def connected(self, out: Out) -> None:
        """There is a way to a hub."""
        self.out = out
        self.work()

    def disconnected(self) -> None:
        """There is none."""
        self.out = None
        self.work()

    def heard(self, data: bytes) -> None:
        """A frame of the hub."""
        if not self.alive or self.out is None:
            return
        message = decode(data)
        assert isinstance(message, Welcome | Ack | Again | Pause)
        self._do(self.sender.received(message, self._now, self._wall, self._session()))
        self.work()

    # --- what it does ------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Whatever is due."""
        if not self.alive:
            return
        self._look()
        if self._is_up:
            second = self._wall // SECOND_NS % 86_400
            self._do(self.sender.work(self._now, self._wall, second, self._session()))
            self._check()
        due = [self.sender.due_ns] if self._is_up else []
        due += [stream.settle(self._now) for stream in self.streams.values()]
        self._wake(min(filter(None, due), default=0))
        if self.disk.pending and not self._syncing:
            self.changed()

    def _look(self) -> None:
        if self._is_up and self.out is None:
            self._is_up = False
            self._do(self.sender.link_down(self._now))
        elif self.out is not None and not self._is_up and all(s.durable for s in self.streams.values()):
            if not self._begun and self.disk.pending:
                return  # the epochs have to be on the disk first
            self._begun = True
            self._is_up = True
            self._do(self.sender.link_up(self._session(), self._now, self._wall))

    def _check(self) -> None:
        """Progress is scheduled while there is something to do."""
        if self.out is None or self.sender.due_ns:
            return
        for name, stream in self.streams.items():
            at, refused = self.sender.position(name)
            if refused or at <= stream.last_seq:
                left = [seq for seq in stream.log.messages if seq >= at and seq <= stream.last_seq]
                assert not left, f"{name}: nothing is scheduled, and {left[:5]} wait"

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(data) if self.out is not None:
                    self.out(data)
                case Confirmed(name, seq):
                    standing = self.streams[name].standing
                    standing.confirmed = max(standing.confirmed, seq)
                case Noticed(name, text):
                    self.told.append(f"{name}: {text}")
                case Bounce():
                    self.on_bounce()
                case Alarm(why):
                    self.alarms.append(why)

    def _wake(self, ns: int) -> None:
        if ns == 0 or (self._timer_ns and self._now < self._timer_ns <= ns):
            return
        self._timer_ns, life = ns, self._life

        def due() -> None:
            if life == self._life and self._timer_ns == ns:
                self._timer_ns = 0
                self.work()

        self._schedule.at(ns, due)

    @property
    def _now(self) -> int:
        return self._schedule.now_ns

    @property
    def _wall(self) -> int:
        return self.wall_ns + self._schedule.now_ns

    def _session(self) -> int:
        return self.rng.getrandbits(32) | 1
