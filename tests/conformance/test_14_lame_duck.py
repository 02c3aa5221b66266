"""Lame duck mode and the end of a server (wire.md 1.2, 1.5; security_ops.md 1.4, 1.5, 1.7)."""

import asyncio
import json
import signal
from contextlib import suppress

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.rawclient import RawClient
from tests.support.server_process import ServerProcess

LAME = 'lame_duck_duration: "30s"\nlame_duck_grace_period: "200ms"'


async def informed(broker: Broker, protocol: int) -> RawClient:
    """A client that has had its first PONG, and the INFO that follows it for protocol 1."""
    client = await broker.client(f'{{"verbose":false,"protocol":{protocol}}}')
    if protocol:
        await client.expect_info()
    return client


async def test_lame_duck(broker: Brokers) -> None:
    """INFO for protocol 1 alone; clients work on in the grace period; closed without a word; exit code 0."""
    own = broker.own(LAME)
    async with await informed(own, 1) as modern, await informed(own, 0) as old:
        old.send(b"SUB lame 1\r\n")
        await old.expect_silence_until_pong()
        own.process.signal(signal.SIGUSR2)
        info = await modern.expect_info()
        assert info["ldm"] is True
        assert "connect_info" not in info
        assert "remote_account" not in info
        modern.send(b"PUB lame 2\r\nhi\r\n")
        await old.expect(b"MSG lame 1 2\r\nhi\r\n")
        with pytest.raises(ConnectionRefusedError):
            await own.connect()
        await modern.expect_close()
        await old.expect_close()
        assert await asyncio.to_thread(own.process.wait) == 0


async def test_lame_duck_without_clients_ends_at_once(broker: Brokers) -> None:
    own = broker.own('lame_duck_duration: "60s"\nlame_duck_grace_period: "30s"')
    own.process.signal(signal.SIGUSR2)
    assert await asyncio.to_thread(own.process.wait) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_graceful_end(broker: Brokers, number: signal.Signals) -> None:
    """What was sent is delivered, nothing is said, the exit code is 0."""
    own = broker.own()
    async with await own.client() as client:
        client.send(b"SUB end 1\r\nPUB end 2\r\nhi\r\n")
        await client.expect(b"MSG end 1 2\r\nhi\r\n")
        own.process.signal(number)
        await client.expect_close()
        assert await asyncio.to_thread(own.process.wait) == 0


async def _ports(process: ServerProcess) -> dict[str, list[str]]:
    """What the ports file says, once it is there and complete; it may come after "Server is ready"."""
    deadline = asyncio.get_running_loop().time() + 5
    while asyncio.get_running_loop().time() < deadline:
        for file in process.ports_files():
            with suppress(json.JSONDecodeError):
                return dict(json.loads(file.read_text()))
        await asyncio.sleep(0)
    raise AssertionError(f"no ports file in {list(process.folder.iterdir())}")


async def test_ports_file(broker: Brokers) -> None:
    """Written when the listeners are up, removed at the end."""
    own = broker.own()
    assert (await _ports(own.process))["nats"] == [f"nats://127.0.0.1:{own.process.port()}"]
    own.process.signal(signal.SIGTERM)
    await asyncio.to_thread(own.process.wait)
    assert own.process.ports_files() == []
