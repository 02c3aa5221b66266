"""A snapshot on its way out, a backup on its way in: chunks, windows, acknowledgements, time limits (reference 5.4).

Both are told what happened and work in turns, so that a stream of gigabytes never keeps anybody else waiting. A
snapshot sends chunks to its receiver, so many as the window allows; a chunk that is full asks for an acknowledgement,
the last one does not, and an empty message says how it ended. A restore takes chunks, acknowledges each one once what
was in it is on the disk, and learns from an empty message that there is no more; a mistake is told in the answer to
that, as nats-server tells it. What a stream is, is behind ``SnapshotSource`` and ``RestoreTarget``.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from phloem.shared import limits
from phloem.shared.clock import Clock
from phloem.shared.jetstream import archive
from phloem.shared.jetstream.archive import ArchiveError, ConsumerDocument, Entry, State
from phloem.shared.jetstream.archive_tar import Removed, TarReader
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.store.log import Damaged
from phloem.shared.wire.s2 import CorruptStream, Decoder, Encoder

log = logging.getLogger("phloem.jetstream")

RETRY_NS = 5_000_000  # until somebody listens
ENTRY_COST = 512  # what storing a message costs beside its bytes, in bytes of a turn
CREATED = "io.nats.jetstream.api.v1.stream_create_response"


class Timer(Protocol):
    """What can be called off."""

    def cancel(self) -> None:
        """It does not happen."""


class Line(Protocol):
    """How messages come and go, and how a turn is asked for."""

    clock: Clock

    def publish(self, subject: str, reply: str, header: bytes, body: bytes) -> int:
        """How many got it."""

    def listened(self, subject: str) -> bool:
        """Whether somebody has subscribed to exactly this."""

    def answer(self, reply: bytes, body: bytes) -> None:
        """Once all that was stored so far is on the disk."""

    def subscribe(self, subject: str, callback: Callable[[bytes, bytes, bytes, bytes], None]) -> int:
        """``callback(subject, reply, header, body)``."""

    def unsubscribe(self, ident: int) -> None:
        """No more of it."""

    def call_later(self, delay_ns: int, work: Callable[[], None]) -> Timer:
        """A turn, later; 0: when others had theirs."""


class SnapshotSource(Protocol):
    """A stream that is read."""

    name: str

    def documents(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """``state.json`` and the consumers."""

    def entries(self, size: int) -> bytes:
        """The next messages as entries of the archive, about so many bytes; nothing: there are no more. Raises
        Damaged."""


class RestoreTarget(Protocol):
    """A stream that is written. Everything but ``abort`` raises ApiError or ArchiveError."""

    name: str

    def begin(self, state: State) -> None:
        """What is to come."""

    def consumer(self, name: str, document: ConsumerDocument) -> None:
        """A consumer."""

    def message(self, entry: Entry) -> None:
        """The next message."""

    def remove(self, seq: int) -> None:
        """A message, if there is one, is gone."""

    def finish(self) -> dict[str, Any]:
        """It is all there; what the answer says of the stream."""

    def abort(self) -> None:
        """Nothing of it stays."""


class SnapshotRequest(msgspec.Struct):
    """The body of STREAM.SNAPSHOT."""

    deliver_subject: str = ""
    no_consumers: bool = False
    chunk_size: int = 0
    window_size: int = 0
    jsck: bool = False  # every message that is read is checked anyhow


class Snapshot:
    """One snapshot. ``on_done`` is told why it failed, or ``""``."""

    def __init__(
        self,
        line: Line,
        source: SnapshotSource,
        request: SnapshotRequest,
        nuid: str,
        on_done: Callable[[str], None],
    ) -> None:
        self._line, self._source, self._on_done = line, source, on_done
        self._deliver = request.deliver_subject
        chunk = request.chunk_size or limits.SNAPSHOT_CHUNK
        self._chunk = min(max(chunk, limits.SNAPSHOT_CHUNK_MIN), limits.SNAPSHOT_CHUNK_MAX)
        window = request.window_size or limits.SNAPSHOT_WINDOW
        self._slots = max(min(window, limits.SNAPSHOT_WINDOW_MAX) // self._chunk, 1)
        self._ack_subject = f"$JS.SNAPSHOT.ACK.{source.name}.{nuid}"
        self._ident = line.subscribe(f"{self._ack_subject}.>", self._acked)
        self._encoder = Encoder()
        self._packed = bytearray()
        self._plain = self._pieces()
        self._all = self._ready = False
        self._index = 0
        self._began_ns = self._sent_ns = line.clock.monotonic_ns()
        self._turn: Timer | None = line.call_later(0, self._work)
        self._watch = line.call_later(limits.SNAPSHOT_STALL_NS, self._check)
        self.over = False

    def _pieces(self) -> Iterator[bytes]:
        now = self._line.clock.wall_ns()
        yield archive.MAGIC
        for name, content in self._source.documents():
            yield archive.document(name, now, content)
        while entries := self._source.entries(limits.SNAPSHOT_PIECE):
            yield entries
        yield archive.END

    def _acked(self, _subject: bytes, _reply: bytes, _header: bytes, _body: bytes) -> None:
        self._slots += 1
        if self._turn is None and not self.over:
            self._turn = self._line.call_later(0, self._work)

    def _work(self) -> None:
        """A turn: pack, and send what is packed. A receiver may subscribe when it has read the answer to its request;
        a wildcard over the subject, such as that of all its requests, is not yet a receiver."""
        self._turn = None
        if self._waits():
            self._turn = self._line.call_later(RETRY_NS, self._work)
            return
        budget = limits.SNAPSHOT_TURN
        while not self.over and self._slots > 0:
            try:
                budget = self._fill(budget)
            except Damaged as problem:
                self._end(str(problem), f"NATS/1.0 500 {problem}\r\n\r\n".encode())
                return
            if len(self._packed) >= self._chunk:
                if not self._send():
                    return
            elif self._all:
                if self._packed:
                    self._line.publish(self._deliver, "", b"", bytes(self._packed))
                self._end("", b"NATS/1.0 204\r\n\r\n" if self._index else b"")
                return
            if budget <= 0:
                self._turn = self._line.call_later(0, self._work)
                return

    def _waits(self) -> bool:
        if not self._ready:
            waited = self._line.clock.monotonic_ns() - self._began_ns
            self._ready = waited >= limits.SNAPSHOT_INTEREST_NS or self._line.listened(self._deliver)
        return not self._ready

    def _fill(self, budget: int) -> int:
        while len(self._packed) < self._chunk and not self._all and budget > 0:
            piece = next(self._plain, None)
            if piece is None:
                self._packed += self._encoder.flush()
                self._all = True
            else:
                budget -= len(piece)
                self._packed += self._encoder.feed(piece)
        return budget

    def _send(self) -> bool:
        """A full chunk; False: nobody is there."""
        now = self._line.clock.monotonic_ns()
        reply = f"{self._ack_subject}.{self._chunk}.{self._index + 1}"
        if self._line.publish(self._deliver, reply, b"", bytes(self._packed[: self._chunk])):
            del self._packed[: self._chunk]
            self._index += 1
            self._slots -= 1
            self._sent_ns = now
            return True
        self._end("no interest", b"NATS/1.0 408 No Interest\r\n\r\n")
        return False

    def _check(self) -> None:
        """Whether the receiver has stalled."""
        quiet = self._line.clock.monotonic_ns() - self._sent_ns
        if self._slots <= 0 and quiet >= limits.SNAPSHOT_STALL_NS:
            self._end("no flow response", b"NATS/1.0 408 No Flow Response\r\n\r\n")
            return
        left = limits.SNAPSHOT_STALL_NS - quiet if self._slots <= 0 else limits.SNAPSHOT_STALL_NS
        self._watch = self._line.call_later(max(left, RETRY_NS), self._check)

    def _end(self, why: str, header: bytes) -> None:
        self._line.publish(self._deliver, "", header, b"")
        self.cancel()
        self._on_done(why)

    def cancel(self) -> None:
        """The server stops, or it is over."""
        self.over = True
        self._line.unsubscribe(self._ident)
        self._watch.cancel()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._packed.clear()


class Restore:
    """One restore. ``on_done`` is told how many bytes came and why it failed, or ``""``."""

    def __init__(
        self,
        line: Line,
        target: RestoreTarget,
        nuid: str,
        message_max: int,
        on_done: Callable[[int, str], None],
        state: State | None = None,
    ) -> None:
        """``state`` is what the request said: older snapshots have none of their own."""
        self._line, self._target, self._on_done = line, target, on_done
        self.subject = f"$JS.SNAPSHOT.RESTORE.{target.name}.{nuid}"
        self._ident = line.subscribe(self.subject, self._came)
        self._decoder = Decoder()
        self._message_max, self._told = message_max, state or State()
        self._reader: archive.Reader | TarReader | None = None
        self._head = b""  # the first bytes, which say what it is
        self._state: State | None = None
        self._consumers = 0
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._waiting_bytes = 0
        self._steps: Iterator[int] | None = None  # the chunk that is being unpacked
        self._problem: ApiError | None = None
        self._bytes = 0
        self._active_ns = line.clock.monotonic_ns()
        self._turn: Timer | None = None
        self._watch = line.call_later(limits.SNAPSHOT_STALL_NS, self._check)
        self.over = False

    def _came(self, _subject: bytes, reply: bytes, _header: bytes, body: bytes) -> None:
        if self.over:
            return
        self._active_ns = self._line.clock.monotonic_ns()
        self._waiting_bytes += len(body)
        if not reply:
            self._give_up(f"restore for stream '{self._target.name}' requires reply subject for each chunk")
        elif (
            self._waiting_bytes > limits.RESTORE_WAITING or len(self._waiting) >= limits.RESTORE_WAITING >> 10
        ):
            self._give_up(f"restore for stream '{self._target.name}' does not wait for acknowledgements")
        else:
            self._waiting.append((reply, body))
            if self._turn is None:
                self._work()

    def _work(self) -> None:
        """A turn: unpack chunks, in their order."""
        self._turn = None
        budget = limits.SNAPSHOT_TURN
        while self._waiting and not self.over:
            reply, body = self._waiting[0]
            if not body:
                self._finish(reply)
                return
            if not self._unpack(body, budget):
                self._turn = self._line.call_later(0, self._work)
                return
            budget -= len(body)
            self._waiting.popleft()
            self._waiting_bytes -= len(body)
            self._bytes += len(body)
            self._active_ns = self._line.clock.monotonic_ns()
            self._line.answer(reply, b"")

    def _unpack(self, body: bytes, budget: int) -> bool:
        """Whether all of this chunk is done."""
        if self._problem is not None:
            return True
        if self._steps is None:
            self._steps = self._unpacked(body)
        try:
            for cost in self._steps:
                budget -= cost
                if budget <= 0:
                    return False
        except ApiError as problem:
            self._fail(problem)
        except (ArchiveError, CorruptStream) as problem:
            self._fail(error(10062, err=str(problem)))
        self._steps = None
        return True

    def _unpacked(self, body: bytes) -> Iterator[int]:
        self._decoder.feed(body)
        while block := self._decoder.block():
            yield len(block)
            reader = self._reader or self._recognised(block)
            if reader is None:
                continue
            reader.feed(self._head + block)
            self._head = b""
            old = isinstance(reader, TarReader)
            for found in reader.entries():
                if old:
                    self._take_old(found)
                elif isinstance(found, Entry):
                    self._take(found)
                yield ENTRY_COST

    def _recognised(self, block: bytes) -> archive.Reader | TarReader | None:
        """Which kind of snapshot this is; None: too little has come to know."""
        size = len(archive.MAGIC)
        if len(self._head) + len(block) < size:
            self._head += block
            return None
        if (self._head + block[:size])[:size] == archive.MAGIC:
            self._reader = archive.Reader(self._message_max)
        else:
            self._reader = TarReader(self._target.name, self._message_max)
        return self._reader

    def _take_old(self, found: Entry | Removed) -> None:
        """In a snapshot of nats-server up to 2.14 messages come before consumers."""
        if self._state is None:
            self._state = self._told
            self._target.begin(self._state)
        if isinstance(found, Removed):
            self._target.remove(found.seq)
        elif not found.seq:
            self._target.consumer(*archive.consumer_of(found))
        elif found.seq >= self._state.first_seq:
            self._target.message(found)

    def _take(self, found: Entry) -> None:
        if self._state is None:
            self._state = archive.state_of(found)
            self._target.begin(self._state)
        elif self._consumers < self._state.consumer_count:
            self._consumers += 1
            self._target.consumer(*archive.consumer_of(found))
        elif not found.seq:
            raise ArchiveError("expected message sequence")
        else:
            self._target.message(found)

    def _fail(self, problem: ApiError) -> None:
        """It cannot succeed any more; the sender hears of it at the end."""
        self._problem = problem
        self._target.abort()

    def _finish(self, reply: bytes) -> None:
        answer: dict[str, Any] = {"type": CREATED}
        whole = self._reader is not None and self._reader.done and self._decoder.between_chunks
        if self._problem is None and isinstance(self._reader, TarReader) and self._state is None:
            self._take_old(Removed(0))  # a stream without messages and without consumers
        if self._problem is None and not whole:
            self._fail(error(10062, err="backup was truncated"))
        if self._problem is None:
            try:
                answer |= self._target.finish()
            except ApiError as problem:
                self._fail(problem)
            except ArchiveError as problem:
                self._fail(error(10062, err=str(problem)))
        if self._problem is not None:
            answer["error"] = self._problem.as_dict()
        self._line.answer(reply, msgspec.json.encode(answer))
        self._close()
        self._on_done(self._bytes, self._problem.description if self._problem else "")

    def _give_up(self, why: str) -> None:
        log.warning("%s", why)
        self.cancel()
        self._on_done(self._bytes, why)

    def _check(self) -> None:
        """Whether the sender has stalled."""
        quiet = self._line.clock.monotonic_ns() - self._active_ns
        if quiet >= limits.SNAPSHOT_STALL_NS and not self._waiting:
            self._give_up(f"restore for stream '{self._target.name}' is stalled")
            return
        left = max(limits.SNAPSHOT_STALL_NS - quiet, RETRY_NS)
        self._watch = self._line.call_later(left, self._check)

    def _close(self) -> None:
        self.over = True
        self._line.unsubscribe(self._ident)
        self._watch.cancel()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._waiting.clear()
        self._steps = None

    def cancel(self) -> None:
        """The server stops, or it has come to nothing."""
        self._close()
        if self._problem is None:
            self._target.abort()
