"""What a device remembers of a stream that it forwards: who it is, what the hub has, what went before it was sent.

One record of the device's store for each entry. A driver writes it; what is decided about it is decided here.
"""

from typing import Self

import msgspec

from phloem.shared.forward.identity import with_opening
from phloem.shared.forward.messages import Epoch
from phloem.shared.limits import FORWARD_LOST

CONFIRMED = "confirmed by the hub before, and no longer on the device"
REMOVED = "removed on the device: limits of the stream, purged or deleted"
DAMAGED = "damaged on the device's disk"


class Lost(msgspec.Struct, array_like=True):
    """Messages that went before they were sent."""

    first: int
    last: int
    count: int
    reason: str


class Standing(msgspec.Struct, array_like=True):
    """The record. Sequences are the stream's."""

    created_ns: int  # of the stream: another one of the same name is another store
    store: int
    epochs: list[Epoch]
    confirmed: int = 0
    lost: list[Lost] = []
    began: int = 1  # the first sequence that there was to send

    @classmethod
    def opened(
        cls,
        before: Self | None,
        created_ns: int,
        fresh: Epoch,
        store: int,
        seqs: tuple[int, int],
        streams: int,
    ) -> Self:
        """As it is after one more opening of the stream, whose epoch is ``fresh``; ``store``: identity of a new one,
        ``seqs``: first and last of the stream, ``streams``: how many the device forwards."""
        first_seq, last_seq = seqs
        if before is None or before.created_ns != created_ns:
            return cls(
                created_ns, store, [msgspec.structs.replace(fresh, first_seq=first_seq)], began=first_seq
            )
        now = msgspec.structs.replace(fresh, first_seq=last_seq + 1)
        before.epochs = list(with_opening(before.epochs, now, confirmed=before.confirmed, streams=streams))
        return before

    # --- what went before it was sent ------------------------------------------------------------------

    def lose(self, first: int, last: int, count: int, reason: str) -> None:
        """Messages go that were not sent: the hub is told when it comes to them."""
        lost = self.lost
        if lost and lost[-1].reason == reason and lost[-1].first <= first <= lost[-1].last + 1:
            lost[-1].last, lost[-1].count = max(last, lost[-1].last), lost[-1].count + count
        else:
            lost.append(Lost(first, last, count, reason))
        del lost[:-FORWARD_LOST]

    def hole(self, seq: int) -> Lost | None:
        """The first loss that ends at a sequence or later."""
        return min((one for one in self.lost if one.last >= seq), key=lambda one: one.first, default=None)

    def lost_between(self, first: int, last: int, *, selection: bool = False) -> tuple[int, str]:
        """How many messages there were with these sequences, none of which is left, and why. ``selection``: others than
        those that are to be sent have sequences as well, so what was not counted is not known (-1)."""
        count, reasons = 0, []
        upto = min(last, self.confirmed)
        if first <= upto:
            count, reasons = upto - first + 1, [CONFIRMED]
            first = upto + 1
        rest = last - first + 1
        for one in self.lost:
            width = min(one.last, last) - max(one.first, first) + 1
            if width > 0:
                count += min(one.count, width)
                rest -= width
                reasons.append(one.reason)
        if rest > 0:
            count += rest
            reasons.append(REMOVED)
        unknown = selection and (rest > 0 or CONFIRMED in reasons)
        return -1 if unknown else count, "; ".join(dict.fromkeys(reasons))

    # --- what the hub has --------------------------------------------------------------------------------

    def settled(self) -> None:
        """What was confirmed is written down: what went before it need not be remembered."""
        self.lost = [one for one in self.lost if one.last > self.confirmed]

    def crossed(self, written: int) -> bool:
        """Whether the end of an epoch was confirmed since ``written`` was, so that it may be forgotten."""
        return any(written < epoch.first_seq - 1 <= self.confirmed for epoch in self.epochs[1:])
