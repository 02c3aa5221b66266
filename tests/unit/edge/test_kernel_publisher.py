"""The bridge's publisher on the kernel of a running server."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from nats.errors import NoRespondersError
from tests.unit.bridge.rig import WAIT_S, listen

from phloem.edge.kernel_publisher import KernelPublisher
from phloem.firmware_bridge.headers import encode_headers
from phloem.shared.server.server import Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server({"listen": "127.0.0.1:-1", "max_payload": 1000}) as running:
        yield running


def test_header_block() -> None:
    assert encode_headers({}) == b""
    assert encode_headers({"A": "1", "B": "x y"}) == b"NATS/1.0\r\nA: 1\r\nB: x y\r\n\r\n"


async def test_published_at_once_with_headers(server: Server) -> None:
    publisher = KernelPublisher(server)
    async with listen(server.client_url, "tele.>") as heard:
        publisher.publish("tele.a", b"one", {"Phloem-Seq": "1"})
        publisher.publish("tele.b", b"", {})
        first, second = await heard.next(), await heard.next()
    assert (first.subject, first.payload, first.headers) == ("tele.a", b"one", {"Phloem-Seq": "1"})
    assert (second.subject, second.payload, second.headers) == ("tele.b", b"", {})


async def test_nobody_listens(server: Server) -> None:
    KernelPublisher(server).publish("tele.a", b"one", {"A": "1"})
    assert server.kernel.totals["out_msgs"] == 0


async def test_payload_limit_holds_for_the_bridge_too(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = KernelPublisher(server)
    exact = 1000 - len(encode_headers({"A": "1"}))
    with caplog.at_level(logging.WARNING):
        async with listen(server.client_url, "tele.a") as heard:
            publisher.publish("tele.a", b"x" * (exact + 1), {"A": "1"})
            publisher.publish("tele.a", b"x" * (exact + 2), {"A": "1"})
            publisher.publish("tele.a", b"y" * exact, {"A": "1"})
            assert (await heard.next()).payload == b"y" * exact
    assert publisher.refused == 2
    assert [record.getMessage() for record in caplog.records] == [
        "1001 bytes with headers for tele.a dropped: max_payload is 1000; lower max_frame_bytes"
    ]


async def test_commands_until_taken_back(server: Server) -> None:
    publisher = KernelPublisher(server)
    commands: asyncio.Queue[bytes] = asyncio.Queue()
    async with listen(server.client_url, "unused") as heard:
        before = server.kernel.totals["subscriptions"]
        stop = publisher.subscribe("cmd.*", commands.put_nowait)
        await heard.client.publish("cmd.a", b"on", headers={"H": "1"})
        assert await asyncio.wait_for(commands.get(), WAIT_S) == b"on"
        stop()
        await heard.client.publish("cmd.a", b"off")
        await heard.client.flush()
        assert commands.empty()
        assert server.kernel.totals["subscriptions"] == before


async def test_requests_are_answered(server: Server) -> None:
    publisher = KernelPublisher(server)
    assert publisher.payload_max == 0  # headers alone may take as much as a message may have here
    async with listen(server.client_url, "unused") as heard:
        stop = publisher.serve("port", lambda payload, respond: respond(b"<" + payload + b">", {"A": "1"}))
        answer = await heard.client.request("port", b"state", timeout=WAIT_S)
        assert (answer.data, answer.headers) == (b"<state>", {"A": "1"})
        await heard.client.publish("port", b"nobody waits")
        await heard.client.flush()
        stop()
        with pytest.raises(NoRespondersError):
            await heard.client.request("port", b"state", timeout=WAIT_S)
