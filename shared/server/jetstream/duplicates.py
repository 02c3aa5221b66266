"""Message ids as the slow lane asks for them; the engine's short way asks the same ``MessageIds``.

The window survives a purge and the deletion of a message. After a restart the ids of the messages that are still there
are known again, as on nats-server.
"""

from typing import TYPE_CHECKING

from phloem.shared.jetstream.errors import error

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream


class Duplicates:
    """The ids of one stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream

    def configure(self, window_ns: int) -> None:
        """Another length of the window."""
        self._stream.engine.ids.configure(window_ns, self._stream.system.clock.wall_ns())

    def first(self, ident: bytes | None) -> int:
        """The sequence of the first message with this id, 0: there was none in the window."""
        if not ident:
            return 0
        return self._stream.engine.ids.first(ident, self._stream.system.clock.wall_ns())

    def remember(self, ident: bytes | None, seq: int, now: int) -> None:
        """A message was stored, perhaps with an id."""
        if ident:
            self._stream.engine.ids.put(ident, seq, now)

    def check_last(self, wanted: bytes | None) -> None:
        """``Nats-Expected-Last-Msg-Id``. Raises ApiError 10070."""
        if wanted:
            seq, last = self._stream.engine.ids.last(self._stream.system.clock.wall_ns())
            if seq != self._stream.log.last_seq:  # what came after it had none
                last = b""
            if wanted != last:
                raise error(10070, id=last.decode(errors="replace"))

    def forget(self) -> None:
        """The stream is deleted."""
        self._stream.engine.ids.clear()
