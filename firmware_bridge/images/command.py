"""``phloem firmware``: put a signed image into the bucket, and see how far boards are."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
import nats.errors
import nats.js.errors
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.js.api import ObjectMeta
from nats.js.client import JetStreamContext
from rich.console import Console
from rich.table import Table

from phloem.firmware_bridge.images import limits
from phloem.firmware_bridge.images.manifest import BOARD_TYPE, SIGNATURE, VERSION, object_name
from phloem.firmware_bridge.images.signature import private_key, statement
from phloem.firmware_bridge.unix_socket import client_of
from phloem.shared.clock import SystemClock
from phloem.shared.errors import ConfigError
from phloem.shared.limits import SECOND_NS

_server = click.option(
    "--server",
    default="nats://127.0.0.1:4222",
    metavar="URL",
    help="NATS server, also as nats://user:password@host:port or unix:///path.",
)
_creds = click.option("--creds", type=click.Path(exists=True), help="Credentials file.")
_domain = click.option("--domain", default="", help="JetStream domain, such as hub.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def firmware() -> None:
    """Firmware for boards on serial ports; docs/firmware.md."""


@firmware.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--board", required=True, metavar="TYPE", help="Which type of board it is for.")
@click.option("--uid", default="", help="Only for the board with this number, in hexadecimal.")
@click.option("--version", required=True, help="What the board says in HELLO when it runs the image.")
@click.option(
    "--sign",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="KEY",
    help="Ed25519 private key, a PEM file of openssl genpkey -algorithm ed25519.",
)
@click.option("--bucket", default="FIRMWARE", help="Object store; made if it is not there.")
@_domain
@_server
@_creds
def push(
    file: Path,
    board: str,
    uid: str,
    version: str,
    sign: Path,
    bucket: str,
    domain: str,
    server: str,
    creds: str | None,
) -> None:
    """Sign FILE and put it into the bucket: boards of TYPE get it."""
    try:
        key, image = private_key(sign), file.read_bytes()
        check(image, board, uid, version)
    except (ConfigError, OSError) as error:
        raise click.UsageError(str(error)) from error

    async def put(js: JetStreamContext) -> None:
        name = await push_image(js, bucket, image, board=board, uid=uid.lower(), version=version, key=key)
        click.echo(f"{name} is {version}, {len(image)} bytes, in {bucket}")

    _with_jetstream(server, creds, domain, put)


@firmware.command()
@click.option("--states", default="FIRMWARE_STATES", help="KV bucket of the states.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each board.")
@_domain
@_server
@_creds
def status(states: str, as_json: bool, domain: str, server: str, creds: str | None) -> None:
    """Show how far each board is."""

    async def show(js: JetStreamContext) -> None:
        rows = await read_states(js, states)
        if as_json:
            for row in rows:
                click.echo(json.dumps(row))
            return
        table = Table("port", "board", "uid", "version", "state", "for", "why", box=None)
        for row in rows:
            done = f" {100 * row['offset'] // row['size']} %" if row.get("offset") and row.get("size") else ""
            age = _age(SystemClock().wall_ns() // SECOND_NS - row["at"])
            names = ("port", "board", "uid", "version")
            table.add_row(
                *(str(row.get(name, "")) for name in names), row["state"] + done, age, row.get("why", "")
            )
        Console().print(table)

    _with_jetstream(server, creds, domain, show)


def check(image: bytes, board: str, uid: str, version: str) -> None:
    """Raise ConfigError for what no bridge would take."""
    if not BOARD_TYPE.fullmatch(board):
        raise ConfigError("--board must be letters, digits, - _ = and . (1 to 64)")
    try:
        if len(bytes.fromhex(uid)) > 16:
            raise ValueError
    except ValueError:
        raise ConfigError("--uid must be 1 to 16 bytes in hexadecimal") from None
    if not 0 < len(image) <= limits.IMAGE_BYTES_MAX:
        raise ConfigError(f"an image must have 1 to {limits.IMAGE_BYTES_MAX} bytes")
    if (
        not version.isascii()
        or not version.isprintable()
        or version != version.strip()
        or not 0 < len(version) < 256
    ):
        raise ConfigError("--version must be 1 to 255 printable ASCII characters")


async def push_image(
    js: JetStreamContext,
    bucket: str,
    image: bytes,
    *,
    board: str,
    uid: str,
    version: str,
    key: Ed25519PrivateKey,
) -> str:
    """Sign and put; the object's name."""
    text = statement(board, uid, version, len(image), hashlib.sha256(image).hexdigest())
    signature = base64.b64encode(key.sign(text)).decode()
    try:
        store = await js.object_store(bucket)
    except nats.js.errors.NotFoundError:
        store = await js.create_object_store(bucket)
    name = object_name(board, uid)
    headers = {VERSION: [version], SIGNATURE: [signature]}
    await store.put(name, image, ObjectMeta(name=name, headers=headers))
    return name


async def read_states(js: JetStreamContext, states: str) -> list[dict[str, Any]]:
    """The last state of each board, in the order of their keys; none if nobody has said any."""
    try:
        bucket = await js.key_value(states)
        keys = await bucket.keys()
    except (nats.js.errors.NoKeysError, nats.js.errors.NotFoundError):
        return []
    entries = [await bucket.get(key) for key in sorted(keys)]
    return [json.loads(entry.value or b"{}") for entry in entries]


def _age(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(0, seconds)} s"


def _with_jetstream(
    server: str, creds: str | None, domain: str, work: Callable[[JetStreamContext], Awaitable[None]]
) -> None:
    async def run() -> None:
        client, options = client_of([server])
        more: dict[str, Any] = {"user_credentials": creds} if creds else {}
        await client.connect(**options, **more, allow_reconnect=False, name="phloem firmware")
        async with client:
            await work(client.jetstream(domain=domain or None))

    try:
        asyncio.run(run())
    except (OSError, nats.errors.Error, nats.js.errors.Error) as error:
        raise click.ClickException(f"{server}: {error or type(error).__name__}") from error
