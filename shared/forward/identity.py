"""Which message is which, whatever happened to the devices: store, epoch, sequence.

A sequence alone says nothing: a device that was set up anew starts at 1 again, and one whose card was restored from a
backup gives sequences a second time, to other messages. A store has a random identity, and each opening of it begins an
*epoch* with a random number. Two stores that were one for a while have the same epochs up to where they parted, and
messages in common exactly there. So both ends can tell from their lists of epochs what the hub has:

* The last epoch of the device that the hub knows is where their histories part; the hub has of it what it received.
* What the device has after that epoch is new, even if the hub has messages with these sequences: they were another
  history's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from phloem.shared.forward.messages import Epoch, Offer
from phloem.shared.limits import SEQUENCE_MAX

REIMAGED = "re-imaged: the device has another store than before, its sequences start anew"
EPOCHS_MAX = 64  # of a stream that a device remembers, if the older ones are confirmed
EPOCHS_ALL = 4096  # of all its streams, confirmed or not: what a HELLO has room for
RECEIVED_MAX = 256  # that a hub does: more, because what it has forgotten it might take a second time


class Received(msgspec.Struct, array_like=True):
    """What a hub has of an epoch: everything from its first sequence up to ``upto``, messages or known gaps."""

    ident: int
    first_seq: int
    upto: int


class Record(msgspec.Struct, array_like=True):
    """What a hub keeps of one stream of a device, in the same batch as the messages."""

    store: int
    epochs: list[Received]
    received: int = 0  # messages
    duplicates: int = 0  # came again and were not stored
    missing: int = 0  # messages in gaps, as far as they were counted
    gaps: list[tuple[int, int, int, str, int]] = []  # first, last, count, reason, wall_ns; the latest
    former: list[tuple[int, int]] = []  # other stores that this stream had, and what was received of them
    clocks: list[Epoch] = []


class Resumption(NamedTuple):
    """From where a stream goes on; ``noticed``: what does not happen to a device in good health."""

    seq: int
    noticed: tuple[str, ...]


def resume(offer: Offer, record: Record | None) -> Resumption:
    """What the hub asks for. Nothing of the record is changed."""
    if record is None or record.store != offer.store or not record.epochs:
        return Resumption(max(offer.began, 1), ())
    known = {one.ident: one for one in record.epochs}
    for i in reversed(range(len(offer.epochs))):
        mine = known.get(offer.epochs[i].ident)
        if mine is not None:
            return _after(offer, i, mine, record)
    return _strangers(offer, record)


def _after(offer: Offer, i: int, mine: Received, record: Record) -> Resumption:
    """``i``: the last entry of the epoch; it has several if the clock was set in the middle of it."""
    noticed = []
    end = offer.epochs[i + 1].first_seq if i + 1 < len(offer.epochs) else SEQUENCE_MAX  # it goes on meanwhile
    seq = min(mine.upto + 1, end)
    current = record.epochs[-1]
    if current.ident not in {epoch.ident for epoch in offer.epochs} or (current is mine and mine.upto >= end):
        noticed.append(
            f"restored: the device was set back to an earlier state, it gives sequences from {end} on a second time"
        )
    return Resumption(seq, (*noticed, *_set_back(offer, seq)))


def _set_back(offer: Offer, seq: int) -> tuple[str, ...]:
    if offer.confirmed < seq:
        return ()
    return (f"hub set back: {offer.confirmed} was confirmed, and the hub has only what is before {seq}",)


def _strangers(offer: Offer, record: Record) -> Resumption:
    """The same store, and no epoch that both remember: one of the two is so much older that the other forgot."""
    first = offer.epochs[0].first_seq if offer.epochs else offer.began
    before = [one.upto for one in record.epochs if one.upto < first]
    if before:  # the hub has what the device no longer names: the epochs in between were confirmed as a whole
        return Resumption(before[-1] + 1, _set_back(offer, before[-1] + 1))
    forgot = len(record.epochs) >= RECEIVED_MAX  # else nothing that the device names has ever come
    if forgot and offer.epochs and offer.epochs[-1].first_seq <= record.epochs[0].first_seq:
        seq = offer.epochs[-1].first_seq
        return Resumption(
            seq, (f"restored: the device was set back by more than the hub remembers, it goes on at {seq}",)
        )
    return Resumption(first, ("history unknown: the hub knows none of the epochs that the device remembers",))


def epoch_of(epochs: Sequence[Epoch], seq: int) -> int:
    """The index of the epoch that gave this sequence out."""
    for i in reversed(range(len(epochs))):
        if seq >= epochs[i].first_seq:
            return i
    return 0


def covered(epochs: Sequence[Epoch], first: int, last: int) -> list[tuple[Epoch, int]]:
    """Epochs that gave out sequences of this range, and the last one in it of each. Each is to be recorded: one that is
    passed over would be a stranger when a copy of the device comes back with it."""
    found = []
    for i, epoch in enumerate(epochs):
        end = min(epochs[i + 1].first_seq - 1, last) if i + 1 < len(epochs) else last
        if end >= first and (i == 0 or epoch.first_seq <= last):
            found.append((epoch, end))
    return found


def with_opening(
    epochs: Sequence[Epoch], fresh: Epoch, *, confirmed: int = 0, streams: int = 1
) -> tuple[Epoch, ...]:
    """The list after one more opening.

    An epoch in which nothing was stored is replaced, and of those that are confirmed as a whole the oldest are
    forgotten when there are too many. A device that starts again and again without ever reaching its hub confirms
    none: then, after hundreds, the last one, of which the hub will hardly have anything either, becomes part of the
    new one. None that still has something to send is ever forgotten. ``streams``: how many the device has.
    """
    kept = [epoch for epoch in epochs if epoch.first_seq < fresh.first_seq]
    while len(kept) >= EPOCHS_MAX and kept[1].first_seq <= confirmed + 1:
        kept.pop(0)
    while len(kept) >= max(EPOCHS_MAX, EPOCHS_ALL // streams):
        fresh = msgspec.structs.replace(fresh, first_seq=kept.pop().first_seq)
    return (*kept, fresh)


def recorded(record: Record, epoch: Epoch, upto: int) -> None:
    """Everything up to here has come, in this epoch, which is the last of the list now. Others stay: a device that was
    copied comes as two, which take turns."""
    for i, one in enumerate(record.epochs):
        if one.ident == epoch.ident:
            one.upto = upto
            if i + 1 < len(record.epochs):
                record.epochs.append(record.epochs.pop(i))
            return
    record.epochs.append(Received(epoch.ident, epoch.first_seq, upto))
    if len(record.epochs) > RECEIVED_MAX:
        del record.epochs[0]
