"""The frames of one ring at the host: which are here, which are durable, which are gone. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from phloem.firmware_bridge.edgelink import limits
from phloem.firmware_bridge.edgelink.messages import Ack, Data
from phloem.firmware_bridge.edgelink.sequence import WRAP, ahead, distance


class Missing(NamedTuple):
    """Frames from ``first`` on and before ``next`` will not come."""

    first: int
    next: int


class InOrder(NamedTuple):
    """The frame ``seq``, and all before it were handed out."""

    seq: int
    data: Data


class Window:
    """Begins at ``next``, the first number that is not durable.

    ``tag`` is what the board's frames have to carry; ``next`` the number that comes next in order, ``durable`` the
    first that is not durable yet. ``size``: the frames that the board may have under way. ``repeated`` counts frames
    that were here already, ``stray`` those whose number is from nowhere.
    """

    def __init__(self, tag: int, next_: int, size: int = limits.WINDOW_MAX) -> None:
        self.tag, self.size = tag, size
        self.next = self.durable = next_
        self.repeated = self.stray = 0
        self._held: dict[int, Data] = {}

    def begin_again(self, tag: int, size: int) -> None:
        """The board was reset: what was held out of order may be of a ring whose end is gone, and other frames get
        those numbers."""
        self.tag, self.size = tag, size
        self._held.clear()

    @property
    def settled(self) -> bool:
        """Whether all that was handed out is durable."""
        return self.next == self.durable

    def follows(self, low: int) -> int | None:
        """Take the frame with the lower half ``low`` if it is the next one and nothing is held: its number."""
        seq = self.next
        if low != seq & 0xFFFF or self._held:
            return None
        self.next = (seq + 1) % WRAP
        return seq

    def take(self, data: Data) -> list[InOrder]:
        """Keep a frame; those that are in order now. Nothing means that it is acknowledged at once."""
        off = distance(data.seq, self.next)
        if abs(off) > self.size:
            self.stray += 1
            return []
        seq = (self.next + off) % WRAP
        if off < 0 or seq in self._held:
            self.repeated += 1
            return []
        self._held[seq] = data
        return list(self._in_order())

    def advance(self, first: int) -> list[InOrder | Missing]:
        """The board's ring begins at ``first``: what is not here before that is gone."""
        steps: list[InOrder | Missing] = []
        while (behind := ahead(first, self.next)) > 0:
            jump = min([behind, *(off for seq in self._held if (off := ahead(seq, self.next)) > 0)])
            self.next, gone = (self.next + jump) % WRAP, self.next
            steps.append(Missing(gone, self.next))
            steps += self._in_order()
        return steps

    def settle(self, durable: int) -> list[InOrder] | None:
        """Everything before ``durable`` is. None if that is no news; else frames that are in order now, as a session of
        another port, where the board was or is, may have brought some that this one waits for."""
        if ahead(durable, self.durable) <= 0:
            return None
        self.durable = durable
        if ahead(durable, self.next) <= 0:
            return []
        self.next = durable
        self._held = {seq: data for seq, data in self._held.items() if ahead(seq, durable) >= 0}
        return list(self._in_order())

    def ack(self) -> Ack:
        """What the board may free, and what it need not send again."""
        held = (1 << min(self.size, ahead(self.next, self.durable))) - 1
        for seq in self._held:
            if (bit := ahead(seq, self.durable)) < self.size:
                held |= 1 << bit
        return Ack(self.tag, self.durable & 0xFFFF, held)

    def _in_order(self) -> Iterator[InOrder]:
        while (data := self._held.pop(self.next, None)) is not None:
            seq = self.next
            self.next = (seq + 1) % WRAP
            yield InOrder(seq, data)
