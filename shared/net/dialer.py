"""Dialling a hub: TCP over IPv4 and IPv6, or a Unix socket.

All addresses of a name are tried in the order in which the system prefers them; each gets the whole time.
When ``dial`` does not return a socket, for whatever reason, it leaves no descriptor behind.

Times are kept with ``asyncio.timeout``: before Python 3.12 ``asyncio.wait_for`` forgets a cancellation that comes
together with the answer, and who dials on and on could not be ended.
"""

import asyncio
import os
import socket
from typing import Any, NamedTuple

from phloem.shared.errors import LinkError
from phloem.shared.leaf.urls import HubURL


class TookTooLong(LinkError):
    """Nobody said no; there was no answer in time."""


KEEPALIVE_IDLE_S = 15  # a peer that vanished without a word is noticed even when PINGs are far apart


class Dialled(NamedTuple):
    """A connected, non-blocking socket and whom it leads to; ``port`` is 0 and ``ip`` a path for a Unix socket."""

    sock: socket.socket
    ip: str
    port: int


async def dial(url: HubURL, timeout_ns: int) -> Dialled:
    """A connection to the hub.

    Args:
        url: Where to; its credentials are not used here.
        timeout_ns: For resolving the name, and again for each address.

    Raises:
        LinkError: Nobody answers there.
    """
    if url.scheme == "unix":
        return Dialled(await _connect(socket.AF_UNIX, url.host, timeout_ns), url.host, 0)
    problem = LinkError(f"{url.host} has no address")
    for family, address in await _addresses(url, timeout_ns):
        try:
            sock = await _connect(family, address, timeout_ns)
        except LinkError as error:
            problem = error
            continue
        return Dialled(sock, address[0], address[1])
    raise problem


async def _addresses(url: HubURL, timeout_ns: int) -> list[tuple[int, Any]]:
    resolving = asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(timeout_ns / 1e9):
            found = await resolving
    except TimeoutError:
        raise TookTooLong(f"lookup {url.host}: i/o timeout") from None
    except OSError as error:
        raise LinkError(f"lookup {url.host}: {error.strerror or error}") from error
    return [(family, address) for family, _, _, _, address in found]


async def _connect(family: int, address: Any, timeout_ns: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        async with asyncio.timeout(timeout_ns / 1e9):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except TimeoutError:
        sock.close()
        raise TookTooLong(f"dial {_shown(address)}: i/o timeout") from None
    except OSError as error:
        sock.close()
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise LinkError(f"dial {_shown(address)}: {reason}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def _shown(address: Any) -> str:
    if isinstance(address, str):
        return address
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
