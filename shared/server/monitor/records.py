"""What the pages are made from: records that the server fills, and ``MonitorSource``, which hands them out.

Durations are worked out from monotonic time, dates from wall time, so that setting the clock of a device does
not make its connections thirty years old.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec

from phloem.shared.clock import Clock

if TYPE_CHECKING:
    from phloem.shared.accounts.crossings import ServiceCrossing, StreamCrossing
    from phloem.shared.accounts.definition import Definition, Import, SubjectMapping
    from phloem.shared.engine.consumer_face import Numbers
    from phloem.shared.kernel.reactor import AccountStats, ConnectionStats, Subscription, Totals
    from phloem.shared.security.claims import AccountClaims

GLOBAL_ACCOUNT = "$G"


class PeerCertificate(msgspec.Struct, frozen=True):
    """A certificate that a peer has shown."""

    subject: str
    spki_sha256: str
    cert_sha256: str


class ConnRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One connection, open or closed.

    ``stats`` has its times from the monotonic clock. For a closed connection ``stop_wall_ns`` (date) and
    ``stop_ns`` (monotonic) are set, and ``stats`` are the last ones. ``subscriptions`` is called only when a
    page lists them.
    """

    cid: int
    kind: Literal["Client", "Leafnode"]
    ip: str
    port: int
    start_wall_ns: int
    stats: "ConnectionStats"
    subscriptions: "Callable[[], Sequence[Subscription]]"
    account: str = GLOBAL_ACCOUNT
    account_tag: str = ""  # what people call the account, if that is not its name
    user: str = ""  # "[REDACTED]" for a token
    name: str = ""
    lang: str = ""
    version: str = ""
    stop_wall_ns: int = 0
    stop_ns: int = 0
    reason: str = ""
    is_spoke: bool = False  # leaf links: the other end is the hub
    is_isolated: bool = False
    compression: str = ""
    tls_version: str = ""  # "1.3"; empty: plain
    tls_suite: str = ""
    tls_first: bool = False
    tls_certificates: "Callable[[], Sequence[PeerCertificate]]" = tuple  # made when a page lists them

    def last_wall_ns(self) -> int:
        """The date of the last activity."""
        return self.start_wall_ns + self.stats["last_ns"] - self.stats["start_ns"]

    def uptime_ns(self, now_ns: int) -> int:
        """How long it has been, or was, open."""
        return (self.stop_ns or now_ns) - self.stats["start_ns"]

    def idle_ns(self, now_ns: int) -> int:
        """How long nothing has come or gone; for a closed connection, at its end."""
        return (self.stop_ns or now_ns) - self.stats["last_ns"]


class Traffic(msgspec.Struct, kw_only=True):
    """Messages and bytes in both directions, seen from the server."""

    in_msgs: int = 0
    in_bytes: int = 0
    out_msgs: int = 0
    out_bytes: int = 0

    def add(self, other: "ConnectionStats | Traffic") -> None:
        """Counts what a connection, or several, had."""
        stats = msgspec.structs.asdict(other) if isinstance(other, Traffic) else other
        self.in_msgs += stats["in_msgs"]
        self.in_bytes += stats["in_bytes"]
        self.out_msgs += stats["out_msgs"]
        self.out_bytes += stats["out_bytes"]


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One account. ``ended_*`` is what connections carried that are gone; pages add those that are open."""

    name: str
    tag: str = ""  # what people call it, if that is not its name
    stats: "AccountStats"
    ended_clients: Traffic
    ended_leafs: Traffic
    slow_consumers: int = 0  # since the start


class AccountFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one account beside its figures. ``token`` and ``claims``: its JWT, if there is one."""

    definition: "Definition"
    streams: "Sequence[StreamCrossing]" = ()  # what is really imported
    services: "Sequence[ServiceCrossing]" = ()
    system_services: "Sequence[Import]" = ()  # what every account has
    mappings: "Sequence[SubjectMapping]" = ()  # with those to its JetStream
    complete: bool = True  # all that it wants to import is there
    expired: bool = False
    updated_wall_ns: int = 0  # 0: it is as old as the configuration
    token: str = ""
    claims: "AccountClaims | None" = None


class RemoteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One configured link to a hub, up or not. ``url`` without credentials: ``host:port``."""

    url: str
    account: str
    up: bool


class UplinkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How the link to one configured hub is doing. Also what /leafz shows of it."""

    name: str  # host:port
    account: str
    state: str  # waiting, dialling, handshake, up
    for_ms: int  # since when it is up, or is not
    next_ms: int  # until the next attempt, while waiting
    attempts: int  # failed ones since the last connection
    ups: int
    bounces: int
    rtt_ns: int
    hub: str
    hub_version: str
    hub_is_phloem: bool


class MeterFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the links to hubs have cost, in bytes by class."""

    metered: bool
    survives_restart: bool
    clock_trusted: bool
    per_day: int  # 0: no bound
    per_month: int
    today: Mapping[str, int]
    this_month: Mapping[str, int]
    total: Mapping[str, int]
    used_up: str  # "day", "month" or nothing


class DenyRules(msgspec.Struct, frozen=True, omit_defaults=True):
    """Subjects that do not cross a link."""

    exports: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()


class RemoteOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``leaf.remotes[]`` of /varz; URLs as ``host:port``."""

    local_account: str = ""
    tls_timeout: int | float = 0  # seconds
    urls: tuple[str, ...] = ()
    deny: DenyRules | None = None


class LeafOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``leaf`` of /varz: all defaults (shown as ``{}``) without leafnodes."""

    host: str = ""
    port: int = 0
    auth_timeout: int | float = 0  # seconds
    tls_timeout: int | float = 0  # seconds
    tls_required: bool = False
    tls_verify: bool = False
    remotes: tuple[RemoteOptions, ...] = ()
    tls_cert_not_after: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the server is and how it is configured: what stays the same between two reloads."""

    server_id: str
    server_name: str
    version: str  # of the protocol, as in INFO
    build: str  # of phloem
    go: str  # as in INFO
    host: str
    port: int  # the one that was bound
    auth_required: bool
    tls_required: bool = False
    tls_verify: bool = False
    tls_timeout_ns: int = 2_000_000_000
    tls_not_after_s: int = 0  # seconds since 1970; 0: no certificate
    max_connections: int
    max_subscriptions: int  # 0: no bound
    ping_interval_ns: int
    ping_max: int
    http_host: str
    http_port: int  # the one that was bound
    https_port: int = 0  # likewise
    http_base_path: str
    auth_timeout_ns: int
    max_control_line: int
    max_payload: int
    max_pending: int
    write_deadline_ns: int
    leaf: LeafOptions
    start_wall_ns: int
    start_ns: int
    config_load_wall_ns: int
    config_digest: str
    system_account: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = {}


class ConsumerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer. ``numbers``, and ``info``, its whole ConsumerInfo, are made when a page shows them."""

    name: str
    direct: bool  # made by the server itself, for a mirror or a source
    numbers: "Callable[[], Numbers]"
    info: Callable[[], dict[str, Any]]


class StreamFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One stream. ``info`` is its whole StreamInfo, made when a page lists it."""

    name: str
    sync: Literal["always", "interval", "memory"]
    messages: int
    bytes: int
    last_seq: int
    lost: str = ""  # why it is read-only
    damaged: tuple[int, int] | None = None  # first and last sequence found damaged while reading
    info: Callable[[], dict[str, Any]]
    consumers: Sequence[ConsumerFigures]


class AccountFigures(msgspec.Struct, frozen=True, kw_only=True):
    """JetStream of one account; limits of -1 are none."""

    name: str
    memory: int
    storage: int
    memory_limit: int
    storage_limit: int
    reserved_memory: int  # what streams have been promised
    reserved_storage: int
    api_total: int
    api_errors: int
    streams: Sequence[StreamFigures]


class JetStreamFigures(msgspec.Struct, frozen=True, kw_only=True):
    """JetStream of the server. ``store`` is ``Store.stats``."""

    max_memory: int
    max_storage: int
    store_dir: str
    sync_interval_ns: int  # 0: always
    domain: str
    strict: bool
    max_request_batch: int
    max_ack_pending: int
    max_duplicate_window_ns: int
    api_level: int
    store: Mapping[str, int]
    store_error: int = 0  # errno of what the disk refused; nothing is acknowledged any more
    store_full: bool = False
    damage: Sequence[str] = ()  # what was found when the store was opened
    accounts: Sequence[AccountFigures]


class FleetDevice(NamedTuple):
    """A device that forwards to this hub, as far as it is in memory. Counts are messages, or streams."""

    name: str
    online: bool
    since_wall_ns: int
    streams: int
    received: int
    duplicates: int
    missing: int
    backlog: int
    paused: int
    refused: int
    copies: bool  # two devices take turns under this name


class FleetFigures(NamedTuple):
    """Devices of one account. ``known``: also those that are away."""

    account: str
    known: int
    written: int  # documents of the ledger
    devices: Sequence[FleetDevice]


class MonitorSource(Protocol):
    """What the pages ask the server. Called on the loop's thread; nothing here waits."""

    @property
    def clock(self) -> Clock:
        """The server's clock."""
        ...

    def settings(self) -> Settings:
        """As they are in force now."""
        ...

    def totals(self) -> "Totals":
        """The kernel's counters."""
        ...

    def total_connections(self) -> int:
        """Clients accepted since the start."""
        ...

    def connections(self) -> Iterable[ConnRecord]:
        """Everything that is open: clients and leaf links, in any order."""
        ...

    def closed(self) -> Sequence[ConnRecord]:
        """The ring of closed connections, oldest first."""
        ...

    def accounts(self) -> Sequence[AccountRecord]:
        """All accounts, also those that nobody uses."""
        ...

    def facts(self, account: str) -> AccountFacts:
        """What an account exports, imports and claims."""
        ...

    def remotes(self) -> Sequence[RemoteRecord]:
        """The configured links to hubs."""
        ...

    def uplinks(self) -> Sequence[UplinkFigures]:
        """The hubs that are dialled, in the order of the configuration."""
        ...

    def meter(self) -> MeterFigures:
        """What the links to them have cost."""
        ...

    def jetstream(self) -> JetStreamFigures | None:
        """Streams and their store; ``None`` when the server keeps none."""
        ...

    def fleet(self) -> Sequence[FleetFigures]:
        """Who forwards to this server, by account; nothing if it is no hub."""
        ...

    def unready(self) -> str:
        """Why clients cannot connect; empty when they can."""
        ...


def leaf_traffic(accounts: Iterable[AccountRecord], connections: Iterable[ConnRecord]) -> Traffic:
    """All that leaf links carried since the start."""
    traffic = Traffic()
    for account in accounts:
        traffic.add(account.ended_leafs)
    for record in connections:
        if record.kind == "Leafnode":
            traffic.add(record.stats)
    return traffic
