"""What the edge says about its link and its stream: pages of its monitoring port, read as any dashboard would."""

import asyncio
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

Page = TypeVar("Page")
TIMEOUT_S = 2.0
ANSWER_BYTES_MAX = 64 << 10  # one link is a few hundred bytes


class Leaf(msgspec.Struct):
    """One link, as far as the demo shows it."""

    rtt: str = ""


class _Leafz(msgspec.Struct):
    leafs: list[Leaf]


class Store(msgspec.Struct):
    """The disk's side of it."""

    pending_bytes: int = 0


class Stored(msgspec.Struct):
    """What is in streams; all of it is on the disk when nothing is pending."""

    messages: int = 0
    bytes: int = 0
    store: Store = msgspec.field(default_factory=Store)


async def read_link(url: str) -> Leaf | None:
    """The link of the server whose monitoring is at ``url``; None while there is none or nobody answers."""
    page = await _page(url, "/leafz", _Leafz)
    return page.leafs[0] if page and page.leafs else None


async def read_stored(url: str) -> Stored | None:
    """What the server whose monitoring is at ``url`` has stored; None when nobody answers."""
    return await _page(url, "/jsz", Stored)


async def _page(url: str, path: str, kind: type[Page]) -> Page | None:
    where = urlsplit(url)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            answer = await _get(where.hostname or "", where.port or 0, path)
    except (OSError, TimeoutError):
        return None
    _, _, body = answer.partition(b"\r\n\r\n")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        return None


async def _get(host: str, port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := await reader.read(ANSWER_BYTES_MAX):
            answer += piece
            if len(answer) > ANSWER_BYTES_MAX:
                raise OSError("more than a page about one link")
        return answer
    finally:
        writer.close()
        await writer.wait_closed()
