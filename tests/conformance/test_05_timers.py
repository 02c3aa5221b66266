"""What time does to a connection (wire.md 1.4, 1.5): auth timeout, the server's PING, stale connections."""

import asyncio
import re

from tests.support.brokers import Brokers

NO_NOISE = ()
AUTH = "authorization { user: a, password: b, timeout: 0.3 }"
PINGS = 'ping_interval: "100ms"\nping_max: 2'


async def test_auth_timeout(broker: Brokers) -> None:
    async with await broker.shared(AUTH).connect() as client:
        await client.expect_info()
        started = asyncio.get_running_loop().time()
        await client.expect_error("Authentication Timeout", closes=True)
        assert asyncio.get_running_loop().time() - started > 0.2


async def test_half_a_connect_does_not_stop_the_auth_timeout(broker: Brokers) -> None:
    async with await broker.shared(AUTH).connect() as client:
        await client.expect_info()
        client.send(b'CONNECT {"user":"a",')
        await client.expect_error("Authentication Timeout", closes=True)


async def test_who_has_connected_is_not_timed_out(broker: Brokers) -> None:
    """A second connection, opened later, runs into the timeout; the first is still there then."""
    shared = broker.shared(AUTH)
    async with (
        await shared.client('{"verbose":false,"user":"a","pass":"b"}') as client,
        await shared.connect() as late,
    ):
        await late.expect_info()
        await late.expect_error("Authentication Timeout", closes=True)
        await client.expect_silence_until_pong()


async def test_stale_connection(broker: Brokers) -> None:
    """Two PINGs go unanswered; at the third tick the connection ends."""
    async with await broker.shared(PINGS).client() as client:
        client.noise = NO_NOISE
        await client.expect(b"PING\r\nPING\r\n-ERR 'Stale Connection'\r\n")
        await client.expect_close()


async def test_stale_without_connect(broker: Brokers) -> None:
    """No auth needed, CONNECT never sent: the same rule."""
    async with await broker.shared(PINGS).connect() as client:
        client.noise = NO_NOISE
        await client.expect_info()
        await client.expect(b"PING\r\nPING\r\n-ERR 'Stale Connection'\r\n")
        await client.expect_close()


async def test_pong_keeps_a_connection(broker: Brokers) -> None:
    async with await broker.shared(PINGS).client() as client:
        client.noise = NO_NOISE
        for _ in range(5):
            await client.expect(b"PING\r\n")
            client.send(b"PONG\r\n")


async def test_one_pong_answers_all_pings(broker: Brokers) -> None:
    async with await broker.shared(PINGS).client() as client:
        client.noise = NO_NOISE
        for _ in range(3):
            await client.expect(b"PING\r\nPING\r\n")
            client.send(b"PONG\r\n")


async def test_ping_max(broker: Brokers) -> None:
    async with await broker.shared('ping_interval: "60ms"\nping_max: 4').client() as client:
        client.noise = NO_NOISE
        await client.expect(b"PING\r\n" * 4 + b"-ERR 'Stale Connection'\r\n")
        await client.expect_close()


async def test_first_ping_comes_after_two_seconds(broker: Brokers) -> None:
    """However long the interval is."""
    async with await broker.shared().client() as client:
        client.noise = NO_NOISE
        started = asyncio.get_running_loop().time()
        await client.expect(re.compile(rb"PING\r\n"))
        assert 1.8 < asyncio.get_running_loop().time() - started < 4
