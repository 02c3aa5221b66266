"""The commands ``phloem enroll``, ``revoke``, ``push`` and ``devices``."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from phloem.hub.fleet import folder as files
from phloem.hub.fleet.bundle_files import STDOUT, check_free, is_tar, place, write_out
from phloem.hub.fleet.certificates import valid_until_s
from phloem.hub.fleet.configurations import STORE_KEY
from phloem.hub.fleet.enrolment import (
    CONFIG,
    CREDS,
    Bundle,
    active_keys,
    check_names,
    sign_account,
)
from phloem.hub.fleet.enrolment import enroll as enroll_device
from phloem.hub.fleet.enrolment import revoke as revoke_keys
from phloem.hub.fleet.folder import Folder, locked
from phloem.hub.fleet.init_command import DEFAULT_FOLDER, Streams
from phloem.hub.fleet.register import Device, keys_of, shown
from phloem.hub.fleet.tell import Server, tell_hub
from phloem.hub.fleet.words import NOT_TOLD, SETTINGS, now_s, one_line_errors

STATE_FOLDER = "/var/lib/phloem"
DAY_S = 86_400
SOON_S = 30 * DAY_S  # what expires within is named
_LENGTH = re.compile(r"([1-9]\d{0,5})(h|d|w)")
_UNITS = {"h": 3600, "d": DAY_S, "w": 7 * DAY_S}

Config = click.option(
    "--config",
    "-c",
    "path",
    default=DEFAULT_FOLDER,
    show_default=True,
    envvar="PHLOEM_FLEET",
    show_envvar=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="What phloem init has made.",
)
Names = click.argument("names", nargs=-1, required=True, metavar="NAME...")


def _length(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    """``365d`` as seconds; 0 for nothing."""
    if not text:
        return 0
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a time such as 365d, 52w or 12h")
    return int(found[1]) * _UNITS[found[2]]


@click.command(context_settings=SETTINGS)
@Names
@Config
@click.option(
    "--output",
    "-o",
    "out",
    default="",
    metavar="PATH",
    help="Where the device's files go: a folder, a file that ends with .tar, or - for a tar on standard output. "
    "Several devices have a folder each in there. [default: FOLDER/devices/NAME, and the configuration is shown]",
)
@click.option(
    "--at",
    default="",
    metavar="PATH",
    help=f"Where the files will lie on the device, as its configuration names them. [default: {STATE_FOLDER}]",
)
@click.option("--here", is_flag=True, help="They stay where they are written: to try it out on one machine.")
@click.option(
    "--encrypt",
    is_flag=True,
    help=f"What the device stores is encrypted, with a key from its environment: {STORE_KEY}.",
)
@click.option(
    "--expires",
    "valid_s",
    default="",
    callback=_length,
    metavar="TIME",
    help="The credentials end after this time, such as 365d. [default: never; revoke ends them]",
)
@click.option(
    "--renew",
    is_flag=True,
    help="For a device that is enrolled: a new key, and the old one is revoked at the hub at once.",
)
@click.option(
    "--keep-old",
    is_flag=True,
    help="With --renew: the old key stays good until phloem revoke --old, so that the device is not cut off.",
)
@Streams
@Server
def enroll(
    names: tuple[str, ...],
    path: Path,
    out: str,
    at: str,
    here: bool,
    encrypt: bool,
    valid_s: int,
    renew: bool,
    keep_old: bool,
    streams: tuple[str, ...],
    servers: tuple[str, ...],
) -> None:
    """Give devices their credentials and their configuration.

    A device may use subjects that begin with its own name, a mailbox for answers, and its own JetStream's domain;
    whoever holds it gets these and nothing else. NAME is its name in subjects: letters, digits, - and _.

    \b
      phloem enroll greenhouse-1                      # files in fleet/devices/greenhouse-1
      phloem enroll greenhouse-1 -o - | ssh greenhouse-1 sudo tar -x -C /var/lib/phloem
      phloem enroll pump-1 pump-2 pump-3 -o pumps     # pumps/pump-1 and so on
      phloem enroll greenhouse-1 -o try --here        # here; phloem edge -c try/edge.conf -p 4333

    \b
    On the device
      edge.conf       phloem edge -c /var/lib/phloem/edge.conf; add serial ports and so on
      device.creds    the device's secret: delete other copies, phloem does not need them
      ca.pem          by this the device knows the hub

    \b
    A new key for a device, in turn with its old one, so that the link comes back by itself:
      phloem enroll greenhouse-1 --renew --keep-old   # carry the new device.creds there, restart
      phloem revoke greenhouse-1 --old

    \b
    To a hub that is a nats-server, into streams that are there (docs/hub_cluster.md):
      phloem enroll greenhouse-1 --stream 'FLEET_tele_{name}'

    Exit status: 0 done, 1 failed, 2 wrong words, 3 done, but the hub was not told of what --renew revoked, or of
    --stream.
    """
    if keep_old and not renew:
        raise click.UsageError("--keep-old goes with --renew")
    if keep_old and (encrypt or at or here):
        raise click.UsageError("--keep-old writes credentials alone, no configuration that could say more")
    if here and (at or is_tar(out)):
        raise click.UsageError("--here goes with a folder, and without --at")
    if servers and not streams and (not renew or keep_old):
        raise click.UsageError(
            "--server goes with --renew or --stream: without, the hub is not asked for anything"
        )
    show_config = not out and len(names) == 1 and not keep_old
    out = out or str(path / "devices" / (names[0] if len(names) == 1 else ""))
    with one_line_errors("enroll"), locked(path) as folder:
        check_names(folder, names, renew=renew)
        check_free(out, names, replace=renew)
        old = [key for name in names for key in keys_of(folder.devices(), name) if not key.revoked_s]
        places = {
            name: str(place(out, name, names).absolute()) if here else at or STATE_FOLDER for name in names
        }
        now = now_s()
        bundles = enroll_device(folder, places, now + valid_s if valid_s else 0, now, encrypt=encrypt)
        _write(bundles, out, now, replace=renew, alone=keep_old)
        told = True
        if streams:
            sign_account(folder, (), now_s(), streams=streams)
        if old and not keep_old:
            revoke_keys(folder, old, now_s())
        if streams or (old and not keep_old):
            told = tell_hub(folder, servers)
        if show_config:
            click.echo(bundles[0].config, nl=False)
        _say_enrolled(folder, places, out, old, keep_old=keep_old)
    if not told:
        sys.exit(NOT_TOLD)


@click.command(context_settings=SETTINGS)
@Names
@Config
@Server
@click.option("--old", is_flag=True, help="Only keys that --renew has replaced; the newest stays good.")
def revoke(names: tuple[str, ...], path: Path, servers: tuple[str, ...], old: bool) -> None:
    """Take the credentials of devices back. A device that is connected is cut off within a second.

    The revocation is written into the account, signed, and given to the hub with FOLDER/system.creds. If the hub
    cannot be reached, it is kept, and phloem push gives it to the hub later; until then the hub lets the device in.

    \b
      phloem revoke greenhouse-1
      phloem revoke greenhouse-1 --server tls://203.0.113.5:4222
      phloem enroll greenhouse-1 --renew              # the device was found: a new key

    Exit status: 0 the hub has confirmed it, 1 failed, 2 wrong words, 3 revoked here, but the hub was not told.
    """
    with one_line_errors("revoke"), locked(path) as folder:
        keys = [key for name in names for key in active_keys(folder, name, old_only=old)]
        revoke_keys(folder, keys, now_s())
        for name in names:
            count = sum(key.name == name for key in keys)
            click.echo(f"{name}: {_keys(count)} revoked" if count else f"{name}: nothing left to revoke")
        told = tell_hub(folder, servers)
    if not told:
        sys.exit(NOT_TOLD)


@click.command(context_settings=SETTINGS)
@Config
@Server
def push(path: Path, servers: tuple[str, ...]) -> None:
    """Give the accounts, with all revocations, to the running hub.

    For when phloem revoke could not reach it, and for a hub that was set up anew: without this it may know of no
    revocation.

    Exit status: 0 the hub has confirmed it, 1 failed, 2 wrong words, 3 it was not reached or refused.
    """
    with one_line_errors("push"), locked(path) as folder:
        sign_account(folder, (), now_s())
        told = tell_hub(folder, servers)
    if not told:
        sys.exit(NOT_TOLD)


@click.command(context_settings=SETTINGS)
@Config
@click.option("--json", "as_json", is_flag=True, help="For programs: a list with one object for each key.")
def devices(path: Path, as_json: bool) -> None:
    """List the devices that were enrolled, and what needs to be done."""
    with one_line_errors("devices"), locked(path) as folder:
        known = folder.devices()
        if as_json:
            click.echo(json.dumps([_object(one) for one in known], indent=2))
            return
        table = Table("name", "state", "enrolled", "valid until", "revoked", "key", box=None)
        for one in known:
            until = shown(one.expires_s) if one.expires_s else "for ever"
            revoked = shown(one.revoked_s) if one.revoked_s else ""
            table.add_row(one.name, one.state(now_s()), shown(one.enrolled_s), until, revoked, one.key)
        Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table, markup=False)
        for line in _to_do(folder, known):
            click.echo(line, err=True)


def _write(bundles: Sequence[Bundle], out: str, now: int, *, replace: bool, alone: bool) -> None:
    """Write the files of devices, or the secrets ``alone``, and forget the secrets.

    If it fails, the devices are in the register nevertheless: somebody may have got a file.
    """
    try:
        written = [one._replace(config=b"") for one in bundles] if alone else bundles
        write_out(out, written, now, replace=replace)
    finally:
        for bundle in bundles:
            bundle.wipe()


def _say_enrolled(
    folder: Folder, places: dict[str, str], out: str, old: Sequence[Device], *, keep_old: bool
) -> None:
    """What happened, and what is next; on stderr, since a tar or a configuration may be on stdout."""
    where = "the tar on standard output" if out == STDOUT else out
    click.echo(f"{', '.join(places)}: enrolled; the files are in {where}.", err=True)
    if old:
        text = "good until phloem revoke --old" if keep_old else "revoked"
        click.echo(f"{_keys(len(old))} from before: {text}.", err=True)
    click.echo(f"{CREDS} is secret: carry it to the device, then delete it here. There:", err=True)
    click.echo(f"  phloem edge -c {next(iter(places.values()))}/{CONFIG}", err=True)
    if folder.pending and not old:
        click.echo("There are revocations that the hub does not know of: phloem push", err=True)


def _to_do(folder: Folder, known: Sequence[Device]) -> list[str]:
    now, lines = now_s(), list[str]()
    if folder.pending:
        lines.append("Revoked devices may still come in: the hub was not told. phloem push")
    certificate = folder.path / files.HUB_CERTIFICATE
    if certificate.exists() and (until_s := valid_until_s(certificate.read_bytes())) < now + SOON_S:
        lines.append(f"The hub's certificate ends {shown(until_s)}: phloem init --renew-certificate")
    open_files = [file for file in files.SECRETS if _is_open(folder.path / file)]
    lines += [f"{folder.path / file} can be read by others: chmod 600" for file in open_files]
    soon = [one for one in known if one.state(now) == "active" and 0 < one.expires_s < now + SOON_S]
    lines += [f"{one.name}: the key ends {shown(one.expires_s)}: phloem enroll --renew" for one in soon]
    return lines


def _is_open(path: Path) -> bool:
    return path.exists() and bool(path.stat().st_mode & 0o077)


def _object(one: Device) -> dict[str, object]:
    times = {name: shown(value) if value else None for name, value in _times(one)}
    return {"name": one.name, "state": one.state(now_s()), "key": one.key, **times}


def _times(one: Device) -> tuple[tuple[str, int], ...]:
    return ("enrolled", one.enrolled_s), ("expires", one.expires_s), ("revoked", one.revoked_s)


def _keys(count: int) -> str:
    return "1 key" if count == 1 else f"{count} keys"
