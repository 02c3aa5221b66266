"""What the sender (``sender.py``) asks of a stream of the device, and of whoever compresses."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from phloem.shared.forward.messages import Epoch


class Packed(NamedTuple):
    """Columns of messages from one sequence to before another."""

    columns: bytes
    next_seq: int
    messages: int
    newest_ts: int
    size: int  # what ``pack`` counted


class Kept(Protocol):
    """What has to be known of a stream of the device, whoever sends it. Only what is on the disk is seen."""

    @property
    def store(self) -> int:
        """Identity of its store."""

    @property
    def epochs(self) -> Sequence[Epoch]:
        """Those that are remembered, by their first sequences."""

    @property
    def first_seq(self) -> int:
        """Of the oldest message there is; ``last_seq + 1`` without any."""

    @property
    def last_seq(self) -> int:
        """Of the newest message that can be read."""


class Stream(Kept, Protocol):
    """What the sender asks of a stream of the device."""

    @property
    def confirmed(self) -> int:
        """What the hub has, as far as is known here."""

    @property
    def began(self) -> int:
        """The first sequence that there ever was to send."""

    def pack(self, start: int, end: int, size: int, live_ns: int, version: int) -> Packed | None:
        """Messages from ``start`` to ``end``, as columns that a hub of this version knows, until there are ``size``
        bytes of columns or the next message was stored on the other side of the wall time ``live_ns`` than the first;
        None: there are none."""

    def hole(self, seq: int) -> tuple[int, int] | None:
        """First and last sequence of the first loss that ends at ``seq`` or later; messages in there are not sent."""

    def bytes_from(self, seq: int) -> int:
        """About how many bytes there are from a sequence on."""

    def lost(self, first: int, last: int) -> tuple[int, str]:
        """How many messages (-1: not known) with these sequences went before they were sent, and why."""


class Squeeze(Protocol):
    """Compresses columns."""

    def ident(self, stream: str) -> int:
        """Hash of the dictionary of a stream; 0: there is none yet."""

    def dictionary(self, stream: str) -> bytes:
        """The dictionary."""

    def press(self, columns: bytes, stream: str, flags: int, before: bytes) -> bytes:
        """The columns compressed: with ``before``, with the dictionary, or as they are, as the flags say."""
