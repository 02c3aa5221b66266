"""The base of framings whose frames have a visible end.

After an over-long frame everything up to the next end is dropped: half a frame looks like a whole one to whoever
reads it.
"""

from abc import abstractmethod

from phloem.firmware_bridge.framing.framer import Frame, Framer


class DelimitedFramer(Framer):
    """Cuts at ``end``. What is between two ends goes to ``_open``, which says what the frame is, or None for noise.

    Nothing between two ends is no frame and no loss: many senders begin with an end, to close what came before.
    ``wire_bytes_max`` is the longest that a frame of ``max_frame_bytes`` can be between its ends.
    """

    def __init__(
        self, end: bytes, max_frame_bytes: int, idle_gap_ns: int = 0, wire_bytes_max: int = 0
    ) -> None:
        super().__init__(max_frame_bytes, idle_gap_ns)
        self._end, self._wire_bytes_max = end, wire_bytes_max or max_frame_bytes
        self._skipping = False

    def reset(self) -> None:
        """As in ``Framer``; what follows is a new frame even after an over-long one."""
        super().reset()
        self._skipping = False

    @abstractmethod
    def _open(self, piece: bytes) -> Frame | None:
        """The frame that ``piece``, at least one byte, is on the wire."""

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        buffer, end = self._buffer, self._end
        search, start = (
            max(0, len(buffer) - len(end) + 1),
            0,
        )  # an end may have begun in the bytes that waited
        buffer += data
        while (found := buffer.find(end, search)) >= 0:
            self._ended(bytes(buffer[start:found]), frames)
            search = start = found + len(end)
        del buffer[:start]
        if self._skipping or len(buffer) >= self._wire_bytes_max + len(end):
            self._skip()
        return frames

    def _ended(self, piece: bytes, frames: list[Frame]) -> None:
        if self._skipping:
            self._skipping = False
            self.dropped_bytes += len(piece)
        elif piece:
            frame = self._open(piece) if len(piece) <= self._wire_bytes_max else None
            if frame is None or len(frame) > self.max_frame_bytes:
                self.resyncs += 1
                self.dropped_bytes += len(piece)
            elif frame:
                frames.append(frame)

    def _skip(self) -> None:
        """Drop what waits but for what may be the beginning of an end."""
        if not self._skipping:
            self._skipping = True
            self.resyncs += 1
        gone = max(0, len(self._buffer) - len(self._end) + 1)
        self.dropped_bytes += gone
        del self._buffer[:gone]

    def _gap(self) -> list[Frame]:
        if self._skipping:  # is counted already
            self.dropped_bytes += len(self._buffer)
            self._buffer.clear()
        else:
            self._lose(0)
        self._skipping = False
        return []
