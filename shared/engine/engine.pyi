"""The typed contract of the engine's Python face (engine.pyx): streams that take messages in, answers that wait.

All of it belongs to the loop's thread. Subjects, headers and payloads are bytes; a header is the whole block from
``NATS/1.0`` to its empty line.
"""

from collections.abc import Callable, Iterable
from typing import Any

from phloem.shared.engine.message_ids import MessageIds
from phloem.shared.kernel import Account, Kernel
from phloem.shared.store.log import Log
from phloem.shared.store.store import Store

Take = Callable[[bytes, bytes, bytes, bytes], None]
"""``take(subject, reply, header, payload)``: a message that Python has to decide about."""

LIMITS: int
INTEREST: int
WORK_QUEUE: int

class Engine:
    """Works at the end of each of the kernel's rounds. One for a kernel; ``store`` None: memory streams only."""

    kernel: Kernel
    store: Store | None
    def __init__(self, kernel: Kernel, store: Store | None = None) -> None: ...
    def set_sync_interval(self, ns: int) -> None:
        """How long streams in the sync mode "interval" may be ahead of the disk."""
    def set_scoped_replies(self, on: bool) -> None:
        """Whether replies of deliveries and flow control name domain and account: ``$JS.ACK.<domain>.<hash>...``"""
    def set_clock(self, wall_offset_ns: int) -> None:
        """Wall clock minus monotonic clock, for the time stamps of what the kernel stores by itself."""
    def answer(
        self,
        account: Account,
        subject: bytes,
        header: bytes,
        payload: bytes,
        log: Log | None = None,
        *,
        durable: bool = False,
    ) -> None:
        """Publishes at the end of the round; with ``log`` once everything it holds now is safe in its sync mode,
        with ``durable`` once everything recorded so far is on the disk."""
    def hear(self, account: Account, callback: Take) -> None:
        """Serves ``$JS.ACK.>`` and ``$JS.FC.>`` of the account; ``callback`` gets acknowledgements with an argument."""
    def leave_direct_gets(self, ident: int) -> None:
        """A subscription to ``$JS.API.>``, or the domain's, leaves direct gets of clients to the streams that serve
        them."""
    def take_events(self) -> list[tuple[Any, int, int, int, int, int]]:
        """What has happened to consumers since the last call, to be asked after each tick: (consumer, what, stream_seq,
        consumer_seq, deliveries, ns), see consumer_face.pyi."""
    def wake(self) -> None:
        """Another tick comes soon: there is work although nothing may arrive."""
    def close(self) -> None: ...

class Quota:
    """Bytes that an account may keep in one kind of storage; shared by its streams."""

    used: int
    limit: int
    def __init__(self, limit: int) -> None: ...

class Stream:
    """A stream as the per-message path sees it."""

    engine: Engine
    account: Account
    log: Log
    name: bytes
    ids: MessageIds
    def __init__(
        self,
        engine: Engine,
        account: Account,
        log: Log,
        name: bytes,
        domain: bytes,
        account_hash: bytes,
        take: Take,
    ) -> None:
        """``domain`` may be empty. ``account_hash`` is what acknowledgements of 11 tokens name the account by."""
    def configure(
        self,
        *,
        slow: bool,
        retention: int,
        no_ack: bool,
        sealed: bool,
        discard_new: bool,
        discard_new_per_subject: bool,
        max_msgs: int,
        max_bytes: int,
        max_msgs_per_subject: int,
        max_msg_size: int,
        quota: Quota | None,
    ) -> None:
        """Limits of -1 are none. ``slow``: every message goes to ``take``. Acts at once on what is stored."""
    def listen(self, subjects: Iterable[bytes]) -> None:
        """Takes what is published to these subjects, and only these, from now on."""
    def serve_direct(self, ident: int) -> None:
        """Lets a subscription to ``$JS.API.DIRECT.GET.<stream>.>`` answer for the last message on a literal subject;
        what else is asked for goes to its callback."""
    def store(self, subject: bytes, header: bytes, payload: bytes, ts: int, seq: int = 0) -> int:
        """Stores a message that may be stored, limits hold afterwards; its sequence."""
    def take_all(self, messages: Iterable[tuple[bytes, bytes, bytes]]) -> int:
        """Publishes messages (subject, header, payload) in order as long as each is stored at once by this stream; how
        many were. Those behind these are nowhere, and nobody has heard them, but for the first one if its subject is
        not the stream's or its header is for the server. What they cause happens in the kernel's next round, which
        comes soon. Raises ValueError as ``Kernel.publish`` does."""
    def full(self, size: int) -> int:
        """Which limit a message of so many bytes (as the log counts) would break: 0 none, 1 max_msgs, 2 max_bytes."""
    def wanted(self, subject: bytes) -> bool:
        """Whether a consumer would want a message on this subject (interest retention)."""
    def release(self, seq: int) -> None:
        """A copy of this message is safe elsewhere: unless a consumer still wants it, retention removes it."""
    def forget_unwanted(self) -> None:
        """Interest retention: removes what no consumer wants any more."""
    def ack(self, seq: int, reply: bytes, *, duplicate: bool = False) -> None:
        """The usual acknowledgement, when it is due."""
    def changed(self) -> None:
        """The log was changed from outside: quotas and consumers learn of it."""
    def close(self) -> None:
        """The stream is gone: nothing is taken or acknowledged any more."""
