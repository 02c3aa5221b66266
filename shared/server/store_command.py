"""The command ``phloem store``: ``check`` looks at a store's folder, ``repair`` makes a sound one of it, ``compact``
gives space back that it does not use.

Exit codes: 0 all is well (or was repaired without loss), 1 something is damaged (or was lost), 2 it could not be done.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from phloem.shared.errors import ConfigError
from phloem.shared.server.load import load, merge
from phloem.shared.server.store_keys import ENVIRONMENT, keys_of, keys_of_command
from phloem.shared.store.check import check as check_store
from phloem.shared.store.compact import compact as compact_store
from phloem.shared.store.keyring import Keys
from phloem.shared.store.repair import repair as repair_store
from phloem.shared.store.store import StoreError
from phloem.shared.store.survey import Finding, Survey

T = TypeVar("T")
SHOWN = 50  # findings; --all shows the others

Folder = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
All = click.option("--all", "everything", is_flag=True, help="List every finding, not the first 50.")
KEY_OPTIONS = (
    click.option(
        "--config",
        "-c",
        default="",
        type=click.Path(dir_okay=False),
        help="Configuration of the server, for the key of an encrypted store.",
    ),
    click.option(
        "--key-file",
        default="",
        type=click.Path(dir_okay=False),
        help=f"File with that key; without both options it is taken from the environment [{ENVIRONMENT}].",
    ),
)


def with_keys(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where the key of an encrypted store is."""
    for option in reversed(KEY_OPTIONS):
        command = option(command)
    return command


def _keys(config: str, key_file: str) -> Keys | None:
    try:
        return keys_of(merge(load(config), {})) if config else keys_of_command(key_file)
    except (ConfigError, OSError) as error:
        click.echo(f"phloem: {error}", err=True)
        raise SystemExit(2) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def store() -> None:
    """Look after the folder in which a server keeps its streams (STORE_DIR/jetstream/phloem)."""


@store.command()
@Folder
@All
@with_keys
def check(folder: Path, everything: bool, config: str, key_file: str) -> None:
    """Look at every message and index of a store. The server must not be running; nothing is changed."""
    keys = _keys(config, key_file)
    survey = _with_bar(lambda tell: check_store(folder, tell, keys))
    _totals(survey)
    _list(survey.findings, survey.unlisted, everything)
    if survey.findings:
        click.echo(f"damaged; to keep what is good: phloem store repair {folder}")
        raise SystemExit(1)
    click.echo("all is well")


@store.command()
@Folder
@All
@with_keys
def repair(folder: Path, everything: bool, config: str, key_file: str) -> None:
    """Make a sound store of a damaged one. The damaged one is kept beside it, as FOLDER.damaged-N."""
    keys = _keys(config, key_file)
    done = _with_bar(lambda tell: repair_store(folder, tell, keys))
    if done.kept is None:
        _totals(done.found)
        click.echo("all is well; nothing was changed")
        return
    _totals(done.kept)
    click.echo(f"the damaged store is kept in {done.damaged}")
    if not done.lost:
        click.echo("repaired: nothing is lost")
        return
    click.echo("repaired; this could not be kept or is not as it was:")
    _list(done.lost, done.kept.unlisted, everything)
    raise SystemExit(1)


@store.command()
@Folder
@with_keys
def compact(folder: Path, config: str, key_file: str) -> None:
    """Give unused space of a store back to the file system. The server must not be running.

    An encrypted store gets a new data key, under the same key of yours: what was known of the old one is worth nothing.
    Needs as much free space as what is stored takes, until it is done; whatever stops it leaves the store as it was.
    """
    keys = _keys(config, key_file)
    done = _with_bar(lambda tell: compact_store(folder, tell, keys))
    click.echo(f"{folder}/data.mdb: {done.before} bytes before, {done.after} now")


def _with_bar(work: Callable[[Callable[[str, int, int], None]], T]) -> T:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        try:
            return work(tell)
        except StoreError as error:
            click.echo(f"phloem: {error}", err=True)
            raise SystemExit(2) from error


def _totals(survey: Survey) -> None:
    t = survey.totals
    click.echo(
        f"{t.messages} messages in {t.blocks} blocks of {t.logs} logs, {t.subjects} subjects, {t.pairs} pairs, "
        f"{t.batches} batches in the journal, {t.bytes} bytes"
    )


def _list(findings: list[Finding], unlisted: int, everything: bool) -> None:
    shown = findings if everything else findings[:SHOWN]
    for finding in shown:
        click.echo(f"  {finding}")
    if len(findings) + unlisted > len(shown):
        click.echo(f"  and {len(findings) + unlisted - len(shown)} more")
