"""Days, months, shares, hours and clocks that lie."""

import pytest

from phloem.shared.errors import ConfigError
from phloem.shared.leaf.allowance import FOREVER, Account, Allowance, Plan, When, shares
from phloem.shared.leaf.hours import DAY_S, wait_s, windows

NOON = When(20261128, 12 * 3600, 3)
HOUR_S = 3600


def at(second: int, day: int = 20261128, *, trusted: bool = True) -> When:
    return When(day, second, 3, trusted)


def test_how_much_may_go_is_what_is_left_of_day_month_and_share() -> None:
    plan = Plan(
        per_day=1000,
        per_month=5000,
        emergency_percent=10,
        emergency=frozenset({"alarm"}),
        shares={"debug": 20},
    )
    allowance = Allowance(plan)
    assert [allowance.room(cls, NOON, 10_000) for cls in ("telemetry", "debug", "alarm")] == [900, 200, 1000]
    assert allowance.room("telemetry", NOON, 300) == 300
    allowance.charge("telemetry", 850, NOON)
    assert [allowance.room(cls, NOON, 10_000) for cls in ("telemetry", "debug", "alarm")] == [50, 50, 150]
    assert allowance.may_send("telemetry", NOON, 50).ok
    assert not allowance.may_send("telemetry", NOON, 51).ok
    allowance.charge("telemetry", 500, NOON)
    assert allowance.room("alarm", NOON, 10_000) == 0
    assert Allowance(Plan()).room("debug", NOON, 123) == 123


def test_windows_of_the_day() -> None:
    night = windows(["01:00-05:00"])
    assert [wait_s(night, hour * HOUR_S) for hour in (1, 4)] == [0, 0]
    assert wait_s(night, 5 * HOUR_S) == 20 * HOUR_S
    assert wait_s(night, 5 * HOUR_S - 1) == 0
    assert wait_s(night, 0) == HOUR_S
    across = windows(["22:30-02:00"])
    assert [wait_s(across, second) for second in (23 * HOUR_S, 0, 2 * HOUR_S - 1)] == [0, 0, 0]
    assert wait_s(across, 2 * HOUR_S) == 20 * HOUR_S + HOUR_S // 2
    assert wait_s(windows(["22:00-24:00", "12:00-13:00"]), 13 * HOUR_S) == 9 * HOUR_S
    assert all(wait_s(windows(["00:00-00:00"]), second) == 0 for second in range(0, DAY_S, 599))
    assert wait_s((), 5) == 0


@pytest.mark.parametrize("text", ["", "1:00-2:00", "01:00", "24:00-01:00", "01:00-24:01", "01:60-02:00"])
def test_no_window(text: str) -> None:
    with pytest.raises(ConfigError):
        windows([text])


def test_shares() -> None:
    assert shares({"a": "60%", "b": "5"}) == {"a": 60, "b": 5}
    for wrong in ("", "101%", "-1", "x"):
        with pytest.raises(ConfigError):
            shares({"a": wrong})


def test_a_day_is_used_up_and_an_emergency_is_not() -> None:
    book = Allowance(Plan(per_day=1000, emergency_percent=10, emergency=frozenset({"alarm"})))
    book.charge("telemetry", 890, NOON)
    assert book.may_send("telemetry", NOON, 10).ok
    refused = book.may_send("telemetry", NOON, 11)
    assert (refused.ok, refused.wait_s) == (False, 12 * HOUR_S)
    assert book.may_send("alarm", NOON, 110).ok
    assert not book.may_send("alarm", NOON, 111).ok
    assert book.may_send("telemetry", NOON, 1001).wait_s == FOREVER
    assert book.used_up() == ""
    book.charge("core", 110, NOON)
    assert book.used_up() == "day"
    assert book.may_send("telemetry", at(0, 20261129), 10).ok


def test_a_month_ends_later_than_a_day() -> None:
    book = Allowance(Plan(per_month=1000))
    book.charge("telemetry", 1000, NOON)
    assert book.may_send("telemetry", NOON, 1).wait_s == 12 * HOUR_S + 2 * DAY_S
    assert not book.may_send("telemetry", at(0, 20261130), 1).ok
    assert book.may_send("telemetry", at(0, 20261201), 1).ok


def test_a_share() -> None:
    book = Allowance(Plan(per_day=1000, shares={"telemetry": 60}))
    book.charge("telemetry", 600, NOON)
    assert not book.may_send("telemetry", NOON, 1).ok
    assert book.may_send("events", NOON, 400).ok


def test_hours_count_for_all_but_emergencies_and_only_with_a_clock() -> None:
    book = Allowance(Plan(hours=windows(["01:00-05:00"]), emergency=frozenset({"alarm"})))
    assert book.may_send("telemetry", NOON).wait_s == 13 * HOUR_S
    assert book.may_send("alarm", NOON).ok
    assert book.may_send("telemetry", NOON._replace(trusted=False)).ok
    assert book.may_send("telemetry", at(2 * HOUR_S)).ok


def test_a_clock_that_lies_gives_nobody_a_second_allowance() -> None:
    book = Allowance(Plan(per_day=1000))
    book.charge("telemetry", 1000, NOON)
    assert not book.may_send("telemetry", at(0, 20360101, trusted=False), 1).ok
    assert not book.may_send("telemetry", at(0, 19700101, trusted=False), 1).ok
    assert not book.may_send("telemetry", at(0, 20261127), 1).ok  # a trusted one that was set back
    assert book.account.day == 20261127
    assert book.may_send("telemetry", at(0, 20261128), 1).ok


def test_a_count_that_was_too_high_is_set_right() -> None:
    book = Allowance(Plan())
    book.charge("a", 100, NOON)
    book.charge("a", -30, NOON)
    book.charge("b", -5, NOON)
    assert book.account.today == {"a": 70, "b": 0}


def test_accounts_share_nothing() -> None:
    one, other = Allowance(Plan()), Allowance(Plan(), Account())
    one.charge("a", 1, NOON)
    assert other.account.today == {}
    assert Account().total == {}
