"""What a bridge beside an edge says of its ports: shown like the edge's own, if it is right and of this machine."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.manager import Manager

from phloem.edge.app import Edge
from phloem.edge.device import bridge_service
from phloem.edge.device.bridge_service import Service
from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.handover import Handover
from phloem.firmware_bridge.port_figures import port_figures
from phloem.firmware_bridge.port_reports import PortReports, report
from phloem.firmware_bridge.settings import SerialSettings
from phloem.shared.net.notify import Notifier
from phloem.shared.server.monitor.metrics_device import device_families

SECOND = 1_000_000_000
OPEN = {1: "a client", 2: "another"}


def port(name: str = "climate", age_s: float = 2.0, **more: Any) -> dict[str, Any]:
    state = {"port": name, "device": "/dev/a", "path": "", "state": "open", "reason": "", "for_s": 5.0}
    return (
        state | {"garbled": False, "shared_at": ["pty://x"]} | port_figures(Counters(frames=7), age_s) | more
    )


def test_what_was_told_grows_older() -> None:
    reports = PortReports()
    assert reports.told(1, report([port(), port("never", -1)]), 10 * SECOND)
    assert reports.figures(13 * SECOND, OPEN, []) == [
        port(age_s=5.0, for_s=8.0),
        port("never", -1, for_s=8.0),
    ]
    text = "\n".join(device_families({"ports": reports.figures(13 * SECOND, OPEN, [])}))
    assert 'phloem_port_frames_total{port="climate"} 7' in text


def test_who_is_gone_or_silent_is_not_shown() -> None:
    reports = PortReports()
    assert reports.told(1, report([port()]), 0)
    assert reports.figures(SECOND, {2: "another"}, []) == []
    assert reports.told(1, report([port()]), 0)
    assert reports.figures(20 * SECOND, OPEN, []) != []
    assert reports.figures(21 * SECOND, OPEN, []) == []


def test_a_name_is_there_once() -> None:
    reports = PortReports()
    assert reports.told(1, report([port("a"), port("b"), port("own")]), 0)
    assert reports.told(2, report([port("b", device="/dev/b"), port("b")]), 0)
    found = reports.figures(0, OPEN, ["own"])
    assert [(one["port"], one["device"]) for one in found] == [("b", "/dev/b"), ("a", "/dev/a")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b'[{"port":"a"}]',
        b"[" + b'"' + b"\xff" + b'"]',
        report([port(frames=-1)]),
        report([port(frames="7")]),
        report([port(frames=1 << 64)]),
        report([port(device="x" * 2_000)]),
        report([port(line_errors={})]),
        report([port()] * 257),
        b" " * (1 << 18) + report([port()]),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_report(body: bytes) -> None:
    reports = PortReports()
    assert not reports.told(1, body, 0)
    assert reports.figures(0, OPEN, []) == []


def test_what_is_more_than_known_is_left_out() -> None:
    reports = PortReports()
    assert reports.told(1, report([port(later=1)]), 0)
    assert reports.figures(0, OPEN, []) == [port()]


def test_bridges_are_bounded() -> None:
    reports = PortReports()
    for cid in range(100):
        assert reports.told(cid, report([port(str(cid))]), 0)
    found = reports.figures(0, dict.fromkeys(range(100)), [])
    assert [one["port"] for one in found] == [str(cid) for cid in range(99, 91, -1)]


async def test_a_bridge_tells_its_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_service, "EVERY_S", 0.01)
    socket = tmp_path / "nats.sock"
    settings = SerialSettings(device="/dev/none", name="climate", subject="tele")
    config = {
        "listen": "127.0.0.1:-1",
        "phloem": {"unix_socket": str(socket)},
        "jetstream": {"store_dir": str(tmp_path / "store")},
    }
    with Manager(tmp_path / "notify") as manager:
        async with Edge(config) as edge:
            notifier = Notifier(manager.address)
            service = Service([settings], f"unix://{socket}", notifier, Handover(notifier, {}), list)
            running = asyncio.create_task(service.run())
            async with asyncio.timeout(20):
                for _ in iter(lambda: "ports" in edge.device_figures(), True):
                    await asyncio.sleep(0)
            [shown] = edge.device_figures()["ports"]
            assert (shown["port"], shown["device"], shown["state"]) == ("climate", "/dev/none", "absent")
            service.stop()
            assert await running == 0
            async with asyncio.timeout(20):
                for _ in iter(
                    lambda: "ports" in edge.device_figures(), False
                ):  # the connection's end is noticed
                    await asyncio.sleep(0)


async def test_only_this_machine_is_heard(tmp_path: Path) -> None:
    config = {"listen": "127.0.0.1:-1", "jetstream": {"store_dir": str(tmp_path / "store")}}
    async with Edge(config) as edge:
        host, number = edge.client_url.removeprefix("nats://").split(":")
        reader, writer = await asyncio.open_connection(host, int(number))
        body = report([port()])
        writer.write(b"CONNECT {}\r\nPUB $JS.API.PHLOEM.PORTS %d\r\n%b\r\nPING\r\n" % (len(body), body))
        while (line := await reader.readline()) != b"PONG\r\n":
            assert line, "closed"
        assert "ports" not in edge.device_figures()
        client = await edge.connect()  # within the process
        await client.publish("$JS.API.PHLOEM.PORTS", json.dumps([port()]).encode())
        await client.flush()
        assert [one["port"] for one in edge.device_figures()["ports"]] == ["climate"]
        await client.close()
        writer.close()
