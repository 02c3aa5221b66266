"""The result as a table to look at, one in Markdown to quote, and a JSON file to keep: all from one ``Report``."""

import math
from pathlib import Path
from statistics import median

import msgspec
from rich import box
from rich.table import Table

from tests.bench_link.rows import Figure

UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "KB"))
HEADS = ("", "nats-server", "phloem", "ratio", "at most", "reached?")


class Line(msgspec.Struct, frozen=True):
    """One figure. Samples are in the order of the rounds, in bytes or seconds; None: it did not end in time."""

    name: str
    title: str
    unit: str
    goal: str
    theirs: list[float | None]
    ours: list[float | None]
    ratio: float | None = None  # the median of the rounds' ratios
    reached: bool | None = None  # None: there is no goal, or nothing to say


class Report(msgspec.Struct, frozen=True):
    """One benchmark. ``date`` is UTC, ISO 8601."""

    date: str
    cpu: str
    cores: int
    kernel: str
    rounds: int
    quick: bool
    rows: list[Line]


def line_of(figure: Figure, theirs: list[float], ours: list[float]) -> Line:
    """Samples of both, as many where both were run; NaN: did not end in time."""
    ratios = [b / a for a, b in zip(theirs, ours, strict=False) if math.isfinite(a) and math.isfinite(b)]
    ratio = median(ratios) if ratios else None
    measured = middle(ours)
    reached = None
    if figure.bound:
        reached = measured is not None and measured <= figure.bound
    elif figure.ratio and ratio is not None:
        reached = ratio <= figure.ratio
    goal = (
        f"{figure.ratio:.2f} x" if figure.ratio else shown(figure.bound, figure.unit) if figure.bound else ""
    )
    return Line(
        figure.name,
        figure.title,
        figure.unit,
        goal,
        _kept(theirs),
        _kept(ours),
        ratio and round(ratio, 4),
        reached,
    )


def _kept(samples: list[float]) -> list[float | None]:
    return [sample if math.isfinite(sample) else None for sample in samples]


def middle(samples: list[float] | list[float | None]) -> float | None:
    """Their median; None where more than half did not end."""
    found = median(
        sample if sample is not None and math.isfinite(sample) else math.inf
        for sample in samples or [math.inf]
    )
    return found if math.isfinite(found) else None


def shown(value: float | None, unit: str) -> str:
    """For people."""
    if value is None or not math.isfinite(value):
        return "-"
    if unit == "s":
        return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.2f} ms"
    for factor, name in UNITS:
        if value >= factor:
            return f"{value / factor:,.1f} {name}"
    return f"{value:,.1f} B"


def cells(line: Line) -> tuple[str, ...]:
    """A row's texts, one for each head."""
    verdict = {None: "", True: "yes", False: "no"}[line.reached]
    ratio = "" if line.ratio is None else f"{line.ratio:.3f}"
    theirs, ours = (shown(middle(samples), line.unit) for samples in (line.theirs, line.ours))
    return (line.title, theirs, ours, ratio, line.goal, verdict)


def table(report: Report) -> Table:
    """For a terminal."""
    colours = {"yes": "green", "no": "yellow", "": "dim"}
    drawn = Table(
        title=f"What a link costs; {report.cpu}, {report.cores} cores, rounds: {report.rounds}",
        box=box.SIMPLE_HEAD,
    )
    for head in HEADS:
        drawn.add_column(head, justify="left" if head in ("", "reached?") else "right")
    for line in report.rows:
        *texts, verdict = cells(line)
        drawn.add_row(*texts, f"[{colours[verdict]}]{verdict}[/]")
    return drawn


def markdown(report: Report) -> str:
    """For a page."""
    rows = [HEADS, ("---",) + ("---:",) * 4 + ("---",), *map(cells, report.rows)]
    quick = "; a quick look, with less of everything" if report.quick else ""
    machine = f"{report.cpu}, {report.cores} cores, Linux {report.kernel}"
    return "\n".join(
        [
            f"{report.date}, {machine}; rounds: {report.rounds}{quick}.",
            "Figures are medians, the ratio is the median of the rounds' ratios; smaller is better for all of them.",
            "",
            *("| " + " | ".join(row) + " |" for row in rows),
            "",
        ]
    )


def write(report: Report, path: Path) -> None:
    """The JSON file at ``path`` and the Markdown table beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    path.with_suffix(".md").write_text(markdown(report))


def read(path: Path) -> Report:
    """A report from its JSON file. Raises msgspec.ValidationError where it is none."""
    return msgspec.json.decode(path.read_bytes(), type=Report)
