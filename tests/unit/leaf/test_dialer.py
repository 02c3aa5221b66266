"""Dialling: sockets that work, errors that say why, no descriptor left behind."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from phloem.shared.errors import LinkError
from phloem.shared.leaf.urls import HubURL, parse_url
from phloem.shared.net.dialer import dial

TIMEOUT_NS = 2_000_000_000


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def listening(family: int, address: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind(address)  # type: ignore[arg-type]
    sock.listen()
    return sock


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_tcp(family: int, host: str) -> None:
    with listening(family, (host, 0)) as listener:
        port = listener.getsockname()[1]
        with (await dial(HubURL("nats-leaf", host, port), TIMEOUT_NS)).sock as sock:
            assert sock.getpeername()[:2] == (host, port)
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address refuses, the second takes the connection."""
    with (
        listening(socket.AF_INET, ("127.0.0.1", 0)) as listener,
        listening(socket.AF_INET, ("127.0.0.2", 0)) as gone,
    ):
        port, dead = listener.getsockname()[1], gone.getsockname()[1]
        gone.close()

        async def two(*_args: object, **_more: object) -> list[object]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", dead)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            ]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
        dialled = await dial(parse_url("nats-leaf://hub"), TIMEOUT_NS)
        with dialled.sock as sock:
            assert sock.getpeername() == (dialled.ip, dialled.port) == ("127.0.0.1", port)


async def test_unix(tmp_path: Path) -> None:
    path = str(tmp_path / "hub.sock")
    with listening(socket.AF_UNIX, path), (await dial(parse_url(f"unix://{path}"), TIMEOUT_NS)).sock as sock:
        assert sock.getpeername() == path


async def test_nobody_there() -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    before = descriptors()
    with pytest.raises(LinkError, match=f"dial 127.0.0.1:{port}: connection refused"):
        await dial(HubURL("nats-leaf", "127.0.0.1", port), TIMEOUT_NS)
    assert descriptors() == before


async def test_no_such_socket(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="no such file or directory"):
        await dial(parse_url(f"unix://{tmp_path}/none"), TIMEOUT_NS)


async def test_unknown_name() -> None:
    with pytest.raises(LinkError, match=r"lookup hub\.invalid: "):
        await dial(parse_url("nats-leaf://hub.invalid"), TIMEOUT_NS)


def full_listener() -> tuple[socket.socket, list[socket.socket]]:
    """A listener whose queue is full: the next connection hangs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
        waiting.append(sock)
    return listener, waiting


async def test_a_timeout_leaves_nothing() -> None:
    listener, waiting = full_listener()
    before = descriptors()
    with pytest.raises(LinkError, match="i/o timeout"):
        await dial(HubURL("nats-leaf", "127.0.0.1", listener.getsockname()[1]), 50_000_000)
    assert descriptors() == before
    for sock in (listener, *waiting):
        sock.close()


async def test_cancelling_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    listener, waiting = full_listener()
    before = descriptors()
    loop, dialling = asyncio.get_running_loop(), asyncio.Event()
    connect = loop.sock_connect

    async def noted(sock: socket.socket, address: object) -> None:
        dialling.set()
        await connect(sock, address)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "sock_connect", noted)
    task = asyncio.create_task(dial(HubURL("nats-leaf", "127.0.0.1", listener.getsockname()[1]), TIMEOUT_NS))
    await dialling.wait()
    assert descriptors() == before + 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert descriptors() == before
    for sock in (listener, *waiting):
        sock.close()


@pytest.mark.parametrize("answer", [None, ConnectionRefusedError()])
async def test_cancelled_at_the_moment_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, answer: Exception | None
) -> None:
    """Whoever waits for the end of the one who dials would wait for ever if this were lost."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    def sock_connect(*_: object) -> asyncio.Future[None]:
        answer_to_come: asyncio.Future[None] = loop.create_future()
        asked.put_nowait(answer_to_come)
        return answer_to_come

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    dialling = asyncio.create_task(dial(HubURL("unix", "/hub", 0), 10**10))
    connecting = await asked.get()
    if answer is None:
        connecting.set_result(None)
    else:
        connecting.set_exception(answer)
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
