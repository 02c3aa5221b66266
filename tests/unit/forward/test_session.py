"""Sender and receiver against what a link and a disk may do: single steps, each of which a story once stumbled over."""

import msgspec
import pytest
from tests.unit.forward.pair import ALARM, MS, TELE, Pair

from phloem.shared.forward.messages import (
    VERSION,
    Ack,
    Dictionary,
    Epoch,
    Gap,
    Hello,
    Offer,
    Parcel,
    Pause,
    Welcome,
    decode,
)
from phloem.shared.forward.receiver import Answer, Receiver
from phloem.shared.forward.sender import ANSWER_NS, REFUSED_NS
from phloem.shared.forward.standing import CONFIRMED, REMOVED, Lost, Standing
from phloem.shared.limits import SECOND_NS


def test_welcome_waits_for_the_disk_because_space_is_given_back_on_its_word() -> None:
    pair = Pair(TELE)
    receiver = Receiver("dev1", "hub", _sink_of(pair))
    offer = Offer(0, "tele", "", 5, (Epoch(3, 1),), 1, 10, 0)
    effects = receiver.received(Hello(1, "dev1", 9, 1, 0, (offer,)), 1, 1)
    assert [effect.durable for effect in effects if isinstance(effect, Answer)] == [True]


def _sink_of(pair: Pair):  # type: ignore[no-untyped-def]
    from phloem.shared.testing.simulated_hub import _Sink

    return _Sink(pair.hub, "dev1")


def test_what_was_dropped_is_not_acknowledged_when_the_pause_is_lost() -> None:
    pair = Pair(TELE)
    pair.hub.room = 3
    pair.drops = [Pause]
    pair.store(10)
    pair.connect()
    pair.run(7)
    assert pair.device.streams["tele"].confirmed == 0
    assert [pause.order for ack in pair.sent(Ack) for pause in ack.paused][:1] == [1]  # type: ignore[attr-defined]
    pair.hub.room = 1 << 30
    pair.run(20)
    assert pair.come == list(range(1, 11))
    assert pair.device.streams["tele"].confirmed == 10


def test_a_lost_dictionary_is_noticed() -> None:
    pair = Pair(TELE)
    pair.device.squeeze.dictionaries["tele"] = 77
    pair.drops = [Dictionary]
    pair.connect()
    pair.run(1)
    pair.store(3)
    pair.run(30)
    assert pair.come == [1, 2, 3]
    assert len(pair.sent(Dictionary)) == 2


def test_an_epoch_without_messages_does_not_end_the_way() -> None:
    pair = Pair(TELE)
    pair.store(2)
    pair.run(1)
    for _ in range(2):
        pair.device.crash(99)
        pair.device.start()
        pair.store(2)
        pair.run(1)
    log = pair.device.disk.live.logs["tele"]
    log.remove(3)
    log.remove(4)
    pair.connect()
    pair.run(8)
    assert pair.come == [1, 2, 5, 6]
    assert pair.device.streams["tele"].confirmed == 6


def test_damage_and_what_was_shed_in_between_is_announced() -> None:
    pair = Pair(TELE)
    pair.store(9)
    pair.run(1)
    stream = pair.device.streams["tele"]
    stream.damaged = {3, 9}
    stream.lose(5, 6, 2, "shed")
    for seq in (5, 6):
        stream.log.remove(seq)
    pair.connect()
    pair.run(5)
    assert pair.come == [1, 2, 4, 7, 8]
    assert pair.gaps == [(3, 3, "damaged"), (5, 6, "shed"), (9, 9, "damaged")]


def test_a_stream_with_nothing_left_to_send_does_not_hold_up_the_others() -> None:
    pair = Pair(ALARM, TELE)
    pair.store(1, "alarm")
    pair.store(1)
    pair.run(1)
    log = pair.device.disk.live.logs["alarm"]
    log.messages.clear()  # as a selection sees a stream that has other messages only
    pair.connect()
    pair.run(5)
    assert pair.come == [2]


def test_a_store_that_comes_back_is_remembered() -> None:
    pair = Pair(TELE)
    receiver = Receiver("dev1", "hub", _sink_of(pair))
    resumes = []
    for store, session in ((5, 1), (6, 2), (5, 3), (6, 4)):
        offer = Offer(0, "tele", "", store, (Epoch(store, 1),), 1, 10, 0)
        effects = receiver.received(Hello(1, "dev1", session, 1, 0, (offer,)), 1, 1)
        welcome = decode(next(effect.data for effect in effects if isinstance(effect, Answer)))
        assert isinstance(welcome, Welcome)
        resumes.append(welcome.places[0].resume)
        gap = Gap(session, 1, 0, welcome.places[0].resume, store, 0, "")
        receiver.received(gap, 1, 1)
    assert resumes == [1, 1, 6, 7]


def test_a_refusal_is_not_for_ever() -> None:
    pair = Pair(TELE)
    pair.hub.refused = {"tele"}
    pair.store(3)
    pair.connect()
    pair.run(10)
    pair.hub.refused = set()
    assert pair.come == []
    pair.run(REFUSED_NS / SECOND_NS + 5)
    assert pair.come == [1, 2, 3]


def test_a_hub_that_needs_longer_than_any_answer_may_take_is_reached() -> None:
    pair = Pair(TELE, delay_ns=int(ANSWER_NS * 1.2))
    pair.store(3)
    pair.connect()
    pair.run(600)
    assert pair.come == [1, 2, 3]
    assert pair.device.streams["tele"].confirmed == 3


def test_alarms_wait_for_no_more_than_the_window() -> None:
    """A day of telemetry, 1 Mbit/s, 300 ms both ways: an alarm is on the hub's disk within 2 s."""
    pair = Pair(ALARM, TELE, rate=125_000, delay_ns=150 * MS)
    pair.store(30_000, size=100)
    pair.run(1)
    pair.connect()
    pair.run(8)
    worst = 0.0
    for _ in range(12):
        pair.store(1, "alarm")
        number, began = pair.numbers, pair.schedule.now_ns
        assert pair.schedule.run(began + 10 * SECOND_NS, lambda number=number: number in pair.come[-5000:])
        worst = max(worst, (pair.schedule.now_ns - began) / SECOND_NS)
        pair.run(0.2)
    assert len(pair.come) < 30_000
    assert worst < 2


@pytest.mark.parametrize(("delay_ms", "first"), [(20, 0.0), (20, 0.2), (150, 0.3), (150, 0.8), (400, 1.0)])
def test_alarms_wait_for_little_from_the_first_second_of_a_slow_link(delay_ms: int, first: float) -> None:
    """10 KB a second: the first window and what follows it are behind them within 2 s, though nobody has said how fast
    the link is."""
    pair = Pair(ALARM, TELE, rate=10_000, delay_ns=delay_ms * MS)
    pair.store(3_000, size=100)
    pair.run(1)
    pair.connect()
    began = pair.schedule.now_ns
    pair.run(first)
    for _ in range(10):
        pair.store(1, "alarm")
        number, stored = pair.numbers, pair.schedule.now_ns
        assert pair.schedule.run(stored + 10 * SECOND_NS, lambda number=number: number in pair.come)
        waits = max(began + 2 * delay_ms * MS - stored, 0)  # for the hub's word that it is there
        assert pair.schedule.now_ns - stored - waits < 2 * SECOND_NS
        pair.run(0.1)
    assert len(pair.come) < 3_000


@pytest.mark.parametrize(("hub", "columns"), [(1, 1), (VERSION, VERSION), (VERSION + 1, VERSION)])
def test_columns_are_what_the_hub_knows(monkeypatch: pytest.MonkeyPatch, hub: int, columns: int) -> None:
    monkeypatch.setattr("phloem.shared.forward.receiver.VERSION", hub)
    pair = Pair(TELE)
    pair.store(3)
    pair.connect()
    pair.run(5)
    assert pair.come == [1, 2, 3]
    assert pair.device.packed_as == columns


def test_no_more_is_made_of_a_parcel_than_the_link_may_cost() -> None:
    pair = Pair(TELE)
    pair.device.allowance.most = 3_000
    pair.store(2_000, size=100)
    pair.connect()
    pair.run(3)
    sizes = [len(parcel.columns) for parcel in pair.sent(Parcel)]  # type: ignore[attr-defined]
    assert len(sizes) > 20
    assert max(sizes[2:]) < 3_500  # the first say how much becomes of what is packed


def test_why_something_is_missing() -> None:
    standing = Standing(1, 2, [Epoch(1, 1)], confirmed=100)
    standing.lose(101, 110, 8, "shed")
    standing.lose(111, 112, 2, "shed")
    assert standing.lost == [Lost(101, 112, 10, "shed")]
    assert standing.lost_between(51, 115) == (50 + 10 + 3, f"{CONFIRMED}; shed; {REMOVED}")
    assert standing.lost_between(101, 112, selection=True) == (10, "shed")
    assert standing.lost_between(113, 115, selection=True)[0] == -1
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(standing), type=Standing) == standing


def test_only_what_the_hub_said_is_confirmed() -> None:
    pair = Pair(TELE)
    pair.hub.disk_works = False
    pair.store(3)
    pair.connect()
    pair.run(60)
    assert pair.device.streams["tele"].confirmed == 0
    assert not pair.sent(Ack)
    assert pair.sent(Parcel) == []
