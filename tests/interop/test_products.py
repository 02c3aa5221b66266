"""A device, an edge, a hub and a subscriber: separate processes, real bytes, every line exactly once.

The device is a pseudo-terminal. What the edge does is seen at the hub only, as it would be in the field.
"""

import asyncio
import itertools
import random
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from phloem.firmware_bridge.simulate import SimulatedSensor
from phloem.shared.clock import SystemClock
from tests.support.phloem_server import ForkedServer
from tests.support.server_process import ServerProcess, StartFailed

WAIT_S, KNOCK_AGAIN_S = 10.0, 0.05
LINES, BATCH = 600, 60  # a batch fits into the 4 KiB of a tty


def product(name: str, config: str, folder: Path) -> ServerProcess:
    return ForkedServer([sys.executable, "-m", "phloem", name], config, folder)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ServerProcess]:
    with product("hub", 'leafnodes { listen: "127.0.0.1:-1" }', tmp_path / "hub") as running:
        yield running


@pytest.fixture
def edge(hub: ServerProcess, tmp_path: Path) -> Iterator[ServerProcess]:
    config = f"""
        leafnodes {{ remotes: [ {{ urls: ["nats-leaf://127.0.0.1:{hub.port("leafnodes")}"] }} ] }}
        serial {{ climate {{
          device: "{tmp_path}/tty", subject: "bench.climate", command_subject: "bench.climate.set"
          retry_min: "50ms", retry_max: "100ms"
        }} }}
    """
    with product("edge", config, tmp_path / "edge") as running:
        yield running


class Bench:
    """The device's end and the hub's end."""

    def __init__(self, sensor: SimulatedSensor, heard: "asyncio.Queue[bytes]", client: Client) -> None:
        self.sensor, self._heard, self.client = sensor, heard, client
        self.readings: Subscription
        self._knocks = itertools.count()

    async def open(self) -> None:
        """Wait until a command from the hub comes out of the device: both directions are open then."""
        mark = f"<{next(self._knocks)}>".encode()
        got = b""
        async with asyncio.timeout(WAIT_S):
            while mark not in got:
                await self.client.publish("bench.climate.set", mark)
                try:
                    got += await asyncio.wait_for(self._heard.get(), KNOCK_AGAIN_S)
                except TimeoutError:
                    continue

    async def device_hears(self, end: bytes) -> bytes:
        """What comes out of the device, up to ``end``."""
        got = b""
        while not got.endswith(end):
            got += await asyncio.wait_for(self._heard.get(), WAIT_S)
        return got

    async def hub_hears(self, count: int) -> list[Msg]:
        return [await self.readings.next_msg(WAIT_S) for _ in range(count)]


@pytest.fixture
async def bench(hub: ServerProcess, edge: ServerProcess, tmp_path: Path) -> AsyncIterator[Bench]:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    url = f"nats://127.0.0.1:{hub.port()}"
    sensor = SimulatedSensor(tmp_path / "tty", SystemClock(), random.Random(1), on_bytes=heard.put_nowait)
    async with sensor, await nats.connect(url, allow_reconnect=False) as client:
        bench = Bench(sensor, heard, client)
        bench.readings = await client.subscribe("bench.climate")
        await bench.open()
        yield bench


async def test_every_line_arrives_exactly_once(bench: Bench) -> None:
    rng = random.Random(2)
    lines = [f"{number} {rng.randbytes(rng.randrange(18)).hex()}".encode() for number in range(LINES)]
    got: list[Msg] = []
    for start in range(0, LINES, BATCH):
        assert bench.sensor.write(b"".join(line + b"\n" for line in lines[start : start + BATCH]))
        got += await bench.hub_hears(BATCH)
    bench.sensor.write(b"last\n")
    got += await bench.hub_hears(1)
    assert [message.data for message in got] == [*lines, b"last"]
    headers = [message.headers or {} for message in got]
    assert [h["Phloem-Seq"] for h in headers] == [str(number) for number in range(1, LINES + 2)]
    assert {h["Phloem-Port"] for h in headers} == {"climate"}
    (boot,) = {h["Phloem-Boot"] for h in headers}
    assert re.fullmatch("[0-9a-f]{16}", boot)
    times = [int(h["Phloem-Time"]) for h in headers]
    assert times == sorted(times)
    assert 0 <= SystemClock().wall_ns() - times[0] < 60 * 10**9


async def test_commands_reach_the_device_as_they_are(bench: Bench) -> None:
    commands = [bytes([number]) * (number + 1) for number in range(64)]
    for command in commands:
        await bench.client.publish("bench.climate.set", command, headers={"Not": "for the device"})
    await bench.client.publish("bench.climate.set", b"\r\nend")
    heard = await bench.device_hears(b"\r\nend")
    # What is left of the knocking may still come before.
    assert re.sub(rb"^(<0>)*", b"", heard) == b"".join(commands) + b"\r\nend"


async def test_unplugged_and_plugged_in_again(bench: Bench, edge: ServerProcess) -> None:
    bench.sensor.write(b"before\nhalf a li")
    (before,) = await bench.hub_hears(1)
    bench.sensor.unplug()
    edge.wait_for_log(r"\[WRN\] serial port climate .*: unplugged; retrying")
    bench.sensor.plug()
    await bench.open()
    bench.sensor.write(b"after\n")
    (after,) = await bench.hub_hears(1)
    assert (before.data, after.data) == (b"before", b"after")
    assert before.headers is not None
    assert after.headers is not None
    assert (before.headers["Phloem-Seq"], after.headers["Phloem-Seq"]) == ("1", "2")
    assert before.headers["Phloem-Boot"] == after.headers["Phloem-Boot"]
    assert edge.log.count("unplugged; retrying") == 1


async def test_the_edge_ends_cleanly_and_its_successor_goes_on(
    bench: Bench, edge: ServerProcess, tmp_path: Path
) -> None:
    bench.sensor.write(b"old\n")
    (old,) = await bench.hub_hears(1)
    edge.signal(signal.SIGTERM)
    assert edge.wait() == 0
    edge.wait_for_log(r"Server Exiting\.\.\n")
    assert "Traceback" not in edge.log
    config = edge.config_file.read_text().partition("\n")[2].partition("\n")[2]
    with product("edge", config, tmp_path / "successor"):
        await bench.open()
        bench.sensor.write(b"new\n")
        (new,) = await bench.hub_hears(1)
    assert (old.data, new.data) == (b"old", b"new")
    assert old.headers is not None
    assert new.headers is not None
    assert new.headers["Phloem-Seq"] == "1"
    assert new.headers["Phloem-Boot"] != old.headers["Phloem-Boot"]


@pytest.mark.parametrize("name", ["server", "hub"])
def test_only_edges_serve_devices(name: str, tmp_path: Path) -> None:
    config = 'leafnodes { listen: "127.0.0.1:-1" }\nserial { a { device: "/dev/x", subject: "a" } }'
    with pytest.raises(StartFailed, match='serial devices are served by "phloem edge"'):
        product(name, config, tmp_path)
