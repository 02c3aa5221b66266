"""What the demo prints."""

import io

import pytest
from rich.console import Console, RenderableType

from phloem.edge.demo.pages import Leaf, Stored
from phloem.edge.demo.picture import (
    Shown,
    Stage,
    Summary,
    picture,
    plain_line,
    plain_summary,
    summary_table,
)

NOW = Shown(
    elapsed_s=3.2,
    written=Stage(61, 2_700, 20.0),
    published=Stage(60, 2_640, 20.0),
    received=Stage(58, 2_552, 19.5),
    link=Leaf(rtt="211µs", out_msgs=59, out_bytes=12_345_678),
    link_rate=19.8,
    stored=Stored(messages=57, bytes=4_321),
    latency_ns=1_400_000,
    latest="sensor seq=58 t=1 v=20.1",
)
CLEAN = Summary(1234, 1234, 1234, 1234, 0, 0, 0, 1_400_000, 3_900_000)


def rendered(what: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_picture_fits_a_small_terminal() -> None:
    text = rendered(picture(NOW))
    titles = text.splitlines()[0]
    assert [titles.index(name) for name in ("sensor", "edge", "hub", "subscriber")] == sorted(
        titles.index(name) for name in ("sensor", "edge", "hub", "subscriber")
    )
    for shown in (
        "61",
        "60",
        "59",
        "58",
        "12.3 MB",
        "20.0/s",
        "19.8/s",
        "━▶",
        "up, round trip 211µs",
        "1.4 ms",
        "57 messages, 4.3 KB, on the edge's disk",
    ):
        assert shown in text
    assert text.count("\n") == 10
    assert "sensor seq=58 t=1 v=20.1" in text


def test_picture_of_a_link_that_is_down() -> None:
    text = rendered(picture(NOW._replace(link=None)))
    assert "link down" in text
    assert "╳" in text
    assert "━▶" not in text


def test_plain_line() -> None:
    assert plain_line(NOW) == (
        "   3 s  written 61 (2.7 KB)  published 60  stored 57 (4.3 KB)  link up, 59 over it"
        "  received 58 (19.5/s)  latency 1.4 ms  sensor seq=58 t=1 v=20.1"
    )
    assert "link down  " in plain_line(NOW._replace(link=None))


def test_summary() -> None:
    lines = plain_summary(CLEAN).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["written", "1,234"],
        ["read", "1,234"],
        ["stored", "1,234"],
        ["delivered", "1,234"],
        ["lost", "0"],
        ["duplicated", "0"],
        ["latency", "1.4"],
    ]
    table = rendered(summary_table(CLEAN))
    for word in ("delivered", "1,234", "1.4 ms median, 3.9 ms for 99 %"):
        assert word in table


@pytest.mark.parametrize("fault", ["lost", "duplicated", "garbled"])
def test_only_exactly_once_is_clean(fault: str) -> None:
    assert CLEAN.is_clean
    bad = CLEAN._replace(**{fault: 3})
    assert not bad.is_clean
    assert f"\n{fault:<12}3 " in plain_summary(bad)


def test_what_is_not_stored_is_not_clean() -> None:
    assert not CLEAN._replace(stored=1233).is_clean
