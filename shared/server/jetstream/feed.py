"""Where mirrors and sources read from: a stream as its origin, behind a protocol that a remote one can have as well.

Only what is visible is read: what an origin has not on its disk yet might be gone after a crash, and its
sequence given to another message.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from phloem.shared.engine.consumer_face import ACK_EXPLICIT, NO_PRIORITY, Consumer
from phloem.shared.engine.draw import Draw
from phloem.shared.jetstream.errors import error
from phloem.shared.jetstream.sourcing import Selection, identity_of
from phloem.shared.jetstream.stream_config import StreamSource
from phloem.shared.jetstream.times import SECOND_NS, parse_rfc3339
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
    def alive(self) -> bool:
        """Whether nothing has been missed."""

    @property
    def plain(self) -> bool:
        """Whether it need not be told which of its messages have arrived."""

    @property
    def last_seq(self) -> int:
        """The last sequence that can be read."""

    def start(self, source: StreamSource) -> int:
        """The sequence with which a source begins that has nothing yet."""

    def next(self, filters: Filters, seq: int) -> Message | None:
        """The first message from ``seq`` on that matches."""

    def behind(self, filters: Filters, seq: int) -> int:
        """How many there are from ``seq`` on."""

    def draw(self, stream: "Stream", selection: Selection, *, mirror: bool) -> Draw | None:
        """The short way from here into a stream; None: there is none, ``next`` is asked for each message."""

    def hold(self, filters: Filters, seq: int) -> None:
        """Nothing that matches from ``seq`` on may go before it was taken (retention by interest, work queues)."""

    def taken(self, seqs: Sequence[int]) -> None:
        """Copies of these are on the disk."""

    def close(self, *, for_good: bool) -> None:
        """Nothing is read any more; ``for_good``: nor will be."""


class LocalFeed:
    """A stream of the same account of this server."""

    alive = True

    def __init__(self, stream: "Stream") -> None:
        self.stream = stream
        self.identity = identity_of(stream.record.created_ns)
        self._holder: Consumer | None = None
        self._filters: Filters = ()

    @property
    def plain(self) -> bool:
        """Retention by limits."""
        return self.stream.config.retention == "limits"

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
        return self.stream.log.count(filters, seq, self.last_seq)

    def draw(self, stream: "Stream", selection: Selection, *, mirror: bool) -> Draw | None:
        """From log to log."""
        before, behind = (b"", b"") if mirror else (selection.before_seq, selection.behind_seq)
        return Draw(stream.engine, self.stream.log, selection.filters, before, behind, self.identity)

    def hold(self, filters: Filters, seq: int) -> None:
        """By a consumer that is never asked for anything and that nobody sees; what an earlier one left is released."""
        stream = self.stream
        if stream.config.retention == "limits":
            return
        self._filters = filters
        name = b"$" + stream.system.server.rng.randbytes(8).hex().encode()
        self._holder = Consumer(stream.engine, name, 0, start_seq=seq, durable_state=False)
        self._holder.configure(
            filters=filters,
            ack_policy=ACK_EXPLICIT,
            ack_wait_ns=SECOND_NS,
            backoff_ns=(),
            max_deliver=-1,
            max_ack_pending=-1,
            max_waiting=1,
            deliver_subject=b"",
            deliver_group=b"",
            headers_only=False,
            replay_original=False,
            flow_control=False,
            heartbeat_ns=0,
            rate_bytes=0,
            inactive_ns=0,
            priority_policy=NO_PRIORITY,
            pin_ttl_ns=0,
            samples=False,
        )
        at, left = 1, []
        while (message := self.next(filters, at)) is not None and message.seq < seq:
            left.append(message.seq)
            at = message.seq + 1
        for old in left:
            stream.engine.release(old)

    def taken(self, seqs: Sequence[int]) -> None:
        """They go from here, unless a consumer wants them."""
        if self._holder is not None and seqs:
            self._holder.reset(seqs[-1] + 1)
            for seq in seqs:
                self.stream.engine.release(seq)
            self.stream.engine.changed()

    def close(self, *, for_good: bool) -> None:
        """What was kept for this reader alone goes, if it does not come back."""
        if self._holder is not None:
            self._holder.close()
            self._holder = None
            if for_good and self.stream.account.streams.get(self.stream.name) is self.stream:
                self.stream.publish.interest_changed()


def feed_of(account: "AccountJetStream", source: StreamSource) -> Feed:
    """The origin as it is now. Raises ApiError when there is none."""
    stream = account.streams.get(source.name)
    if stream is None:
        raise error(10059)
    return LocalFeed(stream)


def is_current(feed: Feed, account: "AccountJetStream", source: StreamSource) -> bool:
    """Whether the origin is still this one: it may have been deleted, and made again."""
    return account.streams.get(source.name) is feed.stream if isinstance(feed, LocalFeed) else feed.alive
