"""Pull the plug of an emulated device again and again under load, and count what was lost: phloem beside nats-server.

    python -m tests.device --package dist/phloem_0.4.0_amd64.deb --cuts 6

Needs root, debootstrap, e2fsprogs and qemu-system-x86; some minutes for each product. The emulator computes in
software, so times say how products compare and not how fast a device is.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.device import image
from tests.device.load import NOTHING, Publisher, contents, make_stream
from tests.device.machine import Machine, NotUp
from tests.support.real_server import BINARY

LEAST_S, MOST_S = 1.0, 5.0  # of publishing before a cut
# After the stream was made: a kernel writes back within 30 s, and no product is blamed for a new stream.
SETTLE_S = 40.0


class Row(NamedTuple):
    """What came of one product's cuts."""

    name: str
    cuts: int
    acked: int
    lost: int
    twice: int
    invented: int
    garbled: int
    back_s: float


async def cut(machine: Machine, first: int, for_s: float) -> Publisher:
    """Publish for a while. What happens afterwards is up to the caller."""
    publisher = Publisher(machine.port, first)
    task = asyncio.create_task(publisher.run())
    await asyncio.wait({task}, timeout=for_s)
    machine.pull_the_plug()  # in the midst of it
    await asyncio.wait({task}, timeout=10)
    task.cancel()
    return publisher


async def measure(
    product: image.Product, cache: Path, folder: Path, cuts: int, rng: Random, step: object
) -> Row:
    """All cuts of one product, on one disk."""
    disk, console = folder / "disk.img", folder / f"{product.name.replace(' ', '-')}.log"
    image.make(cache, product, disk)
    acked: set[int] = set()  # what has to be there at the next look
    back: list[float] = []
    sent = confirmed = lost = 0
    found = NOTHING
    for number in range(cuts + 1):
        with Machine(image.base(cache), disk, console) as machine:
            back.append(await machine.answers())
            if number:
                found = await contents(machine.port)
                lost += len(acked - found.ids.keys())
                acked &= found.ids.keys()
            if not found.whole:
                await make_stream(machine.port)
                await asyncio.sleep(SETTLE_S)
            if number < cuts:
                publisher = await cut(machine, sent, rng.uniform(LEAST_S, MOST_S))
                acked |= publisher.acked
                confirmed += len(publisher.acked)
                sent = publisher.sent
        step()  # type: ignore[operator]
    disk.unlink()
    return Row(
        name=product.name,
        cuts=cuts,
        acked=confirmed,
        lost=lost,
        twice=sum(count - 1 for count in found.ids.values()),
        invented=sum(number >= sent for number in found.ids),
        garbled=found.garbled,
        back_s=statistics.median(back[1:]),
    )


def table(rows: Sequence[Row]) -> Table:
    """For people."""
    shown = Table("product", "cuts", "acknowledged", "lost", "twice", "invented", "garbled", "up again after")
    for row in rows:
        shown.add_row(row.name, *(f"{value:,}" for value in row[1:-1]), f"{row.back_s:.1f} s")
    return shown


def markdown(rows: Sequence[Row]) -> str:
    """For documents."""
    lines = [
        "| product | cuts | acknowledged | of them lost | twice | invented | garbled | up again after |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        numbers = " | ".join(f"{value:,}" for value in row[1:-1])
        lines.append(f"| {row.name} | {numbers} | {row.back_s:.1f} s |")
    return "\n".join(lines) + "\n"


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.option("--package", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
              help="phloem as make deb makes it.")  # fmt: skip
@click.option("--cuts", default=6, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, help="When the plug is pulled.")
@click.option("--only", type=click.Choice(["phloem", "nats-server", "nats-server always"]), multiple=True)
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path),
              default=Path(tempfile.gettempdir()) / "phloem-device", show_default=True,
              help="Where the Debian system is kept.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Markdown file for the table.")
def main(package: Path, cuts: int, seed: int, only: tuple[str, ...], cache: Path, out: Path | None) -> None:
    """The command."""
    products = [
        image.Product("phloem", package=package),
        image.Product("nats-server", binary=BINARY),
        image.Product("nats-server always", binary=BINARY, more=", sync_interval: always"),
    ]
    products = [product for product in products if not only or product.name in only]
    cache.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    console = Console()
    try:
        with tempfile.TemporaryDirectory(dir=cache) as folder, Progress(console=console) as progress:
            for product in products:
                task = progress.add_task(product.name, total=cuts + 1)
                rng = Random(seed)
                rows.append(
                    asyncio.run(
                        measure(product, cache, Path(folder), cuts, rng, lambda: progress.advance(task))  # noqa: B023
                    )
                )
    except (image.ImageError, NotUp) as error:
        sys.exit(f"{error}")
    console.print(table(rows))
    if out is not None:
        out.write_text(markdown(rows))
    if any(row.lost or row.twice or row.invented or row.garbled for row in rows if row.name == "phloem"):
        sys.exit("phloem broke a promise")


if __name__ == "__main__":
    main()
