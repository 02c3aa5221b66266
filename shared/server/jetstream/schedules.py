"""Messages that are published when their time has come (reference 2.11).

Each schedule is a message of the stream; when it is due is a pair in the store, so that it outlives the process. When
it fires, a copy goes to its target; a repeating one gets its next time, one that does not is removed. What was missed
while the server was off fires once.
"""

import heapq
import logging
from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.jetstream.errors import ApiError
from phloem.shared.jetstream.headers import Wishes, wishes_of, with_field, without
from phloem.shared.jetstream.schedule import PURGE, due_in
from phloem.shared.jetstream.times import SECOND_NS, rfc3339
from phloem.shared.jetstream.ttl import parse_ttl
from phloem.shared.server.jetstream.prepared import Prepared
from phloem.shared.store.log import Damaged, Message

if TYPE_CHECKING:
    import asyncio

    from phloem.shared.server.jetstream.stream import Stream

log = logging.getLogger("phloem.jetstream")

LEFT_BEHIND = (b"Nats-Schedule", b"Nats-Expected-", b"Nats-Msg-Id:", b"Nats-TTL:", b"Nats-Rollup:")
AT_ONCE = 256  # fired in one go, then others have their turn
RETRY_NS = SECOND_NS  # a stream that is full may have room again


class Schedules:
    """The schedules of one stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self._known: dict[bytes, tuple[int, int]] = {}  # subject: (wall time, sequence)
        self._heap: list[tuple[int, int, bytes]] = []
        self._timer: asyncio.TimerHandle | None = None
        if stream.config.storage == "file":
            self._load()

    def _prefix(self) -> bytes:
        return b"t" + self._stream.record.ident.to_bytes(4)

    def _load(self) -> None:
        prefix = self._prefix()
        for key, value in self._stream.system.store.scan(prefix):
            due, subject = int.from_bytes(value[:8]), value[8:]
            self._known[subject] = due, int.from_bytes(key[len(prefix) :])
            heapq.heappush(self._heap, (due, self._known[subject][1], subject))

    # --- what is known ---------------------------------------------------------------------------------

    def _set(self, subject: bytes, due: int, seq: int) -> None:
        self._drop(subject)
        self._known[subject] = due, seq
        heapq.heappush(self._heap, (due, seq, subject))
        if self._stream.config.storage == "file":
            self._stream.system.store.put(self._prefix() + seq.to_bytes(8), due.to_bytes(8) + subject)

    def _drop(self, subject: bytes) -> None:
        known = self._known.pop(subject, None)
        if known is not None and self._stream.config.storage == "file":
            self._stream.system.store.delete(self._prefix() + known[1].to_bytes(8))

    def stored(self, subject: bytes, wishes: Wishes, seq: int, now: int) -> None:
        """A message was stored: a schedule, the end of one, or nothing of the kind."""
        due = due_in(wishes, now, now)
        scheduler = wishes.get(b"Nats-Scheduler")
        if due is not None:
            self._set(subject, due.ns, seq)
            self.schedule()
        elif not scheduler:
            self._drop(subject)
        if scheduler and wishes.get(b"Nats-Schedule-Next") == PURGE:
            self._stream.log.purge((scheduler,))
            self._stream.engine.changed()
            self._drop(scheduler)

    # --- the timer -------------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Set the timer for what is due first."""
        self.cancel()
        while self._heap and self._known.get(self._heap[0][2]) != self._heap[0][:2]:
            heapq.heappop(self._heap)
        if self._heap:
            wait = self._heap[0][0] - self._stream.system.clock.wall_ns()
            # not for longer, because the wall clock may be set meanwhile
            wait = min(max(wait, 0), limits.SCHEDULE_LOOK_NS)
            self._timer = self._stream.system.server.call_later(wait / SECOND_NS, self._run)

    def cancel(self) -> None:
        """No timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _run(self) -> None:
        self._timer = None
        now = self._stream.system.clock.wall_ns()
        for _ in range(AT_ONCE):
            if not self._heap or self._heap[0][0] > now:
                break
            due, seq, subject = heapq.heappop(self._heap)
            if self._known.get(subject) == (due, seq):
                self._fire(subject, due, seq, now)
        self.schedule()

    def _read(self, seq: int) -> Message | None:
        try:
            return self._stream.log.read(seq)
        except Damaged as problem:
            log.error("%s", problem)
            return None

    def _fire(self, subject: bytes, due: int, seq: int, now: int) -> None:
        message = self._read(seq)
        wishes = wishes_of(message.header) if message is not None else {}
        following = due_in(wishes, due, now)
        if message is None or following is None:
            self._drop(subject)
            return
        content = message
        if source := wishes.get(b"Nats-Schedule-Source"):
            content = self._stream.publish.last_message(source) or message
        header = without(content.header, LEFT_BEHIND) if content.header else b""
        header = with_field(header, b"Nats-Scheduler: " + subject)
        again = rfc3339(following.ns).encode() if following.repeats else PURGE
        header = with_field(header, b"Nats-Schedule-Next: " + again)
        if ttl := wishes.get(b"Nats-Schedule-TTL"):
            header = with_field(header, b"Nats-TTL: " + ttl)
        if rollup := wishes.get(b"Nats-Schedule-Rollup"):
            header = with_field(header, b"Nats-Rollup: " + rollup)
        try:
            self._produce(wishes[b"Nats-Schedule-Target"], header, content.payload, ttl or b"", rollup or b"")
        except ApiError as problem:
            log.warning("Schedule '%s' of stream '%s': %s", subject, self._stream.name, problem)
            self._set(subject, now + RETRY_NS, seq)
            return
        if following.repeats:
            self._set(subject, following.ns, seq)

    def _produce(self, target: bytes, header: bytes, payload: bytes, ttl: bytes, rollup: bytes) -> None:
        stream = self._stream
        publish, subject = stream.publish, stream.publish.renamed(target)
        if stream.config.retention == "interest" and not stream.engine.wanted(subject):
            stream.log.skip(stream.log.last_seq + 1)
            self.stored(subject, wishes_of(header), stream.log.last_seq, stream.system.clock.wall_ns())
            return
        publish.check_size(stream.config, header, payload)
        publish.check_room(stream.config, subject, header, payload, rollup)
        wishes = wishes_of(header)
        publish.put(Prepared(subject, header, payload, wishes, parse_ttl(ttl) if ttl else 0, rollup))

    def forget(self) -> None:
        """The stream is deleted."""
        self.cancel()
        for subject in list(self._known):
            self._drop(subject)
        self._heap = []
