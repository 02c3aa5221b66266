"""Messages between a broker and a stream, both as models: nothing acknowledged is missing, nothing certain is twice."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge.backoff import Backoff
from phloem.firmware_bridge.mqtt.intake import Ack, Arrival, Cut, Effect, Intake, Put


def intake(messages_max: int = 100, bytes_max: int = 1 << 20) -> Intake:
    return Intake(Backoff(10, 100, random.Random(1)), messages_max=messages_max, bytes_max=bytes_max)


def arrival(mid: int, payload: bytes = b"1", *, dup: bool = False) -> Arrival:
    return Arrival("t", payload, 1 if mid else 0, mid, dup)


def test_acknowledged_when_stored_in_the_order_of_arrival() -> None:
    machine = intake()
    assert machine.received(arrival(1)) == [Put(1, arrival(1))]
    assert machine.received(arrival(2)) == [Put(2, arrival(2))]
    assert machine.stored(2) == []
    assert machine.stored(1) == [Ack(1), Ack(2)]
    assert (len(machine), machine.bytes) == (0, 0)


def test_qos_0_is_stored_and_not_acknowledged() -> None:
    machine = intake()
    assert machine.received(arrival(0)) == [Put(1, arrival(0))]
    assert machine.stored(1) == []
    assert len(machine) == 0


@pytest.mark.parametrize("when", ["while it is not stored", "after"])
def test_what_was_never_acknowledged_is_stored_once(when: str) -> None:
    machine = intake()
    machine.received(arrival(7))
    machine.lost()
    if when == "after":
        assert machine.stored(1) == []  # nobody to tell
    machine.connected(resumed=True)
    again = machine.received(arrival(7, dup=True))
    if when == "after":
        assert again == [Ack(7)]
    else:
        assert again == []
        assert machine.stored(1) == [Ack(7)]
    assert (machine.counts.duplicates, machine.counts.stored, len(machine)) == (1, 1, 0)


def test_what_was_acknowledged_may_be_another_and_is_stored_and_named() -> None:
    machine = intake()
    machine.received(arrival(7))
    machine.stored(1)
    machine.lost()
    machine.connected(resumed=True)
    assert machine.received(arrival(7, dup=True)) == [Put(2, arrival(7, dup=True))]
    assert machine.counts.unsure == 1


@pytest.mark.parametrize("other", [arrival(7, b"2", dup=True), arrival(7)])
def test_an_identifier_that_came_to_stand_for_another_message(other: Arrival) -> None:
    machine = intake()
    machine.received(arrival(7))
    machine.lost()
    machine.stored(1)
    machine.connected(resumed=True)
    assert machine.received(other) == [Put(2, other)]
    assert machine.stored(2) == [Ack(7)]
    assert (len(machine), machine.bytes) == (0, 0)


def test_a_broker_that_forgot_the_session() -> None:
    machine = intake()
    machine.received(arrival(7))
    machine.received(arrival(8))
    machine.lost()
    machine.stored(1)
    machine.connected(resumed=False)
    assert machine.received(arrival(7, dup=True)) == [Put(3, arrival(7, dup=True))]
    assert machine.stored(2) == []  # goes to the disk all the same
    assert machine.stored(3) == [Ack(7)]
    assert len(machine) == 0


def test_a_refusal_is_tried_again_and_what_comes_behind_it_waits() -> None:
    machine = intake()
    machine.received(arrival(1))
    machine.received(arrival(2))
    machine.refused(1, 1000)
    machine.refused(2, 1001)
    assert 1005 <= machine.due_ns <= 1010
    assert machine.received(arrival(3)) == []
    assert machine.work(machine.due_ns - 1) == []
    due = machine.work(machine.due_ns)
    assert due == [Put(1, arrival(1)), Put(2, arrival(2)), Put(3, arrival(3))]
    assert machine.due_ns == 0
    assert (machine.stored(1), machine.given_up(2), machine.stored(3)) == ([Ack(1)], [Ack(2)], [Ack(3)])
    assert (machine.counts.retried, machine.counts.given_up) == (2, 1)


def test_bounds() -> None:
    machine = intake(messages_max=2)
    machine.received(arrival(1))
    machine.received(arrival(0))
    assert machine.received(arrival(0)) == []
    assert machine.counts.lost == 1
    (effect,) = machine.received(arrival(2))
    assert isinstance(effect, Cut)
    (effect,) = intake(bytes_max=1000).received(arrival(1, b"x" * 1000))
    assert isinstance(effect, Cut)


def test_a_broker_that_repeats_itself_on_one_connection() -> None:
    machine = intake()
    machine.received(arrival(1))
    assert machine.received(arrival(1, dup=True)) == []
    (effect,) = machine.received(arrival(1, b"another"))
    assert isinstance(effect, Cut)
    assert machine.stored(1) == [Ack(1)]


class World:
    """A broker with a window, an edge, and a stream that takes, refuses and is slow; both may lose the connection, and
    what is on its way to the other with it. The broker uses the lowest identifier that is free, the worst case."""

    def __init__(self, draw: st.DrawFn, window: int) -> None:
        self.draw, self.window = draw, window
        self.queued = [b"%d" % (number // 2) for number in range(24)]  # the same twice in a row
        self.flight: dict[int, bytes] = {}
        self.machine = intake()
        self.under_way: list[Put] = []
        self.disk: list[Arrival] = []
        self.acks: list[int] = []
        self.now = 1

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Put():
                    self.under_way.append(effect)
                case Ack(mid):
                    self.acks.append(mid)
                case Cut(why):
                    raise AssertionError(why)

    def step(self, what: str) -> None:
        if what == "send" and self.queued and len(self.flight) < self.window:
            mid = min(set(range(1, 100)) - set(self.flight))
            self.flight[mid] = self.queued.pop(0)
            self.do(self.machine.received(arrival(mid, self.flight[mid])))
        elif what == "ack" and self.acks:
            del self.flight[self.acks.pop(0)]
        elif what == "store" and self.under_way:
            put = self.under_way.pop(self.draw(st.integers(0, len(self.under_way) - 1)))
            self.disk.append(put.arrival)
            self.do(self.machine.stored(put.number))
        elif what == "refuse" and self.under_way:
            self.machine.refused(self.under_way.pop(0).number, self.now)
        elif what == "time":
            self.now += 200
            self.do(self.machine.work(self.now))
        elif what == "cut":  # acknowledgements on their way are lost; those in flight come again, in order
            self.acks.clear()
            self.machine.lost()
            self.machine.connected(resumed=True)
            for mid, payload in list(self.flight.items()):
                self.do(self.machine.received(arrival(mid, payload, dup=True)))


@given(st.data())
def test_nothing_is_lost_and_nothing_certain_is_twice(data: st.DataObject) -> None:
    world = World(data.draw, data.draw(st.integers(1, 5)))
    kinds = st.sampled_from(["send", "ack", "store", "refuse", "time", "cut"])
    for what in data.draw(st.lists(kinds, max_size=60)):
        world.step(what)
    while world.queued or world.flight:
        for what in ("send", "time", "store", "ack"):
            world.step(what)
    stored, wanted = Counter(one.payload for one in world.disk), Counter(b"%d" % (n // 2) for n in range(24))
    assert not wanted - stored  # all of it
    named = sum(one.dup for one in world.disk)
    assert stored.total() - wanted.total() <= named  # what may be too many says so
    assert len(world.machine) == 0
    assert world.machine.bytes == 0
