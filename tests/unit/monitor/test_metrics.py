"""The text format of Prometheus and the figures in it."""

import re

import msgspec
from tests.unit.monitor.fake import SETTINGS, FakeSource, account, closed, connection, monitor

from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.port import LineErrors
from phloem.firmware_bridge.port_figures import port_figures
from phloem.shared.net.http import Request
from phloem.shared.server.monitor import metrics_device
from phloem.shared.server.monitor.records import RemoteRecord, Traffic

_SAMPLE = re.compile(r'(phloem_[a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?[0-9.e+-]+)')


def _source() -> FakeSource:
    link = connection(
        5,
        kind="Leafnode",
        name='edge "1"\n\\',
        stats={
            "in_msgs": 3,
            "in_bytes": 30,
            "out_msgs": 2,
            "out_bytes": 20,
            "rtt_ns": 127_000,
            "pending_bytes": 9,
        },
    )
    return FakeSource(
        opened=[connection(1, subs=[("a", "")]), link],
        ring=[closed(2, 5)],
        known=[account("$G", ended_leafs=Traffic(in_msgs=4, in_bytes=40))],
        links=[
            RemoteRecord(url="hub:7422", account="$G", up=True),
            RemoteRecord(url="b:1", account="A", up=False),
        ],
        counters={"in_msgs": 10, "in_bytes": 100, "out_msgs": 12, "slow_clients": 1, "stale_leafs": 2},
    )


def _page(source: FakeSource) -> str:
    response = monitor(source).answer(Request("GET", "/metrics", b""))
    assert dict(response.headers)["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return response.body.decode()


def _samples(page: str) -> dict[str, float]:
    samples: dict[str, float] = {}
    for line in page.splitlines():
        if not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            key = match[1].removeprefix("phloem_") + (match[2] or "")
            assert key not in samples, "Prometheus takes no sample twice"
            samples[key] = float(match[3])
    return samples


def test_values() -> None:
    samples = _samples(_page(_source()))
    expected = {
        "connections": 1,
        "connections_total": 3,
        "subscriptions": 4,
        'in_messages_total{kind="client"}': 3,
        'in_messages_total{kind="leaf"}': 7,
        'in_bytes_total{kind="leaf"}': 70,
        'out_messages_total{kind="client"}': 10,
        'slow_consumers_total{kind="client"}': 1,
        'stale_connections_total{kind="leaf"}': 2,
        "stalls_total": 0,
        "leaf_links": 1,
        'leaf_remote_up{url="hub:7422",account="$G"}': 1,
        'leaf_remote_up{url="b:1",account="A"}': 0,
        'leaf_rtt_seconds{name="edge \\"1\\"\\n\\\\",account="$G"}': 0.000127,
        'leaf_pending_bytes{name="edge \\"1\\"\\n\\\\",account="$G"}': 9,
        "memory_bytes": 15_310_848,
        "cpu_seconds_total": 0,
        "uptime_seconds": 3600,
        "start_time_seconds": 1_790_000_000.12,
    }
    assert {key: samples.get(key) for key in expected} == expected


def test_the_build_is_named() -> None:
    assert 'phloem_build_info{version="0.1.0",protocol="2.15.1",python="3.' in _page(_source())


def test_every_sample_follows_its_help_and_type() -> None:
    described = ""
    for line in _page(_source()).splitlines():
        if line.startswith("# HELP "):
            helped = line.split()[2]
        elif line.startswith("# TYPE "):
            _, _, described, kind = line.split()
            assert described == helped
            assert (kind == "counter") == described.endswith("_total")
        else:
            assert re.split(r"[{ ]", line)[0] == described


def test_of_two_links_alike_the_newer_counts() -> None:
    source = _source()
    older = msgspec.structs.replace(
        source.opened[1], cid=3, stats={**source.opened[1].stats, "pending_bytes": 1}
    )
    source.opened.append(older)
    samples = _samples(_page(source))
    assert [value for key, value in samples.items() if key.startswith("leaf_pending")] == [9]


def test_a_round_trip_that_was_not_measured_is_left_out() -> None:
    source = FakeSource(opened=[connection(5, kind="Leafnode", name="edge", stats={"rtt_ns": 0})])
    assert not [key for key in _samples(_page(source)) if key.startswith("leaf_rtt")]


def test_a_server_without_links() -> None:
    assert _samples(_page(FakeSource(options=SETTINGS)))["leaf_links"] == 0


def test_serial_ports() -> None:
    counters = Counters(frames=5, bytes_read=60, damaged=2, opens=1, line_errors=LineErrors(frame=3))
    port = {"port": 'a"b', "state": "open", "garbled": True} | port_figures(counters, 1.5)
    samples = _samples(_page(FakeSource(device_figures={"ports": [port]})))
    expected = {
        'port_state{port="a\\"b",state="open"}': 1,
        'port_state{port="a\\"b",state="lost"}': 0,
        'port_garbled{port="a\\"b"}': 1,
        'port_frame_age_seconds{port="a\\"b"}': 1.5,
        'port_frames_total{port="a\\"b"}': 5,
        'port_read_bytes_total{port="a\\"b"}': 60,
        'port_damaged_frames_total{port="a\\"b"}': 2,
        'port_resyncs_total{port="a\\"b"}': 0,
        'port_line_errors_total{port="a\\"b",kind="frame"}': 3,
        'port_line_errors_total{port="a\\"b",kind="brk"}': 0,
    }
    assert expected.items() <= samples.items()


def test_no_counter_of_a_port_is_forgotten() -> None:
    figures = {"port": "a", "state": "open", "garbled": False} | port_figures(Counters(), -1)
    shown = {key for *_, key in metrics_device._PORT_COUNTERS}
    other = {"port", "state", "garbled", "frame_age_s", "line_errors", "process_waiting"}
    assert set(figures) - other == shown
