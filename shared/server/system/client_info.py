"""ClientInfo: who is connected, as events tell it (security_ops 4.6)."""

import msgspec

from phloem.shared.accounts.auth import Identity
from phloem.shared.server.clients import Client
from phloem.shared.server.leaf_link import Link
from phloem.shared.server.monitor.render import date

NOBODY = "N/A"  # the account of a link that has not logged in
REDACTED = "[REDACTED]"


class ClientInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """``rtt`` in nanoseconds, if there was a PONG; ``name_tag`` is the account's."""

    start: str
    host: str = ""
    id: int
    acc: str
    user: str = ""
    name: str = ""
    lang: str = ""
    ver: str = ""
    rtt: int = 0
    stop: str = ""
    jwt: str = ""
    issuer_key: str = ""
    name_tag: str = ""
    tags: tuple[str, ...] = ()
    kind: str
    client_type: str = ""


def client_info(peer: Client | Link, *, stop_wall_ns: int = 0) -> ClientInfo:
    """``stop_wall_ns``: when it ended, for events that tell so."""
    stop = date(stop_wall_ns) if stop_wall_ns else ""
    rtt_ns = peer.conn.stats["rtt_ns"] if stop else 0
    if isinstance(peer, Link):
        return ClientInfo(
            start=date(peer.start_wall_ns),
            host=peer.ip,
            id=peer.conn.cid,
            acc=peer.account if peer.admitted else NOBODY,
            user=peer.user,
            name=peer.name,
            ver=peer.version,
            rtt=rtt_ns,
            stop=stop,
            jwt=peer.shown.jwt if peer.identity.admitted is not None and not peer.identity.by_callout else "",
            issuer_key=peer.identity.issuer_key,
            name_tag=(peer.identity.title or peer.account) if peer.admitted else "",
            tags=_tags(peer.identity),
            kind="Leafnode",
        )
    connect = peer.connect
    return ClientInfo(
        start=date(peer.start_wall_ns),
        host=peer.ip,
        id=peer.conn.cid,
        acc=peer.identity.account,
        user=user_of(peer),
        name=connect.name if connect else "",
        lang=connect.lang if connect else "",
        ver=connect.version if connect else "",
        rtt=rtt_ns,
        stop=stop,
        jwt=connect.jwt if connect and not peer.identity.by_callout else "",
        issuer_key=peer.identity.issuer_key,
        name_tag=peer.identity.title or peer.identity.account,
        tags=_tags(peer.identity),
        kind="Client",
        client_type="nats",
    )


def _tags(identity: Identity) -> tuple[str, ...]:
    """Those of the JWT that let somebody in."""
    admitted = identity.admitted
    return admitted.user.nats.tags if admitted is not None and not identity.by_callout else ()


def user_of(client: Client) -> str:
    """Who it is or, without having been let in, says it is. A token is not shown."""
    if client.identity.name:
        return client.identity.name
    connect = client.connect
    if connect is None:
        return ""
    return connect.nkey or connect.user or (REDACTED if connect.auth_token and not connect.jwt else "")
