"""Stories about the publisher: links that break with everything on its way, hubs that lose what they had not stored,
devices that start again. In the end the hub has everything once and in order."""

import json
import random
from collections import deque
from typing import Any

import pytest
from tests.unit.forward.jetstream_model import SECOND_NS, HubModel, StreamModel

from phloem.shared.forward.effects import Alarm, Bounce, Confirmed, Noticed
from phloem.shared.forward.entries import Class, Entry
from phloem.shared.forward.hub_stream import Note
from phloem.shared.forward.lanes import Ask, Effect, Post, Remember
from phloem.shared.forward.publisher import Publisher

BY_HAND: dict[str, Any] = {"subjects": ["fleet.t.>"], "duplicate_window": 120 * SECOND_NS, "max_msg_size": -1}


class Free:
    """A link that costs nothing."""

    def wait_ns(self, _cls: Class, _now_ns: int) -> int:
        return 0

    def room(self, _cls: Class, most: int) -> int:
        return most


class Story:
    """One device, one hub, and what is on its way between them."""

    def __init__(self, seed: int, *, atomic: bool, frees: bool = True) -> None:
        self.random = random.Random(seed)
        self.now_ns = 1_000 * SECOND_NS
        self.atomic = atomic
        self.frees = frees
        self.hub = HubModel(None if atomic else dict(BY_HAND))
        self.stream = StreamModel(self.number(), self.number())
        self.note: Note | None = None
        self.noticed: list[str] = []
        self.bounces = 0
        self.alarms: list[str] = []
        self.up: deque[Ask | Any] = deque()
        self.down: deque[tuple[bytes, bytes]] = deque()
        self.late: list[tuple[int, deque[Ask | Any]]] = []  # of dead connections: until when they may arrive
        self.linked = False
        self.machine = self.new_machine()

    def number(self) -> int:
        return self.random.getrandbits(40) | 1

    def new_machine(self) -> Publisher:
        entry = Entry(name="t", stream="T", to="FLEET_t")
        notes = {"t": self.note} if self.note is not None else {}
        return Publisher("d", [entry], {"t": self.stream}, notes, allowance=Free())

    # --- what happens

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Ask():
                    self.up.append(effect)
                case Post(messages):
                    self.up.extend(messages)
                case Confirmed(_, seq):
                    self.stream.confirm(seq, frees=self.frees)
                case Remember(_, note):
                    self.note = note
                case Noticed(_, text):
                    self.noticed.append(text)
                case Bounce():
                    self.bounces += 1
                    self.cut()
                case Alarm(why):
                    self.alarms.append(why)

    def link(self) -> None:
        if not self.linked:
            self.linked = True
            self.machine.link_up(self.number(), self.now_ns, self.now_ns)

    def cut(self) -> None:
        """What was on its way up may still come, later, or only the beginning of it."""
        if not self.linked:
            return
        self.linked = False
        if self.random.random() < 0.7:
            kept = list(self.up)[: self.random.randrange(len(self.up) + 1)]
            self.late.append((self.now_ns + self.random.randrange(30 * SECOND_NS), deque(kept)))
        self.up.clear()
        self.down.clear()
        self.machine.link_down()

    def arrive(self, what: Any, *, answers: bool) -> None:
        if isinstance(what, Ask):
            answer: bytes | None = self.hub.ask(what.api, what.body, self.now_ns)
            token = what.token
        else:
            answer, token = self.hub.publish(what, self.now_ns), what[1]
        if answer is not None and token and answers:
            self.down.append((token, answer))

    def step(self) -> None:
        """Something small."""
        self.now_ns += self.random.randrange(SECOND_NS // 20)
        for _ in range(self.random.randrange(25)):
            if self.up:
                self.arrive(self.up.popleft(), answers=True)
        for until, queue in self.late:
            while queue and (self.now_ns >= until or self.random.random() < 0.3):
                self.arrive(queue.popleft(), answers=False)
        for _ in range(self.random.randrange(25)):
            if self.down:
                token, answer = self.down.popleft()
                self.do(self.machine.received(token, b"", answer, self.now_ns))
        if self.linked:
            self.do(self.machine.work(self.now_ns, self.now_ns, None))

    def settle(self) -> None:
        """No more faults, until the hub has everything."""
        for _ in range(4000):
            if not self.linked:
                self.link()
            self.step()
            if self.stream.confirmed >= self.stream.last_seq and not any(q for _, q in self.late):
                return
            if not self.up and not self.down:
                self.now_ns += SECOND_NS // 2
        raise AssertionError("it does not come to an end", self.noticed[-5:])

    # --- faults

    def fault(self) -> None:
        kind = self.random.randrange(8)
        if kind < 3:
            self.cut()
        elif kind == 3 and self.atomic:  # the cluster has another leader: what was under way is gone
            self.hub.lose_batches()
            for _ in range(self.random.randrange(len(self.up) + 1)):
                self.up.popleft()
        elif kind == 4 and self.down:  # answers are lost
            self.down.clear()
        elif kind == 5:
            self.restart()
        elif kind == 6:
            self.hub.others(self.random.randrange(5))
        elif kind == 7:  # away for long: ids do not help any more
            self.cut()
            for _, queue in self.late:
                while queue:
                    self.arrive(queue.popleft(), answers=False)
            self.now_ns += 1000 * SECOND_NS

    def restart(self) -> None:
        self.cut()
        self.stream.open(self.number())
        self.machine = self.new_machine()

    def write(self, most: int) -> None:
        for _ in range(self.random.randrange(most)):
            self.stream.add(b"%d" % (self.stream.last_seq + 1), self.now_ns)

    def run(self, steps: int = 120) -> None:
        for _ in range(steps):
            if not self.linked and self.random.random() < 0.5:
                self.link()
            if self.random.random() < 0.4:
                self.write(40)
            if self.random.random() < 0.12:
                self.fault()
            self.step()

    def stored(self) -> list[tuple[int, bytes]]:
        return [(one.number, one.payload) for one in self.hub.mine if one.subject == "fleet.t.d.a.b"]


def all_of(story: Story) -> list[tuple[int, bytes]]:
    return [(n, b"%d" % n) for n in range(1, story.stream.last_seq + 1)]


@pytest.mark.parametrize("atomic", [True, False])
def test_everything_once_and_in_order(atomic: bool) -> None:
    for seed in range(8):
        story = Story(seed, atomic=atomic)
        story.run()
        story.settle()
        assert story.stored() == all_of(story), seed
        assert not [text for text in story.noticed if "set back" in text or "restored" in text], seed


@pytest.mark.slow
@pytest.mark.parametrize("atomic", [True, False])
def test_everything_once_and_in_order_in_many_stories(atomic: bool) -> None:
    for seed in [*range(25), *range(1000, 2000)]:
        story = Story(seed, atomic=atomic)
        story.run()
        story.settle()
        assert story.stored() == all_of(story), seed


def _settled(atomic: bool = True, frees: bool = False, count: int = 50) -> Story:
    story = Story(7, atomic=atomic, frees=frees)
    for _ in range(count):
        story.stream.add(b"%d" % (story.stream.last_seq + 1), story.now_ns)
    story.settle()
    return story


def test_a_device_that_was_set_back_says_so_and_loses_nothing() -> None:
    story = _settled()
    backup = story.stream.copy()
    for _ in range(30):
        story.stream.add(b"first life", story.now_ns)
    story.settle()
    story.restart()
    for _ in range(10):
        story.stream.add(b"also", story.now_ns)
    story.settle()
    story.stream = backup
    story.restart()
    for _ in range(20):
        story.stream.add(b"second life", story.now_ns)
    story.settle()
    stored = [payload for _, payload in story.stored()]
    assert stored[50:] == [b"first life"] * 30 + [b"also"] * 10 + [b"second life"] * 20
    assert any("restored" in text for text in story.noticed)


def test_a_device_with_a_new_card_starts_anew() -> None:
    story = _settled()
    story.stream = StreamModel(story.number(), story.number())
    story.note = None
    story.restart()
    for _ in range(5):
        story.stream.add(b"new", story.now_ns)
    story.settle()
    assert [payload for _, payload in story.stored()[50:]] == [b"new"] * 5
    assert any("re-imaged" in text for text in story.noticed)


@pytest.mark.parametrize("left", [0, 20])
def test_a_hub_that_was_set_back_gets_again_what_the_device_still_has(left: int) -> None:
    story = _settled()
    del story.hub.mine[left:]
    story.hub.last_seq = left
    story.cut()
    story.stream.add(b"51", story.now_ns)
    story.settle()
    assert story.stored() == all_of(story)
    assert any("hub set back" in text for text in story.noticed)


def test_a_hub_that_was_set_back_hears_of_what_is_gone() -> None:
    story = _settled(frees=True)
    del story.hub.mine[20:]
    story.hub.last_seq = 20
    story.cut()
    story.stream.add(b"51", story.now_ns)
    story.settle()
    gap = story.hub.mine[20]
    assert (gap.subject, json.loads(gap.payload)) == (
        "fleet.t.d._gap",
        {"first": 21, "last": 50, "count": 30, "reason": "shed"},
    )
    assert story.stored()[20:] == [(51, b"51")]


def test_a_hub_that_has_forgotten_old_messages_gets_none_twice() -> None:
    story = _settled()
    story.hub.mine.clear()  # by age
    story.restart()
    story.stream.add(b"51", story.now_ns)
    story.settle()
    assert story.stored() == [(51, b"51")]


def test_shed_messages_are_announced_in_their_place() -> None:
    story = Story(3, atomic=True)
    for _ in range(30):
        story.stream.add(b"%d" % (story.stream.last_seq + 1), story.now_ns)
    story.stream.shed(10)
    story.settle()
    assert [one.subject for one in story.hub.mine[:2]] == ["fleet.t.d._gap", "fleet.t.d.a.b"]
    assert story.stored() == all_of(story)[10:]


@pytest.mark.parametrize("atomic", [True, False])
def test_a_message_that_the_hub_would_never_take_becomes_a_gap(atomic: bool) -> None:
    story = Story(4, atomic=atomic)
    story.hub.max_msg_size = 3000
    for n in range(1, 21):
        story.stream.add(b"x" * 4000 if n == 7 else b"%d" % n, story.now_ns)
    story.settle()
    assert [n for n, _ in story.stored()] == [n for n in range(1, 21) if n != 7]
    assert [one.number for one in story.hub.mine if one.subject.endswith("_gap")] == [7]


def test_lines_for_the_devices_stream_mean_nothing_at_the_hub() -> None:
    story = Story(5, atomic=True)
    header = b"NATS/1.0\r\nNats-Msg-Id: 1\r\nUnit: C\r\nNats-Rollup: all\r\n\r\n"
    story.stream.add(b"1", story.now_ns, header)
    story.settle()
    lines = story.hub.mine[0].header.split(b"\r\n")[:4]
    assert lines == [
        b"NATS/1.0",
        b"Phloem-Edge-Nats-Msg-Id: 1",
        b"Unit: C",
        b"Phloem-Edge-Nats-Rollup: all",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subjects": ["fleet.other.>"]}, "has not the subjects"),
        ({"no_ack": True}, "takes no messages"),
        ({"mirror": {"name": "X"}}, "takes no messages"),
        ({"subject_transform": {"src": "a", "dest": "b"}}, "other subjects"),
    ],
)
def test_a_stream_that_will_not_do_is_named(change: dict[str, Any], said: str) -> None:
    story = Story(6, atomic=True)
    story.hub.config = {**BY_HAND, **change}
    story.stream.add(b"1", story.now_ns)
    for _ in range(50):
        story.link()
        story.step()
    assert said in story.noticed[0]
    assert len(story.noticed) == 1
    story.hub.config = {**BY_HAND, "allow_atomic": True}
    story.now_ns += 30 * SECOND_NS
    story.settle()
    assert story.stored() == [(1, b"1")]


def test_a_hub_that_answers_nothing_is_given_up_and_then_people_are_told() -> None:
    story = _settled()
    story.stream.add(b"51", story.now_ns)
    steps = []
    for _ in range(300):
        story.link()
        story.now_ns += SECOND_NS
        story.do(story.machine.work(story.now_ns, story.now_ns, None))
        story.up.clear()
        if not steps or steps[-1] != (story.bounces, len(story.alarms)):
            steps.append((story.bounces, len(story.alarms)))
    assert steps[:4] == [(0, 0), (1, 0), (2, 0), (3, 1)]
    assert story.alarms == ["the hub acknowledges nothing"] or story.alarms == ["the hub does not answer"]
    story.settle()
    assert story.stored() == all_of(story)
    assert story.alarms[1:] == [""]
