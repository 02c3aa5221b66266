"""/varz: the server as a whole (security_ops 4.2).

Blocks of what phloem does not have are empty objects, as on a nats-server that does not use them; their
counters are there and 0, because readers expect them.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from phloem.shared.server.monitor.jsz import Varz as JetStream
from phloem.shared.server.monitor.jsz import varz_block
from phloem.shared.server.monitor.process import CpuMeter, Process
from phloem.shared.server.monitor.records import LeafOptions, MonitorSource, Settings, leaf_traffic
from phloem.shared.server.monitor.render import SECOND_NS, date, number, uptime

_EMPTY: Mapping[str, object] = {}
PROTO = 1  # of the client protocol, as in INFO


class ByKind(msgspec.Struct, kw_only=True):
    """A count for each kind of connection."""

    clients: int
    routes: int = 0
    gateways: int = 0
    leafs: int


class DiskWaits(msgspec.Struct):
    """Waiting for the disk, which no thread that serves clients does."""

    waiters: int = 0
    waits: int = 0
    wait_time: int = 0
    max_wait_time: int = 0


class Varz(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The page; fields with a default are left out at it. Durations are nanoseconds, timeouts seconds."""

    server_id: str
    server_name: str
    version: str
    proto: int
    go: str
    host: str
    port: int
    auth_required: bool = False
    tls_required: bool = False
    tls_verify: bool = False
    max_connections: int
    max_subscriptions: int = 0
    ping_interval: int
    ping_max: int
    http_host: str
    http_port: int
    http_base_path: str
    https_port: int
    auth_timeout: int | float
    max_control_line: int
    max_payload: int
    max_pending: int
    cluster: Mapping[str, object]
    gateway: Mapping[str, object]
    leaf: LeafOptions
    mqtt: Mapping[str, object]
    websocket: Mapping[str, object]
    jetstream: JetStream | Mapping[str, object]
    tls_timeout: int | float
    write_deadline: int
    start: str
    now: str
    uptime: str
    mem: int
    cores: int
    gomaxprocs: int
    cpu: int | float
    connections: int
    total_connections: int
    routes: int
    remotes: int
    leafnodes: int
    in_msgs: int
    in_bytes: int
    in_client_msgs: int
    in_client_bytes: int
    out_msgs: int
    out_bytes: int
    out_client_msgs: int
    out_client_bytes: int
    slow_consumers: int
    stale_connections: int
    stalled_clients: int
    subscriptions: int
    http_req_stats: Mapping[str, int]
    config_load_time: str
    config_digest: str
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = {}
    system_account: str = ""
    slow_consumer_stats: ByKind
    stale_connection_stats: ByKind
    disk_io_wait_stats: DiskWaits
    tls_cert_not_after: str = ""
    device: Mapping[str, Any] = {}  # phloem's own, of an edge


def varz(source: MonitorSource, process: Process, cpu: CpuMeter, requests: Mapping[str, int]) -> Varz:
    """The page; ``requests`` counts what was asked for by path."""
    s, clock, js = source.settings(), source.clock, source.jetstream()
    return Varz(
        **_identity(s),
        **_limits(s),
        **_traffic(source),
        cluster=_EMPTY,
        gateway=_EMPTY,
        leaf=s.leaf,
        mqtt=_EMPTY,
        websocket=_EMPTY,
        jetstream=varz_block(js) if js else _EMPTY,
        start=date(s.start_wall_ns),
        now=date(clock.wall_ns()),
        uptime=uptime(clock.monotonic_ns() - s.start_ns),
        mem=process.memory_bytes(),
        cores=process.cores(),
        gomaxprocs=1,  # one thread serves all connections
        cpu=number(cpu.percent()),
        http_req_stats=dict(sorted(requests.items())),
        config_load_time=date(s.config_load_wall_ns),
        config_digest=s.config_digest,
        tags=s.tags,
        metadata=dict(sorted(s.metadata.items())),
        system_account=s.system_account,
        disk_io_wait_stats=DiskWaits(),
        device=source.device(),
        tls_cert_not_after=date(s.tls_not_after_s * SECOND_NS) if s.tls_not_after_s else "",
    )


def _identity(s: Settings) -> dict[str, Any]:
    return {
        "server_id": s.server_id,
        "server_name": s.server_name,
        "version": s.version,
        "proto": PROTO,
        "go": s.go,
        "host": s.host,
        "port": s.port,
        "http_host": s.http_host,
        "http_port": s.http_port,
        "http_base_path": s.http_base_path,
        "https_port": s.https_port,
        "tls_timeout": number(s.tls_timeout_ns / SECOND_NS),
        "tls_required": s.tls_required,
        "tls_verify": s.tls_verify,
    }


def _limits(s: Settings) -> dict[str, Any]:
    return {
        "auth_required": s.auth_required,
        "max_connections": s.max_connections,
        "max_subscriptions": s.max_subscriptions,
        "ping_interval": s.ping_interval_ns,
        "ping_max": s.ping_max,
        "auth_timeout": number(s.auth_timeout_ns / SECOND_NS),
        "max_control_line": s.max_control_line,
        "max_payload": s.max_payload,
        "max_pending": s.max_pending,
        "write_deadline": s.write_deadline_ns,
    }


def _traffic(source: MonitorSource) -> dict[str, Any]:
    """What was carried: the kernel counts everything, clients' part is what leaf links did not carry."""
    totals, accounts, connections = source.totals(), source.accounts(), list(source.connections())
    leafs = leaf_traffic(accounts, connections)
    leaf_count = sum(record.kind == "Leafnode" for record in connections)
    return {
        "connections": len(connections) - leaf_count,
        "total_connections": source.total_connections(),
        "routes": 0,
        "remotes": 0,
        "leafnodes": leaf_count,
        "in_msgs": totals["in_msgs"],
        "in_bytes": totals["in_bytes"],
        "in_client_msgs": totals["in_msgs"] - leafs.in_msgs,
        "in_client_bytes": totals["in_bytes"] - leafs.in_bytes,
        "out_msgs": totals["out_msgs"],
        "out_bytes": totals["out_bytes"],
        "out_client_msgs": totals["out_msgs"] - leafs.out_msgs,
        "out_client_bytes": totals["out_bytes"] - leafs.out_bytes,
        "slow_consumers": totals["slow_clients"] + totals["slow_leafs"],
        "stale_connections": totals["stale_clients"] + totals["stale_leafs"],
        "stalled_clients": totals["stalled_clients"],
        "subscriptions": sum(account.stats["subscriptions"] for account in accounts),
        "slow_consumer_stats": ByKind(clients=totals["slow_clients"], leafs=totals["slow_leafs"]),
        "stale_connection_stats": ByKind(clients=totals["stale_clients"], leafs=totals["stale_leafs"]),
    }
