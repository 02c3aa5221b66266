"""/subsz: subscriptions, counted or listed (security_ops 4.4)."""

import msgspec

from phloem.shared.server.monitor.query import BadParameter, Query
from phloem.shared.server.monitor.records import AccountRecord, ConnRecord, MonitorSource
from phloem.shared.server.monitor.render import date, number
from phloem.shared.wire.subjects import matches

LIMIT_DEFAULT = 1024


class SubDetail(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One subscription; the account is left out where its connection is shown with it."""

    account: str = ""
    account_tag: str = ""
    subject: str
    qgroup: str = ""
    sid: str
    msgs: int
    max: int = 0
    cid: int


class SublistStats(msgspec.Struct, kw_only=True):
    """Figures of the tables that subjects are looked up in. phloem does not count fan-out, so that is 0."""

    num_subscriptions: int
    num_cache: int
    num_inserts: int
    num_removes: int
    num_matches: int
    cache_hit_rate: int | float
    max_fanout: int = 0
    avg_fanout: int | float = 0


class Subsz(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The page; ``subscriptions_list`` with ``subs=1`` only."""

    server_id: str
    now: str
    num_subscriptions: int
    num_cache: int
    num_inserts: int
    num_removes: int
    num_matches: int
    cache_hit_rate: int | float
    max_fanout: int
    avg_fanout: int | float
    total: int
    offset: int
    limit: int
    subscriptions_list: list[SubDetail] = []


def subsz(source: MonitorSource, query: Query) -> Subsz:
    """The page; leaf links' subscriptions are counted, not listed.

    Raises:
        BadParameter: Also a ``test`` subject with wildcards or empty tokens.
    """
    listed, offset, limit = query.flag("subs"), query.integer("offset"), query.integer("limit")
    offset, limit = max(offset, 0), limit if limit > 0 else LIMIT_DEFAULT
    test, wanted = query.text("test"), query.text("acc")
    if test and not is_literal(test):
        raise BadParameter(f"invalid test subject, must be valid publish subject: {test}")
    accounts = [account for account in source.accounts() if wanted in ("", account.name)]
    found: list[SubDetail] = []
    if listed:
        for record in sorted(source.connections(), key=lambda record: record.cid):
            if record.kind == "Client" and wanted in ("", record.account):
                subs = details(record, account=True)
                found += (sub for sub in subs if not test or matches(sub.subject, test))
    return Subsz(
        server_id=source.settings().server_id,
        now=date(source.clock.wall_ns()),
        **msgspec.structs.asdict(sublist_stats(accounts)),
        total=len(found),
        offset=offset,
        limit=limit,
        subscriptions_list=found[offset : offset + limit],
    )


def sublist_stats(accounts: list[AccountRecord]) -> SublistStats:
    """The sum over ``accounts``."""
    stats = [account.stats for account in accounts]
    looked_up = sum(s["matches"] for s in stats)
    return SublistStats(
        num_subscriptions=sum(s["subscriptions"] for s in stats),
        num_cache=sum(s["cache"] for s in stats),
        num_inserts=sum(s["inserts"] for s in stats),
        num_removes=sum(s["removes"] for s in stats),
        num_matches=looked_up,
        cache_hit_rate=number(sum(s["cache_hits"] for s in stats) / looked_up) if looked_up else 0,
    )


def details(record: ConnRecord, *, account: bool = False) -> list[SubDetail]:
    """The subscriptions of one connection, with its account if asked for."""
    name = record.account if account else ""
    return [
        SubDetail(
            account=name,
            account_tag=name
            and (record.account_tag or name),  # nats-server shows the name where an account has no tag
            subject=subject.decode(errors="replace"),
            qgroup=(queue or b"").decode(errors="replace"),
            sid=sid.decode(errors="replace"),
            msgs=msgs,
            max=maximum,
            cid=record.cid,
        )
        for subject, queue, sid, msgs, maximum in record.subscriptions()
    ]


def is_literal(subject: str) -> bool:
    """Whether one can publish to it: no empty token and none that is a wildcard."""
    return all(token not in ("", "*", ">") for token in subject.split("."))
