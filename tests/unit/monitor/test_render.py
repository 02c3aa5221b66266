"""Dates, durations, numbers and JSON as Go writes them."""

import json

import pytest

from phloem.shared.server.monitor import render

SECOND_NS = render.SECOND_NS


@pytest.mark.parametrize(
    ("wall_ns", "text"),
    [
        (1_795_469_493_788_652_146, "2026-11-23T21:31:33.788652146Z"),
        (1_795_469_493_700_000_000, "2026-11-23T21:31:33.7Z"),
        (1_795_469_493_000_000_010, "2026-11-23T21:31:33.00000001Z"),
        (0, "1970-01-01T00:00:00Z"),
    ],
)
def test_dates_have_the_digits_they_need(wall_ns: int, text: str) -> None:
    assert render.date(wall_ns) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59, "59s"),
        (60, "1m0s"),
        (3600, "1h0m0s"),
        (86_400 + 61, "1d0h1m1s"),
        (366 * 86_400, "1y1d0h0m0s"),
        (-5, "0s"),
    ],
)
def test_uptime_begins_with_its_largest_unit(seconds: int, text: str) -> None:
    assert render.uptime(seconds * SECOND_NS + 999_999_999 * (seconds >= 0)) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0s"), (999, "999ns"), (730_123, "730µs"), (1_234_567, "1.234567ms"), (61 * SECOND_NS, "1m1s")],
)
def test_round_trips_below_a_millisecond_are_whole_microseconds(ns: int, text: str) -> None:
    assert render.rtt(ns) == text


def test_numbers_have_no_needless_fraction() -> None:
    assert json.dumps([render.number(2.0), render.number(0.5), render.number(3)]) == "[2, 0.5, 3]"


def test_json_is_safe_inside_of_html() -> None:
    text = render.pretty_json({"name": "<b>&\u2028\u2029", "none": {}, "list": [1]})
    assert text == (
        b'{\n  "name": "\\u003cb\\u003e\\u0026\\u2028\\u2029",\n  "none": {},\n  "list": [\n    1\n  ]\n}'
    )
    assert json.loads(text)["name"] == "<b>&\u2028\u2029"
