"""Framers: bytes of a serial line to frames. Sans-IO: no port, no clock, no waiting.

Rules that hold for every framer:

* How the bytes were cut into chunks does not change the frames (``raw`` without an idle gap is the
  exception by definition: there the chunks are the frames).
* The buffer never holds more than ``max_frame_bytes``.
* What is thrown away is counted: ``resyncs`` is how often the framer lost its place,
  ``dropped_bytes`` is what that cost.

A framing is one file of this folder, with its settings and its framer, and one line in ``catalogue.py``.
"""

from abc import ABC, abstractmethod
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

    @property
    def unfinished(self) -> bytes:
        """What was taken of a frame that has not ended. Another framer of the same settings that is fed it goes on
        there; that this one may be dropping a frame is forgotten."""
        return bytes(self._buffer)

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
