"""/routez, /gatewayz and /jsz: what phloem has no part in, as a nats-server shows it that does not use it."""

from collections.abc import Mapping

import msgspec

from phloem.shared.server.monitor.query import Query
from phloem.shared.server.monitor.records import MonitorSource
from phloem.shared.server.monitor.render import date

_JSZ_FLAGS = ("accounts", "streams", "consumers", "direct-consumers", "config")
_JSZ_LATER_FLAGS = ("leader-only", "raft", "stream-leader-only")


class Routez(msgspec.Struct, kw_only=True):
    """No routes."""

    server_id: str
    server_name: str
    now: str
    num_routes: int = 0
    routes: list[object] = []


class Gatewayz(msgspec.Struct, kw_only=True):
    """No gateways."""

    server_id: str
    now: str
    outbound_gateways: Mapping[str, object] = {}
    inbound_gateways: Mapping[str, object] = {}


class JetStreamApi(msgspec.Struct):
    """No requests."""

    level: int = 0
    total: int = 0
    errors: int = 0


class JetStreamConfig(msgspec.Struct):
    """Nothing to store in."""

    max_memory: int = 0
    max_storage: int = 0


class Jsz(msgspec.Struct, kw_only=True):
    """JetStream off."""

    memory: int = 0
    storage: int = 0
    reserved_memory: int = 0
    reserved_storage: int = 0
    accounts: int = 0
    ha_assets: int = 0
    api: JetStreamApi
    server_id: str
    now: str
    disabled: bool = True
    config: JetStreamConfig
    streams: int = 0
    consumers: int = 0
    messages: int = 0
    bytes: int = 0
    total: int = 0


def routez(source: MonitorSource, query: Query) -> Routez:
    """The page.

    Raises:
        BadParameter: ``subs`` is neither a boolean nor ``detail``.
    """
    _check_subs(query)
    settings = source.settings()
    return Routez(
        server_id=settings.server_id, server_name=settings.server_name, now=date(source.clock.wall_ns())
    )


def gatewayz(source: MonitorSource, query: Query) -> Gatewayz:
    """The page.

    Raises:
        BadParameter: ``subs`` or ``accs`` cannot be used.
    """
    _check_subs(query)
    query.flag("accs")
    return Gatewayz(server_id=source.settings().server_id, now=date(source.clock.wall_ns()))


def jsz(source: MonitorSource, query: Query) -> Jsz:
    """The page.

    Raises:
        BadParameter: One of its flags or numbers cannot be used.
    """
    for name in _JSZ_FLAGS:
        query.flag(name)
    query.integer("offset")
    query.integer("limit")
    for name in _JSZ_LATER_FLAGS:
        query.flag(name)
    return Jsz(
        api=JetStreamApi(),
        server_id=source.settings().server_id,
        now=date(source.clock.wall_ns()),
        config=JetStreamConfig(),
    )


def _check_subs(query: Query) -> None:
    if query.text("subs").lower() != "detail":
        query.flag("subs")
