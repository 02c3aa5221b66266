"""/jsz, and ``jetstream`` of /varz: streams, consumers and their store (security_ops 4.4).

phloem's own: ``sync`` of a stream says when its messages are acknowledged (``always``: on the disk; ``interval``:
written; ``memory``), and ``store`` is what the store has done since the start.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from phloem.shared.server.monitor.query import BadParameter, Query, quoted
from phloem.shared.server.monitor.records import (
    AccountFigures,
    ConsumerFigures,
    JetStreamFigures,
    MonitorSource,
    StreamFigures,
)
from phloem.shared.server.monitor.render import date

_FLAGS = ("accounts", "streams", "consumers", "direct-consumers", "config")
_LATER_FLAGS = ("leader-only", "raft", "stream-leader-only")
_ACCOUNTS = 1024  # without a limit in the query
_NONE = (1 << 64) - 1  # how nats-server prints that there is no limit


class Api(msgspec.Struct):
    """Requests to the JetStream API."""

    level: int = 0
    total: int = 0
    errors: int = 0


class Stats(msgspec.Struct, kw_only=True):
    """What is used."""

    memory: int = 0
    storage: int = 0
    reserved_memory: int = 0
    reserved_storage: int = 0
    accounts: int = 0
    ha_assets: int = 0
    api: Api = msgspec.field(default_factory=Api)


class Config(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How JetStream is configured."""

    max_memory: int
    max_storage: int
    store_dir: str = ""
    sync_interval: int = 0
    sync_always: bool = False
    domain: str = ""
    compress_ok: bool = False
    strict: bool = False


class Limits(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Bounds for everybody."""

    max_request_batch: int = 0
    max_ack_pending: int = 0
    max_duplicate_window: int = 0


class StreamDetail(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One stream."""

    name: str
    created: str
    cluster: Mapping[str, Any]
    config: Mapping[str, Any] | None = None
    state: Mapping[str, Any]
    consumer_detail: Sequence[Mapping[str, Any]] = ()
    direct_consumer_detail: Sequence[Mapping[str, Any]] = ()
    mirror: Mapping[str, Any] | None = None
    sources: Sequence[Mapping[str, Any]] = ()
    sync: str


class Jsz(Stats, kw_only=True, omit_defaults=False):
    """The page."""

    server_id: str
    now: str
    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    config: Config
    limits: Limits | msgspec.UnsetType = msgspec.UNSET
    streams: int = 0
    consumers: int = 0
    messages: int = 0
    bytes: int = 0
    account_details: Sequence[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    total: int = 0
    store: Mapping[str, int] | msgspec.UnsetType = msgspec.UNSET


class Varz(msgspec.Struct, kw_only=True):
    """``jetstream`` of /varz."""

    config: Config
    stats: Stats
    limits: Limits


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a request."""

    accounts: bool
    streams: bool
    consumers: bool
    direct: bool
    config: bool
    offset: int
    limit: int
    account: str


def jsz(source: MonitorSource, query: Query) -> Jsz:
    """The page.

    Raises:
        BadParameter: One of its flags or numbers cannot be used.
    """
    asked = _asked(query)
    server_id, now = source.settings().server_id, date(source.clock.wall_ns())
    js = source.jetstream()
    if js is None:
        off = Config(max_memory=0, max_storage=0)
        return Jsz(server_id=server_id, now=now, disabled=True, config=off)
    streams = [stream for account in js.accounts for stream in account.streams]
    page = Jsz(
        **msgspec.structs.asdict(_stats(js)),
        server_id=server_id,
        now=now,
        config=_config(js),
        limits=_limits(js),
        streams=len(streams),
        consumers=sum(not consumer.direct for stream in streams for consumer in stream.consumers),
        messages=sum(stream.messages for stream in streams),
        bytes=sum(stream.bytes for stream in streams),
        total=len(js.accounts),
        store=js.store,
    )
    details = [_account(account, asked) for account in _chosen(js, asked)]
    if details:
        page.account_details = details
    return page


def account_jsz(source: MonitorSource, query: Query) -> dict[str, Any]:
    """The part of one account, which is named by ``acc``.

    Raises:
        BadParameter: There is no such account, or it has no JetStream.
    """
    asked, js = _asked(query), source.jetstream()
    if js is None:
        raise BadParameter("jetstream not enabled")
    if all(account.name != asked.account for account in source.accounts()):
        raise BadParameter(f"account {quoted(asked.account)} not found")
    found = [account for account in js.accounts if account.name == asked.account]
    if not found:
        raise BadParameter(f"account {quoted(asked.account)} not jetstream enabled")
    return _account(found[0], asked)


def varz_block(js: JetStreamFigures) -> Varz:
    """``jetstream`` of /varz."""
    return Varz(config=_config(js), stats=_stats(js), limits=_limits(js))


def _asked(query: Query) -> _Asked:
    accounts, streams, consumers, direct, config = map(query.flag, _FLAGS)
    offset, limit = query.integer("offset"), query.integer("limit")
    for name in _LATER_FLAGS:
        query.flag(name)
    account = query.text("acc")
    streams = streams or consumers
    return _Asked(
        accounts=accounts or (streams and not account),
        streams=streams,
        consumers=consumers,
        direct=direct,
        config=config,
        offset=max(offset, 0),
        limit=limit or _ACCOUNTS,
        account=account,
    )


def _chosen(js: JetStreamFigures, asked: _Asked) -> Sequence[AccountFigures]:
    """The accounts that are described; one that is asked for by name takes precedence."""
    named = [account for account in js.accounts if account.name == asked.account]
    if named or not asked.accounts:
        return named
    accounts = sorted(js.accounts, key=lambda account: account.name)
    return accounts if asked.limit < 0 else accounts[asked.offset :][: asked.limit]


def _stats(js: JetStreamFigures) -> Stats:
    return Stats(
        memory=sum(account.memory for account in js.accounts),
        storage=sum(account.storage for account in js.accounts),
        reserved_memory=sum(_promised(a.memory_limit, a.reserved_memory) for a in js.accounts),
        reserved_storage=sum(_promised(a.storage_limit, a.reserved_storage) for a in js.accounts),
        accounts=len(js.accounts),
        api=Api(js.api_level, sum(a.api_total for a in js.accounts), sum(a.api_errors for a in js.accounts)),
    )


def _promised(limit: int, reserved: int) -> int:
    """An account with a limit has been promised all of it."""
    return limit if limit > 0 else reserved


def _config(js: JetStreamFigures) -> Config:
    return Config(
        max_memory=js.max_memory,
        max_storage=js.max_storage,
        store_dir=js.store_dir,
        sync_interval=js.sync_interval_ns,
        sync_always=js.sync_interval_ns == 0,
        domain=js.domain,
        compress_ok=True,
        strict=js.strict,
    )


def _limits(js: JetStreamFigures) -> Limits:
    return Limits(
        max_request_batch=js.max_request_batch,
        max_ack_pending=js.max_ack_pending,
        max_duplicate_window=js.max_duplicate_window_ns,
    )


def _account(account: AccountFigures, asked: _Asked) -> dict[str, Any]:
    stats = Stats(
        memory=account.memory,
        storage=account.storage,
        reserved_memory=account.memory_limit & _NONE,
        reserved_storage=account.storage_limit & _NONE,
        api=Api(total=account.api_total, errors=account.api_errors),
    )
    shown: dict[str, Any] = {"name": account.name, "id": account.name, **msgspec.structs.asdict(stats)}
    if asked.streams and account.streams:
        shown["stream_detail"] = [_stream(stream, asked) for stream in account.streams]
    return shown


def _stream(stream: StreamFigures, asked: _Asked) -> StreamDetail:
    info = stream.info()
    return StreamDetail(
        name=stream.name,
        created=info["created"],
        cluster=info["cluster"],
        config=info["config"] if asked.config else None,
        state=info["state"],
        consumer_detail=_consumers(stream, asked, direct=False) if asked.consumers else (),
        direct_consumer_detail=_consumers(stream, asked, direct=True)
        if asked.consumers and asked.direct
        else (),
        mirror=info.get("mirror"),
        sources=info.get("sources", ()),
        sync=stream.sync,
    )


def _consumers(stream: StreamFigures, asked: _Asked, *, direct: bool) -> tuple[dict[str, Any], ...]:
    return tuple(_consumer(consumer, asked) for consumer in stream.consumers if consumer.direct == direct)


def _consumer(consumer: ConsumerFigures, asked: _Asked) -> dict[str, Any]:
    info = consumer.info()
    if not asked.config:
        del info["config"]
    return info
