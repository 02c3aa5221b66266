"""The typed contract of consumers (consumer_face.pyx). Times are nanoseconds of the monotonic clock."""

from collections.abc import Sequence
from typing import TypedDict

from phloem.shared.engine.engine import Stream

ACK_NONE: int
ACK_ALL: int
ACK_EXPLICIT: int
ACK_FLOW: int  # answers to flow control acknowledge everything before
NO_PRIORITY: int
OVERFLOW: int
PINNED: int
PRIORITIZED: int

# What ``Engine.take_events`` tells.
INACTIVE: int  # unused for its inactive threshold: delete it
MAX_DELIVERIES: int
NAKED: int
TERMINATED: int  # ns 1: because the message was removed from the stream
ACKED: int  # with ``samples``; ns: from delivery to acknowledgement
PIN_SET: int
PIN_LOST: int  # deliveries 1: by an administrator
RESUMED: int  # the pause is over

class Numbers(TypedDict):
    delivered_consumer: int
    delivered_stream: int
    floor_consumer: int
    floor_stream: int
    num_ack_pending: int
    num_redelivered: int
    num_waiting: int
    num_pending: int
    last_sent_ns: int  # 0: never
    last_ack_ns: int
    push_bound: bool
    paused_until_ns: int
    pin: bytes
    pinned_ns: int

class Consumer:
    """A consumer as the per-message path sees it."""

    stream: Stream
    name: bytes
    def __init__(
        self,
        stream: Stream,
        name: bytes,
        ident: int,
        *,
        start_seq: int,
        last_seqs: Sequence[int] = (),
        durable_state: bool,
    ) -> None:
        """``start_seq``: the first sequence to look at; ``last_seqs``: these before (last_per_subject). ``ident``: the
        owner of its notes in the store. It hands nothing out before ``configure``."""
    def configure(
        self,
        *,
        filters: Sequence[bytes],
        ack_policy: int,
        ack_wait_ns: int,
        backoff_ns: Sequence[int],
        max_deliver: int,
        max_ack_pending: int,
        max_waiting: int,
        deliver_subject: bytes,
        deliver_group: bytes,
        headers_only: bool,
        replay_original: bool,
        flow_control: bool,
        heartbeat_ns: int,
        rate_bytes: int,
        inactive_ns: int,
        priority_policy: int,
        pin_ttl_ns: int,
        samples: bool,
    ) -> None:
        """Limits of -1 are none; an empty deliver_subject makes it a pull consumer."""
    def pull(
        self,
        reply: bytes,
        *,
        batch: int,
        expires_ns: int,
        no_wait: bool,
        max_bytes: int,
        heartbeat_ns: int,
        min_pending: int,
        min_ack_pending: int,
        priority: int,
        pin: bytes,
    ) -> None:
        """A request that was found to be valid. ``expires_ns`` is a time span, 0: none; ``max_bytes`` 0: no limit. What
        depends on the consumer's state is answered here (409 Exceeded MaxWaiting, 408 Requests Pending, 423)."""
    def status(self, reply: bytes, status: bytes) -> None:
        """A message with ``NATS/1.0 <status>`` and no body."""
    def ack(self, seq: int) -> None: ...
    def nak(self, seq: int, delay_ns: int = 0) -> bool: ...
    def term(self, seq: int) -> tuple[int, int] | None:
        """Never again; its consumer sequence and deliveries, None: it was not pending."""
    def pause(self, until_ns: int) -> None:
        """Until this time; 0: go on."""
    def reset(self, start_seq: int) -> None:
        """As if it were new, from this sequence on."""
    def pass_over(self, first_seq: int) -> None:
        """What is below was purged: with nothing out, everything up to there counts as delivered and acknowledged."""
    def recount(self) -> None:
        """Counts anew what is pending: messages of its stream were lost or found."""
    def unpin(self) -> None: ...
    @property
    def numbers(self) -> Numbers: ...
    def snapshot(self) -> bytes: ...
    def restore(self, state: bytes | None, notes: Sequence[bytes]) -> None:
        """What an earlier run left behind. Raises ValueError for what is no state."""
    def adopt(
        self,
        delivered_consumer: int,
        delivered_stream: int,
        floor_consumer: int,
        floor_stream: int,
        pending: Sequence[tuple[int, int, int]],
    ) -> None:
        """The state of another server's consumer; ``pending`` as ``pending`` gives it, in the order of delivery."""
    def pending(self) -> list[tuple[int, int, int]]:
        """(stream sequence, consumer sequence, deliveries) of what is not acknowledged."""
    def close(self, status: bytes = b"") -> None:
        """The end; ``status`` is said to requests that wait."""
