"""When schedules are due."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from phloem.shared.jetstream.schedule import BadSchedule, Due, due_of
from phloem.shared.jetstream.times import SECOND_NS, rfc3339


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


@pytest.mark.parametrize(
    ("pattern", "after", "due"),
    [
        ("@yearly", "2026-11-25T10:00:00", "2027-01-01T00:00:00Z"),
        ("@monthly", "2026-11-25T10:00:00", "2026-12-01T00:00:00Z"),
        ("@weekly", "2026-11-25T10:00:00", "2026-11-29T00:00:00Z"),
        ("@daily", "2026-11-25T00:00:00", "2026-11-26T00:00:00Z"),
        ("@hourly", "2026-11-25T10:59:59", "2026-11-25T11:00:00Z"),
        ("* * * * * *", "2026-11-25T10:59:59", "2026-11-25T11:00:00Z"),
        ("30 */20 * * * *", "2026-11-25T10:20:30", "2026-11-25T10:40:30Z"),
        ("0 0 12 29 feb *", "2026-11-25T10:00:00", "2028-02-29T12:00:00Z"),
        ("0 0 0 13 * fri", "2026-11-25T10:00:00", "2026-11-27T00:00:00Z"),
        ("0 0 0 13 * ?", "2026-11-25T10:00:00", "2026-12-13T00:00:00Z"),
        ("10-12,40/5 59 23 31 12 *", "2026-12-31T23:59:45", "2026-12-31T23:59:50Z"),
    ],
)
def test_cron(pattern: str, after: str, due: str) -> None:
    found = due_of(pattern.encode(), None, ns(after), ns(after))
    assert (rfc3339(found.ns), found.repeats) == (due, True)


@pytest.mark.parametrize(
    ("pattern", "after", "due"),
    [
        ("0 30 8 * * *", "2026-03-28T12:00:00", ["2026-03-29T06:30:00Z", "2026-03-30T06:30:00Z"]),
        ("0 30 2 * * *", "2026-03-28T12:00:00", ["2026-03-30T00:30:00Z"]),  # left out on the 29th
        (
            "0 30 2 * * *",
            "2026-10-24T12:00:00",
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"],
        ),
    ],
)
def test_summer_time(pattern: str, after: str, due: list[str]) -> None:
    at, found = ns(after), []
    for _ in due:
        at = due_of(pattern.encode(), ZoneInfo("Europe/Berlin"), at, at).ns
        found.append(rfc3339(at))
    assert found == due


def test_a_missed_repeat_is_not_made_up_for() -> None:
    missed, now = ns("2026-01-01T00:00:00"), ns("2026-06-01T12:00:30")
    assert due_of(b"@daily", None, missed, now) == Due(ns("2026-06-02T00:00:00"), repeats=True)
    assert due_of(b"@every 10s", None, missed, now) == Due(now + 10 * SECOND_NS, repeats=True)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "@at",
        "@at 2026",
        "@every -5s",
        "@every 0.5s",
        "* * * * * * *",
        "1- * * * * *",
        "a * * * * *",
        "@every " + "9" * 30 + "h",
        *[
            "* * * 31 feb *",
            "* * 24 * * *",
            "1/2/3 * * * * *",
            "* * * 0 * *",
            "* * * * * 7",
            "\xff * * * * *",
        ],
    ],
)
def test_bad(pattern: str) -> None:
    with pytest.raises(BadSchedule):
        due_of(pattern.encode("latin-1"), None, ns("2026-01-01T00:00:00"), ns("2026-01-01T00:00:00"))
