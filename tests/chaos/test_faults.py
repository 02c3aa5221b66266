"""Each fault of a link, a device and a hub by itself, simulated, several times with other links and other moments: what
was stored is at the hub once and in order, or the device said why it will not come. docs/forward.md names these."""

from collections.abc import Iterator

import pytest

from phloem.shared.forward.standing import CONFIRMED
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing.simulated_disk import Trouble
from tests.chaos.story import HEAL_NS, Story
from tests.chaos.world import MS, Place
from tests.support.sampling import rest

SEEDS = 8
YEAR_NS = 365 * 86_400 * SECOND_NS


class Fault(Story):
    """A story with one device in which a test says what happens."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(seed, 0)
        self.rng.seed(f"{name}/{seed}")
        self.bounces = 0
        place = self.place
        place.link.rate, place.link.delay_ns = 20_000, 20 * MS
        bounced = place.device.on_bounce

        def counted() -> None:
            self.bounces += 1
            bounced()

        place.device.on_bounce = counted
        place.dial()
        self.store(50)
        self.run(20)

    @property
    def place(self) -> Place:
        return self.world.places[0]

    @property
    def flying(self) -> int:
        """Parcels on their way."""
        return self.place.device.sender.on_its_way

    def store(self, count: int) -> None:
        self.world.publish(self.place.device, count)

    def run(self, seconds: float) -> None:
        schedule = self.world.schedule
        schedule.run(schedule.now_ns + int(seconds * SECOND_NS))

    def under_way(self, count: int = 150) -> None:
        """Store messages, and stop while parcels are on their way."""
        self.store(count)
        schedule = self.world.schedule
        assert schedule.run(schedule.now_ns + 3600 * SECOND_NS, lambda: self.flying > 0)
        for _ in range(self.rng.randrange(4)):
            schedule.run(schedule.now_ns + SECOND_NS, lambda: True)

    def settle(self, *, lost: bool = False, gaps: bool = False) -> None:
        """Nobody mends anything but what the test has: it comes to rest, and all is there. ``lost``: what was not on
        the device's disk may be lost with its power; ``gaps``: some of it may be announced as gone."""
        schedule = self.world.schedule
        self.store(5)
        most = schedule.calls + 100_000
        schedule.run(schedule.now_ns + HEAL_NS, lambda: self.world.at_rest() or schedule.calls > most)
        assert self.world.at_rest(), self._unrest()
        self.world.check()
        excuses = {one.excused for one in self.world.witness.messages.values()} - {""}
        assert excuses <= ({"lost with the power, not acknowledged"} if lost else set())
        announced = self.world.hubs[0].disk.durable.lists.get("gaps/dev1", [])
        assert gaps or not announced


@pytest.fixture(autouse=True, params=[3, rest(SEEDS)])
def seeds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How often a fault is told."""
    monkeypatch.setitem(globals(), "SEEDS", request.param)


def each(name: str) -> Iterator[Fault]:
    return (Fault(name, seed) for seed in range(SEEDS))


@pytest.mark.parametrize("back_s", [0, 30])
def test_a_link_is_cut(back_s: int) -> None:
    for story in each(f"cut/{back_s}"):
        story.under_way()
        story.place.cut(back_ns=back_s * SECOND_NS)
        assert story.flying == 0  # forgotten, and asked about
        story.settle()


def test_a_link_is_reset_again_and_again() -> None:
    for story in each("reset"):
        story.store(300)
        for _ in range(20):
            story.run(story.rng.random() * 2)
            story.place.cut(back_ns=0)
        story.settle()


def test_a_black_hole_is_left_by_the_device_itself() -> None:
    for story in each("black"):
        story.under_way()
        story.place.link.swallows = [True, True]
        story.run(35)
        assert story.bounces == 1
        story.run(300)
        assert story.place.device.alarms[:1]
        story.place.link.swallows = [False, False]
        story.settle()
        assert story.place.device.alarms[-1] == ""


@pytest.mark.parametrize("up", [True, False])
def test_a_link_that_carries_one_way_only(up: bool) -> None:
    for story in each(f"one-way/{up}"):
        story.under_way()
        story.place.link.swallows = [not up, up]
        story.run(120)
        assert story.bounces >= 1
        story.place.link.swallows = [False, False]
        story.settle()


def test_a_connection_that_ended_speaks_beside_the_new_one() -> None:
    for story in each("duplicate"):
        for _ in range(3):
            story.under_way(60)
            story.place.cut(back_ns=0, late=True)
            story.run(story.rng.random())
        story.place.link.twice = 0.2
        story.under_way(60)
        story.run(30)
        story.place.link.twice = 0.0
        story.settle()


def test_almost_a_third_of_everything_is_lost() -> None:
    for story in each("loss"):
        story.place.link.loss = 0.3
        for _ in range(10):
            story.store(20)
            story.run(30)
        frames = story.place.link.frames
        story.store(20)
        story.run(600)
        assert story.place.link.frames > frames  # it does not give up
        story.place.link.loss = 0.0
        story.settle()


@pytest.mark.parametrize("hidden", [False, True])
def test_a_hub_is_restarted(hidden: bool) -> None:
    """``hidden``: behind a server that keeps the link."""
    for story in each(f"hub/{hidden}"):
        story.under_way()
        story._hub_down(hidden)
        story.run(story.rng.choice((0.1, 20)))
        story._hubs_up()
        story.settle()


def test_a_hub_is_restored_from_the_backup_of_yesterday() -> None:
    """What the device has given back is announced, what it still has comes again."""
    for story in each("yesterday"):
        story.hub_backup()
        for _ in range(24):
            story.store(5)
            story.run(3600)
        story.under_way(100)
        story.hub_set_back()
        story.settle(gaps=True)
        announced = story.world.hubs[0].disk.durable.lists.get("gaps/dev1", [])
        assert {gap.reason for gap in announced} == {CONFIRMED}
        assert any("hub set back" in text for text in (*story.place.device.told, *story.world.hubs[0].told))


def test_the_device_is_sent_to_another_hub_and_back() -> None:
    for story in each("address"):
        story.under_way()
        story.place.hub = story.world.hubs[1]
        story.place.cut(back_ns=SECOND_NS)
        story.under_way()
        story.place.hub = story.world.hubs[0]
        story.place.cut(back_ns=SECOND_NS)
        story.settle(gaps=True)


POINTS = range(
    0, 240, 3
)  # calls of the schedule: some stored and not synced, sent and not stored, acknowledged


def test_a_device_loses_power_at_any_point() -> None:
    for point in POINTS:
        story = Fault("edge", point)
        _at_point(story, point)
        story.place.cut()
        story.world.crash(story.place.device)
        story.run(1)
        story._boot(story.place)
        story.settle(lost=True)


def test_both_ends_lose_power_at_any_point() -> None:
    for point in POINTS:
        story = Fault("both", point)
        _at_point(story, point)
        story._hub_down(hidden=False)
        story.world.crash(story.place.device)
        story.run(story.rng.choice((0.1, 20)))
        story._hubs_up()
        story._boot(story.place)
        story.settle(lost=True)


def _at_point(story: Fault, point: int) -> None:
    story.store(150)
    calls, schedule = story.world.schedule.calls, story.world.schedule
    schedule.run(schedule.now_ns + 60 * SECOND_NS, lambda: schedule.calls - calls >= point)


@pytest.mark.parametrize("trouble", [Trouble.APPEND, Trouble.GROWTH])
def test_the_disk_of_the_device_is_full(trouble: Trouble) -> None:
    """What it has goes to the hub as soon as it is written; what it cannot take is refused, and never acknowledged."""
    for story in each(f"edge-full/{trouble}"):
        story.under_way()
        story.place.device.disk.trouble = trouble
        stored = story.world.numbers - len(story.world.witness.messages)
        story.store(10)
        assert story.world.numbers - len(story.world.witness.messages) == stored + 10
        story.run(300)
        story.place.device.disk.trouble = Trouble.NONE
        story.settle()


@pytest.mark.parametrize("trouble", [Trouble.APPEND, Trouble.GROWTH])
def test_the_disk_of_the_hub_is_full(trouble: Trouble) -> None:
    for story in each(f"hub-full/{trouble}"):
        hub = story.world.hubs[0]
        hub.disk.trouble = trouble
        story.under_way()
        story.run(600)
        assert any(stream.log.messages for stream in story.place.device.streams.values())  # it keeps them
        hub.mended()
        story.settle()


@pytest.mark.parametrize("years", [-50, -1, 1, 40])
def test_the_clock_of_the_device_jumps_by_years(years: int) -> None:
    for story in each(f"clock/{years}"):
        story.under_way()
        story.place.device.wall_ns += years * YEAR_NS
        story.store(50)
        story.run(5)
        story.place.cut(back_ns=SECOND_NS)
        story.run(5)
        story.place.device.wall_ns -= years * YEAR_NS
        story.settle()
