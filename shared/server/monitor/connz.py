"""/connz: connections, open and closed (security_ops 4.3).

Two oddities of nats-server are kept: ``total`` ignores the filters other than ``acc``, and ``cid`` finds leaf
links among closed connections only. One is not: for an account that does not exist the list is empty, not
``null``, and the server has its id.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from phloem.shared.server.monitor.query import BadParameter, Query
from phloem.shared.server.monitor.records import GLOBAL_ACCOUNT, ConnRecord, MonitorSource, PeerCertificate
from phloem.shared.server.monitor.render import date, rtt, uptime
from phloem.shared.server.monitor.subsz import SubDetail, details
from phloem.shared.wire.subjects import collide

LIMIT_DEFAULT = 1024
_STATES = {"": "open", "open": "open", "closed": "closed", "any": "all", "all": "all"}
_CLOSED_ONLY = ("stop", "reason")

Key = Callable[[ConnRecord, int], int | str]
_SORTS: dict[str, tuple[bool, Key]] = {  # descending?, key
    "cid": (False, lambda record, now_ns: record.cid),
    "start": (False, lambda record, now_ns: record.cid),
    "subs": (True, lambda record, now_ns: record.stats["subscriptions"]),
    "pending": (True, lambda record, now_ns: record.stats["pending_bytes"]),
    "msgs_to": (True, lambda record, now_ns: record.stats["out_msgs"]),
    "msgs_from": (True, lambda record, now_ns: record.stats["in_msgs"]),
    "bytes_to": (True, lambda record, now_ns: record.stats["out_bytes"]),
    "bytes_from": (True, lambda record, now_ns: record.stats["in_bytes"]),
    "last": (True, lambda record, now_ns: record.stats["last_ns"]),
    "idle": (False, lambda record, now_ns: record.stats["last_ns"]),
    "uptime": (False, lambda record, now_ns: record.uptime_ns(now_ns)),
    "stop": (True, lambda record, now_ns: record.stop_ns),
    "reason": (False, lambda record, now_ns: record.reason),
    "rtt": (True, lambda record, now_ns: record.stats["rtt_ns"]),
}


class ConnInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One connection; ``authorized_user``, ``account`` and ``name_tag`` with ``auth=1`` only."""

    cid: int
    kind: str
    type: str = ""
    ip: str
    port: int
    start: str
    last_activity: str
    stop: str = ""
    reason: str = ""
    rtt: str
    uptime: str
    idle: str
    pending_bytes: int
    in_msgs: int
    out_msgs: int
    in_bytes: int
    out_bytes: int
    stalls: int = 0
    subscriptions: int
    name: str = ""
    lang: str = ""
    version: str = ""
    tls_version: str = ""
    tls_cipher_suite: str = ""
    tls_peer_certs: Sequence[PeerCertificate] = ()
    tls_first: bool = False
    authorized_user: str = ""
    account: str = ""
    subscriptions_list: list[str] = []
    subscriptions_list_detail: list[SubDetail] = []
    name_tag: str = ""


class Connz(msgspec.Struct, kw_only=True):
    """The page."""

    server_id: str
    now: str
    num_connections: int
    total: int
    offset: int
    limit: int
    connections: list[ConnInfo]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. ``state``: open, closed or all; anything else finds nothing. A limit of 0 is the usual one."""

    sort: str = "cid"
    auth: bool = False
    subs: bool = False
    detail: bool = False
    offset: int = 0
    limit: int = 0
    cid: int = 0
    state: str = "open"
    user: str = ""
    account: str = ""
    filter_subject: str = ""
    mqtt_client: str = ""

    def check(self) -> None:
        """Raises BadParameter for what does not go together."""
        if self.sort not in _SORTS:
            raise BadParameter(f"invalid sorting option: {self.sort}")
        if self.sort in _CLOSED_ONLY and self.state != "closed":
            raise BadParameter(f"sort by {self.sort} only valid on closed connections")
        if self.filter_subject not in ("", ">") and not self.account:
            raise BadParameter("filter by subject only valid with account filtering")

    def fits(self, record: ConnRecord) -> bool:
        """Whether to show this one."""
        if self.user not in ("", record.user) or self.mqtt_client:
            return False
        if self.filter_subject in ("", ">") or record.stop_wall_ns:
            return True
        return any(collide(self.filter_subject, sub.subject) for sub in details(record))


def _wish(query: Query) -> Wish:
    """The parameters, looked at in nats-server's order, so that the same one is complained about first."""
    auth = query.flag("auth")
    detail = query.text("subs").lower() == "detail"
    subs = not detail and query.flag("subs")
    offset, limit, cid = query.integer("offset"), query.integer("limit"), query.unsigned("cid")
    state = _STATES.get(query.text("state").lower())
    if state is None:
        raise BadParameter(f"Error decoding state for {query.text('state')}")
    return Wish(
        sort=query.text("sort") or "cid",
        auth=auth,
        subs=subs,
        detail=detail,
        offset=offset,
        limit=limit,
        cid=cid,
        state=state,
        user=query.text("user"),
        account=query.text("acc"),
        filter_subject=query.text("filter_subject"),
        mqtt_client=query.text("mqtt_client"),
    )


def connz(source: MonitorSource, query: Query) -> Connz:
    """The page.

    Raises:
        BadParameter: A parameter is unknown, or does not go with the others.
    """
    return listed(source, _wish(query))


def listed(source: MonitorSource, wish: Wish) -> Connz:
    """The page that is wished for.

    Raises:
        BadParameter: One wish does not go with the others.
    """
    wish.check()
    offset = max(wish.offset, 0)
    limit = 1 if wish.cid else wish.limit if wish.limit > 0 else LIMIT_DEFAULT
    opened = _of_account(source.connections(), wish.account) if wish.state in ("open", "all") else []
    closed = _of_account(source.closed(), wish.account) if wish.state in ("closed", "all") else []
    total = len(opened) + len(closed)
    if wish.cid:
        found = [record for record in opened if record.cid == wish.cid and record.kind == "Client"]
        found = found or [record for record in closed if record.cid == wish.cid]
    else:
        found = list(filter(wish.fits, opened + closed))
    now_ns = source.clock.monotonic_ns()
    descending, key = _SORTS[wish.sort]
    found.sort(key=lambda record: record.cid)
    found.sort(key=lambda record: key(record, now_ns), reverse=descending)
    shown = found[offset : offset + limit]
    return Connz(
        server_id=source.settings().server_id,
        now=date(source.clock.wall_ns()),
        num_connections=len(shown),
        total=total,
        offset=offset,
        limit=limit,
        connections=[_info(record, wish, now_ns) for record in shown],
    )


def _of_account(records: Iterable[ConnRecord], account: str) -> list[ConnRecord]:
    return [record for record in records if account in ("", record.account)]


def _info(record: ConnRecord, wish: Wish, now_ns: int) -> ConnInfo:
    stats = record.stats
    info = ConnInfo(
        cid=record.cid,
        kind=record.kind,
        type="nats" if record.kind == "Client" else "",
        ip=record.ip,
        port=record.port,
        start=date(record.start_wall_ns),
        last_activity=date(record.last_wall_ns()),
        stop=date(record.stop_wall_ns) if record.stop_wall_ns else "",
        reason=record.reason,
        rtt=rtt(stats["rtt_ns"]),
        uptime=uptime(record.uptime_ns(now_ns)),
        idle=uptime(record.idle_ns(now_ns)),
        pending_bytes=stats["pending_bytes"],
        in_msgs=stats["in_msgs"],
        out_msgs=stats["out_msgs"],
        in_bytes=stats["in_bytes"],
        out_bytes=stats["out_bytes"],
        stalls=stats["stalls"],
        subscriptions=stats["subscriptions"],
        name=record.name,
        lang=record.lang,
        version=record.version,
    )
    if not record.stop_wall_ns:  # of one that is gone nats-server has forgotten it
        info.tls_version, info.tls_cipher_suite = record.tls_version, record.tls_suite
        info.tls_first = record.tls_first
    if wish.detail:
        info.subscriptions_list_detail = details(record)
    elif wish.subs:
        info.subscriptions_list = [sub.subject for sub in details(record)]
    if wish.auth:
        if not record.stop_wall_ns:
            info.tls_peer_certs = record.tls_certificates()
        info.authorized_user = record.user
        info.account = "" if record.account == GLOBAL_ACCOUNT else record.account
        if info.account or not record.stop_wall_ns:
            info.name_tag = (
                record.account_tag or record.account
            )  # nats-server shows the name where an account has no tag
    return info
