"""Direct gets that the engine answers: in order, while the rest of what was asked is still to be read, and to somebody
who does not take them no more than a bounded number."""

import asyncio
import calendar
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import StorageType, StreamConfig

from phloem.edge.app import Edge
from phloem.shared.jetstream.times import rfc3339
from phloem.shared.testing.manual_clock import ManualClock
from tests.unit.bridge.rig import listen

SECOND = 1_000_000_000
ASKED, VALUE = 3_000, b"v" * 10_000
GREETING = b'CONNECT {"headers":true,"verbose":false}\r\nSUB answers.* 1\r\nPING\r\n'


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    config = {
        "listen": "127.0.0.1:-1",
        "jetstream": {"store_dir": str(tmp_path / "store"), "domain": "f"},
    }
    async with Edge(config) as edge, listen(edge.client_url, "none") as heard:
        await fill(heard.client)
        yield edge


async def fill(client: Client) -> None:
    js = client.jetstream()
    await js.add_stream(StreamConfig(name="S", subjects=["s.>"], allow_direct=True))
    await js.publish("s.a", VALUE)
    await js.publish("s.b", b"b")


async def connected(edge: Edge) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = edge.client_url.removeprefix("nats://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
    writer.write(GREETING)
    await reader.readuntil(b"PONG\r\n")
    return reader, writer


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Subject and payload of the next message."""
    line = await reader.readuntil(b"\r\n")
    while line == b"PING\r\n":  # of a server that is slow today
        line = await reader.readuntil(b"\r\n")
    _, subject, _, head, size = line.split()
    body = await reader.readexactly(int(size) + 2)
    return subject, body[int(head) : -2]


@pytest.mark.parametrize("prefix", [b"$JS.API", b"$JS.f.API"])
async def test_one_read_asks_for_thousands(edge: Edge, prefix: bytes) -> None:
    reader, writer = await connected(edge)
    writer.write(
        b"".join(
            b"PUB %s.DIRECT.GET.S.s.%s answers.%d 0\r\n\r\n" % (prefix, b"ba"[n % 2 : n % 2 + 1], n)
            for n in range(ASKED)
        )
    )
    for n in range(ASKED):
        assert await answer(reader) == (b"answers.%d" % n, VALUE if n % 2 else b"b")
    writer.close()


async def test_who_asks_for_more_than_it_takes_is_held(edge: Edge) -> None:
    edge.kernel.set_limits(stall_bytes=300_000, stall_ns=3_600 * SECOND)
    reader, writer = await connected(edge)
    conn = edge.clients.open[max(edge.clients.open)].conn
    writer.write(b"".join(b"PUB $JS.API.DIRECT.GET.S.s.a answers.%d 0\r\n\r\n" % n for n in range(ASKED)))
    most = 0
    for n in range(ASKED):
        most = max(most, conn.stats["pending_bytes"])
        assert await answer(reader) == (b"answers.%d" % n, VALUE)
    assert conn.stats["stalls"] > 1
    assert most < 700_000
    writer.close()


async def test_the_calendar(tmp_path: Path) -> None:
    """A day of every month of leap years, their neighbours and the ends of centuries, after 2038 as well."""
    months = [
        datetime(year, month, calendar.monthrange(year, month)[1], 23 - month, 59, 4 * month, tzinfo=UTC)
        for year in (1970, 1972, 1999, 2000, 2001, 2038, 2099, 2100, 2101, 2104, 2261)
        for month in range(1, 13)
        if year < 2038 or sys.maxsize >> 32  # there a system's clock ends, and a server has other uses of it
    ]
    fractions = (0, 1, 10, 500_000_000, 999_999_999)
    times = [
        calendar.timegm(day.timetuple()) * SECOND + fractions[n % 5] + more
        for n, day in enumerate(months)
        for more in (0, 3_600 * SECOND * 24)  # and the day after it
    ]
    clock = ManualClock(wall_ns=times[0])
    config = {"listen": "127.0.0.1:-1", "jetstream": {"store_dir": str(tmp_path / "store")}}
    async with Edge(config, clock=clock) as edge, listen(edge.client_url, "none") as heard:
        js = heard.client.jetstream()
        config = StreamConfig(name="S", subjects=["s"], allow_direct=True, storage=StorageType.MEMORY)
        await js.add_stream(config)
        for ns in times:
            clock.set_wall_ns(ns)
            await js.publish("s", b"")
        told = [(await js.get_msg("S", n + 1, direct=True)).headers for n in range(len(times))]
    assert [headers and headers["Nats-Time-Stamp"] for headers in told] == [rfc3339(ns) for ns in times]
