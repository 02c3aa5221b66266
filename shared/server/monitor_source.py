"""What monitoring shows of a server: turns its connections, accounts and options into records."""

import platform
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from phloem import __version__
from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.clock import Clock
from phloem.shared.kernel import KIND_LEAF, Account, Connection, Reason
from phloem.shared.leaf.urls import parse_url
from phloem.shared.server.clients import Client
from phloem.shared.server.leaf_link import Link
from phloem.shared.server.monitor.records import (
    AccountFacts,
    AccountRecord,
    ConnRecord,
    DenyRules,
    FleetFigures,
    JetStreamFigures,
    LeafOptions,
    MeterFigures,
    RemoteOptions,
    RemoteRecord,
    Settings,
    Traffic,
    UplinkFigures,
)
from phloem.shared.server.monitor.render import date, number
from phloem.shared.wire.info import PROTOCOL_VERSION

if TYPE_CHECKING:
    from phloem.shared.kernel.reactor import Totals
    from phloem.shared.server.options_leafnodes import LeafNodes
    from phloem.shared.server.server import Server
    from phloem.shared.server.tls import Secured

SLOW = (Reason.SLOW_CONSUMER_PENDING, Reason.SLOW_CONSUMER_DEADLINE)


class Ended:
    """What connections of one account carried that are gone."""

    def __init__(self) -> None:
        self.clients, self.leafs, self.slow = Traffic(), Traffic(), 0

    def add(self, conn: Connection, reason: Reason) -> None:
        """A connection has ended."""
        (self.leafs if conn.kind == KIND_LEAF else self.clients).add(conn.stats)
        self.slow += reason in SLOW


class ServerSource:
    """The records of one server, and its memory of what has ended."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._ended: dict[str, Ended] = {}
        self._closed: deque[ConnRecord] = deque(maxlen=server.options.max_closed_clients)

    def ended(self, conn: Connection, reason: Reason) -> None:
        """A connection has ended: it goes into the sums and, a client, into the ring of closed ones."""
        self._ended.setdefault(conn.account.name, Ended()).add(conn, reason)
        if isinstance(conn.owner, Client):
            clock = self._server.clock
            self._closed.append(
                _client(
                    conn.owner,
                    stop_wall_ns=clock.wall_ns(),
                    stop_ns=clock.monotonic_ns(),
                    reason=reason.text,
                )
            )

    @property
    def clock(self) -> Clock:
        """The server's clock."""
        return self._server.clock

    def settings(self) -> Settings:
        """The options in force, with the ports that were really bound."""
        s, o = self._server, self._server.options
        return Settings(
            server_id=s.server_id,
            server_name=s.name,
            version=PROTOCOL_VERSION,
            build=__version__,
            go=f"python{platform.python_version()}",
            host=o.host,
            port=s.port,
            auth_required=s.auth.required,
            tls_required=s.tls.clients is not None and not s.tls.clients.plain_too,
            tls_verify=s.tls.clients is not None and s.tls.clients.verify,
            tls_timeout_ns=o.tls.timeout_ns if o.tls else limits.TLS_TIMEOUT_NS,
            tls_not_after_s=o.tls.not_after_s if o.tls else 0,
            max_connections=o.max_connections,
            max_subscriptions=max(o.max_subscriptions, 0),
            ping_interval_ns=o.ping_interval_ns,
            ping_max=o.ping_max,
            http_host=o.http_host or o.host,
            http_port=s.monitor.port if s.monitor and not o.https_port else 0,
            https_port=s.monitor.port if s.monitor and o.https_port else 0,
            http_base_path=o.http_base_path,
            auth_timeout_ns=o.auth_timeout_ns,
            max_control_line=o.max_control_line,
            max_payload=o.max_payload,
            max_pending=o.max_pending,
            write_deadline_ns=o.write_deadline_ns,
            leaf=_leaf_options(o.leafnodes, s.leaf_port),
            start_wall_ns=s.start_wall_ns,
            start_ns=s.start_ns,
            config_load_wall_ns=s.config_load_wall_ns,
            config_digest=o.config_digest,
            system_account=s.system_account,
            tags=s.tags,
            metadata=o.server_metadata,
        )

    def totals(self) -> "Totals":
        """The kernel's counters."""
        return self._server.kernel.totals

    def total_connections(self) -> int:
        """Clients accepted since the start."""
        return self._server.clients.total

    def connections(self, account: str = "") -> Iterable[ConnRecord]:
        """Clients and links that are open; of one account, if it is named."""
        for client in self._server.clients.open.values():
            if account in ("", client.identity.account):
                yield _client(client)
        for link in self._server.leafs.up:
            if account in ("", link.account):
                yield _link(link)

    def closed(self) -> Sequence[ConnRecord]:
        """Clients that are gone, oldest first."""
        return tuple(self._closed)

    def accounts(self) -> Sequence[AccountRecord]:
        """Every account."""
        return [self._account(account) for account in self._server.accounts.values()]

    def account(self, name: str) -> AccountRecord | None:
        """One account, if it is there."""
        account = self._server.accounts.get(name)
        return None if account is None else self._account(account)

    def _account(self, account: Account) -> AccountRecord:
        ended = self._ended.get(account.name) or Ended()
        return AccountRecord(
            name=account.name,
            tag=definition.title
            if (definition := self._server.crossings.definitions.get(account.name))
            else "",
            stats=account.stats,
            ended_clients=ended.clients,
            ended_leafs=ended.leafs,
            slow_consumers=ended.slow,
        )

    def facts(self, account: str) -> AccountFacts:
        """What an account exports, imports and claims."""
        from phloem.shared.server.account_facts import facts  # noqa: PLC0415  (nor who never looks)

        return facts(self._server, account)

    def remotes(self) -> Sequence[RemoteRecord]:
        """The hubs that the options name; one is up while a link to one of its URLs is."""
        leafs = self._server.leafs
        return [
            RemoteRecord(
                url=_host_port(remote.urls[0]),
                account=remote.account or GLOBAL_ACCOUNT,
                up=leafs.remotes.is_up(remote),
            )
            for remote in self._server.options.leafnodes.remotes
            if remote.urls
        ]

    def uplinks(self) -> Sequence[UplinkFigures]:
        """The hubs that are dialled."""
        return [uplink.shown() for uplink in self._server.uplinks]

    def meter(self) -> MeterFigures:
        """What the links to them have cost."""
        return self._server.leafs.meter.shown()

    def jetstream(self) -> JetStreamFigures | None:
        """Streams and their store."""
        system = self._server.jetstream
        if system is None:
            return None
        from phloem.shared.server.jetstream.figures import figures  # noqa: PLC0415  (only whoever keeps streams pays for it)

        return figures(system)

    def fleet(self) -> Sequence[FleetFigures]:
        """Who forwards to this server."""
        return self._server.fleet()

    def unready(self) -> str:
        """Why clients cannot connect."""
        return "" if self._server.port else "not accepting clients"


def _client(client: Client, *, stop_wall_ns: int = 0, stop_ns: int = 0, reason: str = "") -> ConnRecord:
    connect = client.connect
    return ConnRecord(
        cid=client.conn.cid,
        kind="Client",
        ip=client.ip,
        port=client.port,
        start_wall_ns=client.start_wall_ns,
        stats=client.conn.stats,
        subscriptions=client.conn.subscriptions,
        account=client.identity.account,
        account_tag=client.identity.title,
        user=client.identity.name,
        name=connect.name if connect else "",
        lang=connect.lang if connect else "",
        version=connect.version if connect else "",
        stop_wall_ns=stop_wall_ns,
        stop_ns=stop_ns,
        reason=reason,
        **_tls(client.secured),
    )


def _link(link: Link) -> ConnRecord:
    return ConnRecord(
        cid=link.conn.cid,
        kind="Leafnode",
        ip=link.ip,
        port=link.port,
        start_wall_ns=link.start_wall_ns,
        stats=link.conn.stats,
        subscriptions=link.conn.subscriptions,
        account=link.account,
        account_tag=link.identity.title,
        user=link.user,
        name=link.name,
        version=link.version,
        is_spoke=link.spoke,
        is_isolated=link.isolated,
        compression=link.compression,
        **_tls(link.secured),
    )


def _tls(secured: "Secured | None") -> dict[str, Any]:
    if secured is None:
        return {}
    return {
        "tls_version": secured.version,
        "tls_suite": secured.suite,
        "tls_first": secured.first,
        "tls_certificates": lambda: secured.peer_certificates,
    }


def _host_port(url: str) -> str:
    return parse_url(url).address


def _leaf_options(o: "LeafNodes", port: int) -> LeafOptions:
    if not port and not o.remotes:
        return LeafOptions()
    return LeafOptions(
        host=o.host if port else "",
        port=port,
        auth_timeout=number(o.auth_timeout_ns / 1e9) if port else 0,
        tls_timeout=number((o.tls.timeout_ns if o.tls else limits.TLS_TIMEOUT_NS) / 1e9) if port else 0,
        tls_required=o.tls is not None and port > 0,
        tls_verify=o.tls is not None and port > 0 and (o.tls.verify or o.tls.verify_and_map),
        tls_cert_not_after=date(o.tls.not_after_s * limits.SECOND_NS) if o.tls and o.tls.not_after_s else "",
        remotes=tuple(
            RemoteOptions(
                local_account=remote.account or GLOBAL_ACCOUNT,
                tls_timeout=number(remote.tls.timeout_ns / 1e9) if remote.tls else 0,
                urls=tuple(map(_host_port, remote.urls)),
                deny=DenyRules(exports=remote.deny_exports, imports=remote.deny_imports)
                if remote.deny_exports or remote.deny_imports
                else None,
            )
            for remote in o.remotes
        ),
    )
