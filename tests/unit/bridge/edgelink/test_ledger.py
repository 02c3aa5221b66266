"""The ledger: what of a group is in the stream when nobody answered."""

from phloem.firmware_bridge.edgelink import limits
from phloem.firmware_bridge.edgelink.ledger import Durable, Find, Ledger, Located, Position, Store, Task
from phloem.firmware_bridge.headers import Encoded

UID, RING = b"\1", 77
SECOND = limits.SECOND_NS


def frame(seq: int, parts: int = 2) -> list[Encoded]:
    return [(f"{seq}.{part}".encode(), b"", b"") for part in range(parts)]


def put(ledger: Ledger, seq: int, parts: int = 2, now_ns: int = 0) -> list[Task]:
    return ledger.put(UID, RING, [(seq, frame(seq, parts))], now_ns)


def begun(next_: int | None = None) -> Ledger:
    ledger = Ledger()
    assert ledger.locate(UID, RING, 0) == [Find(UID)]
    last = Position(RING, next_ - 1, 1, 2, 40) if next_ is not None else None
    assert ledger.found(UID, last, 0) == [Located(UID, RING, next_)]
    return ledger


def two_placed() -> Ledger:
    """Two groups are in the stream, messages 1 to 4, and neither is known to be durable."""
    ledger = begun()
    put(ledger, 0)
    ledger.placed(UID, 1, 2, 0)
    put(ledger, 1)
    ledger.placed(UID, 2, 4, 0)
    return ledger


def stored(tasks: list[Task]) -> list[str]:
    (store,) = tasks
    assert isinstance(store, Store)
    return [subject.decode() for subject, _, _ in store.messages]


def test_a_group_at_a_time_and_each_expects_the_one_before() -> None:
    ledger = begun()
    assert put(ledger, 0) == [Store(UID, 1, 0, frame(0))]
    assert put(ledger, 1) == []
    assert put(ledger, 2) == []
    assert ledger.stored(UID, 1, 2, 0) == [
        Durable(UID, RING, 1),
        Store(UID, 2, 2, [*frame(1), *frame(2)]),
    ]
    assert ledger.stored(UID, 2, 6, 0) == [Durable(UID, RING, 3)]


def test_no_answer_and_a_part_was_stored() -> None:
    ledger = begun(5)
    put(ledger, 5, 3)
    assert ledger.stored(UID, 1, None, 0) == []
    due = ledger.due_ns
    assert due == limits.STORE_MIN_NS
    assert ledger.expire(due - 1) == []
    assert ledger.expire(due) == [Find(UID)]
    assert stored(ledger.found(UID, Position(RING, 5, 0, 3, 41), due)) == ["5.1", "5.2"]
    assert ledger.stored(UID, 2, 43, due) == [Durable(UID, RING, 6)]


def test_no_answer_and_all_was_stored() -> None:
    ledger = begun(5)
    put(ledger, 5)
    put(ledger, 6)
    ledger.stored(UID, 1, None, 0)
    ledger.expire(SECOND)
    tasks = ledger.found(UID, Position(RING, 5, 1, 2, 42), SECOND)
    assert tasks == [Store(UID, 2, 42, frame(6))]
    assert ledger.stored(UID, 2, 44, SECOND) == [Durable(UID, RING, 7)]


def test_an_earlier_process_stored_more_than_is_under_way() -> None:
    ledger = begun(5)
    put(ledger, 5)
    put(ledger, 6)
    ledger.stored(UID, 1, None, 0)  # refused: another message was last
    ledger.expire(SECOND)
    tasks = ledger.found(UID, Position(RING, 7, 1, 2, 46), SECOND)
    assert tasks == [Durable(UID, RING, 7)]
    assert put(ledger, 7, now_ns=SECOND) == [Durable(UID, RING, 8)]
    assert put(ledger, 8, now_ns=SECOND) == [Store(UID, 2, 46, frame(8))]


def test_a_ring_begins_where_the_stream_has_half_a_frame() -> None:
    ledger = Ledger()
    ledger.locate(UID, RING, 0)
    assert ledger.found(UID, Position(RING, 9, 0, 2, 50), 0) == [Located(UID, RING, 9)]
    assert stored(put(ledger, 9)) == ["9.1"]


def test_where_a_ring_begins_is_said_when_all_is_settled() -> None:
    ledger = begun()
    put(ledger, 0)
    assert ledger.locate(UID, RING + 1, 0) == []
    assert ledger.stored(UID, 1, 2, 0) == [Durable(UID, RING, 1), Find(UID)]
    assert ledger.not_found(UID, 0) == []
    assert ledger.expire(SECOND) == [Find(UID)]
    assert ledger.found(UID, Position(RING, 0, 1, 2, 2), SECOND) == [Located(UID, RING + 1, None)]


def test_a_ring_begins_behind_what_was_handed_up_even_if_the_stream_gave_it_back() -> None:
    ledger = begun()
    put(ledger, 0)
    ledger.stored(UID, 1, 2, 0)
    ledger.locate(UID, RING, 0)
    assert ledger.found(UID, None, 0) == [Located(UID, RING, 1)]
    ledger.locate(UID, RING, 0)
    assert ledger.found(UID, Position(RING, 4, 1, 2, 9), 0) == [Located(UID, RING, 5)]


def test_two_ports_hand_up_one_frame() -> None:
    ledger = begun()
    put(ledger, 0)
    assert put(ledger, 0) == []
    assert ledger.stored(UID, 1, 2, 0) == [Durable(UID, RING, 1)]
    assert put(ledger, 0) == [Durable(UID, RING, 1)]


def test_a_frame_that_says_nothing_is_passed_over() -> None:
    ledger = begun()
    assert put(ledger, 0, 0) == [Durable(UID, RING, 1)]
    put(ledger, 1)
    put(ledger, 2, 0)
    assert ledger.stored(UID, 1, 2, 0) == [Durable(UID, RING, 2), Durable(UID, RING, 3)]


def test_boards_do_not_wait_for_each_other() -> None:
    ledger = begun()
    put(ledger, 0)
    assert ledger.locate(b"\2", 5, 0) == [Find(b"\2")]


def test_a_stream_that_gave_back_what_was_forwarded_is_asked_at_once() -> None:
    ledger = begun(5)
    put(ledger, 5)
    assert ledger.stored(UID, 1, None, 0, overtaken=True) == [Find(UID)]
    assert ledger.found(UID, None, 0) == [Store(UID, 2, 0, frame(5))]
    assert ledger.stored(UID, 2, None, 0, overtaken=True) == []  # not round and round
    assert ledger.expire(SECOND) == [Find(UID)]
    ledger.found(UID, None, SECOND)
    assert ledger.stored(UID, 3, 60, SECOND) == [Durable(UID, RING, 6)]


def test_boards_without_number_are_forgotten_when_nothing_waits_for_them() -> None:
    ledger = begun()
    put(ledger, 0)
    for number in range(1000):
        uid = number.to_bytes(2, "big")
        for ring in range(20):
            ledger.locate(uid, ring, 0)
        assert len(ledger.found(uid, None, 0)) == limits.ASKED_MAX
    assert len(ledger.boards) == limits.BOARDS_MAX
    assert ledger.stored(UID, 1, 2, 0) == [Durable(UID, RING, 1)]


def test_patience_grows_and_ends_with_success() -> None:
    ledger, now, waits = begun(), 0, []
    put(ledger, 0, now_ns=now)
    ledger.stored(UID, 1, None, now)
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
    assert ledger.stored(UID, 2, 2, now) == [Durable(UID, RING, 1)]
    assert ledger.due_ns is None


# --- several on their way ---------------------------------------------------------------------------------


def test_the_next_group_goes_when_the_one_before_is_in_its_place() -> None:
    ledger = begun()
    assert put(ledger, 0) == [Store(UID, 1, 0, frame(0))]
    assert put(ledger, 1) == []
    assert ledger.placed(UID, 1, 2, 0) == [Store(UID, 2, 2, frame(1))]
    assert ledger.placed(UID, 2, 9, 0) == []
    assert ledger.stored(UID, 1, 2, 0) == [Durable(UID, RING, 1)]
    assert put(ledger, 2) == [Store(UID, 3, 9, frame(2))]
    assert ledger.stored(UID, 2, 9, 0) == [Durable(UID, RING, 2)]
    assert ledger.stored(UID, 3, 11, 0) == [Durable(UID, RING, 3)]


def test_no_more_than_some_are_on_their_way() -> None:
    ledger, at = begun(), 0
    for at in range(limits.STORES_MAX):
        assert put(ledger, at) == [Store(UID, at + 1, 2 * at, frame(at))]
        assert ledger.placed(UID, at + 1, 2 * at + 2, 0) == []
    assert put(ledger, at + 1) == []
    assert put(ledger, at + 2) == []
    durable, store = ledger.stored(UID, 1, 2, 0)
    assert durable == Durable(UID, RING, 1)
    assert stored([store]) == [f"{at + 1}.0", f"{at + 1}.1", f"{at + 2}.0", f"{at + 2}.1"]


def test_a_group_that_is_durable_says_so_of_those_before_it() -> None:
    ledger = two_placed()
    assert ledger.stored(UID, 2, 4, 0) == [Durable(UID, RING, 2)]
    assert ledger.stored(UID, 1, 2, 0) == []


def test_of_a_group_nobody_knows_while_the_next_is_on_its_way() -> None:
    ledger = two_placed()
    assert ledger.stored(UID, 1, None, 0) == []
    assert put(ledger, 2) == []  # not before the stream was asked
    assert ledger.expire(SECOND) == [Find(UID)]
    assert ledger.stored(UID, 2, None, SECOND) == []  # it is being asked
    assert ledger.found(UID, Position(RING, 0, 0, 2, 1), SECOND) == [
        Store(UID, 3, 1, [*frame(0)[1:], *frame(1), *frame(2)])
    ]
    assert ledger.stored(UID, 1, 2, SECOND) == []  # too late to be believed
    assert ledger.placed(UID, 2, 4, SECOND) == []
    assert ledger.stored(UID, 3, 6, SECOND) == [Durable(UID, RING, 3)]


def test_the_next_group_is_durable_after_all_and_with_it_the_one_that_nobody_knew() -> None:
    ledger = two_placed()
    assert ledger.stored(UID, 1, None, 0) == []
    assert ledger.stored(UID, 2, 4, 0) == [Durable(UID, RING, 2)]
    assert ledger.expire(SECOND) == []
    assert put(ledger, 2, now_ns=SECOND) == [Store(UID, 3, 4, frame(2))]


def test_a_group_is_not_taken_at_once_while_others_are_on_their_way() -> None:
    """The stream refuses one message of it: the rest is nobody's until it is known why."""
    ledger = begun()
    put(ledger, 0)
    ledger.placed(UID, 1, 2, 0)
    assert put(ledger, 1) == [Store(UID, 2, 2, frame(1))]
    assert put(ledger, 2) == []
    assert ledger.stored(UID, 1, 2, 0) == [Durable(UID, RING, 1)]
    assert ledger.stored(UID, 2, None, 0) == []
    assert ledger.expire(SECOND) == [Find(UID)]
    assert ledger.found(UID, Position(RING, 1, 0, 2, 3), SECOND) == [
        Store(UID, 3, 3, [*frame(1)[1:], *frame(2)])
    ]


def test_a_frame_that_says_nothing_waits_for_those_before_it() -> None:
    ledger = begun()
    put(ledger, 0)
    ledger.placed(UID, 1, 2, 0)
    assert put(ledger, 1, 0) == []
    assert ledger.stored(UID, 1, 2, 0) == [Durable(UID, RING, 2)]


def test_where_a_ring_begins_is_not_asked_while_something_is_on_its_way() -> None:
    ledger = begun()
    put(ledger, 0)
    ledger.placed(UID, 1, 2, 0)
    assert ledger.locate(UID, RING + 1, 0) == []
    assert ledger.stored(UID, 1, 2, 0) == [Durable(UID, RING, 1), Find(UID)]


def test_durable_before_it_was_said_to_be_in_its_place() -> None:
    ledger = begun()
    put(ledger, 0)
    put(ledger, 1)
    assert ledger.stored(UID, 1, 2, 0) == [Durable(UID, RING, 1), Store(UID, 2, 2, frame(1))]
    assert ledger.placed(UID, 1, 2, 0) == []
