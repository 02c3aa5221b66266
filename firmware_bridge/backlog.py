"""Messages that wait for a server: first in, first out, bounded in bytes. Pure.

When it is full the **oldest** go: what a sensor says now is worth more than what it said before, and
a subscriber sees one gap in ``Phloem-Seq`` instead of many. Every message that was let go is counted.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from phloem.firmware_bridge import limits


class Message(NamedTuple):
    """One message that no server has confirmed."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes that it takes while it waits, on the safe side."""
        return len(self.payload) + limits.PUBLISH_MESSAGE_OVERHEAD_BYTES

    @property
    def wire_size(self) -> int:
        """Bytes that count against a server's ``max_payload``: the header block and the payload."""
        lines = sum(len(f"{key}: {value}\r\n".encode()) for key, value in self.headers.items())
        return len("NATS/1.0\r\n") + lines + len("\r\n") + len(self.payload)


class Backlog:
    """The queue; ``len`` and ``size`` (bytes) do not count a batch that was taken out."""

    def __init__(self, bytes_max: int = limits.PUBLISH_QUEUE_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.size = 0
        self.dropped = 0
        self._messages: deque[Message] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> None:
        """Add the newest message."""
        self._messages.append(message)
        self.size += message.size
        self._drop_oldest()

    def take(self, bytes_max: int = limits.PUBLISH_BATCH_BYTES_MAX) -> list[Message]:
        """Take out the oldest messages: what fits into ``bytes_max``, and one in any case if there is one."""
        batch: list[Message] = []
        size = 0
        while self._messages and (not batch or size + self._messages[0].size <= bytes_max):
            batch.append(self._messages.popleft())
            size += batch[-1].size
        self.size -= size
        return batch

    def take_all(self) -> list[Message]:
        """Take out everything, oldest first."""
        messages = list(self._messages)
        self._messages.clear()
        self.size = 0
        return messages

    def put_back(self, batch: list[Message]) -> None:
        """A batch could not be delivered: it is the oldest again."""
        self._messages.extendleft(reversed(batch))
        self.size += sum(message.size for message in batch)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while self.size > self.bytes_max:
            self.size -= self._messages.popleft().size
            self.dropped += 1
