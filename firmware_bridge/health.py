"""Whether what a line says makes sense: a wrong speed, a wrong framing, a bad cable. Pure.

Counted in outcomes of about equal size: a good frame, a damaged one, a few hundred bytes without an end, a character
that the chip says is broken. A line is garbled when most of the last outcomes are bad, and no longer when few are;
in between nothing changes, so that a line on the edge does not make an event of every frame.
"""

from collections import deque

_OUTCOMES, _ENOUGH = 64, 16
_UNIT_BYTES, _UNITS_OF_A_FRAME = 256, 16
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_CONTROLS = bytes(byte for byte in range(0x20) if byte not in b"\t\r\n") + b"\x7f"


def is_noise(line: bytes) -> bool:
    """Whether a line of text is none: over a third of it is neither printable ASCII nor well-formed UTF-8."""
    odd = len(line.translate(None, _PRINTABLE))
    if odd * 3 <= len(line):
        return False
    try:
        line.decode()
    except UnicodeDecodeError:
        return True
    return len(line) - len(line.translate(None, _CONTROLS)) > len(line) // 3


def is_clean(data: bytes) -> bool:
    """Whether there is nothing but printable ASCII: then no line in it is noise."""
    return not data.translate(None, _PRINTABLE)


class Health:
    """One port's. ``garbled`` is the judgement."""

    def __init__(self, max_frame_bytes: int) -> None:
        # Of a frame as long as may be, a damaged one is then a quarter of what is looked at and no judgement.
        self._unit_bytes = max(_UNIT_BYTES, max_frame_bytes // _UNITS_OF_A_FRAME)
        self._last: deque[bool] = deque(maxlen=_OUTCOMES)
        self._rest_bytes = 0
        self._all_good = False
        self.garbled = False

    def note(self, good_frames: int, good_bytes: int, bad: int, bad_bytes: int) -> None:
        """What came of one chunk: frames and their bytes, and times and bytes that were nothing."""
        if not (bad or bad_bytes) and self._all_good:
            return
        bad += (bad_bytes + self._rest_bytes) // self._unit_bytes
        self._rest_bytes = (bad_bytes + self._rest_bytes) % self._unit_bytes
        good = good_frames + good_bytes // self._unit_bytes
        most = min(good + bad, _OUTCOMES)
        if not most:
            return
        shown_bad = round(most * bad / (good + bad))
        self._last.extend([True] * (most - shown_bad) + [False] * shown_bad)
        wrong = self._last.count(False)
        if self.garbled:
            self.garbled = wrong * 4 > len(self._last)
        else:
            self.garbled = len(self._last) >= _ENOUGH and wrong * 2 > len(self._last)
        self._all_good = not wrong and len(self._last) == _OUTCOMES
