import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.shared.server.durations import format_duration, parse_duration, short_duration


@pytest.mark.parametrize(
    ("text", "ns", "printed"),
    [
        ("0", 0, "0s"),
        ("2m", 120_000_000_000, "2m0s"),
        ("1h", 3_600_000_000_000, "1h0m0s"),
        ("1h2m3.5s", 3_723_500_000_000, "1h2m3.5s"),
        ("300ms", 300_000_000, "300ms"),
        ("1.5µs", 1500, "1.5µs"),
        ("7ns", 7, "7ns"),
        ("-1.5s", -1_500_000_000, "-1.5s"),
        ("+.5s", 500_000_000, "500ms"),
        ("90s", 90_000_000_000, "1m30s"),
    ],
)
def test_as_go(text: str, ns: int, printed: str) -> None:
    assert parse_duration(text) == ns
    assert format_duration(ns) == printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("--1s", 'time: invalid duration "--1s"'),
        (".s", 'time: invalid duration ".s"'),
        ("10", 'time: missing unit in duration "10"'),
        ("5d", 'time: unknown unit "d" in duration "5d"'),
        ("9999999h", 'time: invalid duration "9999999h"'),
        ("1 s", 'time: unknown unit " s" in duration "1 s"'),
    ],
)
def test_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_duration(text)


@given(st.integers(-(1 << 62), 1 << 62))
def test_every_duration_reads_back(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns
    assert parse_duration(short_duration(ns)) == ns
