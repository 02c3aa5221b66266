"""An emulated device: its plug is pulled under load, and it is brought to limits that a device has.

    python -m tests.device --package dist/phloem_0.4.0_amd64.deb --cuts 6
    python -m tests.device --package dist/phloem_0.4.0_amd64.deb --scenario usb

\b
power     the plug is pulled again and again; what was lost is counted, for phloem and for nats-server
limits    memory, tasks and processor as systemd bounds them, and what happens there
readonly  a root that cannot be written to, /var on a disk of its own, and cuts
latevar   the same, and /var comes when the machine has long been up
upgrade   phloem upgrade on a device, under load: to a later version, and back by itself from one that does not serve
upgrade-hub  the same on a hub
usb       a USB adapter with a real driver: udev, hot-plugging, lines, the kernel's counters

Needs root, debootstrap, e2fsprogs and qemu-system-x86; some minutes for each. The emulator computes in software, so
times say how products compare and not how fast a device is.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from random import Random

import click
from rich.console import Console
from rich.progress import Progress

from tests.device import image, limits, mounts, upgrade, usb
from tests.device.machine import NotUp
from tests.device.power import Row, markdown, measure, table
from tests.device.story import Place, Scenario, Story
from tests.device.story import markdown as markdown_of
from tests.support.programs import ProgramError
from tests.support.real_server import BINARY

POWER = "power"
SCENARIOS: dict[str, Scenario] = {
    "limits": limits.scenario,
    "readonly": mounts.readonly,
    "latevar": mounts.latevar,
    "upgrade": upgrade.edge,
    "upgrade-hub": upgrade.hub,
    "usb": usb.scenario,
}


def power(package: Path, cuts: int, seed: int, only: tuple[str, ...], cache: Path, out: Path | None) -> None:
    """Raises ProgramError and NotUp."""
    products = [
        image.Product("phloem", package=package),
        image.Product("nats-server", binary=BINARY),
        image.Product("nats-server always", binary=BINARY, more=", sync_interval: always"),
    ]
    products = [product for product in products if not only or product.name in only]
    rows: list[Row] = []
    console = Console()
    with tempfile.TemporaryDirectory(dir=cache) as folder, Progress(console=console) as progress:
        for product in products:
            task = progress.add_task(product.name, total=cuts + 1)
            rng = Random(seed)
            rows.append(
                asyncio.run(
                    measure(product, cache, Path(folder), cuts, rng, lambda: progress.advance(task))  # noqa: B023
                )
            )
    console.print(table(rows))
    if out is not None:
        out.write_text(markdown(rows))
    if any(row.lost or row.twice or row.invented or row.garbled for row in rows if row.name == "phloem"):
        sys.exit("phloem broke a promise")


def tell(name: str, package: Path, later: Path | None, cache: Path, out: Path | None) -> None:
    """Raises ProgramError and NotUp."""
    story = Story(click.echo)
    try:
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            asyncio.run(SCENARIOS[name](Place(package, cache, Path(folder), later), story))
    finally:
        if out is not None:
            out.write_text(markdown_of(story.steps))
    if not all(step.well for step in story.steps):
        sys.exit("not all is well")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, help=__doc__
)
@click.option("--package", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
              help="phloem as make deb makes it.")  # fmt: skip
@click.option("--scenario", type=click.Choice([POWER, *SCENARIOS]), default=POWER, show_default=True)
@click.option(
    "--cuts", default=6, show_default=True, type=click.IntRange(1), help="Of power, for each product."
)
@click.option("--seed", default=1, show_default=True, help="When the plug is pulled.")
@click.option("--only", type=click.Choice(["phloem", "nats-server", "nats-server always"]), multiple=True,
              help="Products, of power.")  # fmt: skip
@click.option("--later", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The next version's package, of upgrade; else the same one with a higher version.")  # fmt: skip
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path),
              default=Path(tempfile.gettempdir()) / "phloem-device", show_default=True,
              help="Where the Debian systems are kept.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Markdown file for the table.")
def main(
    package: Path, scenario: str, cuts: int, seed: int, only: tuple[str, ...], later: Path | None, cache: Path,
    out: Path | None,
) -> None:  # fmt: skip
    """The command."""
    cache.mkdir(parents=True, exist_ok=True)
    try:
        if scenario == POWER:
            power(package, cuts, seed, only, cache, out)
        else:
            tell(scenario, package, later, cache, out)
    except (ProgramError, NotUp) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
