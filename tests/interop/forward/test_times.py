"""A device whose clock is wrong: what the hub writes down as the time of its messages, and how far that may be off."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

import phloem.shared.server.jetstream.system as system
from phloem.edge.app import Edge
from phloem.hub.app import Hub
from phloem.shared.clock_quality import SystemSays
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing import ManualClock
from tests.interop.forward.test_forward import hub, stored
from tests.interop.links import Cable

HOUR = 3600 * SECOND_NS
NOTHING = SystemSays()


@asynccontextmanager
async def device(
    folder: Path, port: int, clock: ManualClock, says: SystemSays = NOTHING
) -> AsyncIterator[Edge]:
    config = {
        "server_name": "dev1",
        "listen": "127.0.0.1:-1",
        "leafnodes": {
            "reconnect": "20ms",
            "remotes": [{"urls": [f"nats-leaf://127.0.0.1:{port}"], "ignore_discovered_servers": True}],
        },
        "jetstream": {"store_dir": str(folder / "edge"), "domain": "dev1"},
        "forward": {"tele": {"subjects": ["tele.>"], "max_age": "24h"}},
        "disk": {"budget": 0},
    }
    edge = Edge(config, clock=clock)
    edge.asks_system = lambda: says
    async with edge as server:
        yield server


async def publish(client: Client, first: int, last: int) -> None:
    for i in range(first, last + 1):
        await client.jetstream().publish(f"tele.{i}", b"x")


async def origins(top: Hub, count: int) -> list[tuple[int, int, int]]:
    """Sequence, time and uncertainty (-1: unknown) of what has arrived."""
    client = await top.connect()
    js = client.jetstream()
    await stored(js, "FLEET_tele", count)
    found = []
    for seq in range(1, count + 1):
        header = (await js.get_msg("FLEET_tele", seq)).headers or {}
        _, number, when, error = header["Phloem-Origin"].split()
        found.append((int(number), int(when), -1 if error == "unsynced" else int(error)))
    await client.close()
    return found


async def test_a_boot_in_1970_and_what_the_hub_says(tmp_path: Path) -> None:
    """Everything of this boot gets its time when the hub has told it, also what was stored before the clock was set."""
    clock = ManualClock(wall_ns=100 * SECOND_NS)
    async with hub(tmp_path) as top, Cable(top.leaf_port) as cable:
        await cable.cut()
        async with device(tmp_path, cable.port, clock) as edge:
            client = await edge.connect()
            await publish(client, 1, 2)
            clock.advance(HOUR)
            clock.set_wall_ns(40 * 365 * 24 * HOUR)  # 2009: wrong as well
            await publish(client, 3, 3)
            clock.advance(HOUR)
            began = time.time_ns()
            cable.restore()
            found = await origins(top, 3)
            ended = time.time_ns()
            for (seq, when, error), ago in zip(found, (2, 2, 1), strict=True):
                assert 0 <= error <= ended - began
                assert began - error <= when + ago * HOUR <= ended + error, seq
            assert edge.device_figures()["clock"]["steps"] == 1
            clock.set_wall_ns(clock.wall_ns() - 24 * HOUR)  # in the middle of a session
            await publish(client, 4, 4)
            _, when, error = (await origins(top, 4))[3]
            assert error >= 0
            assert began - error <= when <= time.time_ns() + error
            await client.close()


async def test_a_boot_that_was_over_before_anybody_knew_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages are between the last time that was known and the first one after it."""
    clock = ManualClock(wall_ns=time.time_ns() - 10 * HOUR)
    async with hub(tmp_path) as top, Cable(top.leaf_port) as cable:
        await cable.cut()
        async with device(tmp_path, cable.port, clock, SystemSays(True, SECOND_NS)) as edge:
            client = await edge.connect()
            await publish(client, 1, 1)
            await client.close()
        stored_at = clock.wall_ns()
        for number, wall in ((2, 5 * SECOND_NS), (3, 6 * SECOND_NS)):
            monkeypatch.setattr(system, "boot_number", lambda number=number: number)
            clock = ManualClock(wall_ns=wall)
            async with device(tmp_path, cable.port, clock) as edge:
                client = await edge.connect()
                await publish(client, number, number)
                if number == 3:
                    cable.restore()
                    found = await origins(top, 3)
                await client.close()
        now = time.time_ns()
        assert abs(found[0][1] - stored_at) <= SECOND_NS
        assert found[0][2] == SECOND_NS
        _, when, error = found[1]
        assert stored_at - 2 * SECOND_NS <= when - error
        assert when + error <= now + SECOND_NS
        assert 4 * HOUR < error < 6 * HOUR
        assert abs(found[2][1] - now) < 60 * SECOND_NS
