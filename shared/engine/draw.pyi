"""Copying from one stream into another (draw.pyx)."""

from collections.abc import Iterable

from phloem.shared.engine.engine import Stream
from phloem.shared.store.log import Log

class Draw:
    """A mirror's or a source's way from a log into a stream, for messages that stay what they are."""

    def __init__(
        self,
        stream: Stream,
        origin: Log,
        filters: Iterable[bytes],
        before_seq: bytes,
        behind_seq: bytes,
        identity: bytes,
    ) -> None:
        """``before_seq``: what ``Nats-Stream-Source`` says before the sequence; empty for a mirror."""
    def take(self, start: int, end: int, messages: int, size: int, now: int) -> tuple[int, int, bool]:
        """Copies at most so many messages, or bytes, from ``start`` to ``end``: (the sequence to go on with, how many,
        whether that one needs a decision)."""
    @property
    def last_seq(self) -> int:
        """Of the origin: the last one that was copied."""
