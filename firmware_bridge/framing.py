"""Framers: bytes of a serial line to frames. Sans-IO: no port, no clock, no waiting.

Rules that hold for every framer:

* How the bytes were cut into chunks does not change the frames (``raw`` without an idle gap is the
  exception by definition: there the chunks are the frames).
* The buffer never holds more than ``max_frame_bytes``.
* What is thrown away is counted: ``resyncs`` is how often the framer lost its place,
  ``dropped_bytes`` is what that cost.

A new framing is one class here and one line in ``FRAMINGS``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TypeAlias

Frame: TypeAlias = bytes


class Framer(ABC):
    """What a session sees of a framing.

    ``idle_gap_ns`` is the silence that ends a frame where the bytes themselves do not; 0 means that
    silence says nothing. The times handed in come from one monotonic clock.
    """

    def __init__(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> None:
        assert max_frame_bytes > 0
        assert idle_gap_ns >= 0
        self.max_frame_bytes = max_frame_bytes
        self.idle_gap_ns = idle_gap_ns
        self.resyncs = 0
        self.dropped_bytes = 0
        self._buffer = bytearray()
        self._fed_ns = 0

    @property
    def due_ns(self) -> int | None:
        """When ``expire`` has to be called if no byte comes before; None while nothing waits."""
        return self._fed_ns + self.idle_gap_ns if self.idle_gap_ns and self._buffer else None

    def feed(self, data: bytes, now_ns: int = 0) -> list[Frame]:
        """Frames that ``data``, read at ``now_ns``, completes; in order, none empty."""
        frames = self.expire(now_ns)
        self._fed_ns = now_ns
        return frames + self._cut(data)

    def expire(self, now_ns: int) -> list[Frame]:
        """Frames that silence up to ``now_ns`` completes; calling it early is harmless."""
        due_ns = self.due_ns
        return self._gap() if due_ns is not None and now_ns >= due_ns else []

    def reset(self) -> None:
        """The line was interrupted: an unfinished frame will never be finished and is counted as lost."""
        if self._buffer:
            self._lose(0)

    def _lose(self, more: int) -> None:
        self.resyncs += 1
        self.dropped_bytes += len(self._buffer) + more
        self._buffer.clear()

    @abstractmethod
    def _cut(self, data: bytes) -> list[Frame]:
        """Take ``data`` and give what it completes."""

    @abstractmethod
    def _gap(self) -> list[Frame]:
        """The line was silent for ``idle_gap_ns`` with bytes in the buffer."""


class LineFramer(Framer):
    """Text lines, ended by LF, CR LF or CR; the ends and empty lines are not frames.

    A line over ``max_frame_bytes`` is dropped up to its end, wherever it is cut: half a line looks
    like a whole one to whoever reads it. The same holds for a line with a pause of ``idle_gap_ns``
    inside: its beginning is dropped and the next byte starts a line.
    """

    def __init__(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> None:
        super().__init__(max_frame_bytes, idle_gap_ns)
        self._skipping = False

    def reset(self) -> None:
        """As above; what follows is a new line even after an over-long one."""
        super().reset()
        self._skipping = False

    def _cut(self, data: bytes) -> list[Frame]:
        # As empty lines are no frames, CR LF is simply two ends, also when a chunk ends between them.
        *ended, rest = data.replace(b"\r", b"\n").split(b"\n")
        frames = []
        for piece in ended:
            self._append(piece)
            if self._buffer:
                frames.append(bytes(self._buffer))
                self._buffer.clear()
            self._skipping = False
        self._append(rest)
        return frames

    def _append(self, piece: bytes) -> None:
        if self._skipping:
            self.dropped_bytes += len(piece)
        elif len(self._buffer) + len(piece) > self.max_frame_bytes:
            self._lose(len(piece))
            self._skipping = True
        else:
            self._buffer += piece

    def _gap(self) -> list[Frame]:
        self._lose(0)
        return []


class RawFramer(Framer):
    """Bytes as they came.

    Without an idle gap every chunk is a frame. At low baud rates the kernel hands bytes over almost
    one by one; with a gap they are collected until the line is silent that long (how Modbus RTU and
    many scales end a message). ``max_frame_bytes`` cuts either way and nothing is ever lost.
    """

    def _cut(self, data: bytes) -> list[Frame]:
        self._buffer += data
        size = self.max_frame_bytes
        whole = len(self._buffer) - len(self._buffer) % size if self.idle_gap_ns else len(self._buffer)
        frames = [bytes(self._buffer[at : min(at + size, whole)]) for at in range(0, whole, size)]
        del self._buffer[:whole]
        return frames

    def _gap(self) -> list[Frame]:
        frame = bytes(self._buffer)
        self._buffer.clear()
        return [frame]


FRAMINGS: Mapping[str, type[Framer]] = {"line": LineFramer, "raw": RawFramer}
