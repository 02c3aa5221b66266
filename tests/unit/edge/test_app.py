"""The edge's life cycle: ports beside a server that does not notice them."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.bridge.rig import WAIT_S, Bytes, ManualTimers, StandingClock, listen, open_files

from phloem.edge.app import RESTART_NS, Edge
from phloem.edge.profile import for_device
from phloem.firmware_bridge import bridge
from phloem.firmware_bridge.simulate import SimulatedSensor
from phloem.hub.app import Hub
from phloem.shared.clock import SystemClock
from phloem.shared.clock_quality import SystemSays
from phloem.shared.errors import ConfigError
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.load import as_options
from phloem.shared.server.reload import use
from phloem.shared.server.server import Server


def config(device: Path, **more: Any) -> dict[str, Any]:
    port = {"device": str(device), "subject": "tele.s", "command_subject": "cmd.s"}
    return {"listen": "127.0.0.1:-1", "serial": {"s": port}, **more}


async def opened(edge: Edge) -> None:
    """Wait until the only port is open. The bridge is there one turn of the loop after the start."""
    while edge.bridge is None:  # noqa: ASYNC110  (one turn, and nothing to wait on before it)
        await asyncio.sleep(0)
    await asyncio.wait_for(edge.bridge.sessions[0].wait_open(), WAIT_S)


@pytest.fixture
async def sensor(tmp_path: Path) -> AsyncIterator[SimulatedSensor]:
    heard = Bytes()
    async with SimulatedSensor(
        tmp_path / "tty", StandingClock(), random.Random(1), on_bytes=heard
    ) as plugged:
        plugged.heard = heard  # type: ignore[attr-defined]
        yield plugged


async def test_lines_out_and_commands_in(sensor: SimulatedSensor) -> None:
    async with Edge(config(sensor.link)) as edge:
        await opened(edge)
        async with listen(edge.client_url, "tele.s") as heard:
            sensor.write(b"one\r\ntwo\r\n")
            first, second = await heard.next(), await heard.next()
            await heard.client.publish("cmd.s", b"led on\n")
            assert await sensor.heard.read(7) == b"led on\n"  # type: ignore[attr-defined]
    assert [first.payload, second.payload] == [b"one", b"two"]
    assert (first.headers["Phloem-Port"], first.seq, second.seq) == ("s", 1, 2)


@pytest.mark.parametrize("keeps", [True, False])
async def test_frames_say_what_the_edge_knows_of_its_clock(
    sensor: SimulatedSensor, tmp_path: Path, keeps: bool
) -> None:
    stores = {"jetstream": {"store_dir": str(tmp_path / "store")}} if keeps else {}
    edge = Edge(config(sensor.link, **stores))
    edge.asks_system = lambda: SystemSays(True, 1)
    async with edge:
        await opened(edge)
        async with listen(edge.client_url, "tele.s") as heard:
            sensor.write(b"one\r\n")
            message = await heard.next()
    if keeps:  # else the system itself was asked, whatever it says
        assert message.headers["Phloem-Clock"] == "synced"
    assert message.headers["Phloem-Device"] == str(sensor.link)
    mono_ns = int(message.headers["Phloem-Mono"])
    assert 0 <= SystemClock().monotonic_ns() - mono_ns < 60 * SECOND_NS
    ahead_ns = SystemClock().wall_ns() - SystemClock().monotonic_ns()
    assert abs(int(message.headers["Phloem-Time"]) - mono_ns - ahead_ns) < SECOND_NS


async def test_a_port_in_monitoring_and_when_it_is_asked(sensor: SimulatedSensor) -> None:
    async with Edge(config(sensor.link)) as edge, listen(edge.client_url, "tele.s.$port.>") as heard:
        await opened(edge)
        (port,) = edge.device_figures()["ports"]
        assert (port["port"], port["state"], port["path"]) == ("s", "open", str(sensor.link))
        answer = await heard.client.request("tele.s.$port", b"state", timeout=WAIT_S)
        assert b'"state":"open"' in answer.data
        sensor.unplug()
        while (await heard.next()).subject != "tele.s.$port.lost":
            pass  # that it was opened may be heard as well


async def test_absent_device_delays_nothing_and_nothing_stays_behind(tmp_path: Path) -> None:
    before, tasks = open_files(), asyncio.all_tasks()
    async with Edge(config(tmp_path / "absent")) as edge, listen(edge.client_url, "a") as heard:
        await heard.client.publish("a", b"1")
        assert (await heard.next()).payload == b"1"
    await edge.stop()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert asyncio.all_tasks() == tasks
    assert open_files() == before


async def test_without_ports_there_is_no_bridge() -> None:
    async with Edge({"listen": "127.0.0.1:-1"}) as edge:
        assert edge.bridge is None
        assert edge.options.max_connections == 1024


class Broken:
    """A bridge with a bug."""

    def __init__(self, *_: object, **__: object) -> None:
        return

    async def __aenter__(self) -> None:
        raise ZeroDivisionError("a bug")

    async def __aexit__(self, *_: object) -> None:
        raise AssertionError("never entered")


async def test_a_bug_in_the_bridge_is_logged_and_it_starts_again(
    sensor: SimulatedSensor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, timers = bridge.Bridge, ManualTimers()
    monkeypatch.setattr(bridge, "Bridge", Broken)
    with caplog.at_level(logging.CRITICAL):
        async with Edge(config(sensor.link), call_later=timers) as edge:
            assert (await timers.waiting()).delay_ns == RESTART_NS
            async with listen(edge.client_url, "tele.s") as heard:  # the server goes on
                monkeypatch.setattr(bridge, "Bridge", real)
                await timers.fire()
                edge.bridge = None
                await opened(edge)
                sensor.write(b"again\n")
                assert (await heard.next()).payload == b"again"
    (record,) = caplog.records
    assert record.getMessage() == "serial ports: a bug ended them; they start again"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_all_stops_wait_for_the_end(sensor: SimulatedSensor) -> None:
    edge = Edge(config(sensor.link))
    await edge.start()
    await opened(edge)
    assert edge.bridge is not None
    await asyncio.gather(edge.stop(), edge.stop(), edge.stop())
    assert not edge.bridge.sessions[0].is_open
    assert edge.port == 0


@pytest.mark.parametrize("kind", [Server, Hub])
async def test_serial_blocks_are_refused_where_nobody_serves_them(kind: type[Server]) -> None:
    with pytest.raises(ConfigError, match='serial devices are served by "phloem edge"'):
        await kind(config(Path("/dev/ttyUSB0"))).start()


def test_a_block_that_cannot_work_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match='serial "s": command_subject'):
        Edge({"serial": {"s": {"device": "/dev/x", "subject": "a", "command_subject": ">"}}})


async def test_other_ports_with_a_reload(sensor: SimulatedSensor) -> None:
    """They are closed, and those of the new configuration opened."""
    before = config(sensor.link)
    after = {**before, "serial": {"s": {"device": str(sensor.link), "subject": "tele.other"}}}
    async with Edge(before) as edge:
        await opened(edge)
        first = edge.bridge
        use(edge, lambda: for_device(as_options(after)))
        while edge.bridge is first:  # noqa: ASYNC110  (some turns, and nothing to wait on before it)
            await asyncio.sleep(0)
        await opened(edge)
        async with listen(edge.client_url, "tele.other") as heard:
            sensor.write(b"one\r\n")
            assert (await heard.next()).payload == b"one"
        use(edge, lambda: for_device(as_options({"listen": "127.0.0.1:-1"})))
