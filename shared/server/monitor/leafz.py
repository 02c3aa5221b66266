"""/leafz: links to other servers (security_ops 4.4)."""

from collections.abc import Sequence

import msgspec

from phloem.shared.server.monitor.query import Query
from phloem.shared.server.monitor.records import ConnRecord, MeterFigures, MonitorSource, UplinkFigures
from phloem.shared.server.monitor.render import date, rtt
from phloem.shared.server.monitor.subsz import details


class LeafInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One link; ``is_spoke`` means that the other end is the hub."""

    id: int
    name: str
    is_spoke: bool
    is_isolated: bool = False
    account: str
    ip: str
    port: int
    rtt: str
    in_msgs: int
    out_msgs: int
    in_bytes: int
    out_bytes: int
    subscriptions: int
    subscriptions_list: list[str] = []
    compression: str = ""


class OwnLinks(msgspec.Struct, kw_only=True):
    """What phloem knows of the links that it dials, up or not."""

    uplinks: Sequence[UplinkFigures]
    meter: MeterFigures


class Leafz(msgspec.Struct, kw_only=True):
    """The page; ``phloem`` only where hubs are dialled."""

    server_id: str
    now: str
    leafnodes: int
    leafs: list[LeafInfo]
    phloem: OwnLinks | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="_phloem")


def leafz(source: MonitorSource, query: Query) -> Leafz:
    """The page, oldest link first.

    Raises:
        BadParameter: ``subs`` is no boolean.
    """
    listed, wanted = query.flag("subs"), query.text("acc")
    records = (record for record in source.connections() if record.kind == "Leafnode")
    found = sorted((r for r in records if wanted in ("", r.account)), key=lambda record: record.cid)
    uplinks = source.uplinks()
    return Leafz(
        server_id=source.settings().server_id,
        now=date(source.clock.wall_ns()),
        leafnodes=len(found),
        leafs=[_info(record, listed) for record in found],
        phloem=OwnLinks(uplinks=uplinks, meter=source.meter()) if uplinks else msgspec.UNSET,
    )


def _info(record: ConnRecord, listed: bool) -> LeafInfo:
    stats = record.stats
    return LeafInfo(
        id=record.cid,
        name=record.name,
        is_spoke=record.is_spoke,
        is_isolated=record.is_isolated,
        account=record.account,
        ip=record.ip,
        port=record.port,
        rtt=rtt(stats["rtt_ns"]),
        in_msgs=stats["in_msgs"],
        out_msgs=stats["out_msgs"],
        in_bytes=stats["in_bytes"],
        out_bytes=stats["out_bytes"],
        subscriptions=stats["subscriptions"],
        subscriptions_list=[sub.subject for sub in details(record)] if listed else [],
        compression=record.compression,
    )
