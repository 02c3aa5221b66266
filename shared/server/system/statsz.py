"""STATSZ: what a server tells of itself every ten seconds, and whenever it is asked (security_ops 4.5)."""

import msgspec

from phloem.shared.server.monitor.accountz import MsgBytes
from phloem.shared.server.monitor.jsz import Varz as JetStream
from phloem.shared.server.monitor.jsz import varz_block
from phloem.shared.server.monitor.records import leaf_traffic
from phloem.shared.server.monitor.render import date, number
from phloem.shared.server.monitor.varz import ByKind
from phloem.shared.server.system.filters import ServerInfo
from phloem.shared.server.system.pages import Figures


class Statsz(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Figures since the start; ``active_servers`` counts this one alone."""

    start: str
    mem: int
    cores: int
    cpu: int | float
    connections: int
    total_connections: int
    active_accounts: int
    subscriptions: int
    sent: MsgBytes
    sent_to_clients: MsgBytes
    received: MsgBytes
    received_from_clients: MsgBytes
    slow_consumers: int
    slow_consumer_stats: ByKind | msgspec.UnsetType = msgspec.UNSET
    stale_connections: int = 0
    stale_connection_stats: ByKind | msgspec.UnsetType = msgspec.UNSET
    stalled_clients: int = 0
    active_servers: int
    jetstream: JetStream | msgspec.UnsetType = msgspec.UNSET
    gomaxprocs: int


class StatszMessage(msgspec.Struct):
    """The event, and the answer."""

    server: ServerInfo
    statsz: Statsz


def statsz(figures: Figures) -> Statsz:
    """The figures of now."""
    source, process = figures.source, figures.process
    totals, accounts, connections = source.totals(), source.accounts(), list(source.connections())
    links = leaf_traffic(accounts, connections)
    return Statsz(
        start=date(source.settings().start_wall_ns),
        mem=process.memory_bytes(),
        cores=process.cores(),
        cpu=number(figures.cpu.percent()),
        connections=sum(record.kind == "Client" for record in connections),
        total_connections=source.total_connections(),
        active_accounts=len({record.account for record in connections}),
        subscriptions=sum(account.stats["subscriptions"] for account in accounts),
        sent=MsgBytes(totals["out_msgs"], totals["out_bytes"]),
        sent_to_clients=MsgBytes(totals["out_msgs"] - links.out_msgs, totals["out_bytes"] - links.out_bytes),
        received=MsgBytes(totals["in_msgs"], totals["in_bytes"]),
        received_from_clients=MsgBytes(
            totals["in_msgs"] - links.in_msgs, totals["in_bytes"] - links.in_bytes
        ),
        slow_consumers=totals["slow_clients"] + totals["slow_leafs"],
        slow_consumer_stats=_by_kind(totals["slow_clients"], totals["slow_leafs"]),
        stale_connections=totals["stale_clients"] + totals["stale_leafs"],
        stale_connection_stats=_by_kind(totals["stale_clients"], totals["stale_leafs"]),
        stalled_clients=totals["stalled_clients"],
        active_servers=1,
        jetstream=_jetstream(figures),
        gomaxprocs=1,  # one thread serves all connections
    )


def _by_kind(clients: int, leafs: int) -> ByKind | msgspec.UnsetType:
    return ByKind(clients=clients, leafs=leafs) if clients or leafs else msgspec.UNSET


def _jetstream(figures: Figures) -> JetStream | msgspec.UnsetType:
    """As in /varz, but where the store is stays with the server."""
    found = figures.source.jetstream()
    if found is None:
        return msgspec.UNSET
    block = varz_block(found)
    return msgspec.structs.replace(block, config=msgspec.structs.replace(block.config, store_dir=""))
