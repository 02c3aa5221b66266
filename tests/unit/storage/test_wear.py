"""What a card had to write: every byte belongs to one class, days are kept, life is estimated."""

from hypothesis import given
from hypothesis import strategies as st

from phloem.edge.storage.wear import DAY_NS, DAYS_KEPT, History, Wear

CLASSES = st.dictionaries(st.sampled_from(["alarm", "event", "debug"]), st.integers(1, 10**6), max_size=3)


@given(st.lists(st.tuples(CLASSES, st.integers(0, 10**7), st.integers(0, 10**7)), max_size=12))
def test_every_byte_belongs_to_a_class(steps: list[tuple[dict[str, int], int, int]]) -> None:
    wear, device, lmdb = Wear(), 0, 0
    for at, (records, journal, moved) in enumerate(steps):
        device, lmdb = device + journal, lmdb + moved
        wear.written(records, device, lmdb, at // 3, at)
    assert wear.history.total == sum(wear.since_start.values()) == device + lmdb
    assert sum(sum(day.values()) for day in wear.history.days.values()) == device + lmdb


def test_a_move_is_divided_among_those_whose_messages_are_moved() -> None:
    wear = Wear()
    wear.written({"debug": 100}, 4096, 0, 1, 1)
    wear.written({"alarm": 300}, 8192, 0, 1, 2)
    wear.written({}, 8192, 4000, 1, 3)
    assert wear.since_start == {"debug": 4096 + 1000, "alarm": 4096 + 3000}
    wear.written({}, 12288, 4000, 1, 4)
    assert wear.since_start["other"] == 4096


def test_days_and_life() -> None:
    wear = Wear(History({99: {"event": 10**9}, 98: {"event": 3 * 10**9}}, 4 * 10**9), endurance=24 * 10**9)
    assert wear.per_day(100, 0) == 2 * 10**9
    assert wear.life_days(100, 0) == 10
    assert Wear().life_days(100, 0) == -1
    fresh = Wear(endurance=10**12)
    assert fresh.life_days(0, 0) == 36_500
    fresh.written({"event": 1}, 0, 0, 0, 0)
    fresh.written({"event": 1}, 10**9, 0, 0, DAY_NS // 2)
    fresh._first_ns = 1
    assert fresh.per_day(0, DAY_NS // 2 + 1) == 2 * 10**9
    for day in range(100):
        fresh.written({"event": 1}, 10**9 + day, 0, day, DAY_NS)
    assert len(fresh.history.days) == DAYS_KEPT
