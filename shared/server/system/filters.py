"""Whom a request is for: servers that do not fit stay silent (security_ops 4.5)."""

from collections.abc import Mapping
from typing import Any

import msgspec


class ServerInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Who speaks. ``seq`` counts the server's messages; ``flags`` has 1 for JetStream, the rest is about clusters."""

    name: str
    host: str
    id: str
    cluster: str = ""
    domain: str = ""
    ver: str
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = {}
    jetstream: bool
    flags: int
    seq: int
    time: str


def is_for(wish: Mapping[str, Any], server: ServerInfo) -> bool:
    """Whether the filters of a request name this server; its tags are in lower case."""
    names = (
        (wish.get("server_name"), server.name),
        (wish.get("host"), server.host),
        (wish.get("cluster"), server.cluster),
    )
    exact = wish.get("exact_match", False)
    if any(wanted and (wanted != own if exact else wanted not in own) for wanted, own in names):
        return False
    if any(tag.lower() not in server.tags for tag in wish.get("tags", ())):
        return False
    return wish.get("domain", "") in ("", server.domain)
