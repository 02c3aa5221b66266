"""/accountz and /accstatz: accounts (security_ops 4.4)."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from phloem.shared.limits import SECOND_NS
from phloem.shared.server.monitor import account_info
from phloem.shared.server.monitor.query import BadParameter, Query
from phloem.shared.server.monitor.records import AccountRecord, ConnRecord, MonitorSource, Traffic
from phloem.shared.server.monitor.render import date
from phloem.shared.server.monitor.subsz import SublistStats, sublist_stats


class AccountDetail(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One account, with what crosses from and to it and, if there is one, its JWT."""

    account_name: str
    update_time: str
    is_system: bool = False
    expired: bool
    complete: bool
    jetstream_enabled: bool
    leafnode_connections: int
    client_connections: int
    subscriptions: int
    mappings: dict[str, list[dict[str, Any]]] = {}
    exports: list[dict[str, Any]] = []
    imports: list[dict[str, Any]] = []
    jwt: str = ""
    issuer_key: str = ""
    name_tag: str
    tags: list[str] = []
    decoded_jwt: dict[str, Any] | None = None
    validation_result_jwt: list[dict[str, Any]] = []
    revoked_user: dict[str, str] = {}
    sublist_stats: SublistStats


class Accountz(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The page: names, or one account with ``acc``."""

    server_id: str
    now: str
    system_account: str = ""
    accounts: list[str] = []
    account_detail: AccountDetail | None = None


class MsgBytes(msgspec.Struct):
    """A number of messages and their bytes."""

    msgs: int = 0
    bytes: int = 0


class DataStats(msgspec.Struct, kw_only=True):
    """One direction: all of it, then the part of each kind of link between servers."""

    msgs: int
    bytes: int
    gateways: MsgBytes
    routes: MsgBytes
    leafs: MsgBytes


class AccountStat(msgspec.Struct, kw_only=True):
    """What one account carried since the start; ``total_conns`` is clients and leaf links that are open."""

    acc: str
    name: str
    conns: int
    leafnodes: int
    total_conns: int
    num_subscriptions: int
    sent: DataStats
    received: DataStats
    slow_consumers: int


class AccountStatz(msgspec.Struct, kw_only=True):
    """The page."""

    server_id: str
    now: str
    account_statz: list[AccountStat]


def accountz(source: MonitorSource, query: Query) -> Accountz:
    """The page.

    Raises:
        BadParameter: There is no such account.
    """
    settings, accounts = source.settings(), sorted(source.accounts(), key=lambda account: account.name)
    page = Accountz(
        server_id=settings.server_id,
        now=date(source.clock.wall_ns()),
        system_account=settings.system_account,
    )
    wanted, js = query.text("acc"), source.jetstream()
    if not wanted:
        page.accounts = [account.name for account in accounts]
        return page
    for account in accounts:
        if account.name == wanted:
            enabled = js is not None and any(one.name == wanted for one in js.accounts)
            page.account_detail = _detail(source, account, jetstream=enabled)
            return page
    raise BadParameter(f"Account {wanted} does not exist")


def _detail(source: MonitorSource, account: AccountRecord, *, jetstream: bool) -> AccountDetail:
    settings, facts, now_ns = source.settings(), source.facts(account.name), source.clock.wall_ns()
    clients, leafs = _connected(account, list(source.connections()))
    claims = facts.claims
    return AccountDetail(
        account_name=account.name,
        update_time=date(facts.updated_wall_ns or settings.config_load_wall_ns),
        is_system=account.name == settings.system_account,
        expired=facts.expired,
        complete=facts.complete,
        jetstream_enabled=jetstream,
        leafnode_connections=len(leafs),
        client_connections=len(clients),
        subscriptions=account.stats["subscriptions"],
        mappings=account_info.mappings(facts),
        exports=account_info.exports(facts.definition),
        imports=account_info.imports(facts),
        jwt=facts.token,
        issuer_key=claims.iss if claims is not None else "",
        name_tag=account.tag or account.name,
        tags=list(claims.nats.tags) if claims is not None else [],
        decoded_jwt=account_info.claims(facts),
        validation_result_jwt=account_info.issues(facts, now_ns // SECOND_NS),
        revoked_user=account_info.times(claims.nats.revocations) if claims is not None else {},
        sublist_stats=sublist_stats([account]),
    )


def accstatz(source: MonitorSource, query: Query) -> AccountStatz:
    """The page; accounts without a connection with ``unused=1`` only.

    Raises:
        BadParameter: ``unused`` is no boolean.
    """
    return account_statz(source, unused=query.flag("unused"))


def account_statz(source: MonitorSource, names: Sequence[str] = (), *, unused: bool) -> AccountStatz:
    """The page for the accounts of these names, without names for all."""
    connections = list(source.connections())
    accounts = sorted(source.accounts(), key=lambda account: account.name)
    stats = [account_stat(account, connections) for account in accounts if not names or account.name in names]
    return AccountStatz(
        server_id=source.settings().server_id,
        now=date(source.clock.wall_ns()),
        account_statz=[stat for stat in stats if unused or stat.total_conns],
    )


def _connected(
    account: AccountRecord, connections: Iterable[ConnRecord]
) -> tuple[list[ConnRecord], list[ConnRecord]]:
    """The account's clients and its leaf links."""
    own = [record for record in connections if record.account == account.name]
    clients = [record for record in own if record.kind == "Client"]
    return clients, [record for record in own if record.kind == "Leafnode"]


def account_stat(account: AccountRecord, connections: Iterable[ConnRecord]) -> AccountStat:
    """What an account carried; of ``connections`` those count that belong to it."""
    clients, leafs = _connected(account, connections)
    links, everything = Traffic(), Traffic()
    links.add(account.ended_leafs)
    for record in leafs:
        links.add(record.stats)
    everything.add(links)
    everything.add(account.ended_clients)
    for record in clients:
        everything.add(record.stats)
    return AccountStat(
        acc=account.name,
        name=account.tag or account.name,
        conns=len(clients),
        leafnodes=len(leafs),
        total_conns=len(clients) + len(leafs),
        num_subscriptions=account.stats["subscriptions"],
        sent=_direction(everything.out_msgs, everything.out_bytes, MsgBytes(links.out_msgs, links.out_bytes)),
        received=_direction(everything.in_msgs, everything.in_bytes, MsgBytes(links.in_msgs, links.in_bytes)),
        slow_consumers=account.slow_consumers,
    )


def _direction(msgs: int, size: int, leafs: MsgBytes) -> DataStats:
    return DataStats(msgs=msgs, bytes=size, gateways=MsgBytes(), routes=MsgBytes(), leafs=leafs)
