"""``phloem fleet setup``, ``command`` and ``commands``: the twin's buckets at any hub, as an administrator's client."""

import json
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

import click
import msgspec
from nats.errors import NoRespondersError
from nats.js.errors import BucketNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue
from rich.console import Console
from rich.table import Table

from phloem.shared.clock import SystemClock
from phloem.shared.jetstream.times import rfc3339
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.durations import parse_duration, short_duration
from phloem.shared.server.stream_backup import JetStreamApi
from phloem.shared.server.stream_command import run, with_server
from phloem.shared.twin.command import Order, Record, State, order_of
from phloem.shared.twin.names import COMMAND, HUB_DESIRED, HUB_REPORTED, bucket_config

NO_BUCKETS = "the hub has no buckets for twins: phloem fleet setup makes them"
COLORS = {"done": "green", "failed": "red", "expired": "yellow", "executing": "cyan", "late": "yellow"}
LATE = "late"  # the deadline is over, and the device has not said what became of it
NAME_IN_USE = 10058


class Row(NamedTuple):
    """A command, as both buckets have it."""

    ident: str
    name: str
    state: str
    deadline_ns: int
    record: Record | None
    queued_ns: int


@click.command()
@with_server
@click.option("--replicas", default=1, show_default=True, type=click.IntRange(1, 5), help="In a cluster.")
def setup(replicas: int, **options: str) -> None:
    """Make the buckets of twins at the hub; what is there stays as it is."""

    async def work(api: JetStreamApi) -> None:
        for name, shared in ((HUB_DESIRED, False), (HUB_REPORTED, True)):
            config = bucket_config(name, owned=True, shared=shared, replicas=replicas)
            answer = await _ask(api, f"STREAM.CREATE.{config['name']}", config)
            problem = answer.get("error")
            if problem is None:
                click.echo(f"{name}: there")
            elif problem.get("err_code") == NAME_IN_USE:
                click.echo(f"{name}: there, with other settings, which stay")
            else:
                raise click.ClickException(f"{name}: {problem.get('description', problem)}")

    run(options, work)


@click.command()
@with_server
@click.argument("device")
@click.argument("name")
@click.option("--data", default="", help="The body of the request to the handler.")
@click.option("--deadline", default="24h", show_default=True, help="Until when it may begin: 90s, 1h, 720h.")
@click.option("--timeout", default="30s", show_default=True, help="Within what the handler has to answer.")
@click.option("--id", "ident", default="", help="The same id never runs twice. [default: made up]")
@click.option("--idempotent", is_flag=True, help="It may run again when the device is interrupted.")
@click.option("--fail-if-absent", is_flag=True, help="Do not wait for a handler.")
@click.option("--wait", is_flag=True, help="Until it has ended; the exit status says how.")
def command(device: str, name: str, wait: bool, **words: Any) -> None:
    """Give DEVICE the command NAME; the id is printed. It is kept until the device can be reached."""
    ident = words.pop("ident") or secrets.token_hex(6)
    body = _body(name, words)
    key = f"{device}.{COMMAND}.{ident}"

    async def work(api: JetStreamApi) -> None:
        wanted, told = await _buckets(api)
        watch = await told.watch(key) if wait else None
        try:
            await wanted.create(key, body)
        except KeyWrongLastSequenceError:
            raise click.ClickException(f"{device} has been given a command {ident} already") from None
        click.echo(ident)
        if watch is None:
            return
        async for entry in watch:
            record = _record(entry.value) if entry is not None and entry.operation is None else None
            if record is not None and record.state.final:
                _tell(record)
                return

    run({key: words[key] for key in _SERVER if key in words}, work)


_SERVER = ("server", "user", "password", "token", "creds", "tlsca", "domain")


def _body(name: str, words: Mapping[str, Any]) -> bytes:
    try:
        deadline_ns, timeout_ns = parse_duration(words["deadline"]), parse_duration(words["timeout"])
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None
    said: dict[str, Any] = {
        "name": name,
        "expires_s": deadline_ns / SECOND_NS,
        "timeout_s": timeout_ns / SECOND_NS,
    }
    if words["data"]:
        said["data"] = words["data"]
    if words["idempotent"]:
        said["idempotent"] = True
    if words["fail_if_absent"]:
        said["absent"] = "fail"
    body = json.dumps(said).encode()
    try:
        order_of(body, 0)
    except ValueError as problem:
        raise click.ClickException(str(problem)) from None
    return body


def _tell(record: Record) -> None:
    if record.result:
        click.echo(record.result)
    if record.state is not State.DONE:
        raise click.ClickException(f"{record.state}: {record.error or 'its deadline is over'}")


@click.command()
@with_server
@click.argument("device")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each.")
def commands(device: str, as_json: bool, **options: str) -> None:
    """What has become of the commands of DEVICE."""

    async def work(api: JetStreamApi) -> None:
        rows = await rows_of(*(await _buckets(api)), device, SystemClock().wall_ns())
        if as_json:
            for row in rows:
                click.echo(json.dumps(_plain(row)))
        else:
            Console().print(table_of(device, rows, SystemClock().wall_ns()))

    run(options, work)


async def rows_of(wanted: KeyValue, told: KeyValue, device: str, now: int) -> list[Row]:
    """All commands of a device, the oldest first. ``now``: nanoseconds since 1970."""
    prefix = f"{device}.{COMMAND}."
    orders = {key: (entry, when) for key, entry, when in await _all(wanted, prefix)}
    records = {key: _record(entry) for key, entry, _ in await _all(told, prefix)}
    rows = list[Row]()
    for key in {*orders, *records}:
        body, queued_ns = orders.get(key, (b"", 0))
        record, order = records.get(key), _order(body, queued_ns)
        deadline_ns = order.deadline_ns if order is not None else record.deadline_ns if record else 0
        state: str = record.state if record is not None else State.QUEUED
        if 0 < deadline_ns < now and state in (State.QUEUED, State.DELIVERED):
            state = LATE
        name = order.name if order is not None else record.name if record is not None else ""
        began_ns = queued_ns or (record.delivered_ns if record is not None else 0)
        rows.append(Row(key.removeprefix(prefix), name, str(state), deadline_ns, record, began_ns))
    return sorted(rows, key=lambda row: row.queued_ns)


async def _all(bucket: KeyValue, prefix: str) -> list[tuple[str, bytes, int]]:
    """Key, value, time stored; what was deleted is left out."""
    found = list[tuple[str, bytes, int]]()
    watch = await bucket.watch(f"{prefix}>", ignore_deletes=True)
    async for entry in watch:
        if entry is None:
            break
        stamp = int(entry.created.timestamp()) * SECOND_NS if entry.created is not None else 0
        found.append((entry.key, entry.value or b"", stamp))
    await watch.stop()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
    return found


def table_of(device: str, rows: list[Row], now: int) -> Table:
    """For a terminal."""
    table = Table(title=f"commands of {device}", box=None, header_style="bold", title_justify="left")
    for column in ("id", "name", "state", "age", "took", "attempt", "result"):
        table.add_column(column, overflow="fold")
    for row in rows:
        record = row.record
        color = COLORS.get(row.state, "")
        took = record.ended_ns - record.started_ns if record and record.started_ns and record.ended_ns else 0
        said = (record.error or record.result or "") if record is not None else ""
        table.add_row(
            row.ident,
            row.name,
            f"[{color}]{row.state}[/]" if color else row.state,
            _span(now - row.queued_ns) if row.queued_ns else "",
            _span(took) if took else "",
            str(record.attempt) if record is not None and record.attempt else "",
            said.replace("[", "\\["),
        )
    return table


def _span(ns: int) -> str:
    unit = SECOND_NS if abs(ns) >= SECOND_NS else SECOND_NS // 1000
    return short_duration(max(ns, 0) // unit * unit)


def _plain(row: Row) -> dict[str, Any]:
    record = msgspec.to_builtins(row.record) if row.record is not None else {}
    return {
        "id": row.ident,
        "name": row.name,
        **record,
        "state": row.state,
        "deadline": rfc3339(row.deadline_ns),
    }


def _order(body: bytes, stored_ns: int) -> Order | None:
    try:
        return order_of(body, stored_ns) if body else None
    except ValueError:
        return None


def _record(value: bytes | None) -> Record | None:
    try:
        return msgspec.json.decode(value or b"", type=Record)
    except (ValueError, RecursionError):
        return None


async def _ask(api: JetStreamApi, what: str, question: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"$JS.{api.domain}.API" if api.domain else "$JS.API"
    answer = await api.client.request(f"{prefix}.{what}", json.dumps(question).encode(), timeout=5)
    found: dict[str, Any] = json.loads(answer.data)
    return found


async def _buckets(api: JetStreamApi) -> tuple[KeyValue, KeyValue]:
    js = api.client.jetstream(domain=api.domain) if api.domain else api.client.jetstream()
    try:
        return await js.key_value(HUB_DESIRED), await js.key_value(HUB_REPORTED)
    except (BucketNotFoundError, NoRespondersError):
        raise click.ClickException(NO_BUCKETS) from None


__all__ = ["command", "commands", "rows_of", "setup", "table_of"]
