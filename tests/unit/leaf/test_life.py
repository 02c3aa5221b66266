"""The life of one remote, a good one."""

from phloem.shared.leaf.life import Life, State


def test_a_life() -> None:
    life = Life(100)
    assert (life.state, life.due_ns, life.since_ns) == (State.WAITING, 100, 100)
    attempt = life.begin(100, 60)
    assert (life.state, life.due_ns) == (State.DIALLING, 160)
    assert life.connected(attempt)
    assert not life.connected(attempt)
    assert (life.state, life.due_ns) == (State.SHAKING, 160)
    assert life.up(attempt, 130)
    assert (life.is_up, life.due_ns, life.since_ns) == (True, None, 130)
    assert life.over(attempt, 500, 10)
    assert not life.over(attempt, 501, 10)
    assert (life.state, life.due_ns, life.since_ns) == (State.WAITING, 510, 500)


def test_hurry_brings_only_a_waiting_attempt_forward() -> None:
    life = Life(0)
    attempt = life.begin(0, 60)
    assert not life.hurry(1)
    life.over(attempt, 5, 100)
    assert life.hurry(6, 10)
    assert life.due_ns == 16
    assert not life.hurry(7, 10)  # it is sooner already
    assert life.due_ns == 16


def test_a_bug_forgets_the_attempt() -> None:
    life = Life(0)
    attempt = life.begin(0, 60)
    life.up(attempt, 3)
    life.crashed(9, 5)
    assert (life.state, life.due_ns, life.since_ns) == (State.WAITING, 14, 9)
    assert not life.over(attempt, 10, 1)
