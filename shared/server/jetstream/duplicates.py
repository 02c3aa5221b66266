"""Message ids of a stream's duplicate window.

They are kept in the order in which they came, each with its time on the monotonic clock: setting the date neither
shortens nor lengthens the window. After a restart they are read from the messages of the window when the first id is
asked for; the window survives a purge, the ids of a purged message do not survive a restart.
"""

from typing import TYPE_CHECKING

from phloem.shared.jetstream.errors import error
from phloem.shared.jetstream.headers import field_of

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream


class Duplicates:
    """The ids of one stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self._ids: dict[bytes, tuple[int, int]] | None = None  # id: (sequence, monotonic time)
        self._last_id = (0, b"")  # sequence and id

    def _known(self) -> dict[bytes, tuple[int, int]]:
        """Ids of the window, oldest first."""
        if self._ids is None:
            self._ids = {}
            log, clock = self._stream.log, self._stream.system.clock
            now, wall = clock.monotonic_ns(), clock.wall_ns()
            seq = log.seq_from_time(wall - self._stream.config.duplicate_window)
            while (message := log.next((), seq)) is not None:
                ident = field_of(message.header, b"Nats-Msg-Id")
                if ident:
                    self._ids[ident] = (message.seq, now - max(wall - message.ts, 0))
                    self._last_id = (message.seq, ident)
                seq = message.seq + 1
        return self._ids

    def first(self, ident: bytes | None) -> int:
        """The sequence of the first message with this id, 0: there was none in the window."""
        window = self._stream.config.duplicate_window
        if not ident or not window:
            return 0
        ids = self._known()
        oldest = self._stream.system.clock.monotonic_ns() - window
        while ids:
            first = next(iter(ids))
            if ids[first][1] >= oldest:
                break
            del ids[first]
        found = ids.get(ident)
        return found[0] if found else 0

    def remember(self, ident: bytes, seq: int) -> None:
        """A message with an id was stored."""
        if self._stream.config.duplicate_window:
            self._known()[ident] = (seq, self._stream.system.clock.monotonic_ns())
        self._last_id = (seq, ident)

    def check_last(self, wanted: bytes | None) -> None:
        """``Nats-Expected-Last-Msg-Id``. Raises ApiError 10070."""
        if wanted is not None:
            self._known()
            seq, last = self._last_id
            if seq != self._stream.log.last_seq:  # what came after it had none
                last = b""
            if wanted != last:
                raise error(10070, id=last.decode(errors="replace"))

    def forget(self) -> None:
        """The stream is deleted."""
        self._ids = {}
