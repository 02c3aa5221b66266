"""One device or more, one hub or two, and everything that is known of their messages.

What has to hold is in ``check``. Every message has a number that is never given twice; ``Witness`` knows where each was
stored, and which of them nobody has to find: those that went with a disk that was put back or replaced.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from phloem.shared.forward.entries import Class, Entry
from phloem.shared.forward.identity import epoch_of
from phloem.shared.forward.standing import CONFIRMED, Standing
from phloem.shared.leaf.hours import Window
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing.schedule import Schedule
from phloem.shared.testing.simulated_device import SimulatedDevice
from phloem.shared.testing.simulated_disk import State
from phloem.shared.testing.simulated_hub import Announced, Arrived, SimulatedHub
from phloem.shared.testing.simulated_link import SimulatedLink

DEVICE = "dev1"
MS = SECOND_NS // 1000


@dataclass
class Stored:
    """Where a message was stored on the device."""

    stream: str
    store: int
    epoch: int
    seq: int
    excused: str = ""


@dataclass
class Witness:
    messages: dict[int, Stored] = field(default_factory=dict)

    def excuse(self, idents: set[int], why: str) -> None:
        for ident in idents:
            if ident in self.messages and not self.messages[ident].excused:
                self.messages[ident].excused = why


class Broken(AssertionError):
    """A promise was broken."""


class Place:
    """A device and its way to a hub."""

    def __init__(self, world: "World", device: SimulatedDevice) -> None:
        self.world, self.device = world, device
        rng = world.rng
        self.link = SimulatedLink(
            world.schedule,
            rng,
            delay_ns=rng.choice((1, 20, 150, 700, 3000)) * MS,
            rate=rng.choice((2_000, 20_000, 125_000, 10_000_000)),
        )
        self.hub = world.hubs[0]
        self.wanted = True  # whether there may be a connection
        self.up = False
        self._dials = 0
        device.on_bounce = lambda: self.cut(back_ns=rng.randrange(200, 3000) * MS)

    def dial(self) -> None:
        """A connection, if there can be one."""
        if self.up or not self.wanted or not self.device.alive or not self.hub.alive:
            return
        self.up = True
        hub, device, link = self.hub, self.device, self.link

        def answer(data: bytes) -> None:
            link.send(1, data, device.heard)

        device.connected(lambda data: link.send(0, data, lambda got: hub.heard(device.name, got, answer)))

    def cut(self, *, back_ns: int = -1, late: bool = False) -> None:
        """The connection ends; with ``back_ns`` there is another one after that time."""
        self.link.cut(late=late)
        if self.up:
            self.up = False
            self.device.disconnected()
        self._dials += 1
        if back_ns >= 0:
            dial = self._dials
            self.world.schedule.later(back_ns, lambda: self.dial() if dial == self._dials else None)


class World:
    """Everything of one story. ``say`` gets what happens, in words."""

    def __init__(self, rng: random.Random, say: Callable[[str], None]) -> None:
        self.rng, self.say = rng, say
        self.schedule = Schedule()
        self.witness = Witness()
        self.numbers = 0
        self.hubs = [SimulatedHub(self.schedule, rng, name) for name in ("hub", "other")]
        self.past: list[State] = []  # of the first hub, whenever it was set back
        self.entries = self._entries()
        self.places = [Place(self, self._device())]
        self.places[0].device.start()

    def _entries(self) -> dict[Entry, int]:
        rng = self.rng
        hours = (Window(79_200, 21_600),) if rng.random() < 0.1 else ()
        made = {
            Entry(name="tele", stream="T", hours=hours, linger_ns=rng.choice((0, 0, 2 * SECOND_NS))): 0,
            Entry(name="alarm", stream="A", cls=Class.ALARM): rng.choice((0, -1)),
            Entry(name="debug", stream="D", cls=Class.DEBUG, rate=rng.choice((0, 0, 3000))): 0,
        }
        return dict(list(made.items())[: rng.choice((1, 2, 3, 3))])

    def _device(self) -> SimulatedDevice:
        device = SimulatedDevice(
            self.schedule, self.rng, DEVICE, self.entries, relaxed=self.rng.random() < 0.2
        )
        device.on_synced = lambda: None
        return device

    def publish(self, device: SimulatedDevice, count: int) -> None:
        rng = self.rng
        for _ in range(count):
            stream = device.streams[rng.choice(list(device.streams))]
            self.numbers += 1
            epoch, name = stream.standing.epochs[-1].ident, stream.entry.name
            seq = device.disk.live.logs[name].last_seq + 1
            stored = Stored(name, stream.store, epoch, seq)
            self.witness.messages[self.numbers] = stored  # before: it may be on its way when this returns
            if not device.publish(name, self.numbers, rng.choice((0, 20, 100, 100, 3000))):
                del self.witness.messages[self.numbers]

    def crash(self, device: SimulatedDevice) -> None:
        """What was not on the disk is in doubt, and what vanishes need not be found."""
        lost = device.crash(self.rng.randrange(device.disk.pending + 1))
        self.witness.excuse(lost, "lost with the power, not acknowledged")

    def unremembered(self) -> set[int]:
        """Numbers of messages that the first hub does not have, and no device has or remembers to have had."""
        found, _ = _known(self.hubs[0].disk.durable)
        found = found.union(*(on_disk(place.device) for place in self.places))
        return {
            ident
            for ident, stored in self.witness.messages.items()
            if ident not in found and not any(_remembers(place.device, stored) for place in self.places)
        }

    # --- what has to hold --------------------------------------------------------------------------------

    def at_rest(self) -> bool:
        """Nothing is left to do."""
        for place in self.places:
            device = place.device
            if not device.alive or device.disk.pending or not device.sender.is_idle:
                return False
            for stream in device.streams.values():
                left = stream.log.messages
                if left and (stream.keep == 0 or max(left) > stream.confirmed):
                    return False
        return True

    def check(self) -> None:
        for hub in self.hubs:
            came: list[Arrived] = hub.disk.live.lists.get(f"came/{DEVICE}", [])
            self._check_order(hub.name, came)
        found, gaps = _known(self.hubs[0].disk.durable)
        for ident, stored in self.witness.messages.items():
            if ident in found or stored.excused:
                continue
            told = [gap for gap in gaps if _covers(gap, stored)]
            if not told:
                raise Broken(f"message {ident} ({stored}) is not at the hub, and nothing says why")
            if all(gap.reason == CONFIRMED for gap in told) and not self._was_confirmed(ident, stored):
                raise Broken(f"message {ident} ({stored}) was never confirmed, and went because it was")

    def _was_confirmed(self, ident: int, stored: Stored) -> bool:
        """Whether a hub had it on its disk at some time, or the word why not."""
        for state in (*self.past, *(hub.disk.durable for hub in self.hubs)):
            found, gaps = _known(state)
            if ident in found or any(_covers(gap, stored) and gap.reason != CONFIRMED for gap in gaps):
                return True
        return False

    def _check_order(self, hub: str, came: list[Arrived]) -> None:
        twice = [ident for ident, count in Counter(one.ident for one in came).items() if count > 1]
        if twice:
            wrong = [one for one in came if one.ident == twice[0]]
            raise Broken(f"{hub}: {len(twice)} messages came twice, the first: {wrong}")
        last: dict[tuple[str, int, int], int] = {}
        for one in came:
            stored = self.witness.messages[one.ident]
            if (stored.stream, stored.store, stored.seq) != (one.stream, one.store, one.seq):
                raise Broken(f"{hub}: {one} was stored as {stored}")
            key = (one.stream, one.store, one.epoch)
            if one.seq <= last.get(key, 0):
                raise Broken(f"{hub}: {one} came behind {last[key]}")
            last[key] = one.seq


def _known(state: State) -> tuple[set[int], list[Announced]]:
    """Numbers of the messages that a hub has, and what it knows of others."""
    return {one.ident for one in state.lists.get(f"came/{DEVICE}", [])}, state.lists.get(f"gaps/{DEVICE}", [])


def _covers(gap: Announced, stored: Stored) -> bool:
    if (gap.stream, gap.store) != (stored.stream, stored.store) or not gap.first <= stored.seq <= gap.last:
        return False
    epochs = gap.epochs
    return stored.seq < epochs[0].first_seq or epochs[epoch_of(epochs, stored.seq)].ident == stored.epoch


def _remembers(device: SimulatedDevice, stored: Stored) -> bool:
    """Whether it would be a part of the device's history."""
    state = device.disk.live
    data, log = state.pairs.get(f"fs/{stored.stream}"), state.logs.get(stored.stream)
    standing = msgspec.msgpack.decode(data, type=Standing) if data else None
    if standing is None or log is None or standing.store != stored.store or stored.seq > log.last_seq:
        return False
    epochs = standing.epochs
    return stored.seq < epochs[0].first_seq or epochs[epoch_of(epochs, stored.seq)].ident == stored.epoch


def on_disk(device: SimulatedDevice) -> set[int]:
    """Numbers of all messages that the device has."""
    return {kept.ident for log in device.disk.live.logs.values() for kept in log.messages.values()}
