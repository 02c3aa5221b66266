"""Direct gets that the engine answers: in order, while the rest of what was asked is still to be read, and to somebody
who does not take them no more than a bounded number."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from phloem.edge.app import Edge
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
