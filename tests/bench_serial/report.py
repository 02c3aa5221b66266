"""The result as a table to look at, one in Markdown to quote, and a JSON file to keep: all from one ``Report``."""

from pathlib import Path

import msgspec
from rich import box
from rich.table import Table

HEADS = (
    "",
    "of a core, per port",
    "all ports",
    "of it system",
    "of it bridge",
    "read, per port",
    "messages, per port",
    "waited",
    "lost",
    "memory",
)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One row. ``cpu``, ``system`` and ``bridge`` are shares of one core for one port, edge and bridge together in
    the first two, the rest of one port per second; what
    waited most is of the port that was worst."""

    name: str
    title: str
    cpu: float
    system: float
    bridge: float = 0.0
    bytes_s: float
    messages_s: float
    behind_bytes: int
    lost: int
    resident_bytes: int
    good: bool


class Report(msgspec.Struct, frozen=True):
    """One benchmark. ``date`` is UTC, ISO 8601."""

    date: str
    cpu: str
    kernel: str
    ports: int
    seconds: float
    rows: list[Line]


def cells(line: Line, ports: int) -> tuple[str, ...]:
    """As texts, one for each head."""
    return (
        line.title,
        f"{line.cpu:.1%}",
        f"{line.cpu * ports:.0%}",
        f"{line.system / line.cpu:.0%}",
        f"{line.bridge / line.cpu:.0%}" if line.bridge else "",
        f"{line.bytes_s / 1000:.1f} KB/s",
        f"{line.messages_s:,.0f}/s",
        f"{line.behind_bytes / 1024:.1f} KiB",
        str(line.lost),
        f"{line.resident_bytes / 1e6:.0f} MB",
    )


def table(report: Report) -> Table:
    """For a terminal."""
    made = Table(box=box.SIMPLE_HEAD)
    for head in HEADS:
        made.add_column(head, justify="left" if not head else "right")
    for line in report.rows:
        made.add_row(*cells(line, report.ports), style="" if line.good else "red")
    return made


def markdown(report: Report) -> str:
    """For documents."""
    lines = [
        f"{report.date}, {report.cpu}, Linux {report.kernel}; {report.ports} ports for {report.seconds:g} s, "
        "the edge on one core, its stream on disk.",
        "",
        "| " + " | ".join(HEADS) + " |",
        "| --- |" + " ---: |" * (len(HEADS) - 1),
    ]
    lines += ["| " + " | ".join(cells(line, report.ports)) + " |" for line in report.rows]
    return "\n".join(lines) + "\n"


def write(report: Report, path: Path) -> None:
    """Both files."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    path.with_suffix(".md").write_text(markdown(report))
