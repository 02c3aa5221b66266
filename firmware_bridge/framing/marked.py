"""The base of framings whose frames begin with a mark and say how long they are.

Damage is found by the checksum, or by a length that cannot be. Then the frame's first byte is dropped and the search
goes on behind it, within what has come already: a false mark in the noise never swallows the good frame inside what it
took for its own.
"""

from abc import abstractmethod

from phloem.firmware_bridge.framing.framer import Frame, Framer

MORE, NOISE = 0, -1


class MarkedFramer(Framer):
    """Looks for ``mark`` (empty: a frame can begin anywhere) and asks ``_measure`` how long the frame there is."""

    def __init__(self, mark: bytes, max_frame_bytes: int, idle_gap_ns: int = 0) -> None:
        super().__init__(max_frame_bytes, idle_gap_ns)
        self._mark, self._lost = mark, False

    def reset(self) -> None:
        """As in ``Framer``."""
        super().reset()
        self._lost = False

    @abstractmethod
    def _measure(self, at: int) -> int:
        """Length of the frame that begins at ``self._buffer[at]``, all of it; MORE if more bytes would tell, or
        NOISE. At most ``max_frame_bytes`` is looked at and a longer frame is NOISE."""

    def _open(self, frame: bytes) -> Frame | None:
        """What of ``frame``, the whole of it, is handed on; None if it is damaged."""
        return frame

    def _cut(self, data: bytes) -> list[Frame]:
        self._buffer += data
        return self._take(False)

    def _gap(self) -> list[Frame]:
        return self._take(True)

    def _take(self, no_more: bool) -> list[Frame]:
        """All frames that the buffer holds; with ``no_more`` what is unfinished will stay so."""
        frames, at, buffer = [], 0, self._buffer
        while at < len(buffer):
            start = self._next_mark(at, no_more)
            self._drop(start - at)
            at = start
            if at == len(buffer):
                break
            whole = len(self._mark) + at <= len(buffer)
            length = self._measure(at) if whole else MORE
            if length == MORE or length > len(buffer) - at:
                if not no_more:
                    break
                length = NOISE
            frame = self._open(bytes(buffer[at : at + length])) if length > 0 else None
            if frame is None:
                self._drop(1)
                at += 1
                continue
            self._lost = False
            if frame:
                frames.append(frame)
            at += length
        del buffer[:at]
        return frames

    def _next_mark(self, at: int, no_more: bool) -> int:
        """Where from ``at`` on a mark is or may have begun; the end of the buffer if nowhere."""
        mark, buffer = self._mark, self._buffer
        found = buffer.find(mark, at)
        if found >= 0 or no_more:
            return found if found >= 0 else len(buffer)
        for kept in range(min(len(mark) - 1, len(buffer) - at), 0, -1):
            if buffer.endswith(mark[:kept]):
                return len(buffer) - kept
        return len(buffer)

    def _drop(self, count: int) -> None:
        """``count`` bytes are nothing; how often the place was lost counts once until the next good frame."""
        if count and not self._lost:
            self._lost = True
            self.resyncs += 1
        self.dropped_bytes += count
