"""What the demo shows: a picture for a terminal, a line for everything else, a table at the end."""

from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from phloem.edge.demo.pages import Leaf, Stored
from phloem.edge.demo.story import ABOUT, Act

STAGE_WIDTH, ARROW_WIDTH = 21, 8  # three stages and two arrows fit into 80 columns
BAR = 40


class Stage(NamedTuple):
    """A count of lines, its bytes, and its rate per second."""

    lines: int = 0
    bytes: int = 0
    rate: float = 0.0


class Shown(NamedTuple):
    """The state at one moment. ``waiting``: readings that the hub does not have; ``room``: what the whole bar
    stands for; ``carried``: bytes that went through the cable to the hub."""

    elapsed_s: float
    act: Act
    written: Stage
    received: Stage
    historical: int
    waiting: int
    room: int
    link: Leaf | None
    carried: Stage
    stored: Stored
    latest: str


class Summary(NamedTuple):
    """What came of it; counts are lines. ``read`` is what the edge published on the device itself, ``delivered`` what
    the hub's stream holds, ``unread`` those of the lost that the serial port was too full to take, ``late`` what came
    marked as historical, ``overtaken`` the readings that alarms passed, ``carried`` bytes that went through the cable
    to the hub."""

    written: int
    read: int
    delivered: int
    lost: int
    unread: int
    duplicated: int
    disordered: int
    garbled: int
    late: int
    peak: int
    raised: int
    alarms: int
    overtaken: int
    carried: int

    @property
    def is_clean(self) -> bool:
        """Everything is at the hub exactly once and in order."""
        faults = self.lost or self.duplicated or self.disordered or self.garbled
        return self.delivered == self.written and self.alarms == self.raised and not faults


def picture(now: Shown) -> RenderableType:
    """Sensor, edge and hub from left to right, with what passes between them and what waits."""
    up = now.link is not None
    arrow, colour = ("━━━━━▶", "green") if up else ("━━╳ ╳━", "red")
    stages = Table.grid(padding=0)
    for width in (STAGE_WIDTH, ARROW_WIDTH, STAGE_WIDTH, ARROW_WIDTH, STAGE_WIDTH):
        stages.add_column(width=width, justify="center", vertical="middle")
    on_disk = f"{_size(now.stored.bytes)} on disk"
    stages.add_row(
        _stage("sensor", "cyan", now.written.lines, "lines written", f"{now.written.rate:,.0f}/s"),
        Text("─────▶", "cyan"),
        _stage("edge", "yellow" if now.waiting > now.written.rate else "green", now.waiting, "wait", on_disk),
        Text(f"{arrow}\n{_size(round(now.carried.rate))}/s" if up else arrow, colour),
        _stage("hub", "magenta", now.received.lines, "in its stream", f"{now.historical:,} historical"),
    )
    measured = now.link is not None and now.link.rtt not in ("", "0s")
    link = "down" if now.link is None else f"up, round trip {now.link.rtt}" if measured else "up"
    facts = Text.assemble(
        ("  link ", "bold"),
        (link, colour),
        f", {_size(now.carried.bytes)} so far",
        ("   running ", "bold"),
        f"{now.elapsed_s:.0f} s",
    )
    latest = Text.assemble(("  at the hub ", "bold"), (now.latest, "magenta"))
    about = Text(f"  {ABOUT[now.act]}", "bold yellow" if now.act == Act.CUT else "bold green")
    return Group(about, stages, _bar(now), facts, latest, Text("  Ctrl-C ends", "dim"))


def _bar(now: Shown) -> Text:
    full = min(round(BAR * now.waiting / max(now.room, 1)), BAR)
    return Text.assemble(
        ("  buffer ", "bold"),
        ("█" * full, "yellow"),
        ("░" * (BAR - full), "dim"),
        f" {now.waiting:,} wait",
    )


def _stage(title: str, colour: str, count: int, what: str, more: str) -> Panel:
    return Panel(
        Text.assemble((f"{count:,}\n", f"bold {colour}"), (f"{what}\n", "dim"), more, justify="center"),
        title=title,
        border_style=colour,
        box=box.ROUNDED,
        padding=0,
    )


def plain_line(now: Shown) -> str:
    """The same in one line."""
    return (
        f"{now.elapsed_s:6.1f} s  link {'up  ' if now.link else 'down'}  written {now.written.lines}"
        f"  waiting {now.waiting} ({_size(now.stored.bytes)} on the edge's disk)"
        f"  at the hub {now.received.lines}, {now.historical} historical"
        f"  carried {_size(now.carried.bytes)}  {now.latest}"
    )


def _rows(summary: Summary) -> list[tuple[str, str, str]]:
    good, bad = "green", "bold red"
    rows = [
        ("written", f"{summary.written:,}", ""),
        ("read", f"{summary.read:,}", ""),
        ("delivered", f"{summary.delivered:,}", good if summary.delivered == summary.written else bad),
        ("lost", f"{summary.lost:,}", bad if summary.lost else good),
        ("duplicated", f"{summary.duplicated:,}", bad if summary.duplicated else good),
        ("disordered", f"{summary.disordered:,}", bad if summary.disordered else good),
    ]
    if summary.unread:
        rows.append(("unread", f"{summary.unread:,}", bad))
    if summary.garbled:
        rows.append(("garbled", f"{summary.garbled:,}", bad))
    return [
        *rows,
        ("historical", f"{summary.late:,}", ""),
        ("waiting", f"{summary.peak:,}", ""),
        (
            "alarms",
            f"{summary.alarms} of {summary.raised}",
            good if summary.alarms == summary.raised else bad,
        ),
        ("overtaken", f"{summary.overtaken:,}", ""),
        ("carried", _size(summary.carried), ""),
    ]


ABOUT_ROWS = {
    "written": "lines, by the sensor",
    "read": "from the serial port, by the edge",
    "delivered": "in the hub's stream",
    "lost": "not in it",
    "unread": "of the lost: the edge did not read, and the serial port was full",
    "duplicated": "more than once in it",
    "disordered": "behind a later one in it",
    "garbled": "in it, and not what the sensor wrote",
    "historical": "marked so: they were read while the link was down",
    "waiting": "at the edge at a time, at most",
    "alarms": "in the hub's stream of alarms, once each",
    "overtaken": "older readings that came behind an alarm",
    "carried": "over the link to the hub, everything in it counted",
}


def verdict(summary: Summary) -> str:
    """All of it in a line."""
    return (
        f"read {summary.read:,}, delivered {summary.delivered:,}, lost {summary.lost:,}, "
        f"duplicated {summary.duplicated:,}"
    )


def plain_summary(summary: Summary) -> str:
    """The end as lines of ``name value meaning``."""
    rows = [f"{name:<12}{value:<12}{ABOUT_ROWS[name]}" for name, value, _ in _rows(summary)]
    return "\n".join([*rows, verdict(summary)])


def summary_table(summary: Summary) -> RenderableType:
    """The same for a terminal."""
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, value, style in _rows(summary):
        table.add_row(name, Text(value, style), ABOUT_ROWS[name])
    return Group(table, Text(f"  {verdict(summary)}", "bold green" if summary.is_clean else "bold red"))


def _size(count: int) -> str:
    for power, unit in ((3, "GB"), (2, "MB"), (1, "KB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count} B"
