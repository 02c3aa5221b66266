"""The HTTP server with real sockets: what it answers, what it bounds, and that it leaves nothing behind."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest
from tests.unit.monitor.fake import FakeClock, FakeSource, monitor

from phloem.shared.errors import PortInUse
from phloem.shared.net.http import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    HttpServer,
    Request,
    Response,
    Timeouts,
)

HANG_S = 20  # far more than anything here takes; reaching it is the failure
SHORT = Timeouts(request_s=0.05, response_s=0.05, linger_s=0.05)


def echo(request: Request) -> Response:
    text = f"{request.method} {request.path} {request.query.decode()}"
    return Response(200, text.encode("utf-8", "surrogateescape"))


@asynccontextmanager
async def serving(handler: Callable[[Request], Response] = echo, **options: Any) -> AsyncIterator[HttpServer]:
    server = HttpServer(handler, FakeClock(), **options)
    server.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(HANG_S):
            yield server
    finally:
        await server.stop()


@asynccontextmanager
async def connected(
    server: HttpServer, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, server.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def exchange(server: HttpServer, data: bytes, *, then_end: bool = False) -> bytes:
    """All that the server says to ``data`` until it closes."""
    async with connected(server) as (reader, writer):
        writer.write(data)
        if then_end:
            writer.write_eof()
        return await read_all(reader)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    parts = []
    with suppress(ConnectionError):  # a reset is an end, too
        while part := await reader.read(1 << 16):
            parts.append(part)
    return b"".join(parts)


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- answers ---------------------------------------------------------------------------------------


async def test_a_whole_answer() -> None:
    async with serving() as server:
        answer = await exchange(server, b"GET /a%20b?c=%20d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer == (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Date: Mon, 21 Sep 2026 15:13:20 GMT\r\n"
        b"Content-Length: 15\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Connection: close\r\n\r\n"
        b"GET /a b c=%20d"
    )


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    async with serving() as server:
        answer = await exchange(server, b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 7\r\n" in answer
    assert body(answer) == b""


async def test_requests_follow_one_another() -> None:
    first, last = (
        b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    async with serving() as server, connected(server) as (reader, writer):
        writer.write(first)
        assert (await reader.readuntil(b"GET /1 ")).startswith(b"HTTP/1.1 200")
        writer.write(first + first + last)
        assert (await read_all(reader)).count(b"HTTP/1.1 200") == 3


async def test_a_request_may_come_byte_by_byte() -> None:
    async with serving() as server, connected(server) as (reader, writer):
        for byte in b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        assert body(await read_all(reader)) == b"GET /slow "


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"GET / "),
        (b"GET http://h:1/p?q HTTP/1.1\r\nHost: h\r\n%s\r\n", b"GET /p q"),
        (b"GET https://h HTTP/1.1\r\nHost: h\r\n%s\r\n", b"GET / "),
        (b"GET /p#f?q HTTP/1.1\r\nHost: h\r\n%s\r\n", b"GET /p "),
        (b"GET /%ff%41 HTTP/1.1\r\nHost: h\r\n%s\r\n", b"GET /\xffA "),
        (b"BREW /p HTTP/1.1\r\nHost: h\r\n%s\r\n", b"BREW /p "),
        (b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n%s\r\nbody", b"POST /p "),
        (
            b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n%s\r\n1\r\nx\r\n0\r\n\r\n",
            b"POST /p ",
        ),
        (b"GET /p HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n%s\r\n", b"GET /p "),
    ],
)
async def test_forms_of_a_request(request_: bytes, said: bytes) -> None:
    async with serving() as server:
        answer = await exchange(server, request_.replace(b"%s", b"Connection: close\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert body(answer) == said


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it() -> None:
    async with serving() as server, connected(server) as (reader, writer):
        writer.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"ok")
        assert body(await read_all(reader)) == b"POST / "


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nBad Name: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET varz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /" + b"a" * 2 * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: h\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * (1 << 20), 431),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n" + b"a" * 900_000, 413),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_a_status(request_: bytes, status: int) -> None:
    async with serving(timeouts=Timeouts(linger_s=0.05)) as server:
        answer = await exchange(server, request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close\r\n" in answer
    assert body(answer).startswith(b"%d " % status)


async def test_the_largest_body_is_read() -> None:
    data = b"a" * MAX_BODY_BYTES
    head = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data)
    async with serving() as server:
        assert body(await exchange(server, head + data)) == b"POST / "


async def test_an_error_in_a_handler_stays_inside() -> None:
    def broken(request: Request) -> Response:
        raise ZeroDivisionError("secret")

    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    async with serving(broken) as server:
        answer = await exchange(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (
            body(await exchange(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")) == b"500 Internal Server Error"
        )
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError] * 2


# --- bounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n1"]
)
async def test_a_peer_that_falls_silent_is_cut_off(sent: bytes) -> None:
    async with serving(timeouts=SHORT) as server:
        assert await exchange(server, sent) == b""


async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    asked = asyncio.Event()

    def large(request: Request) -> Response:
        asked.set()
        return Response(200, b"x" * (64 << 20))

    async with serving(large, timeouts=SHORT) as server, connected(server) as (reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await asked.wait()
        await asyncio.wait(connection_tasks())
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await read_all(reader)) < 64 << 20


def connection_tasks() -> set[asyncio.Task[None]]:
    """The tasks of connections, and one that is always there."""
    tasks = {task for task in asyncio.all_tasks() if task.get_name().startswith("http 127.0.0.1:")}
    return tasks | {asyncio.ensure_future(asyncio.sleep(0))}


async def test_connections_beyond_the_bound_are_refused() -> None:
    async with serving(max_connections=1) as server:
        async with connected(server) as (reader, writer):
            writer.write(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
            await reader.readuntil(b"GET /1 ")
            assert (await exchange(server, b"")).startswith(b"HTTP/1.1 503 ")
            writer.write(b"GET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert body(await read_all(reader)) == b"GET /2 "
        await asyncio.wait(connection_tasks())
        assert (await exchange(server, b"GET /3 HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_stopping_cuts_every_connection_and_leaves_nothing() -> None:
    before = open_descriptors()
    server = HttpServer(echo, FakeClock())
    server.start("127.0.0.1", 0)
    async with asyncio.timeout(HANG_S), connected(server) as (idle, _), connected(server) as (busy, writer):
        writer.write(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HT")
        await busy.readuntil(b"GET /1 ")
        port = server.port
        await server.stop()
        assert (await read_all(idle), await read_all(busy)) == (b"", b"")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
    assert server.port == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert open_descriptors() == before
    await server.stop()


@pytest.mark.parametrize("turns", range(5))
async def test_stopping_at_any_moment_leaves_nothing(turns: int) -> None:
    before = open_descriptors()
    server = HttpServer(echo, FakeClock())
    server.start("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", server.port)):
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.stop()
        assert open_descriptors() == before + 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_connection_that_ends_leaves_nothing() -> None:
    async with serving() as server:
        await exchange(server, b"GET / HTTP/1.0\r\n\r\n")
        before = open_descriptors()
        for _ in range(20):
            await exchange(server, b"GET / HTTP/1.0\r\n\r\n")
            await exchange(server, b"", then_end=True)
        await asyncio.wait(connection_tasks())
        assert open_descriptors() <= before


async def test_a_port_that_is_taken() -> None:
    async with serving() as server:
        other = HttpServer(echo, FakeClock())
        with pytest.raises(PortInUse, match=rf"listen on 127\.0\.0\.1:{server.port}: address already in use"):
            other.start("127.0.0.1", server.port)
        await other.stop()


async def test_ipv6() -> None:
    server = HttpServer(echo, FakeClock())
    try:
        server.start("::1", 0)
    except PortInUse:
        pytest.skip("no IPv6 here")
    async with asyncio.timeout(HANG_S), connected(server, "::1") as (reader, writer):
        writer.write(b"GET /six HTTP/1.0\r\n\r\n")
        assert body(await read_all(reader)) == b"GET /six "
    await server.stop()


# --- noise -----------------------------------------------------------------------------------------

TEMPLATE = b"POST /connz?subs=1&auth=%31 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


def noises(seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(100):
        yield rng.randbytes(rng.randrange(1, 400))
        yield rng.randbytes(rng.randrange(40)) + b"\r\n\r\n"
        mutated = bytearray(TEMPLATE)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(mutated))
            mutated[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        yield bytes(mutated)
        yield TEMPLATE[: rng.randrange(len(TEMPLATE))]


@contextmanager
def no_reports() -> Iterator[None]:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    yield
    assert reported == []


@pytest.mark.parametrize("seed", range(3))
async def test_noise_is_answered_or_cut_off_and_never_an_error_inside(seed: int) -> None:
    pages = monitor(FakeSource())
    statuses = set()
    with no_reports():
        async with serving(pages.answer) as server:
            for noise in noises(seed):
                answer = await exchange(server, noise, then_end=True)
                assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
                statuses.add(answer[9:12])
            assert (await exchange(server, b"GET /healthz HTTP/1.0\r\n\r\n")).endswith(b'{"status":"ok"}')
    assert {b"400", b"200"} <= statuses
    assert b"500" not in statuses


async def test_the_monitoring_port_answers() -> None:
    pages = monitor(FakeSource())
    await pages.start("127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", pages.port)
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = await read_all(reader)
        writer.close()
        await writer.wait_closed()
    finally:
        await pages.stop()
    assert b"Content-Type: application/json\r\nAccess-Control-Allow-Origin: *\r\n" in answer
    assert body(answer) == b'{"status":"ok"}'
