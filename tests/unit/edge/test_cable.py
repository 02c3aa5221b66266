"""The demo's cable."""

import asyncio
import socket

import pytest
from tests.support.accepting import Accepting, streams

from phloem.edge.demo.cable import Cable
from phloem.shared.clock import SystemClock

TIMEOUT_S = 10.0
WIDE, NARROW = 100_000_000, 50_000


async def echo(sock: socket.socket) -> None:
    async with streams(sock) as (reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


async def said(cable: Cable, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
    try:
        writer.write(text)
        async with asyncio.timeout(TIMEOUT_S):
            return await reader.readexactly(len(text))
    finally:
        writer.close()
        await writer.wait_closed()


async def test_carries_both_ways_and_counts() -> None:
    async with Accepting(echo) as far, Cable(far.port, WIDE, SystemClock()) as cable:
        text = b"x" * 300_000
        assert await said(cable, text) == text
        assert (cable.carried, cable.returned) == (len(text), len(text))


async def test_cut_resets_refuses_and_is_mended_on_the_same_port() -> None:
    async with Accepting(echo) as far, Cable(far.port, WIDE, SystemClock()) as cable:
        reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
        writer.write(b"hello")
        async with asyncio.timeout(TIMEOUT_S):
            await reader.readexactly(5)
            await cable.cut()
            assert not cable.is_whole
            with pytest.raises(ConnectionResetError):
                await reader.read()
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await said(cable, b"anybody?")
        port = cable.port
        cable.mend()
        assert (cable.port, cable.is_whole) == (port, True)
        assert await said(cable, b"again") == b"again"


async def test_is_as_narrow_as_it_says() -> None:
    clock = SystemClock()
    async with Accepting(echo) as far, Cable(far.port, NARROW, clock) as cable:
        start = clock.monotonic_ns()
        await said(cable, b"x" * 20_000)
        assert clock.monotonic_ns() - start > 250_000_000  # 0.4 s less what may be caught up with


async def test_a_hub_that_is_not_there_ends_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    async with Cable(port, WIDE, SystemClock()) as cable:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await said(cable, b"hello")
