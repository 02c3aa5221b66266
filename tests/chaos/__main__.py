"""``make chaos``: stories of devices and hubs to which everything happens that happens.

    make chaos ARGS="--seed 7 --stories 20"          so many with real processes, and the simulated ones
    python -m tests.chaos --seed 7 --story 123 -v    one simulated story again, told
    python -m tests.chaos --seed 7 --real 3 -v       one with real processes again

A seed and a number always make the same simulated story. With real processes they make the same faults; when exactly
they strike is the machine's.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.chaos.processes import RealStory
from tests.chaos.story import Story

PART = 50


def simulated(seed: int, number: int, *, verbose: bool = False) -> str:
    """What went wrong in one story; empty: nothing."""
    story, problem = Story(seed, number), ""
    try:
        story.tell()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if verbose:
        click.echo("\n".join(story.lines))
    return problem


def _part(seed: int, first: int, end: int) -> list[tuple[int, str]]:
    return [(number, problem) for number in range(first, end) if (problem := simulated(seed, number))]


def real(seed: int, number: int, say: Callable[[str], None]) -> str:
    """The same with processes."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(RealStory(seed, number, Path(folder), say).tell())
        except (AssertionError, TimeoutError, OSError) as error:
            return f"{type(error).__name__}: {error}"
    return ""


@click.command()
@click.option("--seed", default=1, show_default=True, help="Another seed, other stories.")
@click.option("--stories", default=10, show_default=True, help="With real processes.")
@click.option("--simulated", "count", default=10_000, show_default=True, help="With a simulated world.")
@click.option("--story", type=int, help="Only this simulated one.")
@click.option("--real", "only", type=int, help="Only this one with processes.")
@click.option("--workers", default=2, show_default=True, help="Processes that simulate.")
@click.option("-v", "--verbose", is_flag=True, help="Tell the story.")
def main(
    seed: int, stories: int, count: int, story: int | None, only: int | None, workers: int, verbose: bool
) -> None:
    """Faults of every kind, and what they broke."""
    say = click.echo if verbose else lambda _: None
    if story is not None or only is not None:
        problem = simulated(seed, story, verbose=verbose) if story is not None else real(seed, only or 0, say)
        click.echo(problem or "nothing lost, nothing twice")
        sys.exit(bool(problem))
    failures = _simulated_all(seed, count, workers)
    for number in range(stories):
        if problem := real(seed, number, say):
            failures.append(f"--seed {seed} --real {number}: {problem}")
            click.echo(failures[-1])
    for failure in failures:
        click.echo(failure)
    click.echo(f"{count} simulated stories, {stories} with processes: {len(failures)} broken promises")
    sys.exit(bool(failures))


def _simulated_all(seed: int, count: int, workers: int) -> list[str]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failures = []
    with ProcessPoolExecutor(workers) as pool, Progress(*columns) as bar:
        task = bar.add_task("simulated stories", total=count)
        parts = [pool.submit(_part, seed, first, min(first + PART, count)) for first in range(0, count, PART)]
        for part in parts:
            failures += [f"--seed {seed} --story {number}: {problem}" for number, problem in part.result()]
            bar.advance(task, PART)
    return failures


if __name__ == "__main__":
    main()
