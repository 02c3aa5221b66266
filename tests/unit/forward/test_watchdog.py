"""When messages wait and nothing moves: the hub is asked anew, the link is made anew, people are told; and all of it
again after progress."""

import pytest
from tests.unit.forward.pair import TELE, Pair

from phloem.shared.forward.messages import Ack, Hello, Parcel, Welcome
from phloem.shared.forward.sender import ANSWER_NS
from phloem.shared.forward.watchdog import ALARM_NS, ALARM_TRIES, Step, Watchdog
from phloem.shared.limits import SECOND_NS

ANSWER_S = ANSWER_NS // SECOND_NS
T0 = 1_000 * SECOND_NS
FOR_EVER = 1_000  # of the frames of a kind


# --- the steps, with times handed in -----------------------------------------------------------------------


def _silent(watchdog: Watchdog, *seconds: int, waits: bool = True) -> list[Step]:
    return [watchdog.silent(T0 + at * SECOND_NS, waits=waits) for at in seconds]


def test_the_first_silence_is_followed_by_another_session() -> None:
    watchdog = Watchdog()
    watchdog.connected()
    assert _silent(watchdog, 0) == [Step.SESSION]
    assert not watchdog.alarmed


def test_the_second_silence_is_followed_by_another_connection() -> None:
    watchdog = Watchdog()
    watchdog.connected()
    assert _silent(watchdog, 0, 20) == [Step.SESSION, Step.CONNECTION]
    assert not watchdog.alarmed


def test_the_third_silence_is_an_alarm() -> None:
    watchdog = Watchdog()
    watchdog.connected()
    _silent(watchdog, 0, 20)
    assert watchdog.disconnected(T0 + 20 * SECOND_NS, waits=True) is Step.NONE  # it is the same try
    watchdog.connected()
    assert _silent(watchdog, 60) == [Step.SESSION | Step.ALARM]


def test_an_alarm_is_told_once_and_the_other_steps_go_on() -> None:
    watchdog = Watchdog()
    watchdog.connected()
    assert _silent(watchdog, 0, 20, 60, 140, 300) == [
        Step.SESSION,
        Step.CONNECTION,
        Step.SESSION | Step.ALARM,
        Step.CONNECTION,
        Step.SESSION,
    ]


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_progress_begins_it_again(tries: int) -> None:
    watchdog = Watchdog()
    watchdog.connected()
    _silent(watchdog, *range(0, 40 * tries, 40))
    assert watchdog.moved() == (tries == ALARM_TRIES)  # people hear that it is over, if they heard of it
    assert not watchdog.moved()
    assert _silent(watchdog, 1000, 1020, 1060) == [Step.SESSION, Step.CONNECTION, Step.SESSION | Step.ALARM]


def test_another_connection_begins_with_another_session_and_tries_are_counted_on() -> None:
    watchdog = Watchdog()
    watchdog.connected()
    assert _silent(watchdog, 0) == [Step.SESSION]
    watchdog.connected()
    assert _silent(watchdog, 40) == [Step.SESSION]
    watchdog.connected()
    assert _silent(watchdog, 80) == [Step.SESSION | Step.ALARM]


def test_nothing_waits_and_nobody_is_told() -> None:
    watchdog = Watchdog()
    watchdog.connected()
    assert _silent(watchdog, 0, 20, 60, 140, waits=False) == [Step.SESSION, Step.CONNECTION] * 2
    assert _silent(watchdog, 300) == [Step.SESSION | Step.ALARM]  # something does now


def test_connections_that_end_before_anything_moved_are_an_alarm_after_a_while() -> None:
    watchdog = Watchdog()
    steps = []
    for second in (0, 1, 2, ALARM_NS // SECOND_NS - 1, ALARM_NS // SECOND_NS):
        watchdog.connected()
        steps.append(watchdog.disconnected(T0 + second * SECOND_NS, waits=True))
    assert steps == [Step.NONE] * 4 + [Step.ALARM]
    watchdog.connected()
    assert watchdog.moved()
    assert watchdog.disconnected(T0 + 1000 * SECOND_NS, waits=True) is Step.NONE


def test_a_hub_that_ends_each_session_is_an_alarm() -> None:
    watchdog = Watchdog()
    watchdog.connected()
    steps = [watchdog.sent_away(T0 + second * SECOND_NS, waits=True) for second in (0, 1, 40)]
    assert steps == [Step.NONE, Step.NONE, Step.ALARM]


# --- and as a device does it -------------------------------------------------------------------------------


def _stored(count: int = 3) -> Pair:
    """A device that is linked, has sent what it had, and has more."""
    pair = Pair(TELE)
    pair.connect()
    pair.store(1)
    pair.run(5)
    assert pair.come == [1]
    pair.said.clear()
    return pair


def test_a_device_asks_anew_when_nothing_is_acknowledged() -> None:
    pair = _stored()
    pair.drops = [Parcel]
    pair.store(3)
    pair.run(ANSWER_S - 1)
    assert pair.sent(Hello) == []
    pair.run(2)
    assert len(pair.sent(Hello)) == 1
    pair.run(2)
    assert (pair.come, pair.bounces, pair.device.alarms) == ([1, 2, 3, 4], 0, [])


def test_a_device_gives_a_connection_up_that_lets_only_small_frames_through() -> None:
    """HELLO and WELCOME pass; the parcels that matter do not."""
    pair = _stored()
    pair.drops = [Parcel] * FOR_EVER
    pair.store(3)
    pair.run(ANSWER_S + 1)
    assert (len(pair.sent(Hello)), len(pair.sent(Welcome)), pair.bounces) == (1, 1, 0)
    pair.run(2 * ANSWER_S)
    assert (pair.bounces, pair.device.alarms) == (1, [])


def test_what_a_session_begins_with_is_progress_too() -> None:
    """No acknowledgement arrives, and the hub has everything all the same: the next WELCOME says so."""
    pair = _stored()
    pair.drops = [Ack] * FOR_EVER
    for _ in range(20):
        pair.store(3)
        pair.run(ANSWER_S / 2)
    pair.run(20 * ANSWER_S)  # each silence is given twice the time
    assert (pair.bounces, pair.device.alarms) == (0, [])
    assert pair.device.streams["tele"].confirmed == 61


@pytest.mark.parametrize("kind", [Welcome, Parcel])
def test_the_alarm_follows_a_connection_that_did_not_help(kind: type) -> None:
    pair = _stored()
    pair.drops = [Parcel, Parcel, *[kind] * FOR_EVER]
    pair.store(3)
    pair.run(3 * ANSWER_S + 1)
    assert (pair.bounces, pair.device.alarms) == (1, [])
    pair.device.disconnected()
    pair.connect()
    pair.run(4 * ANSWER_S + 1)
    assert (pair.bounces, len(pair.device.alarms)) == (1, 1)
    pair.run(40 * ANSWER_S)
    assert (len(pair.device.alarms), pair.come) == (1, [1])
    pair.drops = []
    pair.run(20 * ANSWER_S)
    assert (pair.come, pair.device.alarms[1:]) == ([1, 2, 3, 4], [""])
    assert pair.device.streams["tele"].confirmed == 4


def test_a_backlog_that_waits_for_its_hour_is_no_alarm() -> None:
    pair = _stored()
    pair.device.allowance.shut_ns = 1 << 62
    pair.store(3)
    for _ in range(10):
        pair.run(100)
        pair.device.disconnected()
        pair.connect()
    assert (pair.bounces, pair.device.alarms) == (0, [])
