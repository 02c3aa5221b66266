"""How the columns of a parcel are compressed, and how small they become."""

from phloem.shared.forward.lane import Lane
from phloem.shared.forward.messages import HISTORY_BYTES, WITH_DICTIONARY, WITH_HISTORY, ZSTD, history
from phloem.shared.forward.source import Squeeze

DICTIONARY_BELOW = 32 << 10  # columns that are larger have enough in common with themselves
RATIO_START, RATIO_LEAST = 0.4, 0.02


def columns_for(lane: Lane, sent: int) -> int:
    """Bytes of columns that become about so many."""
    return int(sent / max(lane.ratio or RATIO_START, RATIO_LEAST))


class Press:
    """Of one sender."""

    def __init__(self, squeeze: Squeeze) -> None:
        self.squeeze = squeeze

    def help_for(self, lane: Lane, columns: bytes) -> int:
        """What helps, as a flag. A large parcel has enough in common with itself."""
        if len(columns) < HISTORY_BYTES and lane.history:
            return WITH_HISTORY
        if len(columns) < DICTIONARY_BELOW and self.squeeze.ident(lane.entry.name):
            return WITH_DICTIONARY
        return 0

    def pressed(self, lane: Lane, columns: bytes, size: int, flags: int) -> tuple[int, bytes]:
        """Flags, and what is sent for the columns; ``size``: what they were expected to be."""
        pressed = self.squeeze.press(columns, lane.entry.name, flags, lane.history)
        flags |= ZSTD
        if len(pressed) >= len(columns):
            flags, pressed = 0, columns
        ratio = len(pressed) / max(size, 1)
        lane.ratio += (ratio - lane.ratio) / (8 if lane.ratio else 1)
        lane.history = history(lane.history, columns, flags)
        return flags, pressed
