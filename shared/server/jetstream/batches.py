"""Atomic batches: messages that are stored together or not at all (reference 3.2).

Until its commit a batch is kept in memory; nothing of it is visible. The commit checks all of its messages and then
appends them within one turn of the loop, so that they are in one frame of the journal: no crash comes between them.
A batch that is left alone for ten seconds is over.
"""

from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.jetstream.errors import error
from phloem.shared.jetstream.headers import Wishes, wishes_of, with_field, without
from phloem.shared.jetstream.times import SECOND_NS
from phloem.shared.server.jetstream.direct import level_is_known
from phloem.shared.server.jetstream.staged import Duplicate, Staged

if TYPE_CHECKING:
    import asyncio

    from phloem.shared.server.jetstream.publish import Publish
    from phloem.shared.server.jetstream.stream import Stream

ID_MAX = 64
LEVEL = b"Nats-Required-Api-Level"


class Batch:
    """One that is open."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes, bytes, Wishes]] = []  # subject, header, payload, wishes
        self.bytes = 0
        self.timer: asyncio.TimerHandle | None = None
        self.touched_ns = 0


class Batches:
    """The open batches of a stream."""

    def __init__(self, stream: "Stream", publish: "Publish") -> None:
        self._stream = stream
        self._publish = publish
        self._open: dict[bytes, Batch] = {}

    # --- opening and ending ----------------------------------------------------------------------------

    def _begin(self, ident: bytes, seq: int, *, eob: bool) -> Batch:
        load = self._stream.system.batch_load
        if seq != 1:
            if seq - eob > load.most_messages:
                raise error(10199, size=load.most_messages)
            raise error(10176)
        if len(self._open) >= load.most_of_stream or load.batches >= load.most:
            raise error(10210)
        batch = self._open[ident] = Batch()
        load.batches += 1
        return batch

    def _end(self, ident: bytes, reason: str = "") -> None:
        batch = self._open.pop(ident)
        load = self._stream.system.batch_load
        load.batches -= 1
        load.bytes -= batch.bytes
        if batch.timer is not None:
            batch.timer.cancel()
        if reason:
            stream, name = self._stream, ident.decode(errors="replace")
            stream.system.api.advise(
                stream.account,
                f"ADVISORY.STREAM.BATCH_ABANDONED.{stream.name}",
                "advisory.v1.stream_batch_abandoned",
                {"stream": stream.name, "batch": name, "reason": reason},
            )

    def _rest(self, ident: bytes, batch: Batch) -> None:
        """Its time begins anew. One timer that looks when it fires for how long it was left alone, instead of one for
        every message."""
        batch.touched_ns = self._stream.system.server.clock.monotonic_ns()
        if batch.timer is None:
            self._look_in(ident, batch, self._stream.system.batch_load.idle_ns)

    def _look_in(self, ident: bytes, batch: Batch, wait_ns: int) -> None:
        server = self._stream.system.server

        def look() -> None:
            idle_ns = self._stream.system.batch_load.idle_ns
            left_ns = batch.touched_ns + idle_ns - server.clock.monotonic_ns()
            if left_ns <= 0:
                self._end(ident, "timeout")
            else:
                self._look_in(ident, batch, left_ns)

        batch.timer = server.call_later(wait_ns / SECOND_NS, look)

    def close(self) -> None:
        """The stream is closed."""
        for ident in list(self._open):
            self._end(ident)

    # --- a message -------------------------------------------------------------------------------------

    def take(self, subject: bytes, reply: bytes, header: bytes, payload: bytes, wishes: Wishes) -> None:
        """A message with ``Nats-Batch-Id``. Raises ApiError."""
        config, ident = self._stream.config, wishes[b"Nats-Batch-Id"]
        if config.sealed:
            raise error(10109)
        self._publish.check_size(config, header, payload)
        if not config.allow_atomic:
            raise error(10174)
        if not 0 < len(ident) <= ID_MAX:
            raise error(10179)
        text = wishes.get(b"Nats-Batch-Sequence", b"")
        if not text.isdigit() or len(text) > 18:
            raise error(10175)
        seq, commit = int(text), wishes.get(b"Nats-Batch-Commit")
        eob = commit == b"eob"
        batch = self._open.get(ident) or self._begin(ident, seq, eob=eob)
        if commit is not None and commit not in (b"1", b"eob"):
            self._end(ident)
            raise error(10200)
        if LEVEL in wishes:
            if not level_is_known(header):
                self._end(ident, "unsupported")
                raise error(10185)
            header = without(header, (LEVEL + b":",))
            wishes = wishes_of(header)
        if seq != len(batch.messages) + 1 or (seq == 1 and eob):
            self._end(ident, "incomplete")
            raise error(10176)
        most = self._stream.system.batch_load.most_messages
        if seq - eob > most:
            self._end(ident, "large")
            raise error(10199, size=most)
        if not eob:
            self._add(ident, batch, subject, header, payload, wishes)
        if commit is None:
            self._rest(ident, batch)
            self._publish.answer(reply, b"")
        else:
            self._commit(ident, batch, reply, eob=eob)

    def _add(
        self, ident: bytes, batch: Batch, subject: bytes, header: bytes, payload: bytes, wishes: Wishes
    ) -> None:
        size, load = len(subject) + len(header) + len(payload), self._stream.system.batch_load
        if load.bytes + size > limits.BATCH_BYTES:
            self._end(ident, "large")
            raise error(10210)
        batch.messages.append((subject, header, payload, wishes))
        batch.bytes += size
        load.bytes += size

    def _commit(self, ident: bytes, batch: Batch, reply: bytes, *, eob: bool) -> None:
        """All are checked before the first is stored."""
        staged, checked = Staged(self._stream, self._publish), []
        try:
            for subject, header, payload, wishes in batch.messages:
                if b"Nats-Expected-Last-Msg-Id" in wishes:
                    raise error(10177, header="Nats-Expected-Last-Msg-Id")
                checked.append(staged.check(subject, header, payload, wishes))
        except Duplicate:
            raise error(10201) from None
        finally:
            self._end(ident)
        if eob:
            last = checked[-1]
            checked[-1] = last._replace(header=with_field(last.header, b"Nats-Batch-Commit: 1"))
        seq = 0
        for message in checked:
            seq = self._publish.keep(message)
        self._publish.acknowledge_batch(seq, reply, ident, len(checked))
