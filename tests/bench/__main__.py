"""``python -m tests.bench``: measure, show the table, keep the result.

Exit code 1 means that a load could not be measured. A goal that is not reached is for the reader to see,
not an error: how far a machine lets two servers pull apart is not for an exit code to say.
"""

import os
import platform
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from phloem.shared.clock import Clock, SystemClock
from tests.bench import report
from tests.bench.loads import LOADS, Load
from tests.bench.rounds import QUICK_RUN_SECONDS, RUN_SECONDS, Outcome, measure
from tests.bench.servers import PRODUCTS, Product, ServerFailed

RESULTS = Path(__file__).parent / "results" / "latest.json"
SERVERS = click.Choice(list(PRODUCTS))


def measured(
    loads: list[Load], baseline: Product, candidate: Product, rounds: int, run_seconds: float
) -> list[Outcome]:
    """All rows of all loads, with a progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes: list[Outcome] = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=rounds * len(loads))
        for load in loads:
            progress.update(task, description=load.rows[0].title)
            outcomes += measure(
                load, baseline, candidate, rounds, run_seconds, lambda: progress.advance(task)
            )
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
@click.option(
    "--only",
    "names",
    multiple=True,
    type=click.Choice([load.name for load in LOADS]),
    help="Only this load; may be given again.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON file; the Markdown table goes beside it.  [default: results/latest.json, if the run is whole]",
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
    rounds: int | None, quick: bool, names: tuple[str, ...], out: Path | None, against: str, candidate: str
) -> None:
    """Measure phloem beside nats-server: ratios of runs that take turns."""
    loads = [load for load in LOADS if not names or load.name in names]
    rounds = rounds or (1 if quick else 3)
    run_seconds = QUICK_RUN_SECONDS if quick else RUN_SECONDS
    products = (PRODUCTS[against], PRODUCTS[candidate])
    try:
        versions = {product.name: product.version() for product in products}
    except ServerFailed as error:
        raise click.ClickException(str(error)) from error
    outcomes = measured(loads, *products, rounds, run_seconds)
    result = reported(outcomes, versions, *products, rounds, run_seconds, SystemClock())
    console = Console()
    console.print(report.table(result))
    for line in result.failed:
        console.print(f"{line.title}: {line.failure}", style="red", markup=False)
    # A part or a quick look must not take the place of the whole table that is kept.
    is_whole = not names and not quick and (against, candidate) == ("nats-server", "phloem")
    path = out or (RESULTS if is_whole else None)
    if path is not None:
        report.write(result, path)
        console.print(f"written to {path} and {path.with_suffix('.md').name}", markup=False)
    sys.exit(1 if result.failed else 0)


if __name__ == "__main__":
    bench(prog_name="python -m tests.bench")
