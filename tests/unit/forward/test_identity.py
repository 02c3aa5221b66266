"""What a hub asks for is what it does not have, whatever was set back, copied or opened again."""

import copy
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.shared.forward.identity import (
    EPOCHS_ALL,
    EPOCHS_MAX,
    RECEIVED_MAX,
    Received,
    Record,
    covered,
    epoch_of,
    recorded,
    with_opening,
)
from phloem.shared.forward.identity import resume as resumed
from phloem.shared.forward.messages import Epoch, Offer

STORE = 7


@dataclass
class Device:
    epochs: tuple[Epoch, ...] = (Epoch(1, 1),)
    messages: list[int] = field(default_factory=list)  # by sequence - 1; a number is never given twice

    def offer(self) -> Offer:
        return Offer(0, "tele", "", STORE, self.epochs, 1, len(self.messages), 0)


@dataclass
class Hub:
    record: Record | None = None
    have: set[int] = field(default_factory=set)


operations = st.lists(
    st.tuples(
        st.sampled_from(["store", "open", "send", "send", "backup", "restore", "hub backup", "hub restore"]),
        st.integers(0, 6),
    ),
    max_size=60,
)


@given(operations)
@settings(max_examples=400, deadline=None)
def test_what_is_asked_for_is_what_is_missing(listed: list[tuple[str, int]]) -> None:
    device, hub, numbers = Device(), Hub(), iter(range(1, 1 << 20))
    copies, hub_copies = [copy.deepcopy(device)], [copy.deepcopy(hub)]
    for what, n in listed:
        if what == "store":
            device.messages += [next(numbers) for _ in range(n)]
        elif what == "open":
            device.epochs = with_opening(device.epochs, Epoch(next(numbers) + 1, len(device.messages) + 1))
        elif what == "send":
            send(device, hub, n)
        elif what == "backup":
            copies.append(copy.deepcopy(device))
        elif what == "restore":
            device = copy.deepcopy(copies[n % len(copies)])
            device.epochs = with_opening(device.epochs, Epoch(next(numbers) + 1, len(device.messages) + 1))
        elif what == "hub backup":
            hub_copies.append(copy.deepcopy(hub))
        else:
            hub = copy.deepcopy(hub_copies[n % len(hub_copies)])
        seq = resumed(device.offer(), hub.record).seq
        assert set(device.messages[: seq - 1]) <= hub.have
        assert not set(device.messages[seq - 1 :]) & hub.have


def send(device: Device, hub: Hub, count: int) -> None:
    seq = resumed(device.offer(), hub.record).seq
    hub.record = hub.record or Record(STORE, [])
    for at in range(seq, min(seq + count, len(device.messages) + 1)):
        hub.have.add(device.messages[at - 1])
        recorded(hub.record, device.epochs[epoch_of(device.epochs, at)], at)


def opened(count: int, *, confirmed: int, streams: int = 1) -> tuple[Epoch, ...]:
    epochs: tuple[Epoch, ...] = (Epoch(1, 1),)
    for i in range(1, count):
        epochs = with_opening(epochs, Epoch(i + 1, i * 10 + 1), confirmed=confirmed, streams=streams)
    return epochs


def test_confirmed_epochs_are_forgotten_when_there_are_many() -> None:
    epochs = opened(200, confirmed=10_000)
    assert len(epochs) == EPOCHS_MAX
    assert epochs[-1] == Epoch(200, 1991)


def test_a_device_that_starts_again_and_again_forgets_nothing_that_is_not_sent() -> None:
    epochs = opened(500, confirmed=0)
    assert epochs[0] == Epoch(1, 1)
    assert len(epochs) == 500
    many = opened(500, confirmed=0, streams=40)
    assert len(many) == EPOCHS_ALL // 40
    assert many[0] == Epoch(1, 1)
    assert many[-1].ident == 500


def test_an_offer_that_was_long_under_way_does_not_set_the_hub_back() -> None:
    record = Record(STORE, [Received(1, 1, 237)])
    offer = Offer(0, "tele", "", STORE, (Epoch(1, 1),), 1, 0, 0)
    assert resumed(offer, record) == (238, ())


def test_a_hub_set_back_further_than_the_device_remembers() -> None:
    offer = Offer(0, "tele", "", STORE, (Epoch(70, 500), Epoch(71, 600)), 1, 700, 650)
    found = resumed(offer, Record(STORE, [Received(3, 1, 120)]))
    assert found.seq == 121
    assert "hub set back" in found.noticed[0]


def test_a_device_set_back_further_than_the_hub_remembers() -> None:
    offer = Offer(0, "tele", "", STORE, (Epoch(2, 50), Epoch(99, 80)), 1, 90, 0)
    later = [Received(1000 + i, 900 + i, 900 + i) for i in range(RECEIVED_MAX)]
    found = resumed(offer, Record(STORE, later))
    assert found.seq == 80
    assert "restored" in found.noticed[0]


def test_a_hub_that_has_forgotten_nothing_takes_all_epochs_that_it_does_not_know() -> None:
    """As of a copy of the device that is back from another hub: going on at its last start would lose others."""
    offer = Offer(0, "tele", "", STORE, (Epoch(2, 50), Epoch(99, 80)), 1, 90, 0)
    found = resumed(offer, Record(STORE, [Received(60, 900, 950)]))
    assert found.seq == 50


def test_a_gap_counts_for_every_epoch_that_it_covers() -> None:
    epochs = (Epoch(1, 10), Epoch(2, 20), Epoch(3, 30), Epoch(4, 40))
    told = covered(epochs, 15, 35)
    assert [(epoch.ident, last) for epoch, last in told] == [(1, 19), (2, 29), (3, 35)]
    assert [(epoch.ident, last) for epoch, last in covered(epochs, 1, 5)] == [(1, 5)]


def test_a_hub_that_knows_nothing_is_told_of_what_went_before() -> None:
    offer = Offer(0, "tele", "", STORE, (Epoch(70, 500),), 500, 700, 499, 0, 1)
    assert resumed(offer, None).seq == 1
