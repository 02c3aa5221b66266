"""The command ledger of a device under power cuts at any point: nothing twice, no way back, always an end.

The device is a disk (records by id), a hub (commands and the records that it has acknowledged) and a handler, driven by
Hypothesis. A power cut forgets everything else; what was on its way to the disk or to the handler may have arrived or
not.
"""

import json
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from phloem.shared.limits import SECOND_NS
from phloem.shared.twin.command import Record, State
from phloem.shared.twin.ledger import Action, Ask, Forget, Ledger, Persist

IDS = ("a", "b", "c")


class Device:
    """One device and its hub."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND_NS
        self.wanted: dict[str, bytes] = {}  # at the hub, and copied
        self.stamps: dict[str, int] = {}
        self.disk: dict[str, Record] = {}
        self.acknowledged: set[str] = set()  # the hub has the record of the delivery
        self.runs: dict[str, list[bool]] = defaultdict(list)  # by id: was it idempotent
        self.history: dict[str, list[State]] = defaultdict(list)
        self.handler = True
        self.queue: list[Action] = []
        self.asked: list[Ask] = []
        self.boot()

    def boot(self) -> None:
        self.queue, self.asked = [], []
        self.ledger = Ledger(self.disk)
        for ident in self.acknowledged:
            self.ledger.confirmed(ident)
        for ident, body in self.wanted.items():
            self.queue += self.ledger.heard(ident, body, self.stamps[ident], self.now)
        self.queue += self.ledger.begun(self.now)

    def command(self, ident: str, idempotent: bool, name: str, expires_s: int) -> None:
        if ident in self.wanted:
            return
        self.wanted[ident] = json.dumps(
            {"name": name, "idempotent": idempotent, "expires_s": expires_s, "timeout_s": 5}
        ).encode()
        self.stamps[ident] = self.now
        self.queue += self.ledger.heard(ident, self.wanted[ident], self.now, self.now)

    def again(self, ident: str) -> None:
        """A hub that was restored, or a program that puts it a second time."""
        if ident in self.wanted:
            self.queue += self.ledger.heard(ident, self.wanted[ident], self.stamps[ident], self.now)

    def withdraw(self, ident: str) -> None:
        if self.wanted.pop(ident, None) is not None:
            self.queue += self.ledger.withdrawn(ident, self.now)

    def step(self) -> None:
        """The oldest thing that is under way happens."""
        if not self.queue:
            self.queue += self.ledger.due(self.now, lambda _name: self.handler)
        if self.queue:
            self.carry_out(self.queue.pop(0), survives=True)

    def carry_out(self, action: Action, *, survives: bool) -> None:
        match action:
            case Persist(ident, record):
                before = self.disk.get(ident)
                if before is not None:
                    assert not before.state.final, "a final state changes"
                    assert record.state.rank >= before.state.rank, "a state goes backwards"
                self.disk[ident] = record
                self.history[ident].append(record.state)
                if survives:
                    self.ledger.stored(ident, record)
            case Ask(ident, order, _):
                if not self.handler:
                    self.ledger.nobody(ident, self.now)
                    return
                assert self.disk[ident].state is State.EXECUTING, "run before it is on the disk"
                self.runs[ident].append(order.idempotent)
                if survives:
                    self.asked.append(action)
            case Forget(ident):
                del self.disk[ident]

    def confirm(self, ident: str) -> None:
        """The hub has what the disk has."""
        record = self.disk.get(ident)
        if record is None or record.state is not State.DELIVERED:
            return
        self.acknowledged.add(ident)
        self.ledger.confirmed(ident)

    def answer(self, error: bool) -> None:
        if self.asked:
            ident = self.asked.pop(0).ident
            self.queue += self.ledger.answered(ident, b"ok", "no" if error else "", self.now)

    def cut(self, survivors: int) -> None:
        """Power is lost; the first ``survivors`` of what was under way have just happened."""
        for action in self.queue[:survivors]:
            if isinstance(action, Forget) or self.ledger.record(action.ident) is None:
                continue
            self.carry_out(action, survives=False)
        self.boot()

    def settle(self) -> None:
        """Time passes until nothing happens any more."""
        for _ in range(200):
            for ident in list(self.disk):
                self.confirm(ident)
            self.step()
            while self.queue:
                self.step()
            self.answer(error=False)
            self.now += 10 * SECOND_NS
            if not self.queue and all(record.state.final for record in self.disk.values()):
                return


moves = st.one_of(
    st.tuples(
        st.just("command"),
        st.sampled_from(IDS),
        st.booleans(),
        st.sampled_from(["x", "y"]),
        st.sampled_from([1, 60, 600]),
    ),
    st.tuples(st.sampled_from(["again", "withdraw", "confirm"]), st.sampled_from(IDS)),
    st.tuples(st.just("answer"), st.booleans()),
    st.tuples(st.just("cut"), st.integers(0, 4)),
    st.tuples(st.just("step")),
    st.tuples(st.just("step")),
    st.tuples(st.sampled_from(["handler", "wait"])),
)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(moves, max_size=60))
def test_nothing_twice_no_way_back_always_an_end(story: list[tuple[object, ...]]) -> None:
    device = Device()
    for what, *words in story:
        match what:
            case "handler":
                device.handler = not device.handler
            case "wait":
                device.now += 7 * SECOND_NS
            case _:
                getattr(device, str(what))(*words)
    device.settle()
    for ident, runs in device.runs.items():
        once = [run for run in runs if not run]
        assert len(once) <= 1, (ident, runs)
        assert not once or ident in device.acknowledged, "run before the hub knew of it"
    for ident in device.wanted:
        assert device.disk[ident].state.final, device.disk[ident]
    for record in device.disk.values():
        assert record.state.final, record
    for states in device.history.values():
        ranks = [state.rank for state in states]
        assert ranks == sorted(ranks)


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(0, 12), st.integers(0, 3), st.booleans())
def test_a_cut_at_each_point_of_one_command(steps: int, survivors: int, idempotent: bool) -> None:
    device = Device()
    device.command("a", idempotent, "x", 600)
    for _ in range(steps):
        device.step()
        device.confirm("a")
        if device.asked:
            device.answer(error=False)
    device.cut(survivors)
    device.settle()
    record = device.disk["a"]
    assert record.state.final
    assert len(device.runs["a"]) <= 1 or idempotent
    assert record.state is State.DONE or (not idempotent and record.error.startswith("interrupted"))
