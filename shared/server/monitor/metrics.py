"""/metrics: the figures of the other pages for Prometheus, in its text format 0.0.4.

Names are phloem's own (``phloem_...``), in base units. Links are labelled with names that stay the same when
they reconnect. Sums over labels are left to the reader.
"""

import platform
from collections.abc import Iterable, Iterator

from phloem.shared.server.monitor.fleetz import fleet_families
from phloem.shared.server.monitor.metrics_jetstream import jetstream_families
from phloem.shared.server.monitor.process import Process
from phloem.shared.server.monitor.prometheus import Labels, Samples, family, one
from phloem.shared.server.monitor.records import ConnRecord, MonitorSource, Settings, leaf_traffic
from phloem.shared.server.monitor.render import SECOND_NS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics(source: MonitorSource, process: Process) -> bytes:
    """The page."""
    connections = list(source.connections())
    families = (
        *_server(source, connections, process),
        *_messages(source, connections),
        *_links(source, connections),
        *_uplinks(source),
        *jetstream_families(source.jetstream()),
        *fleet_families(list(source.fleet())),
    )
    return "".join(families).encode("utf-8", "replace")


def _server(source: MonitorSource, connections: list[ConnRecord], process: Process) -> Iterator[str]:
    settings = source.settings()
    start_s = settings.start_wall_ns / SECOND_NS
    up_s = (source.clock.monotonic_ns() - settings.start_ns) / SECOND_NS
    subscriptions = sum(account.stats["subscriptions"] for account in source.accounts())
    leafs = sum(record.kind == "Leafnode" for record in connections)
    yield family("build_info", "gauge", "Always 1; the labels say what runs.", [(_build(settings), 1)])
    yield one("start_time_seconds", "gauge", "When the server started, Unix time.", start_s)
    yield one("uptime_seconds", "gauge", "How long the server has been running.", up_s)
    yield one("memory_bytes", "gauge", "Resident memory of the process.", process.memory_bytes())
    yield one("cpu_seconds_total", "counter", "Processor time of the process.", process.cpu_ns() / SECOND_NS)
    yield one("cores", "gauge", "Cores the process may run on.", process.cores())
    yield one("connections", "gauge", "Clients that are connected.", len(connections) - leafs)
    yield one("connections_total", "counter", "Clients accepted.", source.total_connections())
    yield one("max_connections", "gauge", "Clients allowed, 0 for any number.", settings.max_connections)
    yield one("subscriptions", "gauge", "Subscriptions of all accounts.", subscriptions)


def _build(settings: Settings) -> Labels:
    return {
        "version": settings.build,
        "protocol": settings.version,
        "python": platform.python_version(),
        "server_name": settings.server_name,
        "server_id": settings.server_id,
    }


def _messages(source: MonitorSource, connections: list[ConnRecord]) -> Iterator[str]:
    totals, leafs = source.totals(), leaf_traffic(source.accounts(), connections)
    for name, about, samples in (
        ("in_messages", "Messages received.", _both(totals["in_msgs"] - leafs.in_msgs, leafs.in_msgs)),
        ("in_bytes", "Payload received.", _both(totals["in_bytes"] - leafs.in_bytes, leafs.in_bytes)),
        ("out_messages", "Messages sent.", _both(totals["out_msgs"] - leafs.out_msgs, leafs.out_msgs)),
        ("out_bytes", "Payload sent.", _both(totals["out_bytes"] - leafs.out_bytes, leafs.out_bytes)),
        (
            "slow_consumers",
            "Connections cut off for not keeping up.",
            _both(totals["slow_clients"], totals["slow_leafs"]),
        ),
        (
            "stale_connections",
            "Connections cut off for not answering PING.",
            _both(totals["stale_clients"], totals["stale_leafs"]),
        ),
        ("stalls", "Times a publisher had to wait for a slow subscriber.", [({}, totals["stalled_clients"])]),
    ):
        yield family(f"{name}_total", "counter", about, samples)


def _both(clients: int, leafs: int) -> Samples:
    return [({"kind": "client"}, clients), ({"kind": "leaf"}, leafs)]


def _links(source: MonitorSource, connections: list[ConnRecord]) -> Iterator[str]:
    links = _by_name(connections)
    measured = [(labels, record) for labels, record in links if record.stats["rtt_ns"]]
    remotes = {(remote.url, remote.account): remote.up for remote in source.remotes()}
    up: Samples = [({"url": url, "account": account}, is_up) for (url, account), is_up in remotes.items()]
    yield one("leaf_links", "gauge", "Leaf links that are up, dialled or accepted.", len(links))
    yield family("leaf_remote_up", "gauge", "1 if the configured link to a hub is up.", up)
    rtts = [(labels, record.stats["rtt_ns"] / SECOND_NS) for labels, record in measured]
    yield family("leaf_rtt_seconds", "gauge", "Last measured round trip of a link.", rtts)
    pending = [(labels, record.stats["pending_bytes"]) for labels, record in links]
    yield family("leaf_pending_bytes", "gauge", "Bytes waiting to leave over a link.", pending)
    received = [(labels, record.stats["in_msgs"]) for labels, record in links]
    yield family("leaf_in_messages_total", "counter", "Messages received since the link is up.", received)
    sent = [(labels, record.stats["out_msgs"]) for labels, record in links]
    yield family("leaf_out_messages_total", "counter", "Messages sent since the link is up.", sent)


def _uplinks(source: MonitorSource) -> Iterator[str]:
    """Of hubs that are dialled: how well that goes, and what it costs."""
    named = {(each.name, each.account): each for each in source.uplinks()}
    if not named:
        return
    links = [({"url": url, "account": account}, each) for (url, account), each in named.items()]
    for name, kind, about, samples in (
        ("seconds", "gauge", "How long it has been up, or down.", [(at, e.for_ms / 1000) for at, e in links]),
        ("ups_total", "counter", "Times it came up.", [(at, e.ups) for at, e in links]),
        (
            "bounces_total",
            "counter",
            "Times it was closed for no progress.",
            [(at, e.bounces) for at, e in links],
        ),
        (
            "failed_attempts",
            "gauge",
            "Attempts since the last connection.",
            [(at, e.attempts) for at, e in links],
        ),
    ):
        yield family(f"leaf_uplink_{name}", kind, about, samples)
    meter = source.meter()
    total = [({"class": name}, size) for name, size in meter.total.items()]
    today = [({"class": name}, size) for name, size in meter.today.items()]
    month = [({"class": name}, size) for name, size in meter.this_month.items()]
    yield family(
        "link_bytes_total", "counter", "Bytes over links to hubs, with headers of IP and TCP.", total
    )
    yield family("link_today_bytes", "gauge", "The same, today.", today)
    yield family("link_month_bytes", "gauge", "The same, this month.", month)
    bounds: Samples = [({"of": "day"}, meter.per_day), ({"of": "month"}, meter.per_month)]
    yield family("link_allowance_bytes", "gauge", "What is allowed, 0 for any number.", bounds)


def _by_name(connections: Iterable[ConnRecord]) -> list[tuple[Labels, ConnRecord]]:
    """Links by peer and account; of two alike the newer, because Prometheus takes no sample twice."""
    links: dict[tuple[str, str], ConnRecord] = {}
    for record in sorted(connections, key=lambda record: record.cid):
        if record.kind == "Leafnode":
            links[record.name, record.account] = record
    return [({"name": name, "account": account}, record) for (name, account), record in links.items()]
