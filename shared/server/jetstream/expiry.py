"""What time removes from a stream: max_age from its front, messages with a TTL of their own, and the markers that a
subject gets whose last message went that way.

One timer, for whatever is due first. TTLs are kept in the store, so that they outlive the process; ``never`` exempts a
message from max_age as well.

Clocks that are set. A TTL runs on the monotonic clock while the process does; the TTLs of earlier processes and max_age
are counted by ``steady_date.py``.
A message that is dated in the future was stored while the clock was wrong: it is as old as what was stored behind it,
so that it does not keep everything behind it for years.
"""

import heapq
from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.jetstream.times import SECOND_NS, go_duration
from phloem.shared.server.jetstream.eras import Eras

if TYPE_CHECKING:
    import asyncio

    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.store.log import Message

NEVER = -1
AT_ONCE = 1024  # removed in one go, then others have their turn
LATE_NS = 50_000_000  # timers are not that exact, and one that is late removes more at once


class Expiry:
    """The timer of one stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0
        self._heap: list[tuple[int, int, int]] = []  # (monotonic time, sequence, wall time)
        self._dated: list[tuple[int, int]] = []  # (wall time, sequence) of earlier processes
        self._never: set[int] = set()
        self._looked = 0  # everything below is older than max_age, or dated in the future
        self._steps = 0  # of the date when that was found
        self.eras = Eras(stream)
        self._load()

    def _key(self, due: int, seq: int) -> bytes:
        return b"x" + self._stream.record.ident.to_bytes(4) + max(due, 0).to_bytes(8) + seq.to_bytes(8)

    def _load(self) -> None:
        if self._stream.config.storage != "file":
            return
        prefix = b"x" + self._stream.record.ident.to_bytes(4)
        for key, _ in self._stream.system.store.scan(prefix):
            due, seq = int.from_bytes(key[5:13]), int.from_bytes(key[13:21])
            if due:
                heapq.heappush(self._dated, (due, seq))
            else:
                self._never.add(seq)

    def add(self, seq: int, ttl_ns: int, now: int) -> None:
        """A message with a TTL has been stored."""
        due = 0 if ttl_ns == NEVER else now + ttl_ns
        if due:
            clock = self._stream.system.clock
            wait = max(due - clock.wall_ns(), 0)
            heapq.heappush(self._heap, (clock.monotonic_ns() + wait, seq, due))
        else:
            self._never.add(seq)
        if self._stream.config.storage == "file":
            self._stream.system.store.put(self._key(due, seq), b"\x01")
        self.schedule()

    def stored(self, now: int) -> None:
        """A message has come: its age may be what is due next."""
        if self._due_ns == 0:
            self.schedule()

    # --- the timer -------------------------------------------------------------------------------------

    def _next(self) -> int:
        """When something is due, monotonic clock; 0: never."""
        config, log = self._stream.config, self._stream.log
        due = self._heap[0][0] if self._heap else 0
        if self._dated:  # looked at now and then: the clock may be set
            wait = self._dated[0][0] - self._stream.system.date.wall_ns()
            wait = min(max(wait, 0), limits.CLOCK_HOLD_NS)
            dated = self._stream.system.clock.monotonic_ns() + wait
            due = min(due, dated) if due else dated
        if config.max_age and not config.sealed:
            message = log.next() if log.messages else None
            # an empty stream is looked at again after one age: its messages do not pass here
            age = self._stream.system.date.wall_ns() - self._time_of(message) if message else 0
            wait = max(config.max_age - age, 0) if age >= 0 else min(config.max_age, limits.CLOCK_HOLD_NS)
            aged = self._stream.system.clock.monotonic_ns() + wait
            due = min(due, aged) if due else aged
        return due

    def schedule(self) -> None:
        """Set the timer for what is due first."""
        due = self._next()
        self.cancel()
        if due:
            self._due_ns = due
            wait = max(due - self._stream.system.clock.monotonic_ns(), 0) + LATE_NS
            self._timer = self._stream.system.server.call_later(wait / SECOND_NS, self._run)

    def cancel(self) -> None:
        """No timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due_ns = None, 0

    def _run(self) -> None:
        self._timer, self._due_ns = None, 0
        date = self._stream.system.date.wall_ns()
        more = self._expire_marked(self._stream.system.clock.monotonic_ns(), date)
        more = self._expire_aged(date) or more
        self._stream.engine.changed()
        if more:
            self._timer = self._stream.system.server.call_later(0, self._run)
        else:
            self.schedule()

    def _expire_marked(self, now: int, date: int) -> bool:
        """Messages whose own time is over."""
        for _ in range(AT_ONCE):
            if self._heap and self._heap[0][0] <= now:
                _, seq, due = heapq.heappop(self._heap)
            elif self._dated and self._dated[0][0] <= date:
                due, seq = heapq.heappop(self._dated)
            else:
                return False
            if self._stream.config.storage == "file":
                self._stream.system.store.delete(self._key(due, seq))
            self._remove(seq)
        return True

    def _expire_aged(self, now: int) -> bool:
        """Messages that are older than max_age, from the front."""
        config, log = self._stream.config, self._stream.log
        if not config.max_age or config.sealed or not log.messages:
            return False
        first_young, more = self._first_young(now, now - config.max_age)
        if not config.subject_delete_marker_ttl and not self._never:
            if first_young > log.first_seq:
                log.purge((), below=first_young)
            return more
        seq = log.first_seq
        for _ in range(AT_ONCE):
            message = log.next((), seq, first_young - 1) if first_young > 1 else None
            if message is None:
                return more
            seq = message.seq + 1
            if message.seq not in self._never:
                self._remove(message.seq)
        return True

    def _first_young(self, now: int, oldest: int) -> tuple[int, bool]:
        """The first sequence that is not older than max_age, and whether there is more to look at."""
        log, steps = self._stream.log, self._stream.system.date.steps
        if self.eras:
            return self._first_young_by_eras(now, oldest)
        young = log.seq_from_time(oldest + 1)
        self._looked = max(self._looked, young) if steps == self._steps else young
        self._steps = steps
        for _ in range(AT_ONCE):
            message = log.next((), self._looked)
            if message is None or oldest < message.ts <= now:
                return young, False
            self._looked = message.seq + 1
            if message.ts <= oldest:
                young = self._looked
        return young, True

    def _first_young_by_eras(self, now: int, oldest: int) -> tuple[int, bool]:
        """The same where times are not in order: one by one."""
        log = self._stream.log
        at = young = log.first_seq
        for _ in range(AT_ONCE):
            message = log.next((), at)
            if message is None:
                return young, False
            time = self._time_of(message)
            if oldest < time <= now:
                return young, False
            at = message.seq + 1
            if time <= oldest:
                young = at
        return young, young == at

    def _time_of(self, message: "Message") -> int:
        """When it was stored, as far as that is known; what is not known is now."""
        if not self.eras:
            return message.ts
        shift = self.eras.shift(message.seq)
        return self._stream.system.date.wall_ns() if shift is None else message.ts + shift

    def _remove(self, seq: int) -> None:
        """One message; its subject gets a marker if it was the last."""
        stream = self._stream
        message = stream.log.read(seq)
        if message is None:
            return
        stream.log.remove(seq)
        ttl = stream.config.subject_delete_marker_ttl
        if not ttl or stream.log.subject(message.subject)[0] or stream.lost():
            return
        if b"Nats-Marker-Reason:" in message.header or b"KV-Operation: PURGE" in message.header:
            return
        header = (
            b"NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: "
            + go_duration(ttl).encode()
            + b"\r\nNats-Rollup: sub\r\n\r\n"
        )
        now = stream.system.clock.wall_ns()
        marker = stream.engine.store(message.subject, header, b"", now)
        self.add(marker, ttl, now)

    def forget(self) -> None:
        """The stream is deleted."""
        self.cancel()
        self.eras.forget()
        if self._stream.config.storage == "file":
            store = self._stream.system.store
            for due, seq in [*self._dated, *((due, seq) for _, seq, due in self._heap)]:
                store.delete(self._key(due, seq))
            for seq in self._never:
                store.delete(self._key(0, seq))
        self._heap, self._dated, self._never = [], [], set()
