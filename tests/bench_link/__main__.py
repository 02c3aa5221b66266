"""``python -m tests.bench_link``: what a link costs, beside nats-server; shows the table, keeps the result.

Exit code 1 means that something could not be measured.
"""

import asyncio
import os
import platform
import sys
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from phloem.shared.clock import SystemClock
from tests.bench import pages
from tests.bench.report import cpu_model, date_text
from tests.bench_link.pairs import PAIRS, Pair
from tests.bench_link.report import Line, Report, line_of, read, shown, table, write
from tests.bench_link.rows import ROWS, Row
from tests.bench_link.sizes import QUICK, Size

RESULTS = Path(__file__).parents[1] / "bench" / "results" / "link.json"


Samples = list[tuple[float, ...]]  # a run each, in the order of its row's figures


def measured(row: Row, kind: type[Pair], size: Size) -> tuple[float, ...]:
    """One run of one row; NaN where it did not end in time."""
    with tempfile.TemporaryDirectory(prefix="bench-link-") as folder:
        pair = kind(Path(folder), row.streams, row.more)
        try:
            result = asyncio.run(row.run(pair, size))  # type: ignore[arg-type]  # they are coroutines
        except TimeoutError:
            return (float("nan"),) * len(row.figures)
        return result if isinstance(result, tuple) else (result,)


def beside(row: Row, kind: type[Pair], size: Size) -> Future[tuple[float, ...]]:
    """A run that goes on while others do; it does not keep the program from ending."""
    future: Future[tuple[float, ...]] = Future()

    def run() -> None:
        try:
            future.set_result(measured(row, kind, size))
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def lines(rows: list[Row], kinds: list[int], rounds: int, size: Size, console: Console) -> list[Line]:
    """All figures of all rows; the two take turns. A progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    watching = [row for row in rows if row.watches]
    turns = [(row, i) for row in rows if not row.watches for _ in range(rounds) for i in kinds]
    found: dict[str, tuple[Samples, Samples]] = {row.name: ([], []) for row in rows}

    def keep(row: Row, i: int, sample: tuple[float, ...]) -> None:
        found[row.name][i].append(sample)
        progress.advance(task)
        for figure, value in zip(row.figures, sample, strict=True):
            console.print(f"{figure.name}: {PAIRS[i].name} {shown(value, figure.unit)}", style="dim")

    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(turns) + len(watching) * len(kinds))
        watched = {beside(row, PAIRS[i], size): (row, i) for row in watching for i in kinds}
        for row, i in turns:
            progress.update(task, description=f"{row.title}: {PAIRS[i].name}")
            keep(row, i, measured(row, PAIRS[i], size))
        for future, (row, i) in watched.items():
            progress.update(task, description=f"{row.title}: {PAIRS[i].name}")
            keep(row, i, future.result())
    return [
        line_of(figure, *([sample[at] for sample in side] for side in found[row.name]))
        for row in rows
        for at, figure in enumerate(row.figures)
    ]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Less of everything; a few minutes.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([row.name for row in ROWS]),
    help="Only this row; may be given again.",
)
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--ours", is_flag=True, help="Do not run nats-server.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON file; the Markdown table goes beside it.  [default: bench/results/link.json, if the run is whole]",
)
@click.option(
    "--with",
    "parts",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON of an earlier run on this machine: its rows are taken from there. May be given again.",
)
def main(
    quick: bool, only: tuple[str, ...], rounds: int, ours: bool, out: Path | None, parts: tuple[Path, ...]
) -> None:
    """Measure what a link costs and how a device comes back to its hub: phloem beside nats-server.

    A whole run takes a little more than an hour: for so long an idle link is watched, beside everything else.
    """
    earlier = {line.name: line for path in parts for line in read(path).rows}
    rows = [row for row in ROWS if not only or row.name in only]
    rows = [row for row in rows if not all(figure.name in earlier for figure in row.figures)]
    found = lines(rows, [1] if ours else [0, 1], rounds, QUICK if quick else Size(), Console(stderr=True))
    known = earlier | {line.name: line for line in found}
    result = Report(
        date=date_text(SystemClock().wall_ns()),
        cpu=cpu_model(Path("/proc/cpuinfo").read_text()),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        rounds=rounds,
        quick=quick,
        rows=[known[figure.name] for row in ROWS for figure in row.figures if figure.name in known],
    )
    console = Console()
    console.print(table(result))
    # A part or a quick look must not take the place of the whole table that is kept.
    is_whole = all(figure.name in known for row in ROWS for figure in row.figures)
    path = out or (RESULTS if is_whole and not quick and not ours else None)
    if path is not None:
        write(result, path)
        console.print(f"written to {path} and {path.with_suffix('.md').name}", markup=False)
    if path == RESULTS:
        pages.main()
    sys.exit(1 if any(None in line.ours for line in result.rows) else 0)


if __name__ == "__main__":
    main(prog_name="python -m tests.bench_link")
