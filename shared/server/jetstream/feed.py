"""Where mirrors and sources read from: a stream as its origin, behind a protocol that a remote one can have as well.

Only what is visible is read: what an origin has not on its disk yet might be gone after a crash, and its
sequence given to another message.
"""

from typing import TYPE_CHECKING, Protocol

from phloem.shared.jetstream.errors import error
from phloem.shared.jetstream.sourcing import identity_of
from phloem.shared.jetstream.stream_config import StreamSource
from phloem.shared.jetstream.times import parse_rfc3339
from phloem.shared.store.log import Damaged, Message

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.stream import Stream

Filters = tuple[bytes, ...]


class Feed(Protocol):
    """An origin."""

    @property
    def identity(self) -> bytes:
        """What tells it from an earlier stream of the same name."""

    @property
    def last_seq(self) -> int:
        """The last sequence that can be read."""

    def start(self, source: StreamSource) -> int:
        """The sequence with which a source begins that has nothing yet."""

    def next(self, filters: Filters, seq: int) -> Message | None:
        """The first message from ``seq`` on that matches."""

    def behind(self, filters: Filters, seq: int) -> int:
        """How many there are from ``seq`` on."""


class LocalFeed:
    """A stream of the same account of this server."""

    def __init__(self, stream: "Stream") -> None:
        self.stream = stream
        self.identity = identity_of(stream.record.created_ns)

    @property
    def last_seq(self) -> int:
        """The last visible one."""
        return self.stream.log.visible_seq

    def start(self, source: StreamSource) -> int:
        """As its configuration says, else the beginning."""
        if source.opt_start_time:
            return self.stream.log.seq_from_time(parse_rfc3339(source.opt_start_time))
        return max(source.opt_start_seq, 1)

    def next(self, filters: Filters, seq: int) -> Message | None:
        """What the disk has damaged is passed over: a copy cannot be better than the original."""
        log, last = self.stream.log, self.last_seq
        while seq <= last:
            try:
                return log.next(filters, seq, last)
            except Damaged as problem:
                seq = problem.seq + 1
        return None

    def behind(self, filters: Filters, seq: int) -> int:
        """Counted by the log's index."""
        last = self.last_seq
        return self.stream.log.count(filters, seq, last) if seq <= last else 0


def feed_of(account: "AccountJetStream", source: StreamSource) -> Feed:
    """The origin as it is now. Raises ApiError when there is none."""
    stream = account.streams.get(source.name)
    if stream is None:
        raise error(10059)
    return LocalFeed(stream)


def is_current(feed: Feed, account: "AccountJetStream", source: StreamSource) -> bool:
    """Whether the origin is still this one: it may have been deleted, and made again."""
    return isinstance(feed, LocalFeed) and account.streams.get(source.name) is feed.stream
