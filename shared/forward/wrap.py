"""From a message of the device to one for a stream of the hub: its subject and its header lines.

Lines that would mean something to the hub's stream (``Nats-Msg-Id``, expectations, TTL, roll-up, batches, schedules)
were said to the device's stream. They go up as ``Phloem-Edge-Nats-...``, which nobody obeys.
"""

from phloem.shared.forward.messages import Epoch

FIRST_LINE = b"NATS/1.0"
HISTORICAL_LINE = b"\r\nPhloem-Historical: 1"
HEADER_MAX = 65_535


Item = tuple[
    int, int, bytes, bytes, bytes
]  # sequence, time, subject, header (a whole block, or empty), payload
Out = tuple[
    bytes, bytes, bytes, bytes
]  # subject, where its acknowledgement goes (empty: nowhere), header, payload


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


def origin_line(origin: bytes, clock: bytes) -> bytes:
    """The line that says which message it is, for ``%`` with its sequence and time."""
    return b"%b\r\nPhloem-Origin: " + origin + b" %d %d " + clock
