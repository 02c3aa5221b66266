"""From a message of the device to one for a stream of the hub: its subject and its header lines.

Lines that would mean something to the hub's stream (``Nats-Msg-Id``, expectations, TTL, roll-up, batches, schedules)
were said to the device's stream. They go up as ``Phloem-Edge-Nats-...``, which nobody obeys.
"""

from typing import NamedTuple

from phloem.shared.forward.messages import Epoch

FIRST_LINE = b"NATS/1.0"
HISTORICAL_LINE = b"\r\nPhloem-Historical: 1"
HEADER_MAX = 65_535


class Item(NamedTuple):
    """A message as the device's stream has it; ``header`` is the whole block, or empty."""

    seq: int
    ts: int
    subject: bytes
    header: bytes
    payload: bytes


class Out(NamedTuple):
    """A message to publish; ``token`` is where its acknowledgement goes, empty: none is wanted."""

    subject: bytes
    token: bytes
    header: bytes
    payload: bytes

    @property
    def size(self) -> int:
        """Bytes, about as many as it has on the wire."""
        return len(self.subject) + len(self.header) + len(self.payload) + 16


def time_of(epoch: Epoch) -> tuple[int, bytes]:
    """What to add to the time stamps of an epoch, and how far to trust the sum."""
    if epoch.error_ns < 0:
        return 0, b"unsynced"
    return epoch.true_ahead_ns - epoch.ahead_ns, b"%d" % epoch.error_ns


def lines_of(header: bytes) -> bytes:
    """The beginning of a header block with the device's own lines, without an end."""
    if len(header) <= len(FIRST_LINE) + 4:
        return FIRST_LINE
    return FIRST_LINE + header[header.find(b"\r\n") : -4].replace(b"\r\nNats-", b"\r\nPhloem-Edge-Nats-")


def with_origin(header: bytes, origin: bytes, seq: int, ts: int, clock: bytes) -> bytes:
    """The same with the line that says which message it is."""
    return b"%b\r\nPhloem-Origin: %b %d %d %b" % (lines_of(header), origin, seq, max(ts, 0), clock)
