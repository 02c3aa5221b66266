"""The typed contract of message_ids.pyx: the message ids of one stream's duplicate window.

Times are wall-clock nanoseconds and handed in. All of it belongs to the loop's thread.
"""

from phloem.shared.store.log import Log

def keyed_hash(key: bytes, text: bytes) -> bytes:
    """SipHash-2-4 with 128 bits. ValueError: the key has not 16 bytes."""

class MessageIds:
    """Which ids a stream has seen, and under which sequences.

    ``folder``: where large windows are kept, in files without a name; empty: on the heap. OSError: no random numbers.
    """

    def __init__(self, log: Log, folder: bytes = b"") -> None: ...
    def configure(self, window_ns: int, now: int) -> None:
        """The length of the window, 0: nothing is a duplicate. With the first one that is not 0 the log's messages are
        to be read back."""
    def first(self, ident: bytes, now: int) -> int:
        """The sequence of the message that had this id within the window, 0: none had. An id leaves the window on time
        or at most 1/1024 of the window later."""
    def put(self, ident: bytes, seq: int, now: int) -> None:
        """The message ``seq``, the last one of the log, had this id."""
    def last(self, now: int) -> tuple[int, bytes]:
        """The last message that had an id: its sequence and the id. ``(0, b"")``: none."""
    def read(self, count: int, now: int) -> bool:
        """Reads at most so many messages of the last run's window; whether there are more."""
    def expire(self, now: int) -> None:
        """What is over is freed; it is not found before, either."""
    def clear(self) -> None:
        """Forgets all ids."""
    @property
    def figures(self) -> dict[str, int]:
        """``ids`` (some of them over), ``slices``, ``heap_bytes``, ``mapped_bytes``."""
