"""The public test kit: a broker on a free port, and time that moves by hand."""

import asyncio

import pytest

from phloem.shared.clock import Clock
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing import ManualClock, server
from tests.support.rawclient import Incoming, RawClient


class Patient(RawClient):
    """A client whose server asks nothing that the test does not expect."""

    noise = ()


def test_a_manual_clock_moves_by_hand() -> None:
    clock = ManualClock(monotonic_ns=5, wall_ns=100)
    seen: list[int] = []
    unwatch = clock.watch(lambda: seen.append(clock.monotonic_ns()))
    clock.advance(10)
    unwatch()
    clock.advance(1)
    clock.set_wall_ns(7)
    assert (seen, clock.monotonic_ns(), clock.wall_ns()) == ([15], 16, 7)


def test_time_does_not_run_backwards() -> None:
    clock: Clock = ManualClock()
    assert isinstance(clock, ManualClock)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


async def test_the_broker_is_on_the_loopback_interface_and_a_free_port() -> None:
    async with server() as broker:
        assert broker.client_url == f"nats://127.0.0.1:{broker.port}"
        assert broker.port > 0
    async with server({"listen": "127.0.0.1:-1", "server_name": "mine"}) as broker:
        assert broker.name == "mine"


async def test_a_seed_makes_runs_alike() -> None:
    async with server(seed=7) as one, server(seed=7) as same, server() as other:
        assert one.server_id == same.server_id != other.server_id


async def test_the_brokers_time_is_the_clocks() -> None:
    """Whoever does not answer PINGs is cut off after two intervals, however short the test is."""
    clock = ManualClock()
    async with server({"ping_interval": "20s", "ping_max": 1}, clock=clock) as broker:
        sock = broker.connect_socket()
        sock.setblocking(False)
        _, incoming = await asyncio.get_running_loop().create_connection(Incoming, sock=sock)
        client = Patient(incoming)
        await client.handshake('{"verbose":false}')
        clock.advance(1 * SECOND_NS)
        await client.expect_silence_until_pong()
        clock.advance(5 * SECOND_NS)  # the first PING comes early, to measure the round trip
        await client.expect("PING\r\n")
        clock.advance(20 * SECOND_NS)
        await client.expect_error("Stale Connection", closes=True)
        client.close()
