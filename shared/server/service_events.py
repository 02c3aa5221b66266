"""Who asks a service and who answers, as other accounts are told of it, and the event of a measured request.

ClientInfo is in nats-server's order (security_ops 4.6); the kernel writes it into ``Nats-Request-Info`` from pieces,
because the round trip in the middle of it changes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phloem.shared.jetstream.identity import text_of
from phloem.shared.server.clients import Client
from phloem.shared.server.leaf_link import Link
from phloem.shared.server.monitor.render import compact_json, date

if TYPE_CHECKING:
    from phloem.shared.kernel import Served
    from phloem.shared.server.members import Peer
    from phloem.shared.server.server import Server

TYPE = "io.nats.server.metric.v1.service_latency"
EVENT_ID_LENGTH = 22
STATUS = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable", 504: "Service Timeout"}
ANSWERED = 200
B3 = ("X-B3-Sampled", "X-B3-Traceid", "X-B3-Parentspanid", "X-B3-Spanid")


def _head(peer: "Peer") -> dict[str, Any]:
    """Up to the account."""
    assert isinstance(peer, Client | Link)
    return {
        "start": date(peer.start_wall_ns),
        "host": peer.ip,
        "id": peer.conn.cid,
        "acc": peer.identity.account,
    }


def _middle(peer: "Peer") -> dict[str, Any]:
    """Between the account and the round trip."""
    if isinstance(peer, Link):
        return {"user": peer.identity.name, "name": peer.name}
    assert isinstance(peer, Client)
    c = peer.connect
    names = {"name": c.name, "lang": c.lang, "ver": c.version} if c is not None else {}
    return {"user": peer.identity.name, **names}


def _where(server: "Server", peer: "Peer | None") -> dict[str, Any]:
    """Through which server."""
    name = peer.name if isinstance(peer, Link) else server.name
    return {"server": name, "cluster": server.leafs.own_cluster}


def _tail(server: "Server", peer: "Peer") -> dict[str, Any]:
    if isinstance(peer, Link):
        return {"name_tag": _title(server, peer), "kind": "Leafnode"}
    assert isinstance(peer, Client)
    jwt = peer.connect.jwt if peer.connect is not None else ""
    return {"jwt": jwt, "name_tag": _title(server, peer), "kind": "Client", "client_type": "nats"}


def _title(server: "Server", peer: "Peer") -> str:
    """What people call the account, if that is something else."""
    definition = server.crossings.definitions.get(peer.identity.account)
    return definition.title if definition is not None and definition.title != definition.name else ""


def _inner(document: Mapping[str, Any]) -> bytes:
    """Its JSON without braces."""
    return compact_json({name: value for name, value in document.items() if value})[1:-1]


def pieces(server: "Server", peer: "Peer") -> tuple[bytes, bytes, bytes, bytes]:
    """For ``Connection.set_identity``."""
    middle, where, tail = _inner(_middle(peer)), _inner(_where(server, peer)), _inner(_tail(server, peer))
    return (
        b"{" + _inner(_head(peer)),
        b"," + middle if middle else b"",
        b"," + where if where else b"",
        b"," + tail,
    )


def system_piece(server: "Server") -> bytes:
    """For ``Kernel.introduce``."""
    return b"," + _inner(_where(server, None))


def _info(server: "Server", peer: "Peer | None", *, detailed: bool) -> dict[str, Any] | None:
    """ClientInfo of an event; None: nobody, or the server itself."""
    if peer is None:
        return None
    rtt = {"rtt": peer.conn.stats["rtt_ns"]}
    if not detailed:
        whole = {"acc": peer.identity.account, **rtt}
    else:
        whole = {**_head(peer), **_middle(peer), **rtt, **_where(server, peer), **_tail(server, peer)}
    return {name: value for name, value in whole.items() if value}


def event(server: "Server", served: "Served") -> bytes:
    """What is published of a measured request. Durations are in nanoseconds and never negative."""
    everybody: dict[int, Peer] = {**server.clients.open, **server.leafs.open}
    status = served["status"]
    requestor = _info(server, everybody.get(served["requester"]), detailed=served["share"])
    responder = _info(server, everybody.get(served["responder"]), detailed=True)
    asked, answered = (requestor or {}).get("rtt", 0), (responder or {}).get("rtt", 0)
    now_ns = server.clock.monotonic_ns()
    took = system = 0
    if status == ANSWERED:
        took = served["end_ns"] - served["start_ns"]
        system = max(now_ns - served["end_ns"], 0) if answered else 0
    started = server.clock.wall_ns() - (now_ns - served["start_ns"]) - asked
    document: dict[str, Any] = {
        "type": TYPE,
        "id": text_of(server.rng.randbytes(EVENT_ID_LENGTH), EVENT_ID_LENGTH),
        "timestamp": date(server.clock.wall_ns()),
        "status": status,
        "description": STATUS.get(status),
        "requestor": requestor,
        "responder": responder,
        "header": _tracing(served["header"]),
        "start": date(started),
        "service": max(took - answered, 0),
        "system": system,
        "total": asked + took + system if status == ANSWERED else 0,
    }
    return compact_json({name: value for name, value in document.items() if value is not None})


def _tracing(block: bytes) -> dict[str, list[str]] | None:
    """The headers that had the request measured."""
    found = dict[str, list[str]]()
    for line in block.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            key = "-".join(word[:1].upper() + word[1:].lower() for word in name.decode("latin-1").split("-"))
            found.setdefault(key, []).append(value.strip().decode("utf-8", "replace"))
    if "Uber-Trace-Id" in found:
        wanted = {"Uber-Trace-Id"} | {name for name in found if name.startswith("Uberctx-")}
    elif "X-B3-Sampled" in found or "X-B3-Traceid" in found:
        wanted = set(B3)
    elif "B3" in found:
        wanted = {"B3"}
    else:
        wanted = {"Traceparent", "Tracestate"}
    return {name: values for name, values in found.items() if name in wanted} or None
