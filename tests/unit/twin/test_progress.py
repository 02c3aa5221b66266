"""Silence of a hub that owes something, and of one that does not."""

from phloem.shared.twin.progress import PATIENCE_MAX, SILENCES_MAX, Progress

ANSWER_NS, HEARTBEAT_NS = 10, 600


def test_nothing_is_owed_and_two_heartbeats_may_be_missed() -> None:
    progress = Progress(ANSWER_NS, HEARTBEAT_NS)
    progress.opened(100, 0)
    assert progress.due_ns == 100 + 2 * HEARTBEAT_NS + ANSWER_NS
    progress.heard(700)
    assert progress.due_ns == 700 + 2 * HEARTBEAT_NS + ANSWER_NS


def test_what_is_owed_comes_soon_whatever_heartbeats_say() -> None:
    progress = Progress(ANSWER_NS, HEARTBEAT_NS)
    progress.opened(100, 2)
    assert progress.due_ns == 110
    progress.heard(105)
    assert progress.due_ns == 110
    progress.delivered(107, 1)
    assert progress.due_ns == 117
    progress.delivered(110, 0)
    assert progress.due_ns == 110 + 2 * HEARTBEAT_NS + ANSWER_NS


def test_patience_grows_and_then_the_link_is_given_up() -> None:
    progress = Progress(ANSWER_NS, HEARTBEAT_NS)
    found, waits = [], []
    for _ in range(4 * SILENCES_MAX):
        progress.opened(1000, 1)
        waits.append((progress.due_ns - 1000) // ANSWER_NS)
        found.append(progress.silent())
    assert found == ([False] * (SILENCES_MAX - 1) + [True]) * 4
    assert waits == [1, 2, 4, 8, 16, 32, PATIENCE_MAX, PATIENCE_MAX]
    progress.delivered(2000, 1)
    assert progress.due_ns == 2000 + ANSWER_NS
    assert not progress.silent()
