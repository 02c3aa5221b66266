"""Stories: what happens to a device and its hub, drawn from a seed; after the last fault everything has to be right."""

import random
from collections.abc import Callable

from phloem.shared.limits import SECOND_NS
from phloem.shared.testing.simulated_device import SimulatedDevice
from phloem.shared.testing.simulated_disk import State, Trouble
from tests.chaos.world import MS, Place, World, on_disk

HEAL_NS = 3 * 86_400 * SECOND_NS  # the longest that it may take: entries with hours, links of 16 kbit/s
CALLS_MAX = 400_000  # and the most that may happen meanwhile


class Story:
    """One story. ``lines`` is what happened, with times, for people."""

    def __init__(self, seed: int, number: int, faults: int | None = None) -> None:
        """``faults``: only so many of the list's."""
        self._faults = FAULTS[:faults]
        self.rng = random.Random(f"{seed}/{number}")
        self.lines: list[str] = []
        self.world = World(self.rng, self.say)
        self._backups: list[State] = []
        self._hub_backups: list[State] = []
        self._boots = 1
        self._replaced = False  # a device's disk, by another one

    def say(self, text: str) -> None:
        now = self.world.schedule.now_ns if hasattr(self, "world") else 0
        self.lines.append(f"{now / SECOND_NS:12.3f} s  {text}")

    def tell(self) -> None:
        """Raises AssertionError when a promise is broken."""
        world, rng = self.world, self.rng
        world.places[0].dial()
        for _ in range(rng.randrange(5, 40)):
            if rng.random() < 0.5:
                self._publish()
            else:
                rng.choice(self._faults)(self)
            wait = rng.choice((5, 50, 500, 3000, 20_000)) * MS
            world.schedule.run(world.schedule.now_ns + rng.randrange(wait))
        self._heal()
        calls, began = world.schedule.calls, world.schedule.now_ns

        def over() -> bool:
            return world.schedule.calls - calls > CALLS_MAX or world.at_rest()

        world.schedule.run(began + HEAL_NS, over)
        self.say(f"{world.schedule.calls - calls} steps later")
        assert world.at_rest(), self._unrest()
        world.check()

    def _unrest(self) -> str:
        found = [
            f"{name}: {len(stream.log.messages)} left up to {stream.last_seq}, {stream.confirmed} is confirmed, "
            f"at {place.device.sender.position(name)}, due {place.device.sender.due_ns}"
            for place in self.world.places
            for name, stream in place.device.streams.items()
        ]
        return "it does not come to rest; " + "; ".join(found)

    # --- what happens --------------------------------------------------------------------------------------

    @property
    def _place(self) -> Place:
        return self.rng.choice(self.world.places)

    def _publish(self) -> None:
        place, count = self._place, self.rng.choice((1, 3, 20, 150))
        if place.device.alive:
            self.say(f"{count} messages are stored")
            self.world.publish(place.device, count)

    def cut(self) -> None:
        back, late = self.rng.choice((0, 100, 2000, 30_000)), self.rng.random() < 0.3
        self.say(f"the link is cut, back in {back} ms" + (", the old one's frames come late" if late else ""))
        self._place.cut(back_ns=back * MS, late=late)

    def swallow(self) -> None:
        place, up, down = self._place, self.rng.random() < 0.7, self.rng.random() < 0.7
        seconds = self.rng.choice((3, 12, 60))
        self.say(f"black hole for {seconds} s: up {up}, down {down}")
        place.link.swallows = [up, down]

        def over() -> None:
            place.link.swallows = [False, False]
            place.cut(back_ns=0)

        self.world.schedule.later(seconds * SECOND_NS, over)

    def lossy(self) -> None:
        place = self._place
        place.link.loss = self.rng.choice((0.0, 0.02, 0.3))
        place.link.twice = self.rng.choice((0.0, 0.0, 0.1))
        self.say(f"{place.link.loss:.0%} of the frames vanish, {place.link.twice:.0%} come twice")

    def slow(self) -> None:
        place = self._place
        place.link.rate = self.rng.choice((500, 2_000, 125_000))
        place.link.delay_ns = self.rng.choice((1, 300, 6000)) * MS
        self.say(f"the link has {place.link.rate} bytes a second, {place.link.delay_ns // MS} ms")

    def hub_restart(self) -> None:
        hub = self._place.hub
        hidden = self.rng.random() < 0.3  # behind a server in between, which keeps the link
        self.say(f"{hub.name} loses power" + (" unnoticed" if hidden else ""))
        self._hub_down(hidden)
        self.world.schedule.later(self.rng.choice((100, 20_000)) * MS, self._hubs_up)

    def _hub_down(self, hidden: bool) -> None:
        hub = self._place.hub
        if hub.alive:
            hub.crash(self.rng.randrange(hub.disk.pending + 1))
        for place in self.world.places:
            if place.hub is hub and not hidden:
                place.cut()

    def _hubs_up(self) -> None:
        for hub in self.world.hubs:
            hub.start()
        for place in self.world.places:
            place.dial()

    def hub_backup(self) -> None:
        self.say("the hub is backed up")
        self._hub_backups.append(self.world.hubs[0].disk.copied())

    def hub_set_back(self) -> None:
        if not self._hub_backups:
            return
        self.say("the hub is restored from a backup")
        hub = self.world.hubs[0]
        if hub.alive:
            hub.crash(0)
        self.world.past.append(hub.disk.copied())
        hub.disk.put_back(self.rng.choice(self._hub_backups))
        if self._replaced:
            self.world.witness.excuse(self.world.unremembered(), "on no disk that is left")
        for place in self.world.places:
            place.cut()
        self._hubs_up()

    def hub_full(self) -> None:
        hub = self._place.hub
        hub.room = self.rng.choice((0, 5, 50))
        self.say(f"{hub.name} has room for {hub.room} messages")
        self.world.schedule.later(
            self.rng.randrange(1, 60) * SECOND_NS, lambda: setattr(hub, "room", 1 << 60)
        )

    def hub_has_no_space(self) -> None:
        """On its disk."""
        self._publish()
        self.world.schedule.run(self.world.schedule.now_ns + self.rng.randrange(500) * MS)
        hub, trouble = self._place.hub, self._no_space()
        self.say(f"{hub.name}'s disk: {trouble.value}")
        hub.disk.trouble = trouble

        def room() -> None:
            if hub.disk.trouble is trouble:
                self.say(f"there is room on {hub.name}'s disk")
                hub.mended()

        self.world.schedule.later(self._while(), room)
        if self.rng.random() < 0.3:
            self.world.schedule.later(self._while(), self.hub_restart)

    def hub_cannot_sync(self) -> None:
        hub = self._place.hub
        self.say(f"{hub.name}'s disk: {Trouble.SYNC.value}")
        hub.disk.trouble = Trouble.SYNC

    def _no_space(self) -> Trouble:
        return self.rng.choice((Trouble.APPEND, Trouble.GROWTH))

    def _while(self) -> int:
        return self.rng.choice((1, 20, 300)) * self.rng.randrange(SECOND_NS)

    def hub_refuses(self) -> None:
        hub = self._place.hub
        hub.refused = set(self.rng.choices(["tele", "alarm", "debug"], k=1)) if not hub.refused else set()
        self.say(f"{hub.name} refuses {hub.refused}")

    def hub_disk_fails(self) -> None:
        hub = self.world.hubs[0]
        hub.disk_works = not hub.disk_works
        self.say(f"the hub's disk {'works' if hub.disk_works else 'refuses to write'}")
        hub.sync_soon()

    def hub_moves(self) -> None:
        """Another hub takes its turn."""
        place = self._place
        place.hub = self.world.hubs[place.hub is self.world.hubs[0]]
        self.say(f"the device goes to {place.hub.name}")
        place.cut(back_ns=self.rng.choice((0, 1000)) * MS)

    def edge_restart(self) -> None:
        place = self._place
        self.say("the device loses power")
        place.cut()
        if place.device.alive:
            self.world.crash(place.device)
        wait = self.rng.choice((0, 1000, 30_000)) * MS
        self.world.schedule.later(wait, lambda: self._boot(place))

    def both_restart(self) -> None:
        self.hub_restart()
        self.edge_restart()

    def _boot(self, place: Place) -> None:
        if not place.device.alive:
            place.device.boot = self._boots = self._boots + 1
            place.device.start()
            place.dial()

    def crash_loop(self) -> None:
        """A device that never gets far."""
        place = self._place
        rounds, linked = self.rng.choice((10, 80)), self.rng.random() < 0.5
        self.say(f"the device starts {rounds} times" + (" and reaches its hub each time" if linked else ""))
        for _ in range(rounds):
            place.cut()
            if place.device.alive:
                self.world.crash(place.device)
            place.device.start()
            self.world.publish(place.device, self.rng.randrange(3))
            if linked:
                place.dial()
            self.world.schedule.run(self.world.schedule.now_ns + self.rng.choice((10, 100, 800)) * MS)
        place.dial()

    def edge_backup(self) -> None:
        self.say("the device is backed up")
        self._backups.append(self._place.device.disk.copied())

    def edge_set_back(self) -> None:
        if not self._backups:
            return
        self.say("the device is restored from a backup")
        self._replace(self._place, self.rng.choice(self._backups), "on a disk that was put back")

    def edge_reimaged(self) -> None:
        self.say("the device is set up anew")
        self._replace(self._place, State(), "on a disk that was replaced")

    def _replace(self, place: Place, state: State, why: str) -> None:
        device = place.device
        place.cut()
        if device.alive:
            self.world.crash(device)
        device.disk.put_back(state)
        have = {place.device: on_disk(place.device) for place in self.world.places}
        anywhere = set().union(*have.values())
        hub = {one.ident for one in self.world.hubs[0].disk.durable.lists.get("came/dev1", [])}
        gone = set(self.world.witness.messages) - anywhere
        self.world.witness.excuse(gone - hub if self._one_disk else gone, why)
        self._replaced = True
        self._boot(place)

    @property
    def _one_disk(self) -> bool:
        return len(self.world.places) == 1

    def both_set_back(self) -> None:
        """The hub to a time before the device's disk was replaced."""
        self.hub_backup()
        for _ in range(self.rng.randrange(3)):
            self._publish()
            self.world.schedule.run(self.world.schedule.now_ns + self.rng.choice((10, 3000)) * MS)
        self.rng.choice((self.edge_set_back, self.edge_reimaged))()
        self._publish()
        self.world.schedule.run(self.world.schedule.now_ns + self.rng.choice((10, 3000, 60_000)) * MS)
        self.hub_set_back()

    def edge_has_no_space(self) -> None:
        """Its streams may have a budget, and then the oldest of the least important go."""
        device, trouble = self._place.device, self._no_space()
        if not device.alive:
            return
        self.say(f"the device's disk: {trouble.value}")
        device.disk.trouble = trouble
        if self.rng.random() < 0.5:
            self._sheds(device)
        if self.rng.random() < 0.3:
            self.world.schedule.later(self._while(), self.edge_restart)

        def room() -> None:
            if device.disk.trouble is trouble:
                self.say("there is room on the device's disk")
                device.disk.trouble = Trouble.NONE

        self.world.schedule.later(self._while(), room)

    def _sheds(self, device: SimulatedDevice) -> None:
        left = self.rng.randrange(1, 100)
        for stream in sorted(device.streams.values(), key=lambda one: -one.entry.cls):
            log = stream.log
            below = min(log.first_seq + left, stream.last_seq + 1)
            if below > log.first_seq:
                self.say(f"  {stream.entry.name} is shed below {below}, written down")
                left -= below - log.first_seq
                stream.shed(below, told=True)
        device.changed()
        device.work()

    def edge_cannot_sync(self) -> None:
        device = self._place.device
        if device.alive:
            self.say(f"the device's disk: {Trouble.SYNC.value}")
            device.disk.trouble = Trouble.SYNC

    def both_have_no_space(self) -> None:
        self.hub_has_no_space()
        self.edge_has_no_space()

    def edge_cloned(self) -> None:
        world = self.world
        if len(world.places) > 1:
            return
        self.say("the device is cloned")
        disk = world.places[0].device.disk
        twin = Place(world, world._device())
        twin.device.disk.put_back(disk.durable)
        twin.device.relaxed = world.places[0].device.relaxed
        world.places.append(twin)
        self._boot(twin)

    def shed(self) -> None:
        device, told = self._place.device, self.rng.random() < 0.6
        if not device.alive:
            return
        stream = device.streams[self.rng.choice(list(device.streams))]
        below = stream.log.first_seq + self.rng.randrange(1, 60)
        below = min(below, stream.last_seq + 1)
        self.say(f"{stream.entry.name} is shed below {below}" + (", written down" if told else ""))
        if below > stream.log.first_seq:
            stream.shed(below, told=told)
            device.changed()
            device.work()

    def damage(self) -> None:
        device = self._place.device
        if device.alive:
            stream = device.streams[self.rng.choice(list(device.streams))]
            if stream.log.messages:
                seq = self.rng.choice(list(stream.log.messages))
                self.say(f"{stream.entry.name} {seq} is damaged")
                stream.damaged.add(seq)

    def delete(self) -> None:
        """By its owner: nobody has to be told."""
        device = self._place.device
        if device.alive:
            stream = device.streams[self.rng.choice(list(device.streams))]
            for seq in self.rng.sample(
                list(stream.log.messages), min(len(stream.log.messages), self.rng.choice((1, 30)))
            ):
                self.world.witness.excuse({stream.log.messages[seq].ident}, "deleted")
                device.disk.do("remove", stream.entry.name, seq)
            self.say(f"messages of {stream.entry.name} are deleted")
            device.changed()

    def clock_jumps(self) -> None:
        years = self.rng.choice((-30, -1, 1, 40))
        self.say(f"the device's clock jumps by {years} years")
        self._place.device.wall_ns += years * 365 * 86_400 * SECOND_NS

    def retrained(self) -> None:
        device = self._place.device
        self.say("a dictionary is trained")
        for name in device.streams:
            device.squeeze.dictionaries[name] = self.rng.getrandbits(60) | 1

    def metered(self) -> None:
        device = self._place.device
        device.allowance.shut_ns = self.world.schedule.now_ns + self.rng.choice((1, 600)) * SECOND_NS
        self.say("the link's allowance is used up for now")

    def _heal(self) -> None:
        self.say("everything is mended")
        for hub in self.world.hubs:
            hub.room, hub.disk_works, hub.refused = 1 << 60, True, set()
            if hub.alive and hub.disk.trouble is Trouble.SYNC:
                hub.crash(self.rng.randrange(hub.disk.pending + 1))
            hub.start()
            hub.mended()
        for place in self.world.places:
            link = place.link
            link.loss = link.twice = 0.0
            link.swallows = [False, False]
            place.hub = self.world.hubs[0]
            if place.device.alive and place.device.disk.trouble is Trouble.SYNC:
                self.world.crash(place.device)
            place.device.disk.trouble = Trouble.NONE
            self._boot(place)
            place.cut(back_ns=0)


FAULTS: list[Callable[[Story], None]] = [
    Story.cut,
    Story.cut,
    Story.swallow,
    Story.lossy,
    Story.slow,
    Story.hub_restart,
    Story.hub_backup,
    Story.hub_set_back,
    Story.hub_full,
    Story.hub_refuses,
    Story.hub_disk_fails,
    Story.hub_moves,
    Story.edge_restart,
    Story.edge_restart,
    Story.both_restart,
    Story.crash_loop,
    Story.edge_backup,
    Story.edge_set_back,
    Story.edge_reimaged,
    Story.edge_cloned,
    Story.shed,
    Story.damage,
    Story.delete,
    Story.clock_jumps,
    Story.retrained,
    Story.metered,
    # others since: the stories of before are told with the first ``FIRST`` of them
    Story.hub_has_no_space,
    Story.hub_has_no_space,
    Story.hub_cannot_sync,
    Story.edge_has_no_space,
    Story.edge_has_no_space,
    Story.edge_cannot_sync,
    Story.both_have_no_space,
    Story.both_set_back,
]
FIRST = 26
