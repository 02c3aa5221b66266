"""Handshakes from the outside: peers that are slow, silent, rude or many, and who is held up by them (nobody)."""

import asyncio
import gc
import itertools
import logging
import random
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.certificates import Certificates
from tests.support.rawclient import RawClient

from phloem.shared import limits
from phloem.shared.clock import SystemClock
from phloem.shared.net.tls import HandshakeFailed, Turns, accept, first_byte
from phloem.shared.net.tls_context import Terms, load_pair, server_context
from phloem.shared.server.server import Server

PLAIN = 'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n'
LATE_S = 0.05


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def block(certificates: Certificates, **more: object) -> dict[str, object]:
    made = certificates.server
    return {"cert_file": str(made.cert_file), "key_file": str(made.key_file), **more}


def config(certificates: Certificates, **more: object) -> dict[str, object]:
    return {"listen": "127.0.0.1:-1", "tls": block(certificates, **more)}


@pytest.fixture
async def server(certificates: Certificates) -> AsyncIterator[Server]:
    async with Server(config(certificates, timeout=30)) as made:
        yield made


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


async def shake(certificates: Certificates, sock: socket.socket, timeout_s: float = 5.0) -> str:
    """Why a handshake failed."""
    made = certificates.server
    context = server_context(Terms(pairs=(load_pair(str(made.cert_file), str(made.key_file)),), verify=False))
    with pytest.raises(HandshakeFailed) as caught:
        await accept(sock, context, Turns(), SystemClock(), timeout_s=timeout_s, verify=False)
    return caught.value.text


async def good(server: Server, certificates: Certificates) -> RawClient:
    client = await RawClient.connect("127.0.0.1", server.port)
    await client.expect_info()
    await client.start_tls(certificates.context())
    client.send(PLAIN)
    await client.expect("PONG\r\n")
    return client


async def until_gone(server: Server) -> None:
    """All connections have ended."""
    async with asyncio.timeout(20):
        while server.clients.open:  # noqa: ASYNC110  (nobody tells a test)
            await asyncio.sleep(0)


# --- one handshake --------------------------------------------------------------------------------


async def test_silence(certificates: Certificates, pair: tuple[socket.socket, socket.socket]) -> None:
    assert await shake(certificates, pair[0], LATE_S) == "TLS handshake timeout"


async def test_half_a_hello(certificates: Certificates, pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].send(b"\x16\x03\x01\x02\x00\x01\x00")
    assert await shake(certificates, pair[0], LATE_S) == "TLS handshake timeout"


async def test_an_end_in_the_middle(
    certificates: Certificates, pair: tuple[socket.socket, socket.socket]
) -> None:
    pair[1].send(b"\x16\x03\x01\x02\x00\x01\x00")
    pair[1].shutdown(socket.SHUT_WR)
    assert await shake(certificates, pair[0]) == "EOF"


@pytest.mark.parametrize(
    "data", [b"PING\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x20\x01\x00\x05hello", b"\x80\x2e\x01"]
)
async def test_no_tls_at_all(
    certificates: Certificates, pair: tuple[socket.socket, socket.socket], data: bytes
) -> None:
    pair[1].send(data)
    assert await shake(certificates, pair[0]) == "tls: first record does not look like a TLS handshake"


async def test_an_alert_goes_out(
    certificates: Certificates, pair: tuple[socket.socket, socket.socket]
) -> None:
    pair[1].send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff")
    assert (await shake(certificates, pair[0])).startswith("tls: ")
    assert pair[1].recv(100)[0] == 0x15


async def test_first_byte_stays_where_it_is(pair: tuple[socket.socket, socket.socket]) -> None:
    assert await first_byte(pair[0], LATE_S) is None
    pair[1].send(b"CONNECT")
    assert await first_byte(pair[0], 5) == ord("C")
    assert pair[0].recv(100) == b"CONNECT"
    pair[1].shutdown(socket.SHUT_WR)
    assert await first_byte(pair[0], 5) is None


async def test_one_step_in_each_turn() -> None:
    """Between any two steps the loop has looked at everybody else."""
    turns = Turns()
    order: list[str] = []

    async def step(number: int) -> None:
        await turns.take()
        order.append(f"step {number}")

    def others() -> None:
        order.append("others")
        if not all(task.done() for task in tasks):
            asyncio.get_running_loop().call_soon(others)

    tasks = [asyncio.create_task(step(number)) for number in range(20)]
    asyncio.get_running_loop().call_soon(others)
    tasks[7].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    steps = [at for at, entry in enumerate(order) if entry != "others"]
    assert len(steps) == 19
    assert all(two - one > 1 for one, two in itertools.pairwise(steps))


# --- a server among bad neighbours ----------------------------------------------------------------


def hello(certificates: Certificates) -> bytes:
    """A ClientHello."""
    into, out_of = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = certificates.context().wrap_bio(into, out_of, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out_of.read()


async def test_slow_ones_hold_up_nobody(server: Server, certificates: Certificates) -> None:
    start = hello(certificates)
    slow = [await RawClient.connect("127.0.0.1", server.port) for _ in range(200)]
    for number, client in enumerate(slow):
        await client.expect_info()
        client.send(start[: number % len(start)])
    client = await good(server, certificates)
    client.send("SUB a 1\r\nPUB a 2\r\nhi\r\n")
    await client.expect("MSG a 1 2\r\nhi\r\n")
    client.close()
    for each in slow:
        each.close()
    await until_gone(server)


async def test_garbage_a_thousand_times(certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    """Refused, and nothing is left: no task, no descriptor, no connection, no memory."""
    caplog.set_level(logging.CRITICAL, "phloem")  # what is kept of the log would grow
    async with Server(config(certificates, timeout=30) | {"max_closed_clients": 50}) as server:
        await _garbage(server, certificates)


async def _garbage(server: Server, certificates: Certificates) -> None:
    rng = random.Random(17)
    start = hello(certificates)

    def garbage() -> bytes:
        match rng.randrange(4):
            case 0:
                return rng.randbytes(rng.randrange(1, 400))
            case 1:
                return b"\x16\x03\x01" + rng.randbytes(rng.randrange(2, 400))
            case 2:
                data = bytearray(start)
                for _ in range(rng.randrange(1, 6)):
                    data[rng.randrange(5, len(data))] = rng.randrange(256)
                return bytes(data)
            case _:
                return start[: rng.randrange(1, len(start))]

    async def knock(times: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(times):
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, ("127.0.0.1", server.port))
                await loop.sock_sendall(sock, garbage())
        await until_gone(server)

    await knock(100)
    gc.collect()
    before = len(gc.get_objects()), _descriptors(), len(asyncio.all_tasks()), _resident()
    await knock(1000)
    gc.collect()
    after = len(gc.get_objects()), _descriptors(), len(asyncio.all_tasks()), _resident()
    assert after[0] < before[0] + 1_000
    assert after[1:3] == before[1:3]
    assert after[3] < before[3] + (8 << 20)
    client = await good(server, certificates)
    client.close()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_a_server_that_stops_in_the_middle(certificates: Certificates) -> None:
    async with Server(config(certificates)) as server:
        client = await RawClient.connect("127.0.0.1", server.port)
        await client.expect_info()
        client.send(hello(certificates)[:50])
    await client.expect_close()


async def test_only_so_many_at_once(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "TLS_HANDSHAKES", 3)
    async with Server(config(certificates, timeout=30)) as server:
        waiting = [await RawClient.connect("127.0.0.1", server.port) for _ in range(3)]
        for client in waiting:
            await client.expect_info()
        extra = await RawClient.connect("127.0.0.1", server.port)
        await extra.expect_close()
        waiting[0].close()
        async with asyncio.timeout(10):
            while len(server.clients.open) > 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
        client = await good(server, certificates)
        client.close()
        for each in waiting:
            each.close()
        async with asyncio.timeout(10):
            while "Rejected 1 connections" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_descriptors_run_out(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Server(config(certificates)) as server:

        def none_left(*_args: object, **_kwargs: object) -> socket.socket:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr("phloem.shared.server.tls.second_socket", none_left)
        client = await RawClient.connect("127.0.0.1", server.port)
        await client.expect_info()
        await client.expect_close()
        assert "TLS handshake error: Too many open files" in caplog.text


async def test_unix_sockets_and_this_process_do_without(certificates: Certificates, tmp_path: Path) -> None:
    path = tmp_path / "nats.sock"
    options = config(certificates) | {"phloem": {"unix_socket": str(path)}}
    async with Server(options) as server:
        client = await RawClient.connect(f"unix:{path}")
        assert "tls_required" not in await client.expect_info()
        client.send(PLAIN)
        await client.expect("PONG\r\n")
        client.close()
        inside = await server.connect()
        await inside.flush()
        await inside.close()
