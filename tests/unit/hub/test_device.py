"""What is worked out about a device: rates, what is left, how long it takes, what is trouble."""

from typing import Any

import pytest

from phloem.hub.collect.device import STUCK, Device, Flow
from phloem.shared import limits
from phloem.shared.forward import ledger
from phloem.shared.forward.figures import DeviceStatus, StreamStatus
from phloem.shared.forward.identity import Record
from phloem.shared.forward.messages import Epoch, Hello, Offer
from phloem.shared.forward.receiver import Lane, Receiver
from phloem.shared.limits import SECOND_NS

START_NS = 1_600_000_000 * SECOND_NS
MINUTE_NS = 60 * SECOND_NS


def nothing(_stream: str) -> tuple[int, int]:
    return 0, -1


def device(*, last: int = 0, kept: ledger.Document | None = None) -> tuple[Device, Lane]:
    """One with a stream of which everything below 1 has come."""
    sink: Any = None
    made = Device("dev1", "HUB", Receiver("dev1", "HUB", sink), nothing, kept, START_NS)
    offer = Offer(0, "tele", "", 7, (Epoch(70, 1),), 1, last, 0)
    lane = made.receiver.lanes[0] = Lane(offer, Record(7, []), 1, "")
    made.looked_ns = SECOND_NS
    made.came(START_NS)
    made.said_hello(Hello(1, "dev1", 1, 1, 0, (offer,)), SECOND_NS, START_NS)
    return made, lane


def take(lane: Lane, count: int) -> None:
    lane.record.received += count
    lane.expected += count


def test_a_backlog_that_drains() -> None:
    made, lane = device(last=10_000)
    now = SECOND_NS
    for _ in range(60):
        take(lane, 100)
        now += SECOND_NS
        made.look(now, START_NS + now)
    document = made.document(now, START_NS + now)
    stream = document.streams["tele"]
    assert (stream.contiguous, stream.backlog, stream.received) == (6000, 4000, 6000)
    assert stream.rate == pytest.approx(100, rel=0.01)
    assert stream.eta_s == document.totals.eta_s == 41
    assert document.history == [5800, 200] or sum(document.history) == 6000


def test_what_the_device_stores_meanwhile_counts() -> None:
    flow = Flow(0, 0)
    flow.told(StreamStatus(1000, 0, 10, 1000), 0, 10 * SECOND_NS, START_NS)
    flow.told(StreamStatus(1000, 0, 10, 1600), 600, 20 * SECOND_NS, START_NS)
    flow.rate = 100.0
    assert flow.growth == 60
    assert flow.left(600) == 1000
    assert flow.eta_s(1000) == 25
    flow.rate = 50.0
    assert flow.eta_s(1000) == -1  # never


def test_history_has_minutes() -> None:
    made, lane = device()
    for minute, count in ((0, 3), (0, 2), (2, 7), (3, 1)):
        take(lane, count)
        wall = START_NS + minute * MINUTE_NS
        made.look(SECOND_NS, wall)
    assert made.history == [5, 0, 7, 1]
    take(lane, 4)
    made.look(SECOND_NS, START_NS + 1000 * MINUTE_NS)
    assert made.history == [4]
    take(lane, 4)
    made.look(SECOND_NS, START_NS)  # the clock was set back
    assert made.history == [4]


def test_a_backlog_that_does_not_move_is_trouble() -> None:
    made, lane = device(last=100)
    later = SECOND_NS + limits.LEDGER_STUCK_NS
    made.dirty = False
    made.settle(later - 1, START_NS)
    assert not made.dirty
    made.settle(later, START_NS)
    assert made.dirty
    assert made.document(later, START_NS).trouble == [f"tele: {STUCK}"]
    made.told(DeviceStatus({"tele": StreamStatus(9, 9, 9, 100, "", "its hours")}), later, START_NS)
    document = made.document(later, START_NS)
    assert (document.trouble, document.streams["tele"].state) == ([], "waiting")
    made.told(DeviceStatus({"tele": StreamStatus(9, 9, 9, 100, "", "")}), later, START_NS)
    take(lane, 1)
    made.look(later, START_NS)
    assert made.document(later, START_NS).trouble == []


def test_what_was_lost_is_trouble_for_a_day() -> None:
    made, lane = device()
    lane.record.gaps = [(1, 5, 5, "shed", START_NS), (9, 9, -1, "damaged", START_NS)]
    assert made.document(1, START_NS).trouble == ["tele: some messages will not come: shed, damaged"]
    assert made.document(1, START_NS + limits.LEDGER_RECENT_NS).trouble == []


def test_what_the_ledger_had_goes_on() -> None:
    made, _ = device()
    made.note("tele", "something", START_NS)
    made.told(DeviceStatus(link={"rtt_ms": 1}, health={"version": "1"}), 1, START_NS)
    before = made.document(1, START_NS)
    before.streams["old"] = ledger.StreamEntry("flowing", received=5, missing=1)
    kept = ledger.decode(ledger.encode(before))
    assert kept == before
    again, _ = device(kept=kept)
    after = again.document(1, START_NS + SECOND_NS)
    assert after.first_seen == before.first_seen
    assert (after.link, after.health) == (before.link, before.health)
    assert after.events == before.events
    assert list(after.streams) == ["old", "tele"]
    assert (after.totals.received, after.totals.missing) == (5, 1)
    again.told(
        DeviceStatus({"tele": StreamStatus(last_seq=1)}), 1, START_NS
    )  # figures that are not said stay
    assert again.status.link == before.link


def test_streams_that_come_and_go_do_not_make_a_document_grow() -> None:
    made, lane = device()
    for number in range(3 * limits.FORWARD_STREAMS):
        offer = Offer(0, f"s{number}\n", "", 7, (Epoch(70, 1),), 1, 0, 0)
        made.receiver.lanes = {0: Lane(offer, lane.record, 0, "no")}
        made.document(1, START_NS)
    assert len(made.kept.streams) == limits.FORWARD_STREAMS + 1
    assert f"s{number}?" in made.kept.streams


def test_a_second_device_of_the_name_is_forgotten_in_time() -> None:
    made, _ = device()
    one, other = (
        Hello(1, "dev1", 1, 1, 0, (Offer(0, "tele", "", 7, (Epoch(n, 1),), 1, 0, 0),)) for n in (70, 71)
    )
    assert not made.said_hello(other, 1, START_NS)
    assert made.said_hello(one, 1, START_NS)
    assert made.clone is not None
    made.settle(1, START_NS + limits.LEDGER_CLONE_NS + SECOND_NS)
    assert made.clone is None


def test_no_document() -> None:
    assert ledger.decode(b"") is None
    assert ledger.decode(b"[" * 100_000) is None
    assert ledger.decode(b'{"device": 1}') is None
