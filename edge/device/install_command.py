"""``phloem install`` and ``phloem uninstall``."""

import os
import sys
from pathlib import Path

import click

from phloem.edge.device.install import (
    InstallError,
    Step,
    Target,
    install_steps,
    place_of,
    run_command,
    uninstall_steps,
)
from phloem.edge.device.layout import MARK, PACKAGE, UNITS, Role

_SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}

_root = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    help="Install into the file system of an image; nothing is started.",
)
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
_packaged = click.option(
    "--packaged",
    is_flag=True,
    help="Units and rules in /usr/lib instead of /etc: for packages, when they are built (with --root) and in "
    "postinst, where users are made and services started even if all files are there.",
)


def this_program() -> str:
    """The ``phloem`` that units start: the one of this interpreter."""
    return str(Path(sys.executable).with_name("phloem"))


def came_as_package(root: Path, program: str) -> bool:
    """Whether the units of this program are the package's: they are not to be written once more, into /etc."""
    unit = root / PACKAGE.units / UNITS[Role.HUB][0]
    try:
        return unit.read_text().startswith(MARK) and f"ExecStart={program} " in unit.read_text()
    except OSError:
        return False


@click.command(context_settings=_SETTINGS)
@click.argument("role", type=click.Choice([role.value for role in Role]), default=Role.EDGE.value)
@_root
@_dry_run
@_packaged
@click.option(
    "--start/--no-start", default=True, help="Whether to start the services, or restart changed ones."
)
@click.option(
    "--enable/--no-enable",
    default=True,
    help="Whether to enable units; otherwise those that are enabled are started, and no others.",
)
@click.option("--program", metavar="PATH", show_default="this one", help="The program that the units start.")
def install(
    role: str, root: Path, dry_run: bool, packaged: bool, start: bool, enable: bool, program: str | None
) -> None:
    """Set up phloem as services of systemd: users, units, udev rules, example configurations.

    ROLE is edge (a device: broker and serial ports) or hub. A second install changes nothing; a newer phloem's brings
    its own units. Configurations that are there stay as they are. The Debian package does it for a device; install hub
    makes a hub of such a machine, and disables the device's services.

    \b
      sudo phloem install
      sudo phloem install hub
      phloem install --root ./image --program /opt/phloem/bin/phloem
    """
    program = program or this_program()
    target = _target(root, packaged or came_as_package(root, program), dry_run, program)
    with _told():
        steps = install_steps(
            target, Role(role), start=start and target.live, enable=enable, unpacked=packaged
        )
        _carry_out(steps, dry_run)
    if target.live and not dry_run:
        click.echo("Next: phloem doctor")


@click.command(context_settings=_SETTINGS)
@_root
@_dry_run
@_packaged
@click.option("--purge", is_flag=True, help="Also /etc/phloem and /var/lib/phloem, with all messages in it.")
def uninstall(root: Path, dry_run: bool, packaged: bool, purge: bool) -> None:
    """Stop phloem's services and remove what phloem install has written.

    Configuration and stored messages stay, unless --purge says otherwise. So do the users phloem and phloem-bridge:
    files may still belong to them.
    """
    target = _target(root, packaged, dry_run, this_program())
    with _told():
        _carry_out(uninstall_steps(target, purge=purge), dry_run)


def _target(root: Path, packaged: bool, dry_run: bool, program: str) -> Target:
    target = Target(root.absolute(), place_of(packaged=packaged), program, run_command)
    if not program.startswith("/"):
        raise click.UsageError(f"--program {program}: the units need an absolute path")
    if target.live and not dry_run and os.geteuid():
        raise click.ClickException("this needs root: sudo phloem ..., or --dry-run to see what it would do")
    return target


def _carry_out(steps: list[Step], dry_run: bool) -> None:
    if not steps:
        click.echo("Nothing to do: all is as it should be.")
    for step in steps:
        click.echo(f"would {step.what}" if dry_run else step.what)
        if not dry_run:
            step.act()


class _told:
    """What cannot be done is one line and exit code 1."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, InstallError | OSError):
            raise click.ClickException(str(error)) from error
