"""The command ``phloem fleet``: devices of a hub, live; sub-commands are in files of their own and imported when used.

A word that is no sub-command is a device: ``phloem fleet greenhouse-1`` is ``phloem fleet show greenhouse-1``. Options
of the group hold for its sub-commands as well.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console, RenderableType
from rich.live import Live

from phloem.hub.fleet import fleet_picture as pictures
from phloem.hub.fleet.fleet_watch import Watch, WatchError
from phloem.hub.fleet.words import SETTINGS
from phloem.shared.clock import SystemClock
from phloem.shared.forward.ledger import Document, encode
from phloem.shared.server.stream_command import with_server

SUBCOMMANDS = {  # name: (module, attribute, one line for --help)
    "show": ("phloem.hub.fleet.fleet_command", "show", "One device in full; the word show may be left out."),
    "setup": ("phloem.hub.fleet.twin_commands", "setup", "Make the buckets of twins at the hub."),
    "command": ("phloem.hub.fleet.twin_commands", "command", "Give a device a command."),
    "commands": ("phloem.hub.fleet.twin_commands", "commands", "What has become of a device's commands."),
}
WIDTH = 160  # where nobody looks
DRAW_S = 0.25

Picture = Callable[[dict[str, Document], str, int], RenderableType]
"""Of all documents, what is wrong with the connection, and the time in nanoseconds since 1970."""


class Subcommands(click.Group):
    """A group whose commands are imported when they are used, and whose other words are devices."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of use."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name, imported now."""
        if name not in SUBCOMMANDS:
            return None
        module, attribute, _ = SUBCOMMANDS[name]
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A device is shown."""
        if args[0] not in SUBCOMMANDS:
            args = ["show", *args]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in SUBCOMMANDS.items()])


def _with_output(command: Callable[..., Any]) -> Callable[..., Any]:
    as_json = click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="For programs: the ledger's documents, one a line, as they change.",
    )
    once = click.option("--once", is_flag=True, help="As it is now, and end.")
    return once(as_json(command))


@click.group(
    cls=Subcommands, context_settings=SETTINGS, invoke_without_command=True, subcommand_metavar="[DEVICE]"
)
@with_server
@_with_output
def fleet(once: bool, as_json: bool, **options: str) -> None:
    """Devices of a hub, live: what each has still to send, how old its newest message is, what is missing and why.

    Whoever needs somebody comes first. All of it is the ledger that the hub keeps, a bucket that any NATS client can
    watch (docs/fleet.md); log in as a client of the account that devices are in.

    \b
      phloem fleet --creds fleet/admin.creds --tlsca fleet/ca.pem -s tls://hub.example.com
      phloem fleet greenhouse-1                       # one device in full
      phloem fleet --once --json | jq .device,.trouble
    """
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is not None:
        given = {
            name: value
            for name, value in ctx.params.items()
            if ctx.get_parameter_source(name) not in (ParameterSource.DEFAULT, ParameterSource.ENVIRONMENT)
        }
        command = fleet.get_command(ctx, ctx.invoked_subcommand)
        takes = {param.name for param in command.params} if command is not None else set()
        for name in given.keys() - takes:
            raise click.UsageError(f"--{name.removeprefix('as_')} does not go with {ctx.invoked_subcommand}")
        ctx.default_map = {ctx.invoked_subcommand: given}
        return
    _run(options, _all, once=once, as_json=as_json)


@click.command(context_settings=SETTINGS)
@with_server
@_with_output
@click.argument("device")
def show(device: str, once: bool, as_json: bool, **options: str) -> None:
    """One device in full: streams, gaps with their reasons, link, health, and what has happened."""

    def picture(documents: dict[str, Document], problem: str, now_ns: int) -> RenderableType:
        return pictures.device(device, documents.get(device), problem, now_ns)

    _run(options, picture, once=once, as_json=as_json, device=device)


def _all(documents: dict[str, Document], problem: str, now_ns: int) -> RenderableType:
    return pictures.Overview(list(documents.values()), problem, now_ns)


def _run(options: dict[str, str], picture: Picture, *, once: bool, as_json: bool, device: str = "") -> None:
    watch = Watch(options, device)
    try:
        if once:
            _show_once(watch, picture, as_json=as_json, device=device)
        elif as_json:
            asyncio.run(watch.follow(_print))
        else:
            asyncio.run(_live(watch, picture))
    except WatchError as problem:
        raise click.ClickException(str(problem)) from None
    except KeyboardInterrupt:
        pass


def _show_once(watch: Watch, picture: Picture, *, as_json: bool, device: str) -> None:
    documents = asyncio.run(watch.once())
    if device and device not in documents:
        raise click.ClickException(f"{device}: no device of this name has forwarded anything to this account")
    if as_json:
        for _, document in sorted(documents.items()):
            _print(document)
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(picture(documents, "", SystemClock().wall_ns()))


def _print(document: Document) -> None:
    click.echo(json.dumps(json.loads(encode(document))))


async def _live(watch: Watch, picture: Picture) -> None:
    """Until somebody stops it. A hub that is away is tried again; the first time it has to be there."""
    clock = SystemClock()
    following = asyncio.create_task(watch.keep_following())
    try:
        with Live(console=Console(highlight=False), auto_refresh=False, screen=sys.stdout.isatty()) as live:
            while not following.done():
                live.update(picture(watch.documents, watch.problem, clock.wall_ns()), refresh=True)
                await asyncio.wait({following}, timeout=DRAW_S)
        await following
    finally:
        following.cancel()
        await asyncio.wait({following})
