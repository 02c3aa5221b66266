"""The rows of the table. Each runs on a pair and gives its figure; smaller is better for all of them."""

import asyncio
import json
import statistics
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from tests.bench_link import fleet
from tests.bench_link.pairs import Pair
from tests.bench_link.readings import readings
from tests.bench_link.shaped import SLOW, UNLIMITED
from tests.bench_link.sizes import QUICK, Size

TELE = {"tele": ("tele.>", "telemetry")}
BOTH = {"alarm": ("alarm.>", "alarm"), **TELE}
MANY = {f"s{i}": (f"s{i}.>", "telemetry") for i in range(20)}
FIVE = {f"s{i}": (f"s{i}.>", "telemetry") for i in range(5)}
DAY_S = 86_400.0
SETTLED_S = 45


async def drain_bytes(pair: Pair, size: Size) -> float:
    """Bytes for each reading of a backlog."""
    count = size.slow
    async with pair.running():
        await pair.fill(readings(count), "tele")
        await pair.plug()
        await pair.until("tele", count, 300)
        return pair.cable.payload / count


async def trickle_bytes(pair: Pair, size: Size) -> float:
    """Bytes for each reading, one a second."""
    async with pair.running(linked=True):
        await pair.fill(readings(5), "tele")
        await pair.until("tele", 5, 30)
        before = pair.cable.payload
        for i, (subject, payload) in enumerate(readings(size.trickle_s, seed=2)):
            await pair.at_edge.publish(subject, payload)
            await asyncio.sleep(1)
            assert i >= 0
        await pair.until("tele", 5 + size.trickle_s, 30)
        return (pair.cable.payload - before) / size.trickle_s


async def drain_seconds(pair: Pair, size: Size) -> float:
    """Seconds until a backlog is at the hub, over an unlimited link."""
    async with pair.running():
        await pair.fill(readings(size.drain), "tele")
        await pair.plug()
        return await pair.until("tele", size.drain, 600)


async def slow_seconds(pair: Pair, size: Size) -> float:
    """The same over 1 Mbit/s, 300 ms, 1 % loss."""
    async with pair.running(SLOW):
        await pair.fill(readings(size.slow), "tele")
        await pair.plug()
        return await pair.until("tele", size.slow, 1200)


async def alarm_seconds(pair: Pair, size: Size) -> float:
    """99th percentile of an alarm's way to the hub, while a backlog drains over the slow link."""
    async with pair.running(SLOW):
        await pair.fill(readings(size.drain), "tele")
        await pair.plug()
        await pair.until("tele", 1, 120)
        latencies = []
        loop = asyncio.get_running_loop()
        for i in range(size.alarm_s):
            began = loop.time()
            await pair.at_edge.publish("alarm.x", b"%d" % i)
            await pair.until("alarm", i + 1, 300)
            latencies.append(loop.time() - began)
            await asyncio.sleep(max(1 - latencies[-1], 0))
        return statistics.quantiles(latencies, n=100, method="inclusive")[98]


async def return_seconds(pair: Pair, _size: Size) -> float:
    """From the link's return to the first message at the hub."""
    async with pair.running(linked=True):
        await pair.fill(readings(10), "tele")
        await pair.until("tele", 10, 30)
        taken = []
        for i in range(3):
            await pair.cable.cut()
            await pair.at_edge.publish("tele.x", b"1")
            await asyncio.sleep(5)
            await pair.cable.restore()
            taken.append(await pair.until("tele", 11 + i, 60))
        return max(taken)


async def dead_seconds(pair: Pair, _size: Size) -> float:
    """Until a device notices that nothing passes any more, with a reading a second."""
    async with pair.running(linked=True):
        await pair.fill(readings(10), "tele")
        await pair.until("tele", 10, 30)
        pair.cable.blacken()
        return await _until_unlinked(pair, 400)


async def _until_unlinked(pair: Pair, timeout_s: float) -> float:
    port = int(pair.edge.wait_for_log(r"Starting http monitor on \S*:(\d+)")[1])
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(timeout_s):
        while True:
            await pair.at_edge.publish("tele.x", b"1")
            body = await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/leafz")
            if not json.loads(body)["leafnodes"]:
                return loop.time() - began
            await asyncio.sleep(0.25)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


async def idle_bytes(pair: Pair, size: Size) -> float:
    """Bytes a day of an idle link with five streams, headers of IP and TCP included, from a shorter time.

    It begins when what follows a start is over (an account of the link after half a minute), and is an hour, because
    phloem says a word every 15 minutes and tells of its link every hour.
    """
    async with pair.running(linked=True):
        for name in pair.streams:
            await pair.fill([(f"{name}.x", b"1")], name)
            await pair.until(name, 1, 30)
        await asyncio.sleep(SETTLED_S)
        before = pair.cable.wire
        await asyncio.sleep(size.idle_s)
        return (pair.cable.wire - before) * DAY_S / size.idle_s


async def resident(pair: Pair, size: Size) -> float:
    """Resident bytes of a device with 20 streams and many messages."""
    async with pair.running():
        each = size.stored // len(pair.streams)
        for name in pair.streams:
            await pair.fill(((f"{name}.{s}", p) for s, p in readings(each)), name)
        await asyncio.sleep(3)
        return float(pair.resident_bytes())


class Figure(NamedTuple):
    """One line of the table; as in ``Row``. Without a goal it is a report."""

    name: str
    title: str
    unit: str
    ratio: float = 0.0
    bound: float = 0.0


class Row(NamedTuple):
    """``goal`` is a ratio to nats-server (``least`` 0), or a bound in the row's own unit."""

    name: str
    title: str
    unit: str
    run: Callable[[Pair, Size], Awaitable[float | tuple[float, ...]]]
    streams: dict[str, tuple[str, str]]
    ratio: float = 0.0
    bound: float = 0.0
    more: str = ""  # of our device's configuration
    watches: bool = False  # nothing is busy: it runs once, beside the others
    parts: tuple[Figure, ...] = ()  # where one run gives several

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What a run gives, in this order."""
        return self.parts or (Figure(self.name, self.title, self.unit, self.ratio, self.bound),)


ROWS = (
    Row("drain-bytes", "bytes per 100-byte reading, backlog", "B", drain_bytes, TELE, ratio=1 / 3),
    Row("trickle-bytes", "bytes per reading, one a second", "B", trickle_bytes, TELE, ratio=1 / 2),
    Row(
        "idle",
        "idle link with 5 streams, a day",
        "B",
        idle_bytes,
        FIVE,
        bound=50_000,
        more="phloem { link { metered: true } }",
        watches=True,
    ),
    Row("drain", "drain of the backlog, unlimited link", "s", drain_seconds, TELE, ratio=1 / 1.5),
    Row("slow", "the same, 1 Mbit/s, 300 ms, 1 % loss", "s", slow_seconds, TELE, ratio=1 / 3),
    Row("alarm", "alarm to the hub meanwhile, p99", "s", alarm_seconds, BOTH, bound=2),
    Row("return", "link back to first message", "s", return_seconds, TELE, bound=2),
    Row("dead", "dead link noticed", "s", dead_seconds, TELE, bound=10),
    Row("memory", "resident, 20 streams", "B", resident, MANY, bound=45 << 20),
    Row(
        "fleet",
        "a hub with 1,000 devices",
        "B",
        fleet.measure,
        TELE,
        parts=(
            Figure("fleet-memory", "hub with 1,000 devices, resident", "B", ratio=1),
            Figure("fleet-device", "hub memory that a device adds", "B"),
            Figure("fleet-cpu", "hub processor, a device and minute", "s"),
        ),
    ),
)

__all__ = ["QUICK", "ROWS", "UNLIMITED", "Path", "Row", "Size"]
