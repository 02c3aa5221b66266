"""Pull the plug again and again under load, and count what was lost: phloem beside nats-server."""

import asyncio
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from rich.table import Table

from tests.device import image
from tests.device.load import NOTHING, Publisher, contents, make_stream
from tests.device.machine import Machine

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
    product: image.Product, cache: Path, folder: Path, cuts: int, rng: Random, step: Callable[[], None]
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
        step()
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
