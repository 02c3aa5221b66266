"""Text lines, as most sensors with a serial port print them."""

import msgspec

from phloem.firmware_bridge.framing.framer import Frame, Framer


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="line"):
    """``framing: line``. Lines end at LF, CR LF or CR."""

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings."""
        return LineFramer(max_frame_bytes, idle_gap_ns)


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
        first, *others = data.replace(b"\r", b"\n").split(b"\n")
        self._append(first)
        if not others:
            return []
        frames = [bytes(self._buffer)] if self._buffer else []
        self._buffer.clear()
        self._skipping = False
        rest = others.pop()
        for piece in others:
            if len(piece) <= self.max_frame_bytes:
                if piece:
                    frames.append(piece)
            else:
                self._lose(len(piece))
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
