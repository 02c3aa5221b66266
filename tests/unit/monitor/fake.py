"""A server to monitor that is nothing but its figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from phloem.shared.accounts.definition import Definition
from phloem.shared.server.monitor.pages import Monitor
from phloem.shared.server.monitor.records import (
    AccountFacts,
    AccountRecord,
    ConnRecord,
    FleetFigures,
    JetStreamFigures,
    LeafOptions,
    MeterFigures,
    RemoteRecord,
    Settings,
    Traffic,
    UplinkFigures,
)

SECOND_NS = 1_000_000_000
WALL_NS = 1_790_000_000 * SECOND_NS + 120_000_000  # 2026-09-21T14:13:20.12Z
START_NS = 7 * SECOND_NS  # of the monotonic clock


@dataclass
class FakeClock:
    now_ns: int = START_NS + 3600 * SECOND_NS
    wall_now_ns: int = WALL_NS + 3600 * SECOND_NS

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.wall_now_ns


@dataclass
class FakeProcess:
    memory: int = 15_310_848
    cpu: int = 0

    def memory_bytes(self) -> int:
        return self.memory

    def cpu_ns(self) -> int:
        return self.cpu

    def cores(self) -> int:
        return 2


def connection(
    cid: int, *, subs: Sequence[tuple[str, str]] = (), stats: Any = (), **fields: Any
) -> ConnRecord:
    """A connection opened ``cid`` seconds after the start that last did something 10 seconds later."""
    opened = START_NS + cid * SECOND_NS
    counters = {
        "in_msgs": 0,
        "in_bytes": 0,
        "out_msgs": 0,
        "out_bytes": 0,
        "subscriptions": len(subs),
        "pending_bytes": 0,
        "rtt_ns": 730_123,
        "start_ns": opened,
        "last_ns": opened + 10 * SECOND_NS,
        "stalls": 0,
        "in_ns": 0,
        "pings_out": 0,
    } | dict(stats)
    listed = [
        (subject.encode(), queue.encode() or None, b"%d" % sid, 0, 0)
        for sid, (subject, queue) in enumerate(subs, 1)
    ]
    record = ConnRecord(
        cid=cid,
        kind="Client",
        ip="127.0.0.1",
        port=50_000 + cid,
        start_wall_ns=WALL_NS + cid * SECOND_NS,
        stats=counters,  # type: ignore[arg-type]
        subscriptions=lambda: listed,
        lang="python3",
        version="2.16.0",
    )
    return msgspec.structs.replace(record, **fields)


def closed(cid: int, after_s: int, reason: str = "Client Closed", **fields: Any) -> ConnRecord:
    """A connection that was open for ``after_s`` seconds."""
    record = connection(cid, **fields)
    return msgspec.structs.replace(
        record,
        stop_ns=record.stats["start_ns"] + after_s * SECOND_NS,
        stop_wall_ns=record.start_wall_ns + after_s * SECOND_NS,
        reason=reason,
    )


def account(name: str, **fields: Any) -> AccountRecord:
    stats = {
        "subscriptions": 4,
        "cache": 3,
        "cache_bytes": 900,
        "inserts": 5,
        "removes": 1,
        "matches": 20,
        "cache_hits": 15,
        "links": 0,
    }
    record = AccountRecord(
        name=name,
        stats=stats,  # type: ignore[arg-type]
        ended_clients=Traffic(),
        ended_leafs=Traffic(),
    )
    return msgspec.structs.replace(record, **fields)


SETTINGS = Settings(
    server_id="NCMN2AVXZVDMNUS2WHGZAROG7SPLXWM2Q35LGF7VIJD6NAZKJY2DTUCW",
    server_name="hub",
    version="2.15.1",
    build="0.1.0",
    go="python3.11.7",
    host="127.0.0.1",
    port=4222,
    auth_required=True,
    max_connections=65536,
    max_subscriptions=0,
    ping_interval_ns=120 * SECOND_NS,
    ping_max=2,
    http_host="127.0.0.1",
    http_port=8222,
    http_base_path="",
    auth_timeout_ns=2 * SECOND_NS,
    max_control_line=4096,
    max_payload=1 << 20,
    max_pending=64 << 20,
    write_deadline_ns=10 * SECOND_NS,
    leaf=LeafOptions(),
    start_wall_ns=WALL_NS,
    start_ns=START_NS,
    config_load_wall_ns=WALL_NS,
    config_digest="sha256:00",
    system_account="$SYS",
)


METER = MeterFigures(
    metered=True,
    survives_restart=True,
    clock_trusted=True,
    per_day=20_000_000,
    per_month=0,
    today={"control": 168, "telemetry": 4000},
    this_month={"control": 168, "telemetry": 9000},
    total={"control": 500, "telemetry": 9000},
    used_up="",
)


@dataclass
class FakeSource:
    clock: FakeClock = field(default_factory=FakeClock)
    options: Settings = SETTINGS
    opened: list[ConnRecord] = field(default_factory=list)
    ring: list[ConnRecord] = field(default_factory=list)
    known: list[AccountRecord] = field(default_factory=lambda: [account("$SYS"), account("$G")])
    links: list[RemoteRecord] = field(default_factory=list)
    dialled: list[UplinkFigures] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    js: JetStreamFigures | None = None
    fleets: list[FleetFigures] = field(default_factory=list)
    trouble: str = ""

    def settings(self) -> Settings:
        return self.options

    def totals(self) -> Any:
        names = (
            "in_msgs in_bytes out_msgs out_bytes subscriptions connections slow_clients slow_leafs"
            " stale_clients stale_leafs stalled_clients inbox_dropped"
        )
        return dict.fromkeys(names.split(), 0) | self.counters

    def total_connections(self) -> int:
        return len(self.opened) + len(self.ring)

    def connections(self) -> list[ConnRecord]:
        return self.opened

    def closed(self) -> list[ConnRecord]:
        return self.ring

    def accounts(self) -> list[AccountRecord]:
        return self.known

    def facts(self, account: str) -> AccountFacts:
        return AccountFacts(definition=Definition(account))

    def remotes(self) -> list[RemoteRecord]:
        return self.links

    def fleet(self) -> list[FleetFigures]:
        return self.fleets

    def uplinks(self) -> list[UplinkFigures]:
        return self.dialled

    def meter(self) -> MeterFigures:
        return METER

    def jetstream(self) -> JetStreamFigures | None:
        return self.js

    def unready(self) -> str:
        return self.trouble


def monitor(source: FakeSource) -> Monitor:
    return Monitor(source, FakeProcess())
