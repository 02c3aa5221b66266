"""The command ``phloem init``."""

import socket
import sys
from pathlib import Path

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from phloem.hub.fleet import folder as files
from phloem.hub.fleet.administrators import renew_administrators
from phloem.hub.fleet.creation import Wishes, create, renew_certificate
from phloem.hub.fleet.folder import locked
from phloem.hub.fleet.permissions import is_plain_subject, is_stream
from phloem.hub.fleet.register import shown
from phloem.hub.fleet.tell import Server, tell_hub
from phloem.hub.fleet.words import NOT_TOLD, SETTINGS, now_s, one_line_errors
from phloem.hub.profile import LEAF_PORT

CLIENT_PORT, MONITOR_PORT = 4222, 8222
DEFAULT_FOLDER = "fleet"
RENEWALS = {  # what goes with each
    "renew_certificate": {"hubs", "ca_key"},
    "renew_admin": {"servers"},
}


def _streams(_ctx: click.Context, _param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [name for name in names if not is_stream(name)]:
        raise click.BadParameter(f"{wrong[0]!r} is not a stream's name of letters, digits, - _ and {{name}}")
    return names


Streams = click.option(
    "--stream",
    "streams",
    multiple=True,
    metavar="STREAM",
    callback=_streams,
    help="For a hub that is a nats-server: all devices may forward into this stream, which is to be there. {name} in "
    "it is the name of the device; from a stream that they share they can read what others have sent. Again for more.",
)
Port = click.IntRange(1, 65535)


def _inbox(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    if text and not is_plain_subject(text):
        raise click.BadParameter(f"{text!r} is not a subject without wildcards, such as _INBOX_fleet")
    return text


@click.command(context_settings=SETTINGS)
@click.argument("folder", default=DEFAULT_FOLDER, type=click.Path(path_type=Path))
@click.option(
    "--hub",
    "hubs",
    multiple=True,
    metavar="NAME",
    help="Name or address under which devices reach the hub; again for more, which are tried in turn. "
    "[default: the name of this machine]",
)
@click.option("--operator", default="", metavar="TEXT", help="Name of the operator. [default: FOLDER's name]")
@click.option(
    "--at",
    default="",
    metavar="PATH",
    help="Where FOLDER/hub will lie on the hub's machine, such as /var/lib/phloem. [default: where it is made]",
)
@click.option("--port", type=Port, default=CLIENT_PORT, show_default=True, help="Hub: for programs.")
@click.option("--leaf-port", type=Port, default=LEAF_PORT, show_default=True, help="Hub: for devices.")
@click.option(
    "--monitor-port",
    type=Port,
    default=MONITOR_PORT,
    show_default=True,
    help="Hub: monitoring, loopback only.",
)
@click.option(
    "--reply-inbox",
    default="",
    metavar="PREFIX",
    callback=_inbox,
    help="Devices may also answer to inboxes below PREFIX, so that one program can ask all of them. A device that was "
    "stolen could then try to give others' answers there. [default: only below _INBOX_<device>]",
)
@Streams
@click.option(
    "--renew-certificate",
    is_flag=True,
    help="Give the hub of an existing FOLDER a new key and certificate, also for names given with --hub.",
)
@click.option(
    "--ca-key",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="With --renew-certificate: the authority's key. [default: FOLDER/offline/ca.key]",
)
@click.option(
    "--renew-admin",
    is_flag=True,
    help="New admin.creds and system.creds for an existing FOLDER; the old ones are revoked at the hub at once.",
)
@Server
@click.pass_context
def init(
    ctx: click.Context,
    folder: Path,
    hubs: tuple[str, ...],
    operator: str,
    at: str,
    port: int,
    leaf_port: int,
    monitor_port: int,
    reply_inbox: str,
    streams: tuple[str, ...],
    renew_certificate: bool,
    ca_key: Path | None,
    renew_admin: bool,
    servers: tuple[str, ...],
) -> None:
    """Make all that a hub and a fleet of devices need to trust each other, in the new folder FOLDER.

    \b
      an operator        vouches for accounts; the hub trusts it and keeps no secret of anybody
      an account         for devices and programs, with a signing key that makes devices alone
      a system account   tells the hub of revoked devices
      certificates       an authority of your own, and the hub's certificate
      hub/               the hub's configuration and all files that it names

    \b
      phloem init --hub hub.example.com       # everything, in the folder fleet
      phloem hub -c fleet/hub/hub.conf        # run the hub
      phloem enroll greenhouse-1              # a device's credentials and configuration
      phloem devices                          # which devices are there?
      phloem revoke greenhouse-1              # it was stolen: out, within a second

    The hub may run elsewhere: FOLDER/hub is all that it needs, --at says where it will lie there. FOLDER/offline holds
    what nobody needs from day to day (identities, the authority's key): move it to a medium that you lock away.

    \b
      phloem init --renew-certificate         # before it expires; phloem devices says when
      phloem init --renew-admin               # somebody who had admin.creds has left

    Exit status: 0 done, 1 failed, 2 wrong words, 3 done, but the hub was not told of what --renew-admin revoked.
    """
    _check_words(ctx)
    with one_line_errors("init"):
        if renew_certificate:
            _renew_certificate(folder, hubs, ca_key)
            return
        if renew_admin:
            _renew_admin(folder, servers)
            return
        whole = folder.absolute()
        wishes = Wishes(
            name=operator or whole.name,
            hubs=hubs or (socket.gethostname(),),
            at=at.rstrip("/") or str(whole / files.HUB),
            port=port,
            leaf_port=leaf_port,
            monitor_port=monitor_port,
            reply_inbox=reply_inbox,
            streams=streams,
        )
        create(folder, wishes, now_s())
        _show(folder, wishes)


def _check_words(ctx: click.Context) -> None:
    """Each renewal has its own options, and no others. Raises UsageError."""
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE} - {
        "folder"
    }
    words = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
    chosen = [name for name in RENEWALS if name in given]
    for name in chosen:
        if extra := sorted(given - {name} - RENEWALS[name]):
            raise click.UsageError(f"{words[extra[0]]} does not go with {words[name]}")
    for name, options in RENEWALS.items():
        if not chosen and (extra := sorted((given & options) - {"hubs"})):
            raise click.UsageError(f"{words[extra[0]]} goes with {words[name]}")


def _renew_admin(path: Path, servers: tuple[str, ...]) -> None:
    with locked(path) as folder:
        renew_administrators(folder, now_s())
        click.echo(f"{path}/{files.ADMIN_CREDS}, {path}/{files.SYSTEM_CREDS}: new; the old ones are revoked.")
        told = tell_hub(folder, servers)
    if not told:
        sys.exit(NOT_TOLD)


def _renew_certificate(path: Path, hubs: tuple[str, ...], ca_key: Path | None) -> None:
    with locked(path) as folder:
        names = tuple(dict.fromkeys((*folder.deployment.hubs, *hubs)))
        until_s = renew_certificate(folder, names, ca_key or path / files.AUTHORITY_KEY, now_s())
        if names != folder.deployment.hubs:
            folder.save_deployment(msgspec.structs.replace(folder.deployment, hubs=names))
    click.echo(f"{path / files.HUB_CERTIFICATE}: new, for {', '.join(names)}, valid until {shown(until_s)}.")
    click.echo("The hub takes it when it is reloaded (SIGHUP); devices need nothing.")


def _show(folder: Path, wishes: Wishes) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows = (
        ("hub/", "all that the hub needs; no secret but its TLS key"),
        (files.ADMIN_CREDS, "for programs and people who may do everything; secret"),
        (files.SYSTEM_CREDS, "tells the hub of revoked devices; secret"),
        ("keys/", "enroll and revoke sign with these; secret: whoever has them adds devices"),
        ("offline/", "identities and the authority's key: move it away, keep two copies"),
        (files.AUTHORITY, "the authority's certificate, for clients of the hub; no secret"),
        (files.REGISTER, "the register of devices; in the backup, with keys/ and account.jwt"),
    )
    for name, what in rows:
        table.add_row(f"{folder}/{name}", what)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{folder}: made, for a hub at {', '.join(wishes.hubs)}.\n", markup=False)
    console.print(table, markup=False)
    option = "" if str(folder) == DEFAULT_FOLDER else f" --config {folder}"
    console.print("\nNext:", markup=False)
    if wishes.at == str((folder / files.HUB).absolute()):
        console.print(f"  phloem hub -c {folder / files.HUB_CONFIG}", markup=False)
    else:
        console.print(f"  copy {folder}/hub to {wishes.at} on the hub's machine, and there", markup=False)
        console.print(f"  phloem hub -c {wishes.at}/hub.conf", markup=False)
    console.print(f"  phloem enroll NAME{option}", markup=False)
