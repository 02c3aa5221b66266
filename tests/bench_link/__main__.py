"""``python -m tests.bench_link``: what a link costs, beside nats-server; a table."""

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.bench_link.pairs import PAIRS, Pair
from tests.bench_link.rows import QUICK, ROWS, Row, Size


def measured(row: Row, kind: type[Pair], size: Size) -> float:
    """One run of one row; NaN when it did not end in time."""
    with tempfile.TemporaryDirectory(prefix="bench-link-") as folder:
        pair = kind(Path(folder), row.streams, row.more)
        try:
            return asyncio.run(row.run(pair, size))
        except TimeoutError:
            return float("nan")


def shown(value: float, unit: str) -> str:
    """For people."""
    if unit == "s":
        return f"{value:.2f} s"
    return (
        f"{value / 1e6:,.1f} MB"
        if value >= 1e6
        else f"{value:,.1f} B"
        if value < 1000
        else f"{value / 1e3:,.1f} KB"
    )


@click.command()
@click.option("--quick", is_flag=True, help="Less of everything; a few minutes.")
@click.option("--only", multiple=True, help="Rows by name.")
@click.option("--rounds", default=1, show_default=True)
@click.option("--ours", is_flag=True, help="Do not run nats-server.")
def main(quick: bool, only: tuple[str, ...], rounds: int, ours: bool) -> None:
    """Measure, and print the table."""
    size = QUICK if quick else Size()
    table = Table("", *(kind.name for kind in PAIRS), "ratio", "at least", title="What a link costs")
    console = Console()
    for row in ROWS:
        if only and row.name not in only:
            continue
        figures: list[list[float]] = [[], []]
        for _ in range(rounds):
            for i, kind in enumerate(PAIRS):
                if i == 1 or not ours:
                    figures[i].append(measured(row, kind, size))
                    console.print(f"{row.name}: {kind.name} {shown(figures[i][-1], row.unit)}", style="dim")
        theirs, mine = (statistics.median(f) if f else float("nan") for f in figures)
        goal = f"{row.ratio:.2f} x" if row.ratio else shown(row.bound, row.unit)
        table.add_row(row.title, shown(theirs, row.unit), shown(mine, row.unit), f"{mine / theirs:.3f}", goal)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
