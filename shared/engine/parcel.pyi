"""Messages as the columns of a parcel: out of a log, and into a stream, without an object for each (parcel.pyx)."""

from collections.abc import Iterable
from typing import NamedTuple

from phloem.shared.engine.engine import Stream
from phloem.shared.store.log import Log

class Unreadable(Exception):
    """The columns are not what a parcel has. Nothing was stored."""

class Packed(NamedTuple):
    """Columns of the messages from one sequence to before ``next_seq``."""

    columns: bytes
    next_seq: int
    messages: int
    newest_ts: int
    damaged: tuple[int, ...]  # sequences in between whose message cannot be read
    size: int  # of the columns before figures in payloads were made columns of their own

class Unpacked(NamedTuple):
    """What was stored, and how far: everything below ``next_seq`` is dealt with."""

    messages: int
    duplicates: int  # below ``skip_below``
    refused: tuple[int, ...]  # sequences of messages that this stream would never take
    next_seq: int

class Packer:
    """Packs what matches of a log; no filters: everything."""

    def __init__(self, log: Log, filters: Iterable[bytes] = ()) -> None: ...
    def pack(self, start: int, end: int, size: int, live_ns: int, version: int = 1) -> Packed | None:
        """From the first message at ``start`` or later, to ``end`` at most, until the columns have about ``size`` bytes
        (one message is always taken) or the next message was stored on the other side of the wall time ``live_ns`` than
        the first. None: there is nothing up to ``end``. What is damaged is passed over; if there is nothing else, there
        are no columns. ``version``: of the columns, 1 or 2; a larger one is 2.
        """

class Unpacker:
    """Stores columns in a stream: subjects get ``prefix``, headers the line ``Phloem-Origin``. Nothing is kept from one
    parcel to the next, so one serves many devices, each with its ``prefix``."""

    prefix: bytes

    def __init__(self, stream: Stream, prefix: bytes) -> None: ...
    def store(
        self,
        columns: bytes,
        from_seq: int,
        next_seq: int,
        skip_below: int,
        origin: bytes,
        shift_ns: int,
        clock: bytes,
        historical: bool,
        now_ns: int,
    ) -> Unpacked:
        """Stores messages with sequences from ``skip_below`` on until the stream takes no more.

        The header line says ``origin`` (names store and epoch), the sequence, the time stamp with ``shift_ns`` added
        and ``clock`` (what to think of that time). ``now_ns`` is the time at which this stream stores them. Raises
        Unreadable, and then nothing was stored.
        """
