"""``python -m tests.bench_serial``: eight ports at 921,600 baud, all saturated, on one core, into a durable stream.

Exit code 1: something was lost, or waited longer than the driver of a tty keeps it.
"""

import asyncio
import contextlib
import os
import platform
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from phloem.shared.clock import SystemClock
from tests.bench import pages
from tests.bench.report import cpu_model, date_text
from tests.bench_serial.boards import run_boards
from tests.bench_serial.lines import run_lines
from tests.bench_serial.loads import LOADS
from tests.bench_serial.report import Report, table, write

RESULTS = Path(__file__).parents[1] / "bench" / "results" / "serial.json"
PORTS = 8
NICE = -15  # with the right for that; devices and edge alike


@click.command()
@click.option(
    "--only", multiple=True, type=click.Choice([load.name for load in LOADS]), help="Only this row."
)
@click.option("--seconds", default=8.0, help="How long the devices speak.")
@click.option("--ports", default=PORTS, help="How many there are.")
@click.option("--core", default=0, help="The core of the edge; the devices have the others.")
def main(only: tuple[str, ...], seconds: float, ports: int, core: int) -> None:
    """Measure what ports cost; a whole run replaces tests/bench/results/serial.json and serial.md."""
    console = Console(stderr=True)
    others = os.sched_getaffinity(0) - {core}
    if not others:
        raise click.UsageError("two cores are needed: one for the edge, one for the devices")
    os.sched_setaffinity(0, others)
    with contextlib.suppress(PermissionError):  # what else runs on the machine is not what makes devices wait
        os.nice(NICE)
    lines = []
    for load in LOADS:
        if only and load.name not in only:
            continue
        console.print(f"{load.title} ...", style="dim")
        run = run_lines if load.line is not None else run_boards
        with tempfile.TemporaryDirectory(prefix="bench-serial-") as folder:
            lines.append(asyncio.run(run(load, Path(folder), ports, seconds, core)))
    report = Report(
        date_text(SystemClock().wall_ns()),
        cpu_model(Path("/proc/cpuinfo").read_text()),
        platform.release(),
        ports,
        seconds,
        lines,
    )
    Console(width=None if sys.stdout.isatty() else 140).print(table(report))
    if not only and ports == PORTS:
        write(report, RESULTS)
        pages.main()
    sys.exit(any(not line.good for line in lines))


if __name__ == "__main__":
    main()
