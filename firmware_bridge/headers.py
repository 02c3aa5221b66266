"""Header blocks as they stand on the wire. Pure.

A port's messages differ in their number, and those of two reads in their time, so a block is put together of what stays
and these; a mapping for each message, which is encoded afterwards, would cost a busy port more than everything else.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Encoded: TypeAlias = tuple[bytes, bytes, bytes]
"""A message: subject, header block, payload."""

FIRST_LINE = b"NATS/1.0\r\n"


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """The header block of a message, with the empty line at its end; nothing for no headers."""
    return FIRST_LINE + header_lines(headers) + b"\r\n" if headers else b""


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Lines of such a block, each with its end."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode()


def decode_headers(block: bytes) -> dict[str, str]:
    """What ``encode_headers`` made a block of."""
    lines = (line.partition(": ") for line in block.decode().split("\r\n")[1:-2])
    return {name: value for name, _, value in lines}


def clock_line(quality: str) -> dict[str, str]:
    """The header with the word for the wall clock; none if nobody can tell."""
    return {"Phloem-Clock": quality} if quality else {}


class Stamps:
    """Headers of one port's messages. ``quality``: the word for the wall clock at this moment; none: it is left out."""

    def __init__(self, port: str, device: str, boot: str, quality: Callable[[], str]) -> None:
        self._port, self._device, self._boot, self._quality = port, device, boot, quality
        self._head = FIRST_LINE + f"Phloem-Port: {port}\r\nPhloem-Device: {device}\r\nPhloem-Seq: ".encode()
        self._end = f"\r\nPhloem-Boot: {boot}\r\n\r\n".encode()
        self._mono_ns, self._ahead_ns, self._tail = -1, 0, b""

    def block(self, seq: int, mono_ns: int, ahead_ns: int) -> bytes:
        """That of the message ``seq``, of this time; ``ahead_ns`` is what the wall clock is ahead. Cheap if that
        is the time of the one before."""
        return b"%b%d%b" % (self._head, seq, self._tail_of(mono_ns, ahead_ns))

    def blocks(self, seq: int, monos_ns: Sequence[int], ahead_ns: int) -> list[bytes]:
        """Those of the messages from ``seq`` on, each of its time. Cheapest if all are of one, as those of a read
        are."""
        if not monos_ns or monos_ns.count(monos_ns[0]) < len(monos_ns):
            return [self.block(number, mono_ns, ahead_ns) for number, mono_ns in enumerate(monos_ns, seq)]
        head, tail = self._head, self._tail_of(monos_ns[0], ahead_ns)
        return [b"%b%d%b" % (head, number, tail) for number in range(seq, seq + len(monos_ns))]

    def _tail_of(self, mono_ns: int, ahead_ns: int) -> bytes:
        if mono_ns != self._mono_ns or ahead_ns != self._ahead_ns:
            self._mono_ns, self._ahead_ns, wall_ns = mono_ns, ahead_ns, mono_ns + ahead_ns
            word = self._quality()
            clock = b"\r\nPhloem-Clock: %b" % word.encode() if word else b""
            self._tail = b"\r\nPhloem-Time: %d\r\nPhloem-Mono: %d%b%b" % (wall_ns, mono_ns, clock, self._end)
        return self._tail

    def lines(self, wall_ns: int, mono_ns: int) -> dict[str, str]:
        """The same without ``Phloem-Seq``, for messages that are few."""
        return {
            "Phloem-Port": self._port,
            "Phloem-Device": self._device,
            "Phloem-Time": str(wall_ns),
            "Phloem-Mono": str(mono_ns),
            **clock_line(self._quality()),
            "Phloem-Boot": self._boot,
        }
