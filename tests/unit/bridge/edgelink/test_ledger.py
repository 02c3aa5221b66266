"""The ledger: what of a group is in the stream when nobody answered."""

from phloem.firmware_bridge.backlog import Message
from phloem.firmware_bridge.edgelink import limits
from phloem.firmware_bridge.edgelink.ledger import Durable, Find, Ledger, Located, Position, Store, Task

UID, RING = b"\1", 77
SECOND = limits.SECOND_NS


def frame(seq: int, parts: int = 2) -> list[Message]:
    return [Message(f"{seq}.{part}", b"", {}) for part in range(parts)]


def begun(next_: int | None = None) -> Ledger:
    ledger = Ledger()
    assert ledger.locate(UID, RING, 0) == [Find(UID)]
    last = Position(RING, next_ - 1, 1, 2, 40) if next_ is not None else None
    assert ledger.found(UID, last, 0) == [Located(UID, RING, next_)]
    return ledger


def stored(tasks: list[Task]) -> list[str]:
    (store,) = tasks
    assert isinstance(store, Store)
    return [message.subject for message in store.messages]


def test_a_group_at_a_time_and_each_expects_the_one_before() -> None:
    ledger = begun()
    assert ledger.put(UID, RING, 0, frame(0), 0) == [Store(UID, 0, tuple(frame(0)))]
    assert ledger.put(UID, RING, 1, frame(1), 0) == []
    assert ledger.put(UID, RING, 2, frame(2), 0) == []
    assert ledger.stored(UID, 2, 0) == [
        Durable(UID, RING, 1),
        Store(UID, 2, (*frame(1), *frame(2))),
    ]
    assert ledger.stored(UID, 6, 0) == [Durable(UID, RING, 3)]


def test_no_answer_and_a_part_was_stored() -> None:
    ledger = begun(5)
    ledger.put(UID, RING, 5, frame(5, 3), 0)
    assert ledger.stored(UID, None, 0) == []
    due = ledger.due_ns
    assert due == limits.STORE_MIN_NS
    assert ledger.expire(due - 1) == []
    assert ledger.expire(due) == [Find(UID)]
    assert stored(ledger.found(UID, Position(RING, 5, 0, 3, 41), due)) == ["5.1", "5.2"]
    assert ledger.stored(UID, 43, due) == [Durable(UID, RING, 6)]


def test_no_answer_and_all_was_stored() -> None:
    ledger = begun(5)
    ledger.put(UID, RING, 5, frame(5), 0)
    ledger.put(UID, RING, 6, frame(6), 0)
    ledger.stored(UID, None, 0)
    ledger.expire(SECOND)
    tasks = ledger.found(UID, Position(RING, 5, 1, 2, 42), SECOND)
    assert tasks == [Store(UID, 42, tuple(frame(6)))]
    assert ledger.stored(UID, 44, SECOND) == [Durable(UID, RING, 7)]


def test_an_earlier_process_stored_more_than_is_under_way() -> None:
    ledger = begun(5)
    ledger.put(UID, RING, 5, frame(5), 0)
    ledger.put(UID, RING, 6, frame(6), 0)
    ledger.stored(UID, None, 0)  # refused: another message was last
    ledger.expire(SECOND)
    tasks = ledger.found(UID, Position(RING, 7, 1, 2, 46), SECOND)
    assert tasks == [Durable(UID, RING, 7)]
    assert ledger.put(UID, RING, 7, frame(7), SECOND) == [Durable(UID, RING, 8)]
    assert ledger.put(UID, RING, 8, frame(8), SECOND) == [Store(UID, 46, tuple(frame(8)))]


def test_a_ring_begins_where_the_stream_has_half_a_frame() -> None:
    ledger = Ledger()
    ledger.locate(UID, RING, 0)
    assert ledger.found(UID, Position(RING, 9, 0, 2, 50), 0) == [Located(UID, RING, 9)]
    assert stored(ledger.put(UID, RING, 9, frame(9), 0)) == ["9.1"]


def test_where_a_ring_begins_is_said_when_all_is_settled() -> None:
    ledger = begun()
    ledger.put(UID, RING, 0, frame(0), 0)
    assert ledger.locate(UID, RING + 1, 0) == []
    assert ledger.stored(UID, 2, 0) == [Durable(UID, RING, 1), Find(UID)]
    assert ledger.not_found(UID, 0) == []
    assert ledger.expire(SECOND) == [Find(UID)]
    assert ledger.found(UID, Position(RING, 0, 1, 2, 2), SECOND) == [Located(UID, RING + 1, None)]


def test_a_ring_begins_behind_what_was_handed_up_even_if_the_stream_gave_it_back() -> None:
    ledger = begun()
    ledger.put(UID, RING, 0, frame(0), 0)
    ledger.stored(UID, 2, 0)
    ledger.locate(UID, RING, 0)
    assert ledger.found(UID, None, 0) == [Located(UID, RING, 1)]
    ledger.locate(UID, RING, 0)
    assert ledger.found(UID, Position(RING, 4, 1, 2, 9), 0) == [Located(UID, RING, 5)]


def test_two_ports_hand_up_one_frame() -> None:
    ledger = begun()
    ledger.put(UID, RING, 0, frame(0), 0)
    assert ledger.put(UID, RING, 0, frame(0), 0) == []
    assert ledger.stored(UID, 2, 0) == [Durable(UID, RING, 1)]
    assert ledger.put(UID, RING, 0, frame(0), 0) == [Durable(UID, RING, 1)]


def test_a_frame_that_says_nothing_is_passed_over() -> None:
    ledger = begun()
    assert ledger.put(UID, RING, 0, [], 0) == [Durable(UID, RING, 1)]
    ledger.put(UID, RING, 1, frame(1), 0)
    ledger.put(UID, RING, 2, [], 0)
    assert ledger.stored(UID, 2, 0) == [Durable(UID, RING, 2), Durable(UID, RING, 3)]


def test_boards_do_not_wait_for_each_other() -> None:
    ledger = begun()
    ledger.put(UID, RING, 0, frame(0), 0)
    assert ledger.locate(b"\2", 5, 0) == [Find(b"\2")]


def test_a_stream_that_gave_back_what_was_forwarded_is_asked_at_once() -> None:
    ledger = begun(5)
    ledger.put(UID, RING, 5, frame(5), 0)
    assert ledger.stored(UID, None, 0, overtaken=True) == [Find(UID)]
    assert ledger.found(UID, None, 0) == [Store(UID, 0, tuple(frame(5)))]
    assert ledger.stored(UID, None, 0, overtaken=True) == []  # not round and round
    assert ledger.expire(SECOND) == [Find(UID)]
    ledger.found(UID, None, SECOND)
    assert ledger.stored(UID, 60, SECOND) == [Durable(UID, RING, 6)]


def test_boards_without_number_are_forgotten_when_nothing_waits_for_them() -> None:
    ledger = begun()
    ledger.put(UID, RING, 0, frame(0), 0)
    for number in range(1000):
        uid = number.to_bytes(2, "big")
        for ring in range(20):
            ledger.locate(uid, ring, 0)
        assert len(ledger.found(uid, None, 0)) == limits.ASKED_MAX
    assert len(ledger.boards) == limits.BOARDS_MAX
    assert ledger.stored(UID, 2, 0) == [Durable(UID, RING, 1)]


def test_patience_grows_and_ends_with_success() -> None:
    ledger, now, waits = begun(), 0, []
    ledger.put(UID, RING, 0, frame(0), now)
    ledger.stored(UID, None, now)
    for _ in range(8):
        due = ledger.due_ns
        assert due is not None
        waits.append(due - now)
        now = due
        assert ledger.expire(now) == [Find(UID)]
        ledger.not_found(UID, now)
    assert waits == [n * SECOND // 2 for n in (1, 2, 4, 8, 16, 20, 20, 20)]
    now = ledger.due_ns or 0
    ledger.expire(now)
    ledger.found(UID, None, now)
    assert ledger.stored(UID, 2, now) == [Durable(UID, RING, 1)]
    assert ledger.due_ns is None
