"""/routez and /gatewayz: what phloem has no part in, as a nats-server shows it that does not use it."""

from collections.abc import Mapping

import msgspec

from phloem.shared.server.monitor.query import Query
from phloem.shared.server.monitor.records import MonitorSource
from phloem.shared.server.monitor.render import date


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


def _check_subs(query: Query) -> None:
    if query.text("subs").lower() != "detail":
        query.flag("subs")
