"""Header blocks as they stand on the wire. Pure.

A port's messages differ in two numbers of their headers, so a block is put together of what stays and these; a mapping
for each message, which is encoded afterwards, would cost a busy port more than everything else.
"""

from collections.abc import Mapping
from typing import TypeAlias

Encoded: TypeAlias = tuple[bytes, bytes, bytes]
"""A message: subject, header block, payload."""

FIRST_LINE = b"NATS/1.0\r\n"


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """The header block of a message, with the empty line at its end; nothing for no headers."""
    if not headers:
        return b""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return FIRST_LINE + lines.encode() + b"\r\n"


def decode_headers(block: bytes) -> dict[str, str]:
    """What ``encode_headers`` made a block of."""
    lines = (line.partition(": ") for line in block.decode().split("\r\n")[1:-2])
    return {name: value for name, _, value in lines}


class Stamps:
    """Header blocks of one port."""

    def __init__(self, port: str, boot: str) -> None:
        self._head = FIRST_LINE + f"Phloem-Port: {port}\r\nPhloem-Seq: ".encode()
        self._boot = f"\r\nPhloem-Boot: {boot}\r\n\r\n".encode()
        self._wall_ns, self._tail = -1, b""

    def block(self, seq: int, wall_ns: int) -> bytes:
        """That of the message ``seq``, which is of this time. Cheap if that is the time of the one before."""
        if wall_ns != self._wall_ns:
            self._wall_ns, self._tail = wall_ns, b"\r\nPhloem-Time: %d%b" % (wall_ns, self._boot)
        return b"%b%d%b" % (self._head, seq, self._tail)
