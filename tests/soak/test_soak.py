"""Hours of churn: what comes and goes leaves nothing behind. ``make soak ARGS="--for 2h"``.

A hub and a leaf run as processes; rounds of churn (``churn.py``) follow each other until the time is over. Memory is
judged by its slope over the second half of the rounds: caches and pools fill up in the first. Descriptors and threads
have to be exactly what they were.
"""

import asyncio
from pathlib import Path
from random import Random
from statistics import linear_regression

import pytest

from phloem.shared.clock import SystemClock
from tests.soak.churn import CLIENTS, Cable, Ends, Reading, read, until, visit
from tests.support.phloem_server import PhloemServer

ROUNDS_MIN = 30
CLOSED = "max_closed_clients: 50\n"  # what /connz remembers is full after a few rounds
SEED = 20
SLOPE_BYTES_MAX = 16384  # per round of 40 clients: a leak of one small structure for each of them shows
LEAF = "leafnodes {{ reconnect: 20ms, remotes: [ {{ url: 'nats-leaf://127.0.0.1:{port}' }} ] }}"

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]


def slope(readings: list[Reading]) -> float:
    """Bytes that each round of the second half adds."""
    half = [reading.resident_bytes for reading in readings[len(readings) // 2 :]]
    return linear_regression(range(len(half)), half).slope


async def one_round(ends: Ends, cable: Cable, ports: list[int], rng: Random) -> None:
    visits = [visit(ports[number % 2], Random(rng.random())) for number in range(CLIENTS)]
    await asyncio.gather(*visits)
    cable.cut()
    await until(ends.linked)


async def test_churn_leaves_nothing_behind(tmp_path: Path, duration_ns: int) -> None:
    clock, rng = SystemClock(), Random(SEED)
    end_ns = clock.monotonic_ns() + duration_ns
    readings: dict[str, list[Reading]] = {"hub": [], "leaf": []}
    with PhloemServer(CLOSED + 'leafnodes { listen: "127.0.0.1:-1" }', tmp_path / "hub") as hub:
        cable = Cable(hub.port("leafnodes")).open()
        with PhloemServer(CLOSED + LEAF.format(port=cable.port), tmp_path / "leaf") as leaf:
            ports = [hub.port(), leaf.port()]
            ends = Ends(*ports)
            await ends.open()
            await until(ends.linked)
            before = {"hub": read(hub), "leaf": read(leaf)}
            while clock.monotonic_ns() < end_ns or len(readings["hub"]) < ROUNDS_MIN:
                await one_round(ends, cable, ports, rng)
                readings["hub"].append(read(hub))
                readings["leaf"].append(read(leaf))
            for name, taken in readings.items():
                print(
                    f"{name}: {len(taken)} rounds, {before[name]} to {taken[-1]}, {slope(taken):.0f} bytes a round"
                )
            await ends.close()
            await cable.close()
            assert "Traceback" not in hub.log + leaf.log
    for name, taken in readings.items():
        assert slope(taken) <= SLOPE_BYTES_MAX, name
        assert taken[-1].descriptors == before[name].descriptors, name
        assert {reading.threads for reading in taken[1:]} == {taken[-1].threads}, name
