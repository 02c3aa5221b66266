"""The result of a benchmark as a table to look at, a Markdown table to quote and a JSON file to keep.

All three come from one ``Report``, so they cannot disagree.
"""

from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import msgspec
from rich import box
from rich.table import Table

from tests.bench.loads import Row
from tests.bench.ratios import Unit
from tests.bench.rounds import Outcome


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row as it is kept: samples in the order of the rounds, in ``unit``."""

    name: str
    title: str
    unit: str
    goal: str
    baseline: list[float] = []
    candidate: list[float] = []
    baseline_median: float | None = None
    candidate_median: float | None = None
    ratio: float | None = None  # the median of the pairs' ratios, not the ratio of medians
    reached: bool | None = None
    failure: str = ""
    again: str = ""  # date of a later run that the row was measured in, with its rounds


class Report(msgspec.Struct, frozen=True):
    """One benchmark. ``versions`` by server name; ``date`` is UTC, ISO 8601."""

    date: str
    cpu: str
    cores: int
    kernel: str
    baseline: str
    candidate: str
    versions: dict[str, str]
    rounds: int
    run_seconds: float
    rows: list[Line]

    @property
    def once(self) -> list[Line]:
        """Rows that take too long for more than one turn each."""
        return [line for line in self.rows if len(line.baseline) == 1 < self.rounds]

    @property
    def measured_again(self) -> dict[str, list[str]]:
        """When, each with the titles of its rows."""
        found: dict[str, list[str]] = {}
        for line in self.rows:
            if line.again:
                found.setdefault(line.again, []).append(line.title)
        return found

    @property
    def failures(self) -> dict[str, list[str]]:
        """The reasons, each with the titles of its rows: rows of one load fail together."""
        found: dict[str, list[str]] = {}
        for line in self.failed:
            found.setdefault(line.failure, []).append(line.title)
        return found

    @property
    def failed(self) -> list[Line]:
        """Rows without figures."""
        return [line for line in self.rows if line.failure]


def line_of(outcome: Outcome) -> Line:
    """An outcome as it is kept."""
    row: Row = outcome.row
    pairs = outcome.pairs
    if pairs is None:
        return Line(
            row.name,
            row.title,
            row.unit.value,
            row.goal.text,
            list(outcome.baseline),
            baseline_median=median(outcome.baseline) if outcome.baseline else None,
            failure=outcome.failure,
        )
    return Line(
        row.name,
        row.title,
        row.unit.value,
        row.goal.text,
        list(pairs.baseline),
        list(pairs.candidate),
        pairs.baseline_median,
        pairs.candidate_median,
        round(pairs.ratio, 3),
        row.goal.reached(pairs),
    )


def with_again(kept: Report, later: Report) -> Report:
    """``kept`` with the rows that ``later`` has in its place; each of them says so."""
    when = f"{later.date}, rounds: {later.rounds}"
    new = {line.name: msgspec.structs.replace(line, again=when) for line in later.rows}
    return msgspec.structs.replace(kept, rows=[new.get(line.name, line) for line in kept.rows])


def date_text(wall_ns: int) -> str:
    """Nanoseconds since 1970 as the date that a report carries."""
    return datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC).isoformat()


def cpu_model(cpuinfo: str) -> str:
    """The model in the text of ``/proc/cpuinfo``; boards name themselves under ``Model``."""
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    named = {key.strip(): value.strip() for key, _, value in pairs}
    return named.get("model name") or named.get("Model") or "unknown"


def heads(report: Report) -> tuple[str, ...]:
    """The table's column heads."""
    candidate = report.candidate if report.candidate != report.baseline else "again"
    return ("load", report.baseline, candidate, "ratio", "goal", "reached?")


def cells(line: Line) -> tuple[str, ...]:
    """A row's texts, one for each head."""
    unit = Unit(line.unit)
    baseline = "" if line.baseline_median is None else unit.text(line.baseline_median)
    if line.candidate_median is None or line.ratio is None:
        return (line.title, baseline, "", "", line.goal, "failed")
    return (
        line.title,
        baseline,
        unit.text(line.candidate_median),
        f"{line.ratio:.2f}x",
        line.goal,
        "yes" if line.reached else "no",
    )


def table(report: Report) -> Table:
    """The table for a terminal."""
    colours = {"yes": "green", "no": "yellow", "failed": "red"}
    title = f"{report.cpu}, {report.cores} cores, rounds: {report.rounds}"
    drawn = Table(title=title, box=box.SIMPLE_HEAD, padding=0)
    for head in heads(report):
        drawn.add_column(head, justify="left" if head in ("load", "reached?") else "right", no_wrap=True)
    for line in report.rows:
        *texts, verdict = cells(line)
        drawn.add_row(*texts, f"[{colours[verdict]}]{verdict}[/]")
    return drawn


def markdown(report: Report) -> str:
    """The table for a page, with what is needed to judge it."""
    versions = ", ".join(report.versions.values())
    rows = [heads(report), ("---",) + ("---:",) * 4 + ("---",), *map(cells, report.rows)]
    lines = [
        f"{report.date}, {report.cpu}, {report.cores} cores, Linux {report.kernel}; {versions}.",
        f"Runs of about {report.run_seconds:g} s, taking turns; rounds: {report.rounds}; "
        "figures are medians, the ratio is the median of the rounds' ratios.",
        "",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    if report.once:
        lines.append("\nMeasured once: " + ", ".join(f'"{line.title}"' for line in report.once) + ".")
    for when, titles in report.measured_again.items():
        lines.append(f"\nMeasured again ({when}): " + ", ".join(f'"{title}"' for title in titles) + ".")
    lines += [f"\n{'; '.join(titles)} failed: {reason}" for reason, titles in report.failures.items()]
    return "\n".join(lines) + "\n"


def write(report: Report, path: Path) -> None:
    """The JSON file at ``path`` and the Markdown table beside it, under the same name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    path.with_suffix(".md").write_text(markdown(report))


def read(path: Path) -> Report:
    """A report from its JSON file. Raises msgspec.ValidationError where it is none."""
    return msgspec.json.decode(path.read_bytes(), type=Report)
