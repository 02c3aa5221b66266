"""How links to hubs are doing and what they cost, in /leafz and /metrics."""

import json
from typing import Any

from tests.unit.monitor.fake import SETTINGS, FakeSource, monitor

from phloem.shared.net.http import Request
from phloem.shared.server.monitor.records import UplinkFigures

UPLINK = UplinkFigures(
    name="hub.example.com:7422",
    account="$G",
    state="waiting",
    for_ms=12_500,
    next_ms=800,
    attempts=3,
    ups=2,
    bounces=1,
    rtt_ns=0,
    hub="HUB",
    hub_version="0.3.0",
    hub_is_phloem=True,
)


def _body(path: str, source: FakeSource) -> str:
    return monitor(source).answer(Request("GET", path, b"")).body.decode()


def _leafz(source: FakeSource) -> dict[str, Any]:
    page: dict[str, Any] = json.loads(_body("/leafz", source))
    return page


def test_leafz() -> None:
    ours = _leafz(FakeSource(options=SETTINGS, dialled=[UPLINK]))["_phloem"]
    assert ours["uplinks"][0]["state"] == "waiting"
    assert ours["uplinks"][0]["hub_is_phloem"] is True
    assert ours["meter"]["today"] == {"control": 168, "telemetry": 4000}


def test_leafz_is_nats_servers_where_nothing_is_dialled() -> None:
    assert list(_leafz(FakeSource(options=SETTINGS))) == ["server_id", "now", "leafnodes", "leafs"]


def test_metrics() -> None:
    page = _body("/metrics", FakeSource(options=SETTINGS, dialled=[UPLINK, UPLINK]))
    for line in (
        'phloem_leaf_uplink_seconds{url="hub.example.com:7422",account="$G"} 12.5',
        'phloem_leaf_uplink_ups_total{url="hub.example.com:7422",account="$G"} 2',
        'phloem_link_bytes_total{class="telemetry"} 9000',
        'phloem_link_today_bytes{class="control"} 168',
        'phloem_link_allowance_bytes{of="day"} 20000000',
    ):
        assert page.count(line + "\n") == 1, line
    assert "phloem_link_" not in _body("/metrics", FakeSource(options=SETTINGS))
