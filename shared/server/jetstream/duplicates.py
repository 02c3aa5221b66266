"""Message ids as the slow lane asks for them; the engine's short way asks the same ``MessageIds``.

The window survives a purge and the deletion of a message. After a restart the ids of the messages that are still there
are known again, as on nats-server. A pair in the store says until when there have been ids, so that nothing is read
back for a stream that has none; it is written with the first message that needs it.
"""

from typing import TYPE_CHECKING

from phloem.shared.jetstream.errors import error

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream


class Duplicates:
    """The ids of one stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self._window_ns: int | None = None  # not said yet

    def _key(self) -> bytes:
        return b"i" + self._stream.record.ident.to_bytes(4)

    def configure(self, window_ns: int) -> None:
        """Another length of the window."""
        stream, now, unread = self._stream, self._stream.system.clock.wall_ns(), True
        ids = stream.engine.ids
        if stream.config.storage == "file":
            ids.on_slice = self.expect
            if window_ns and self._window_ns == 0:  # it was a mirror
                self.expect(now)
            until = stream.system.store.get(self._key())
            unread = until is not None and int.from_bytes(until) > now - window_ns
        ids.configure(window_ns, now, unread=unread)
        self._window_ns = window_ns

    def expect(self, until: int) -> None:
        """There may be messages with ids up to this time."""
        self._stream.system.store.put(self._key(), until.to_bytes(8))

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
        if self._stream.config.storage == "file":
            self._stream.system.store.delete(self._key())
