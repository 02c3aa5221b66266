"""The monitoring pages as answers: options of a request in, the page out (security_ops 4.5).

The pages are those of the HTTP port; here they get their options from JSON, which has other names for some. What one
server without a cluster, written in Python, does not have is answered in nats-server's form: no routes, no gateways, no
Raft groups, no queues between threads, no profiles of Go.
"""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phloem.shared.jetstream.times import go_duration
from phloem.shared.server.monitor import connz as conn_pages
from phloem.shared.server.monitor.absent import gatewayz, routez
from phloem.shared.server.monitor.accountz import accountz
from phloem.shared.server.monitor.healthz import healthz
from phloem.shared.server.monitor.jsz import jsz
from phloem.shared.server.monitor.leafz import leafz
from phloem.shared.server.monitor.process import CpuMeter, LinuxProcess
from phloem.shared.server.monitor.query import Query, quoted
from phloem.shared.server.monitor.subsz import subsz
from phloem.shared.server.monitor.varz import varz
from phloem.shared.server.system.asked import Fields

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

PROFILE_MOST_NS = 15_000_000_000
Asked = Mapping[str, Any]


class Figures:
    """What pages are made from."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.source = server.source
        self.process = LinuxProcess()
        self.cpu = CpuMeter(self.process, server.clock)


class Page(NamedTuple):
    """``words``: what Go calls the options; ``make``: the page. Raises BadParameter."""

    words: str
    options: Fields
    make: Callable[[Figures, Asked], object]


def _query(asked: Asked, **names: str) -> Query:
    """A page's parameters, by the name of the option that each comes from."""
    values = {name: asked[option] for name, option in names.items() if option in asked}
    return Query.of({name: _text(value) for name, value in values.items()})


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _subs(asked: Asked) -> dict[str, str]:
    """Of the two options for subscriptions the one with more in it counts."""
    detail, subs = asked.get("subscriptions_detail"), asked.get("subscriptions")
    return {"subs": "detail" if detail else "1"} if detail or subs else {}


def _varz(figures: Figures, _asked: Asked) -> object:
    monitor = figures.server.monitor
    return varz(figures.source, figures.process, figures.cpu, monitor.requests if monitor else {})


def _connz(figures: Figures, asked: Asked) -> object:
    states = ("open", "closed", "all")
    state = asked.get("state", 0)
    wish = conn_pages.Wish(
        sort=asked.get("sort") or "cid",
        auth=asked.get("auth", False),
        subs=asked.get("subscriptions", False),
        detail=asked.get("subscriptions_detail", False),
        offset=asked.get("offset", 0),
        limit=asked.get("limit", 0),
        cid=asked.get("cid", 0),
        state=states[state] if 0 <= state < len(states) else "none",
        user=asked.get("user", ""),
        account=asked.get("acc", ""),
        filter_subject=asked.get("filter_subject", ""),
        mqtt_client=asked.get("mqtt_client", ""),
    )
    return conn_pages.listed(figures.source, wish)


def _subsz(figures: Figures, asked: Asked) -> object:
    names = {"subs": "subscriptions", "acc": "account", "test": "test", "offset": "offset", "limit": "limit"}
    return subsz(figures.source, _query(asked, **names))


def _routez(figures: Figures, asked: Asked) -> object:
    return routez(figures.source, Query.of(_subs(asked)))


def _gatewayz(figures: Figures, asked: Asked) -> object:
    return gatewayz(figures.source, Query.of(_subs(asked)))


def _leafz(figures: Figures, asked: Asked) -> object:
    return leafz(figures.source, _query(asked, subs="subscriptions", acc="account"))


def _accountz(figures: Figures, asked: Asked) -> object:
    return accountz(figures.source, _query(asked, acc="account"))


def jetstream_query(asked: Asked) -> Query:
    """The parameters of /jsz."""
    same = {name: name for name in ("accounts", "streams", "config", "offset", "limit")}
    others = {"acc": "account", "consumers": "consumer", "direct-consumers": "direct_consumer"}
    return _query(asked, **same, **others)


def _jsz(figures: Figures, asked: Asked) -> object:
    return jsz(figures.source, jetstream_query(asked))


def _healthz(figures: Figures, asked: Asked) -> object:
    code, page = healthz(figures.source, _query(asked, **{name: name for name in HEALTH}))
    plain = msgspec.to_builtins(page)
    return {"status": plain.pop("status"), "status_code": code, **plain}


def _profilez(_figures: Figures, asked: Asked) -> object:
    name, duration_ns = asked.get("name", ""), asked.get("duration", 0)
    if not name:
        error = "Profile name not specified"
    elif name != "cpu":
        error = f"Profile {quoted(name)} not found"
    elif 0 < duration_ns <= PROFILE_MOST_NS:
        error = "Failed to start CPU profile: a Python process has none in this form"
    else:
        error = f"Duration {go_duration(duration_ns)} should be between 0s and 15s"
    return {"profile": None, "error": error}


def _expvarz(figures: Figures, _asked: Asked) -> object:
    """The command's name without its arguments, which may have secrets."""
    return {"memstats": {"Sys": figures.process.memory_bytes()}, "cmdline": sys.argv[:1]}


def _nothing(_figures: Figures, _asked: Asked) -> object:
    return {}


CONN: Fields = {
    "sort": "server.SortOpt",
    "auth": "bool",
    "subscriptions": "bool",
    "subscriptions_detail": "bool",
    "offset": "int",
    "limit": "int",
    "cid": "uint64",
    "mqtt_client": "string",
    "state": "server.ConnState",
    "user": "string",
    "acc": "string",
    "filter_subject": "string",
}
SUBS: Fields = {
    "offset": "int",
    "limit": "int",
    "subscriptions": "bool",
    "account": "string",
    "test": "string",
}
GATEWAY: Fields = {
    "name": "string",
    "accounts": "bool",
    "account_name": "string",
    "subscriptions": "bool",
    "subscriptions_detail": "bool",
}
JS: Fields = {
    "account": "string",
    "accounts": "bool",
    "streams": "bool",
    "consumer": "bool",
    "direct_consumer": "bool",
    "config": "bool",
    "leader_only": "bool",
    "offset": "int",
    "limit": "int",
    "raft": "bool",
    "stream_leader_only": "bool",
}
HEALTH: Fields = {
    "js-enabled": "bool",
    "js-enabled-only": "bool",
    "js-server-only": "bool",
    "js-meta-only": "bool",
    "account": "string",
    "stream": "string",
    "consumer": "string",
    "details": "bool",
}
SUBS_FLAGS: Fields = {"subscriptions": "bool", "subscriptions_detail": "bool"}
LEAF: Fields = {"subscriptions": "bool", "account": "string"}

PAGES = {
    "VARZ": Page("VarzEventOptions", {}, _varz),
    "SUBSZ": Page("SubszEventOptions", SUBS, _subsz),
    "CONNZ": Page("ConnzEventOptions", CONN, _connz),
    "ROUTEZ": Page("RoutezEventOptions", SUBS_FLAGS, _routez),
    "GATEWAYZ": Page("GatewayzEventOptions", GATEWAY, _gatewayz),
    "LEAFZ": Page("LeafzEventOptions", LEAF, _leafz),
    "ACCOUNTZ": Page("AccountzEventOptions", {"account": "string"}, _accountz),
    "JSZ": Page("JszEventOptions", JS, _jsz),
    "HEALTHZ": Page("HealthzEventOptions", HEALTH, _healthz),
    "PROFILEZ": Page(
        "ProfilezEventOptions", {"name": "string", "debug": "int", "duration": "time.Duration"}, _profilez
    ),
    "EXPVARZ": Page("ExpvarzEventOptions", {}, _expvarz),
    "IPQUEUESZ": Page("IpqueueszEventOptions", {"all": "bool", "filter": "string"}, _nothing),
    "RAFTZ": Page("RaftzEventOptions", {"account": "string", "group": "string"}, _nothing),
}
