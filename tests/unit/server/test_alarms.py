"""Alarms: in their order, once, and nothing of those that were cancelled."""

from phloem.shared.server.alarms import Alarms


def test_they_ring_in_order_and_once() -> None:
    alarms, rung = Alarms(), list[str]()
    alarms.at(20, lambda: rung.append("b"))
    alarms.at(10, lambda: rung.append("a"))
    alarms.at(20, lambda: rung.append("c"))
    assert alarms.due_ns == 10
    alarms.run(9)
    assert not rung
    alarms.run(20)
    alarms.run(30)
    assert (rung, alarms.due_ns, len(alarms)) == (["a", "b", "c"], 0, 0)


def test_one_that_is_cancelled_does_not_ring() -> None:
    alarms, rung = Alarms(), list[str]()
    first = alarms.at(10, lambda: rung.append("a"))
    alarms.at(20, lambda: rung.append("b"))
    first.cancel()
    first.cancel()
    assert (first.set, alarms.due_ns, len(alarms)) == (False, 20, 1)
    alarms.run(20)
    assert rung == ["b"]


def test_one_may_set_another() -> None:
    alarms, rung = Alarms(), list[str]()

    def again() -> None:
        rung.append("a")
        alarms.at(15, lambda: rung.append("b"))

    alarms.at(10, again)
    alarms.run(20)
    assert rung == ["a", "b"]


def test_cancelled_ones_do_not_pile_up() -> None:
    alarms = Alarms()
    kept = alarms.at(1, lambda: None)
    for number in range(10_000):
        alarms.at(100 + number, lambda: None).cancel()
    assert len(alarms) == 1
    assert len(alarms._heap) < 200
    assert kept.set
