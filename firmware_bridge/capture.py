"""The last of what went over a line, both ways, kept in memory: what one wants to see after a fault. Pure.

Bounded in bytes, with what it costs to remember when they came; the oldest go first. What comes within a few
milliseconds is one piece.
"""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_PIECE_BYTES = 64  # what a piece takes beside its bytes, for the bound
_TOGETHER_NS = 5_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROW_BYTES = 32


class Piece(NamedTuple):
    """Bytes that went one way: ``<`` from the device, ``>`` to it; ``mono_ns`` is when the first of them did."""

    mono_ns: int
    way: str
    data: bytearray


class Capture:
    """The ring. ``len`` is how many bytes of traffic it holds."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pieces: deque[Piece] = deque()
        self._size = 0

    def __len__(self) -> int:
        return sum(len(piece.data) for piece in self._pieces)

    def note(self, way: str, data: bytes, now_ns: int) -> None:
        """Keep what has just gone ``way``."""
        if not self._bytes_max:
            return
        last = self._pieces[-1] if self._pieces else None
        if last is not None and last.way == way and now_ns - last.mono_ns < _TOGETHER_NS:
            last.data.extend(data)
            self._size += len(data)
        else:
            self._pieces.append(Piece(now_ns, way, bytearray(data)))
            self._size += len(data) + _PIECE_BYTES
        while self._size > self._bytes_max:
            self._shorten(self._size - self._bytes_max)

    def copy(self) -> "Capture":
        """As it is now; what comes later is not in it."""
        copied = Capture(self._bytes_max)
        copied._pieces.extend(Piece(each.mono_ns, each.way, bytearray(each.data)) for each in self._pieces)
        copied._size = self._size
        return copied

    def received(self, most: int) -> bytes:
        """The newest ``most`` bytes that came from the device."""
        return b"".join(piece.data for piece in self._pieces if piece.way == "<")[-most:] if most > 0 else b""

    def trace(self, wall_ahead_ns: int, most: int) -> bytes:
        """Lines of time, way, hexadecimal and text, the newest that fit into ``most`` bytes.

        ``wall_ahead_ns`` is what the wall clock is ahead of the monotonic one.
        """
        lines, size = deque[str](), 0
        for piece in reversed(self._pieces):
            for line in reversed(list(_rows(piece, wall_ahead_ns))):
                size += len(line)
                if size > most:
                    return "".join(lines).encode()
                lines.appendleft(line)
        return "".join(lines).encode()

    def _shorten(self, surplus: int) -> None:
        oldest = self._pieces[0]
        if surplus < len(oldest.data):
            del oldest.data[:surplus]
            self._size -= surplus
        else:
            self._size -= len(oldest.data) + _PIECE_BYTES
            self._pieces.popleft()


def _rows(piece: Piece, wall_ahead_ns: int) -> Iterator[str]:
    at = _EPOCH + timedelta(microseconds=(piece.mono_ns + wall_ahead_ns) // 1000)
    for start in range(0, len(piece.data), _ROW_BYTES):
        row = piece.data[start : start + _ROW_BYTES]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{at:%Y-%m-%dT%H:%M:%S.%f}Z {piece.way} {row.hex(' ')}  {text}\n"
