"""``phloem doctor``: looks at a device and says in plain words what is wrong and what to do."""

from collections.abc import Iterable
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from phloem.edge.device import disk_checks, machine_checks, way_checks
from phloem.edge.device.finding import EXIT, Finding, Level, worst
from phloem.edge.device.patient import Patient
from phloem.shared.clock import Clock, SystemClock

_STYLES = {Level.OK: "green", Level.UNKNOWN: "dim", Level.WARN: "yellow", Level.BAD: "bold red"}


def examine(patient: Patient, clock: Clock) -> list[Finding]:
    """All that is found, in the order in which it is told."""
    groups: tuple[Iterable[Finding], ...] = (
        machine_checks.units(patient),
        way_checks.configuration(patient),
        way_checks.health(patient),
        disk_checks.storage(patient),
        disk_checks.scratch(patient),
        disk_checks.card(patient),
        machine_checks.clock(patient, clock),
        way_checks.ports(patient),
        machine_checks.permissions(patient),
        way_checks.link(patient),
        machine_checks.memory(patient),
        machine_checks.kernel(patient),
    )
    return [finding for group in groups for finding in group]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-c", "--config", default="", metavar="FILE", help="The broker's configuration.  [/etc/phloem/edge.conf]"
)
@click.option("--bridge-config", default="", metavar="FILE", help="The bridge's.  [/etc/phloem/bridge.conf]")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("/"),
    help="Look at an image instead of this machine; nobody is asked then.",
)
@click.option("--json", "as_json", is_flag=True, help="Findings as JSON, for programs.")
@click.pass_context
def doctor(ctx: click.Context, config: str, bridge_config: str, root: Path, as_json: bool) -> None:
    """Look whether this device is well: services, storage and life of the card, clock, serial ports, permissions, link,
    memory, kernel.

    Changes nothing. As root it sees more. Exit code 0: all is well or will do for now, 1: something does not work.
    """
    patient = Patient(root.absolute(), edge=config, bridge=bridge_config)
    findings = examine(patient, SystemClock())
    if as_json:
        told = {"level": worst(findings), "findings": findings}
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))
    else:
        _show(findings, Console())
    ctx.exit(EXIT[worst(findings)])


def _show(findings: list[Finding], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "is so, and what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        text = escape(finding.what) + (f"\n[dim]→ {escape(finding.do)}[/dim]" if finding.do else "")
        table.add_row(f"[{_STYLES[finding.level]}]{finding.level.value}[/]", finding.area, text)
    console.print(table)
