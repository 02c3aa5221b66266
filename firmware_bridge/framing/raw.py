"""Bytes as they came, or as silence parts them."""

import msgspec

from phloem.firmware_bridge.framing.framer import Frame, Framer


class Raw(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="raw"):
    """``framing: raw``. Whatever one read gives, or with the port's ``idle_gap`` what comes without a pause."""

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings."""
        return RawFramer(max_frame_bytes, idle_gap_ns)


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
