"""What a group of messages for a hub's stream consists of: the device's messages, gaps among them, and the lines that
make a batch of them, or give each an id."""

import json
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from phloem.shared.forward.hub_stream import GAP_TOKEN, identity_text
from phloem.shared.forward.identity import epoch_of
from phloem.shared.forward.messages import Epoch
from phloem.shared.forward.source import Kept
from phloem.shared.forward.wrap import (
    FIRST_LINE,
    HEADER_MAX,
    HISTORICAL_LINE,
    Item,
    Out,
    lines_of,
    origin_line,
    time_of,
)
from phloem.shared.limits import SEQUENCE_MAX

LINES_MAX = 256  # bytes that a group's lines may have in a message, beside subjects
UNUSED = 190  # of it, in most messages
Part = tuple[int, bytes, bytes, bytes]  # sequence, subject, header without its end, payload


class Taken(NamedTuple):
    """Messages, and from where it goes on behind them. ``damaged``: so many cannot be read; no messages then."""

    items: Sequence[Item]
    next_seq: int
    damaged: int = 0


class Stream(Kept, Protocol):
    """What is asked of the device's stream."""

    def take(self, start: int, end: int, count: int, size: int, live_ns: int) -> Taken:
        """Messages from ``start`` to ``end``: at most ``count``, until there are ``size`` bytes (one is always taken)
        or a message was stored on the other side of ``live_ns`` than the first. What cannot be read ends them; if it
        is the first, there are none, and it is remembered as lost with what follows it and cannot be read either."""

    def lost(self, first: int, last: int) -> tuple[int, str]:
        """How many messages with these sequences went before they were sent, and why."""


class Bounds(NamedTuple):
    """Of a group (``messages``, ``size``), and of one message of it as the hub's stream counts (``message``)."""

    messages: int
    size: int
    message: int


class Made(NamedTuple):
    """Everything up to ``upto`` is in ``parts``, or at the hub, or there never was anything."""

    parts: list[Part]
    upto: int
    size: int  # of all parts
    largest: int  # of one, as Bounds has it
    noticed: tuple[str, ...] = ()


class Grouping:
    """Makes groups of one stream; ``prefix`` comes before subjects."""

    def __init__(self, stream: Stream, prefix: str) -> None:
        self._stream = stream
        self._prefix = prefix.encode()
        self._pattern = self._prefix + b">"
        self._parts: list[Part] = []
        self._size = self._largest = 0
        self._noticed: list[str] = []

    def make(self, start: int, bounds: Bounds, have: frozenset[int], live_ns: int, wall_ns: int) -> Made:
        """The next messages from ``start`` on, without those that the hub has; ``live_ns`` is the wall time from which
        on messages are not history."""
        stream = self._stream
        self._parts, self._noticed = [], []
        self._size = self._largest = 0
        if start < stream.first_seq:
            count, reason = stream.lost(start, stream.first_seq - 1)
            self._gap(start, stream.first_seq - 1, count, reason, wall_ns)
            start = stream.first_seq
        epochs = stream.epochs
        i = epoch_of(epochs, start)
        end = stream.last_seq
        if i + 1 < len(epochs):
            end = min(end, epochs[i + 1].first_seq - 1)
        if start > end or bounds.messages <= len(self._parts):
            return self._made(start - 1)
        taken = stream.take(start, end, bounds.messages - len(self._parts), bounds.size, live_ns)
        if taken.damaged:
            reason = stream.lost(start, taken.next_seq - 1)[1]
            self._gap(start, taken.next_seq - 1, taken.damaged, reason, wall_ns)
        if taken.items:
            items = [item for item in taken.items if item[0] not in have] if have else taken.items
            self._items(items, epochs[i], bounds, wall_ns, historical=taken.items[0][1] < live_ns)
        return self._made(taken.next_seq - 1)

    def _made(self, upto: int) -> Made:
        return Made(self._parts, upto, self._size, self._largest, tuple(self._noticed))

    def _items(
        self, items: Sequence[Item], epoch: Epoch, bounds: Bounds, wall_ns: int, *, historical: bool
    ) -> None:
        """The loop that each message goes through."""
        shift, clock = time_of(epoch)
        line = origin_line(self._origin(epoch), clock) + (HISTORICAL_LINE if historical else b"")
        prefix, pattern, add = self._prefix, len(self._pattern) + LINES_MAX, self._parts.append
        total = largest = 0
        for seq, ts, subject, header, payload in items:
            lines = line % (lines_of(header) if header else FIRST_LINE, seq, max(ts + shift, 0))
            headers = len(lines) + pattern
            size = headers + len(payload)
            if headers > HEADER_MAX or size > bounds.message:
                self._gap(seq, seq, 1, "larger than the hub's stream takes", wall_ns)
                continue
            total += size - UNUSED
            if size > largest:
                largest = size
            add((seq, prefix + subject, lines, payload))
        self._size += total
        self._largest = max(self._largest, largest)

    def _origin(self, epoch: Epoch) -> bytes:
        return f"{identity_text(self._stream.store)}.{identity_text(epoch.ident)}".encode()

    def _gap(self, first: int, last: int, count: int, reason: str, wall_ns: int) -> None:
        epochs = self._stream.epochs
        epoch = epochs[epoch_of(epochs, last)]
        shift, clock = time_of(epochs[-1])
        header = origin_line(self._origin(epoch), clock) % (FIRST_LINE, last, max(wall_ns + shift, 0))
        text = json.dumps({"first": first, "last": last, "count": count, "reason": reason}).encode()
        self._parts.append((last, self._prefix + GAP_TOKEN.encode(), header, text))
        self._size += len(header) + len(text) + LINES_MAX - UNUSED
        self._noticed.append(f"{count} messages will not come, {first} to {last}: {reason}")

    # --- what makes a group of them ------------------------------------------------------------------------

    def batch(self, made: Made, stream: str, hub_seq: int, batch: bytes, token: bytes) -> list[Out]:
        """All or none, and only if the device's last message at the hub is ``hub_seq``. The first one's answer tells
        early that it cannot be, the last one's that it is stored."""
        parts, n = made.parts, len(made.parts)
        expected = (
            b"\r\nNats-Expected-Stream: %b\r\nNats-Expected-Last-Subject-Sequence: %d"
            b"\r\nNats-Expected-Last-Subject-Sequence-Subject: %b\r\n\r\n"
            % (stream.encode(), hub_seq, self._pattern)
        )
        if n == 1:
            _, subject, header, payload = parts[0]
            return [(subject, token + b".1", header + expected, payload)]
        lines = b"%b\r\nNats-Batch-Id: " + batch + b"\r\nNats-Batch-Sequence: %d\r\n\r\n"
        outs = [
            (subject, b"", lines % (header, i), payload)
            for i, (_, subject, header, payload) in enumerate(parts, 1)
        ]
        subject, _, header, payload = outs[0]
        outs[0] = subject, token + b".1", header[:-4] + expected, payload
        subject, _, header, payload = outs[-1]
        outs[-1] = subject, token + b".%d" % n, header[:-4] + b"\r\nNats-Batch-Commit: 1\r\n\r\n", payload
        return outs

    def with_ids(self, made: Made, token: bytes) -> list[Out]:
        """Each by itself, told apart by an id."""
        epochs, outs = self._stream.epochs, []
        line, first, until = (
            b"",
            0,
            0,
        )  # of the epoch with these sequences: almost always one for the whole group
        for i, (seq, subject, header, payload) in enumerate(made.parts, 1):
            if not first <= seq < until:
                at = epoch_of(epochs, seq)
                first = epochs[at].first_seq if at else 0
                until = epochs[at + 1].first_seq if at + 1 < len(epochs) else SEQUENCE_MAX + 1
                line = b"%b\r\nNats-Msg-Id: " + self._origin(epochs[at]) + b".%d\r\n\r\n"
            outs.append((subject, b"%b.%d" % (token, i), line % (header, seq), payload))
        return outs
