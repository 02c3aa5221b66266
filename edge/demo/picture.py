"""What the demo shows: a picture for a terminal, a line for everything else, a table at the end."""

from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from phloem.edge.demo.pages import Leaf, Stored

STAGE_WIDTH, ARROW_WIDTH = 17, 3  # four stages and three arrows fit into 80 columns


class Stage(NamedTuple):
    """A count of lines, its bytes, and its rate per second."""

    lines: int = 0
    bytes: int = 0
    rate: float = 0.0


class Shown(NamedTuple):
    """The state at one moment."""

    elapsed_s: float
    written: Stage
    published: Stage
    received: Stage
    link: Leaf | None
    link_rate: float
    stored: Stored
    latency_ns: int
    latest: str


class Summary(NamedTuple):
    """What came of it; counts are lines. ``read`` is what the edge published on the device itself,
    ``stored`` what its stream holds."""

    written: int
    read: int
    stored: int
    delivered: int
    lost: int
    duplicated: int
    garbled: int
    median_ns: int
    worst_ns: int

    @property
    def is_clean(self) -> bool:
        """Everything arrived exactly once, and is kept."""
        return self.stored == self.written and not (self.lost or self.duplicated or self.garbled)


def picture(now: Shown) -> RenderableType:
    """Sensor, edge, hub and subscriber from left to right, with what passes between them."""
    up = now.link is not None
    link = now.link or Leaf()
    arrow, colour = ("━▶", "green") if up else ("╳", "red")
    stages = Table.grid(padding=0)
    for width in (STAGE_WIDTH, ARROW_WIDTH) * 3 + (STAGE_WIDTH,):
        stages.add_column(width=width, justify="center", vertical="middle")
    stages.add_row(
        _stage("sensor", "cyan", "lines written", now.written),
        Text("─▶", "cyan"),
        _stage("edge", "green", "published", now.published),
        Text(arrow, colour),
        _stage("hub", "magenta", "over the link", Stage(link.out_msgs, link.out_bytes, now.link_rate)),
        Text("─▶", "magenta"),
        _stage("subscriber", "yellow", "received", now.received),
    )
    facts = Text.assemble(
        ("  link ", "bold"),
        (f"up, round trip {link.rtt or 'not measured yet'}" if up else "down", colour),
        ("   latency ", "bold"),
        _ms(now.latency_ns),
        ("   running ", "bold"),
        f"{now.elapsed_s:.0f} s",
    )
    stream = Text.assemble(
        ("  stream ", "bold"),
        f"{now.stored.messages:,} messages, {_size(now.stored.bytes)}, on the edge's disk",
    )
    latest = Text.assemble(("  latest ", "bold"), (now.latest, "yellow"))
    return Group(stages, facts, stream, latest, Text("  Ctrl-C ends", "dim"))


def _stage(title: str, colour: str, what: str, stage: Stage) -> Panel:
    return Panel(
        Text.assemble(
            (f"{stage.lines:,}\n", f"bold {colour}"),
            (f"{what}\n", "dim"),
            f"{stage.rate:,.1f}/s\n",
            _size(stage.bytes),
            justify="center",
        ),
        title=title,
        border_style=colour,
        box=box.ROUNDED,
        padding=0,
    )


def plain_line(now: Shown) -> str:
    """The same in one line."""
    link = f"up, {now.link.out_msgs} over it" if now.link else "down"
    return (
        f"{now.elapsed_s:4.0f} s  written {now.written.lines} ({_size(now.written.bytes)})"
        f"  published {now.published.lines}"
        f"  stored {now.stored.messages} ({_size(now.stored.bytes)})  link {link}"
        f"  received {now.received.lines} ({now.received.rate:.1f}/s)"
        f"  latency {_ms(now.latency_ns)}  {now.latest}"
    )


def _rows(summary: Summary) -> list[tuple[str, str, str]]:
    good, bad = "green", "bold red"
    rows = [
        ("written", f"{summary.written:,}", ""),
        ("read", f"{summary.read:,}", ""),
        ("stored", f"{summary.stored:,}", good if summary.stored == summary.written else bad),
        ("delivered", f"{summary.delivered:,}", ""),
        ("lost", f"{summary.lost:,}", bad if summary.lost else good),
        ("duplicated", f"{summary.duplicated:,}", bad if summary.duplicated else good),
    ]
    if summary.garbled:
        rows.append(("garbled", f"{summary.garbled:,}", bad))
    return [*rows, ("latency", f"{_ms(summary.median_ns)} median, {_ms(summary.worst_ns)} for 99 %", "")]


ABOUT = {
    "written": "lines, by the sensor",
    "read": "from the serial port, by the edge",
    "stored": "in the edge's stream, on its disk",
    "delivered": "to the subscriber at the hub",
    "lost": "never arrived",
    "duplicated": "arrived more than once",
    "garbled": "arrived and were not what the sensor wrote",
    "latency": "from the sensor to the subscriber",
}


def plain_summary(summary: Summary) -> str:
    """The end as lines of ``name value meaning``."""
    return "\n".join(f"{name:<12}{value:<36}{ABOUT[name]}" for name, value, _ in _rows(summary))


def summary_table(summary: Summary) -> Table:
    """The same for a terminal."""
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, value, style in _rows(summary):
        table.add_row(name, Text(value, style), ABOUT[name])
    return table


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.1f} ms"


def _size(count: int) -> str:
    for power, unit in ((3, "GB"), (2, "MB"), (1, "KB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count} B"
