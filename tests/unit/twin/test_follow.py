"""Following the hub: what is asked, and what is here afterwards, whatever has happened to the hub meanwhile."""

from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.shared.twin.floor import Floor
from phloem.shared.twin.follow import Again, Drop, Follow, Local, Place, Store
from tests.support.examples import examples

KEYS = ("a", "b", "c")


class Hub:
    """A bucket with a history of one; a backup of it."""

    def __init__(self) -> None:
        self.seq = self.clock = 0
        self.values: dict[str, tuple[Place, bytes | None]] = {}
        self.backup: tuple[int, dict[str, tuple[Place, bytes | None]]] = (0, {})

    def put(self, key: str, value: bytes | None) -> None:
        self.seq += 1
        self.clock += 1
        self.values[key] = (Place(self.seq, self.clock), value)

    def save(self) -> None:
        self.backup = (self.seq, dict(self.values))

    def restore(self) -> None:
        self.seq, values = self.backup
        self.values = dict(values)

    def deliveries(self, start: int) -> list[tuple[str, Place, bytes | None]]:
        found = [(key, place, value) for key, (place, value) in self.values.items() if place.seq >= start]
        return sorted(found, key=lambda one: one[1].seq)


class Device:
    """What is on its disk: value and place of each key."""

    def __init__(self) -> None:
        self.disk: dict[str, tuple[Place | None, bytes | None]] = {}

    def sync(self, hub: Hub, until: int) -> int:
        """Follow until all is told, or the link is lost after ``until`` messages; how many came."""
        follow = Follow({key: Local(place, value is None) for key, (place, value) in self.disk.items()})
        came = 0
        while True:
            deliveries = hub.deliveries(follow.begin())
            steps = follow.opened(len(deliveries))
            self.do(steps, b"")
            again = Again() in steps
            for number, (key, place, value) in enumerate(deliveries):
                if again or came == until:
                    break
                came += 1
                steps = follow.delivered(key, place, len(deliveries) - number - 1, gone=value is None)
                for step in steps:
                    if isinstance(step, Store):
                        self.disk[key] = (place, value)
                self.do(steps, b"")
                again = Again() in steps
            if not again:
                return came

    def do(self, steps: list[object], _body: bytes) -> None:
        for step in steps:
            if isinstance(step, Drop):
                self.disk[step.key] = (None, None)

    @property
    def values(self) -> dict[str, bytes]:
        return {key: value for key, (_, value) in self.disk.items() if value is not None}


moves = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(KEYS), st.one_of(st.none(), st.binary(max_size=2))),
    st.tuples(st.sampled_from(["save", "restore"])),
    st.tuples(st.just("sync"), st.integers(0, 6)),
)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(moves, max_size=40))
def test_the_same_in_the_end(story: list[tuple[object, ...]]) -> None:
    hub, device = Hub(), Device()
    for what, *words in story:
        if what == "sync":
            device.sync(hub, int(str(words[0])))
        else:
            getattr(hub, str(what))(*words)
    device.sync(hub, -1)
    assert device.values == {key: value for key, (_, value) in hub.values.items() if value is not None}


def test_a_link_that_comes_back_costs_one_message() -> None:
    hub, device = Hub(), Device()
    for key in KEYS:
        hub.put(key, b"x")
    assert device.sync(hub, -1) == 3
    assert device.sync(hub, -1) == 1


def test_the_clock_is_never_before_what_the_hub_said() -> None:
    floor = Floor()
    assert floor.now(5, 100) == 5
    floor.seen(1000, 100)
    assert floor.now(5, 130) == 1030
    floor.seen(900, 140)
    assert floor.now(5, 150) == 1050
    assert floor.now(2000, 160) == 2000
