"""One stream in the sender's eyes, and what of it is on its way."""

from typing import NamedTuple

from phloem.shared.forward.entries import Entry, Turn
from phloem.shared.forward.messages import Epoch, Offer
from phloem.shared.forward.pace import Ticket
from phloem.shared.forward.source import Stream


class Lane:
    """One stream in the sender's eyes."""

    def __init__(self, entry: Entry, stream: Stream) -> None:
        self.entry = entry
        self.stream = stream
        self.number = -1  # in this session
        self.turn = Turn(entry)
        self.next_seq = 0  # 0: the hub has not said yet
        self.epochs: tuple[Epoch, ...] = ()  # as offered
        self.acked_seq = 0  # in this session
        self.dictionary = 0  # the one that the hub has for it
        self.history = b""
        self.ratio = 0.0  # of late: bytes sent for bytes of columns; 0: none was sent
        self.refused = ""
        self.resume_ns = 0  # not before
        self.nothing_to = 0  # up to here there is nothing to send, though there are sequences
        self.since_ns = 0  # when the oldest waiting message was noticed

    def use(self, entry: Entry) -> None:
        """Other wishes for the same stream."""
        if entry != self.entry:
            self.entry = self.turn.entry = entry
            self.nothing_to = 0  # another selection may have something

    def offered(self, number: int, dictionary: int) -> Offer:
        """What a session that begins says of it; ``dictionary``: the one that there is for it."""
        stream, entry = self.stream, self.entry
        self.number, self.epochs, self.dictionary = number, tuple(stream.epochs), dictionary
        return Offer(
            number,
            entry.name,
            entry.to,
            stream.store,
            self.epochs,
            stream.first_seq,
            stream.last_seq,
            stream.confirmed,
            dictionary,
            stream.began,
        )

    @property
    def waiting(self) -> bool:
        """Whether it has something to send."""
        return (
            bool(self.next_seq)
            and not self.refused
            and self.next_seq <= self.stream.last_seq != self.nothing_to
        )


class Flight(NamedTuple):
    """A parcel or gap that is not acknowledged yet."""

    order: int
    lane: Lane
    upto: int
    ticket: Ticket
    sent_ns: int
    timed: bool  # it is acknowledged at once
    counted: bool  # it is inside the window
