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
from phloem.edge.demo.story import ABOUT, Act

NOW = Shown(
    elapsed_s=3.2,
    act=Act.TOGETHER,
    written=Stage(61, 2_700, 20.0),
    received=Stage(58, 2_552, 19.5),
    historical=7,
    waiting=3,
    room=400,
    link=Leaf(rtt="211µs"),
    carried=Stage(0, 12_345_678, 4_100.0),
    stored=Stored(messages=57, bytes=4_321),
    latest="sensor seq=58 t=1 v=20.1",
)
CLEAN = Summary(
    written=1234,
    read=1234,
    delivered=1234,
    lost=0,
    unread=0,
    duplicated=0,
    disordered=0,
    garbled=0,
    late=567,
    peak=600,
    raised=2,
    alarms=2,
    overtaken=900,
    carried=12_345,
)


def rendered(what: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_picture_fits_a_small_terminal() -> None:
    large = NOW._replace(stored=Stored(messages=1, bytes=123_456_789), historical=123_456)
    for text in (rendered(picture(NOW)), rendered(picture(large))):
        assert text.count("\n") == 10
        assert max(map(len, text.splitlines())) <= 80
        titles = text.splitlines()[1]
        places = [titles.index(name) for name in ("sensor", "edge", "hub")]
        assert places == sorted(places)
    text = rendered(picture(NOW))
    for shown in (
        ABOUT[Act.TOGETHER],
        "61",
        "58",
        "20/s",
        "4.3 KB on disk",
        "7 historical",
        "━━━━━▶",
        "4.1 KB/s",
        "link up, round trip 211µs, 12.3 MB so far",
        "sensor seq=58 t=1 v=20.1",
    ):
        assert shown in text


def test_picture_of_a_link_that_is_down() -> None:
    text = rendered(picture(NOW._replace(link=None, act=Act.CUT, waiting=200)))
    assert "link down" in text
    assert "╳" in text
    assert "━━━━━▶" not in text
    assert ABOUT[Act.CUT] in text
    assert f"buffer {'█' * 20}{'░' * 20} 200 wait\n" in text


@pytest.mark.parametrize(("waiting", "full"), [(0, 0), (400, 40), (500, 40)])
def test_the_bar_ends(waiting: int, full: int) -> None:
    assert rendered(picture(NOW._replace(waiting=waiting))).count("█") == full


def test_plain_line() -> None:
    assert plain_line(NOW) == (
        "   3.2 s  link up    written 61  waiting 3 (4.3 KB on the edge's disk)"
        "  at the hub 58, 7 historical  carried 12.3 MB  sensor seq=58 t=1 v=20.1"
    )
    assert "link down  " in plain_line(NOW._replace(link=None))


def test_summary() -> None:
    lines = plain_summary(CLEAN).splitlines()
    assert lines.pop() == "read 1,234, delivered 1,234, lost 0, duplicated 0"
    assert [line.split()[:2] for line in lines] == [
        ["written", "1,234"],
        ["read", "1,234"],
        ["delivered", "1,234"],
        ["lost", "0"],
        ["duplicated", "0"],
        ["disordered", "0"],
        ["historical", "567"],
        ["waiting", "600"],
        ["alarms", "2"],
        ["overtaken", "900"],
        ["carried", "12.3"],
    ]
    table = rendered(summary_table(CLEAN))
    for word in ("delivered", "1,234", "2 of 2", "12.3 KB", "lost 0, duplicated 0"):
        assert word in table


@pytest.mark.parametrize("fault", ["lost", "duplicated", "disordered", "garbled"])
def test_only_exactly_once_is_clean(fault: str) -> None:
    assert CLEAN.is_clean
    bad = CLEAN._replace(**{fault: 3})
    assert not bad.is_clean
    assert f"\n{fault:<12}3 " in plain_summary(bad)


def test_what_the_serial_port_did_not_take_is_lost_and_told_apart() -> None:
    text = plain_summary(CLEAN._replace(written=1237, lost=3, unread=2))
    assert "\nlost        3 " in text
    assert "\nunread      2 " in text
    assert "unread" not in plain_summary(CLEAN)


@pytest.mark.parametrize("fault", [{"delivered": 1233}, {"alarms": 1}])
def test_what_is_missing_is_not_clean(fault: dict[str, int]) -> None:
    assert not CLEAN._replace(**fault).is_clean
