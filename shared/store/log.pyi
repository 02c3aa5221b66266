"""The Python face of a log (log.pyx). Subjects, headers and payloads are bytes, times are wall-clock nanoseconds.

A header is the whole block from ``NATS/1.0`` to its empty line. Sequences are 1 or higher; 0 means "none". All of it
belongs to the loop's thread. Changes of a file log are durable when its store says so (``Store.barrier``).
"""

from collections.abc import Iterable
from typing import NamedTuple

Bytes = bytes  # Log has a property of that name

class Message(NamedTuple):
    """A stored message."""

    seq: int
    ts: int
    subject: bytes
    header: bytes
    payload: bytes

class Damaged(Exception):
    """What the disk holds under this sequence is not what was stored: never served."""

    seq: int

class Log:
    """One stream's messages. ``Log()`` is a memory log; a file log comes from ``Store.open_log``."""

    def __init__(self, *, seed: int = 0) -> None: ...
    @property
    def ident(self) -> int: ...
    @property
    def memory(self) -> bool: ...
    @property
    def relaxed(self) -> bool:
        """Whether the sync mode is an interval."""
    @relaxed.setter
    def relaxed(self, value: bool) -> None: ...
    @property
    def messages(self) -> int: ...
    @property
    def damaged(self) -> tuple[int, int] | None:
        """First and last sequence of what was found damaged while reading; None: nothing was."""
    @property
    def bytes(self) -> int:
        """As nats-server counts them."""
    @property
    def subjects_count(self) -> int: ...
    @property
    def first_seq(self) -> int:
        """Of the oldest message; ``last_seq + 1`` when there is none."""
    @property
    def last_seq(self) -> int: ...
    @property
    def journalled(self) -> int:
        """Bytes that its messages took in the journal since it was opened."""
    @property
    def visible_seq(self) -> int: ...
    @property
    def last_ts(self) -> int: ...
    def append(self, subject: Bytes, header: Bytes, payload: Bytes, ts: int, seq: int = 0) -> int:
        """Adds a message; its sequence. ``seq``: one above ``last_seq``, for a mirror; ValueError for a lower one."""
    def skip(self, last_seq: int) -> None:
        """Gives sequences up to ``last_seq`` out without messages."""
    def remove(self, seq: int) -> bool: ...
    def purge(self, filters: Iterable[Bytes] = (), *, below: int = 0, keep: int = 0) -> int:
        """Removes what matches, below a sequence or all but the newest ``keep``; how many."""
    def read(self, seq: int) -> Message | None:
        """Raises Damaged."""
    def next(self, filters: Iterable[Bytes] = (), start: int = 0, end: int | None = None) -> Message | None:
        """The first match from ``start`` to ``end``, both included; ``None``: to the last. Raises Damaged."""
    def subject(self, subject: Bytes) -> tuple[int, int, int]:
        """Count, first and last sequence of a literal subject; zeros: it has no message."""
    def subjects(self, filters: Iterable[Bytes] = ()) -> dict[Bytes, int]:
        """Message counts by subject, in the subjects' order."""
    def count(self, filters: Iterable[Bytes] = (), start: int = 0, end: int | None = None) -> int:
        """The matches from ``start`` to ``end``, as for ``next``."""
    def last_of_subjects(self, filters: Iterable[Bytes] = (), end: int | None = None) -> list[int]:
        """The last sequence up to ``end`` (0: up to none, ``None``: of all) of each subject that matches, ascending."""
    def seq_from_time(self, ts: int) -> int:
        """The first message stored at ``ts`` or later; ``last_seq + 1`` when none was."""
    def gaps(self, limit: int) -> list[int]:
        """Removed sequences between the first and the last, at most ``limit`` of them."""
