"""``make test-durability``: thousands of power cuts, and kills; ``ARGS="--cuts 5000 --kills 1000 --seed 7"``.

A failure is printed with what repeats it: the same seed makes the same loads, and the cut's own name the same disk.
"""

import os
import sys
import tempfile
from pathlib import Path

import click
from nats.errors import Error as NatsError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from phloem.shared.store.vault import CIPHERS
from tests.durability.cuts import cut, points
from tests.durability.kill_worlds import WORLDS
from tests.durability.kills import kill_again_and_again
from tests.durability.store_load import verify
from tests.durability.test_faults import FAULTS, refusing
from tests.durability.test_flips import bad, flipped
from tests.durability.test_kills import phloem
from tests.durability.test_store_cuts import lives

CUTS_PER_LOAD, KILLS_PER_STORE, FLIPS_PER_STORE = 500, 10, 100


def cuts_of(bar: Progress, seed: int, count: int, folder: Path) -> list[str]:
    """Loads one after the other, the modes in turn, each with some hundred cuts."""
    task = bar.add_task("power cuts", total=count)
    failures: list[str] = []
    for load, done in enumerate(range(0, count, CUTS_PER_LOAD)):
        here, mode = folder / f"load-{load}", ("strict", "relaxed")[load % 2]
        here.mkdir()
        events = lives(here, f"{seed}/{load}", 120, mode)
        at = points(events, min(CUTS_PER_LOAD, count - done), seed + load)
        found = cut(events, at, verify, here / "cut", seed, progress=lambda: bar.advance(task))
        failures += [f"load {seed}/{load}, {mode}: {failure}" for failure in found]
    return failures


def kills_of(bar: Progress, seed: int, count: int, folder: Path) -> list[str]:
    """Each kind of world in turn."""
    task = bar.add_task("kills", total=count)
    failures: list[str] = []
    for store, done in enumerate(range(0, count, KILLS_PER_STORE)):
        kills, world = min(KILLS_PER_STORE, count - done), WORLDS[store % len(WORLDS)]
        try:
            kill_again_and_again(phloem, folder / f"kills-{store}", seed + store, kills, world)
        except (AssertionError, TimeoutError, NatsError) as error:
            failures.append(f"{world.__name__}, seed {seed + store}, {kills} kills: {error!r}")
        bar.advance(task, kills)
    return failures


def faults_of(bar: Progress, seed: int, count: int, folder: Path) -> list[str]:
    """So many cuts for each kind of fault."""
    task = bar.add_task("disks that refuse", total=len(FAULTS))
    failures: list[str] = []
    for kind in FAULTS if count else ():
        here = folder / kind.replace(" ", "-")
        here.mkdir()
        failures += refusing(here, kind, count, seed)
        bar.advance(task)
    return failures


def flips_of(bar: Progress, seed: int, count: int, folder: Path) -> list[str]:
    """Stores that were closed, stores that were left and stores that are open, in turn."""
    task = bar.add_task("flipped bits", total=count)
    failures: list[str] = []
    for store, done in enumerate(range(0, count, FLIPS_PER_STORE)):
        flips, here = min(FLIPS_PER_STORE, count - done), folder / f"flips-{store}"
        here.mkdir()
        broken = bad(flipped(here, ("close", "leave", "open")[store % 3], flips, seed + store))
        failures += [f"flips, seed {seed + store}, {kind}: {what}" for kind, what in broken.items()]
        bar.advance(task, flips)
    return failures


@click.command()
@click.option("--cuts", default=4000, show_default=True, help="Power cuts.")
@click.option("--kills", default=100, show_default=True, help="kill -9 of a server under load.")
@click.option("--faults", default=40, show_default=True, help="Power cuts for each way a disk refuses.")
@click.option("--flips", default=400, show_default=True, help="Bits that flip.")
@click.option("--seed", default=1, show_default=True, help="Another seed, other loads and cuts.")
@click.option("--cipher", type=click.Choice(CIPHERS), help="Encrypt the stores of all but the kills.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where the stores are made; memory is fastest."
)
def main(
    cuts: int, kills: int, faults: int, flips: int, seed: int, cipher: str | None, folder: Path | None
) -> None:
    """Power cuts, kills, faults and flips, and what they broke."""
    os.environ["PHLOEM_TEST_CIPHER"] = cipher or ""  # of every process that opens a store (store_load.py)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory(dir=folder) as work, Progress(*columns) as bar:
        where = Path(work)
        failures = cuts_of(bar, seed, cuts, where) + kills_of(bar, seed, kills, where)
        failures += faults_of(bar, seed, faults, where) + flips_of(bar, seed, flips, where)
    for failure in failures:
        click.echo(failure)
    click.echo(f"{cuts} power cuts, {kills} kills, {flips} flips: {len(failures)} broken promises")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
