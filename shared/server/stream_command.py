"""The command ``phloem stream``: lists, info, backup and restore of streams on any NATS server.

Everything that is asked of the server is in stream_backup.py; this file reads words and shows what happens.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
import nats
import nats.errors
from nats.aio.client import Client
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from phloem.shared.errors import PhloemError
from phloem.shared.server import stream_backup
from phloem.shared.server.client_login import login_with, once
from phloem.shared.server.stream_backup import BackupError, JetStreamApi

CONNECT_S = 5
Work = Callable[[JetStreamApi], Awaitable[None]]
SERVER_OPTIONS = (
    click.option(
        "--server", "-s", default="nats://127.0.0.1:4222", show_default=True, help="URL of the server."
    ),
    click.option("--user", default="", help="User name, or token."),
    click.option("--password", default="", envvar="NATS_PASSWORD", help="Password [env: NATS_PASSWORD]."),
    click.option("--token", default="", help="Token."),
    click.option("--creds", default="", type=click.Path(dir_okay=False), help="Credentials file."),
    click.option(
        "--tlsca", default="", type=click.Path(dir_okay=False), help="Certificate of the server's authority."
    ),
    click.option("--domain", default="", help="JetStream domain behind the server."),
)


def with_server(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which server."""
    for option in reversed(SERVER_OPTIONS):
        command = option(command)
    return command


async def connected(options: dict[str, str], **more: Any) -> Client:
    """A client of the server that the options name, which is not connected again; ``more`` is for ``nats.connect``.

    Raises BackupError.
    """
    given: dict[str, Any] = {
        name: options[key] for key, name in (("password", "password"), ("token", "token")) if options[key]
    }
    if options["user"]:
        given["user" if options["password"] else "token"] = options["user"]
    try:
        if options["creds"]:
            given |= login_with(options["creds"])
        if options["tlsca"]:
            given["tls"] = context = ssl.create_default_context(cafile=options["tlsca"])
            # Python 3.13 sets it: then it would refuse what older authorities of one's own have signed
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    except (OSError, PhloemError) as problem:
        raise BackupError(str(problem)) from None
    heard: list[Exception] = []

    async def hear(problem: Exception) -> None:
        heard.append(problem)

    try:
        return await nats.connect(options["server"], error_cb=hear, **once(CONNECT_S), **given, **more)
    except (OSError, nats.errors.Error) as problem:
        why = heard[0] if heard else problem
        raise BackupError(f"cannot connect to {options['server']}: {why}") from None


def run(options: dict[str, str], work: Work) -> None:
    """Connect, work, and say in one line what went wrong."""

    async def whole() -> None:
        client = await connected(options)
        try:
            await work(JetStreamApi(client, options["domain"]))
        finally:
            await client.close()

    try:
        asyncio.run(whole())
    except BackupError as problem:
        raise click.ClickException(str(problem)) from None
    except (OSError, nats.errors.Error) as problem:
        raise click.ClickException(f"it did not work: {problem or type(problem).__name__}") from None


class Bar:
    """Bytes, rate and time left, while somebody looks."""

    def __init__(self, console: Console, what: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task(what, total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        self._progress.start()
        return self._moved

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _moved(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=max(total, done) if total else None)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def stream() -> None:
    """Streams of any NATS server: list, info, backup, restore."""


@stream.command()
@with_server
@click.option(
    "--consumers/--no-consumers", default=True, show_default=True, help="Whether consumers go along."
)
@click.option("--check", is_flag=True, help="The server checks every message first (nats-server up to 2.14).")
@click.argument("name")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def backup(name: str, folder: Path, consumers: bool, check: bool, **options: str) -> None:
    """Write the stream NAME into FOLDER, as "nats stream backup" does."""
    console = Console()

    async def work(api: JetStreamApi) -> None:
        with Bar(console, name) as moved:
            meta, census = await stream_backup.backup(
                api, name, folder, consumers=consumers, check=check, progress=moved
            )
        state, size = meta["state"], (folder / stream_backup.DATA).stat().st_size
        counted = f"{census.messages:,} messages" if census.known else "the old format, not counted"
        console.print(
            f"{name}: {counted} up to sequence {state.get('last_seq', 0):,}, {decimal(size)} in {folder}",
            highlight=False,
        )

    run(options, work)


@stream.command()
@with_server
@click.option("--replicas", type=click.IntRange(1, 5), default=None, help="Another number of replicas.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def restore(folder: Path, replicas: int | None, **options: str) -> None:
    """Make the stream that was backed up into FOLDER again."""
    console = Console()

    async def work(api: JetStreamApi) -> None:
        with Bar(console, "restore") as moved:
            info = await stream_backup.restore(api, folder, replicas=replicas or 0, progress=moved)
        state = info["state"]
        console.print(
            f"{info['config']['name']}: {state['messages']:,} messages, sequences {state['first_seq']:,} to "
            f"{state['last_seq']:,}, {state.get('consumer_count', 0)} consumers",
            highlight=False,
        )
        for line in info.get("differs", []):
            console.print(f"differs: {line} (limits and TTLs have acted since)", highlight=False)

    run(options, work)


async def _all_streams(api: JetStreamApi) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = await api.ask("STREAM.LIST", {"offset": len(found)})
        found += page.get("streams") or []
        if not page.get("streams") or len(found) >= int(page.get("total", 0)):
            return found


@stream.command("ls")
@with_server
def listing(**options: str) -> None:
    """All streams."""

    async def work(api: JetStreamApi) -> None:
        table = Table("name", "subjects", "storage", box=None)
        for heading in ("messages", "size", "last seq", "consumers"):
            table.add_column(heading, justify="right")
        for one in await _all_streams(api):
            config, state = one["config"], one["state"]
            table.add_row(
                config["name"],
                ", ".join(config.get("subjects") or ["-"]),
                config["storage"],
                f"{state['messages']:,}",
                decimal(state["bytes"]),
                f"{state['last_seq']:,}",
                str(state["consumer_count"]),
            )
        Console().print(table)

    run(options, work)


@stream.command()
@with_server
@click.argument("name")
def info(name: str, **options: str) -> None:
    """Configuration and state of the stream NAME."""

    async def work(api: JetStreamApi) -> None:
        found = await api.ask(f"STREAM.INFO.{name}")
        table = Table(show_header=False, box=None)
        for part in ("config", "state"):
            for key, value in found[part].items():
                table.add_row(
                    f"{part}.{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)
                )
        Console().print(table)

    run(options, work)
