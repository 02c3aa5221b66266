"""Messages that wait for a server: first in, first out, bounded in bytes. Pure.

When it is full the **oldest** go: what a sensor says now is worth more than what it said before, and
a subscriber sees one gap in ``Phloem-Seq`` instead of many. Every message that was let go is counted.
"""

from collections import deque
from collections.abc import Sequence

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.headers import Encoded

_OVERHEAD = limits.PUBLISH_MESSAGE_OVERHEAD_BYTES


def size_of(message: Encoded) -> int:
    """Bytes that it takes while it waits, on the safe side."""
    subject, header, payload = message
    return len(subject) + len(header) + len(payload) + _OVERHEAD


class Backlog:
    """The queue; ``len`` and ``size`` (bytes) do not count a batch that was taken out."""

    def __init__(self, bytes_max: int = limits.PUBLISH_QUEUE_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.size = 0
        self.dropped = 0
        self._messages: deque[Encoded] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, messages: Sequence[Encoded]) -> None:
        """Add the newest messages."""
        self._messages.extend(messages)
        self.size += sum(map(size_of, messages))
        self._drop_oldest()

    def take(self, bytes_max: int = limits.PUBLISH_BATCH_BYTES_MAX) -> list[Encoded]:
        """Take out the oldest messages: what fits into ``bytes_max``, and one in any case if there is one."""
        batch: list[Encoded] = []
        waiting, size = self._messages, 0
        while waiting:
            more = size_of(waiting[0])
            if batch and size + more > bytes_max:
                break
            batch.append(waiting.popleft())
            size += more
        self.size -= size
        return batch

    def take_all(self) -> list[Encoded]:
        """Take out everything, oldest first."""
        messages = list(self._messages)
        self._messages.clear()
        self.size = 0
        return messages

    def put_back(self, batch: Sequence[Encoded]) -> None:
        """A batch could not be delivered: it is the oldest again."""
        self._messages.extendleft(reversed(batch))
        self.size += sum(map(size_of, batch))
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while self.size > self.bytes_max:
            self.size -= size_of(self._messages.popleft())
            self.dropped += 1
