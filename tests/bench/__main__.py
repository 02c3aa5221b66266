"""``python -m tests.bench``: measure, show the table, keep the result.

Exit code 1 means that a load could not be measured. A goal that is not reached is for the reader to see,
not an error: how far a machine lets two servers pull apart is not for an exit code to say.
"""

import os
import platform
import sys
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from phloem.shared.clock import Clock, SystemClock
from tests.bench import pages, report
from tests.bench.loads import LOADS, Load
from tests.bench.rounds import (
    QUICK_RUN_SECONDS,
    RUN_SECONDS,
    Outcome,
    measure,
    measure_large,
    measure_on,
    rounds_of,
)
from tests.bench.servers import PRODUCTS, Product, ServerFailed
from tests.bench.stream_loads import LARGE, STREAM_LOADS

RESULTS = Path(__file__).parent / "results" / "latest.json"
SERVERS = click.Choice(list(PRODUCTS))
ALL = (*LOADS, *STREAM_LOADS)


def chosen(names: tuple[str, ...], *, quick: bool, big: bool | None) -> list[Load]:
    """The loads of a run. One that is named is never left out."""
    with_long = not quick if big is None else big
    if names:
        return [load for load in ALL if load.name in names]
    return [load for load in ALL if with_long or not load.is_long]


def measured(
    loads: list[Load], products: tuple[Product, Product], rounds: int, run_seconds: float
) -> list[Outcome]:
    """All rows of all loads, with a progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes: list[Outcome] = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=sum(rounds_of(load, rounds) for load in loads))

        def advance() -> None:
            progress.advance(task)

        def says(text: str) -> None:
            progress.update(task, description=text)

        for scene, group in groupby(loads, key=lambda load: load.scene):
            if scene is not None and scene is not LARGE:
                outcomes += measure_on(scene, list(group), products, rounds, run_seconds, advance, says)
                continue
            for load in group:
                says(load.rows[0].title)
                if scene is LARGE:
                    outcomes += measure_large(load, products, advance, says)
                else:
                    outcomes += measure(load, *products, rounds, run_seconds, advance)
    return outcomes


def reported(
    outcomes: list[Outcome],
    versions: dict[str, str],
    baseline: Product,
    candidate: Product,
    rounds: int,
    run_seconds: float,
    clock: Clock,
) -> report.Report:
    """The outcomes with what is needed to judge them: when, where, what against what."""
    return report.Report(
        date=report.date_text(clock.wall_ns()),
        cpu=report.cpu_model(Path("/proc/cpuinfo").read_text()),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        baseline=baseline.name,
        candidate=candidate.name,
        versions=versions,
        rounds=rounds,
        run_seconds=run_seconds,
        rows=[report.line_of(outcome) for outcome in outcomes],
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(min=1), help="Turns that each server takes.  [default: 3]")
@click.option("--quick", is_flag=True, help="One round of short runs, unless --rounds says otherwise.")
@click.option("--big/--no-big", default=None, help="The long loads too.  [default: unless --quick]")
@click.option(
    "--only",
    "names",
    multiple=True,
    type=click.Choice([load.name for load in ALL]),
    help="Only this load; may be given again.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON file; the Markdown table goes beside it.  [default: results/latest.json, if the run is whole]",
)
@click.option(
    "--again",
    is_flag=True,
    help="These rows take the place of theirs in results/latest.json, which says when they were measured.",
)
@click.option("--against", type=SERVERS, default="nats-server", show_default=True, help="The baseline.")
@click.option(
    "--candidate",
    type=SERVERS,
    default="phloem",
    show_default=True,
    help="What is measured; the baseline itself shows the noise of the machine.",
)
def bench(
    rounds: int | None,
    quick: bool,
    big: bool | None,
    names: tuple[str, ...],
    out: Path | None,
    again: bool,
    against: str,
    candidate: str,
) -> None:
    """Measure phloem beside nats-server: ratios of runs that take turns."""
    if again and (out or quick or (against, candidate) != ("nats-server", "phloem")):
        raise click.UsageError(
            "--again is for the table that is kept: without --out, --quick and other servers."
        )
    loads = chosen(names, quick=quick, big=big)
    rounds = rounds or (1 if quick else 3)
    run_seconds = QUICK_RUN_SECONDS if quick else RUN_SECONDS
    products = (PRODUCTS[against], PRODUCTS[candidate])
    try:
        versions = {product.name: product.version() for product in products}
    except ServerFailed as error:
        raise click.ClickException(str(error)) from error
    outcomes = measured(loads, products, rounds, run_seconds)
    result = reported(outcomes, versions, *products, rounds, run_seconds, SystemClock())
    console = Console()
    console.print(report.table(result))
    for reason, titles in result.failures.items():
        console.print(f"{'; '.join(titles)} failed: {reason}", style="red", markup=False)
    # A part or a quick look must not take the place of the whole table that is kept.
    is_whole = len(loads) == len(ALL) and not quick and (against, candidate) == ("nats-server", "phloem")
    path = out or (RESULTS if is_whole or again else None)
    if again:
        result = report.with_again(report.read(path), result)
    if path is not None:
        report.write(result, path)
        console.print(f"written to {path} and {path.with_suffix('.md').name}", markup=False)
    if path == RESULTS:
        pages.main()
    sys.exit(1 if result.failed else 0)


if __name__ == "__main__":
    bench(prog_name="python -m tests.bench")
