"""What the edge says about its link: /leafz of its monitoring port, read as any dashboard would."""

import asyncio
from urllib.parse import urlsplit

import msgspec

TIMEOUT_S = 2.0
ANSWER_BYTES_MAX = 64 << 10  # one link is a few hundred bytes


class Leaf(msgspec.Struct):
    """One link, as far as the demo shows it."""

    rtt: str = ""
    out_msgs: int = 0
    out_bytes: int = 0


class _Leafz(msgspec.Struct):
    leafs: list[Leaf]


async def read_link(url: str) -> Leaf | None:
    """The link of the server whose monitoring is at ``url``; None while there is none or nobody answers."""
    where = urlsplit(url)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            answer = await _get(where.hostname or "", where.port or 0)
    except (OSError, TimeoutError):
        return None
    _, _, body = answer.partition(b"\r\n\r\n")
    try:
        leafs = msgspec.json.decode(body, type=_Leafz).leafs
    except msgspec.DecodeError:
        return None
    return leafs[0] if leafs else None


async def _get(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET /leafz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := await reader.read(ANSWER_BYTES_MAX):
            answer += piece
            if len(answer) > ANSWER_BYTES_MAX:
                raise OSError("more than a page about one link")
        return answer
    finally:
        writer.close()
        await writer.wait_closed()
