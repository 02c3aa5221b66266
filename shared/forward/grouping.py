"""What a group of messages for a hub's stream consists of: the device's messages, gaps among them, and the lines that
make a batch of them, or give each an id."""

import json
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from phloem.shared.forward.hub_stream import GAP_TOKEN, identity_text
from phloem.shared.forward.identity import epoch_of
from phloem.shared.forward.messages import Epoch
from phloem.shared.forward.wrap import HEADER_MAX, HISTORICAL_LINE, Item, Out, time_of, with_origin

LINES_MAX = 512  # bytes that a group's lines may have in a message, beside subjects


class Taken(NamedTuple):
    """Messages, and from where it goes on behind them. ``damaged``: so many cannot be read; no messages then."""

    items: list[Item]
    next_seq: int
    damaged: int = 0


class Stream(Protocol):
    """What is asked of the device's stream."""

    @property
    def store(self) -> int:
        """Identity of its store."""

    @property
    def epochs(self) -> Sequence[Epoch]:
        """Those that are remembered."""

    @property
    def first_seq(self) -> int:
        """Of the oldest message there is."""

    @property
    def last_seq(self) -> int:
        """Of the newest message that can be read."""

    def take(self, start: int, end: int, count: int, size: int, live_ns: int) -> Taken:
        """Messages from ``start`` to ``end``: at most ``count``, until there are ``size`` bytes (one is always taken)
        or a message was stored on the other side of ``live_ns`` than the first. What cannot be read ends them; if it
        is the first, there are none, and it is remembered as lost with what follows it and cannot be read either."""

    def lost(self, first: int, last: int) -> tuple[int, str]:
        """How many messages with these sequences went before they were sent, and why."""


class Bounds(NamedTuple):
    """Of a group (``messages``, ``size``), and of one message of it as the hub's stream counts (``message``) and as
    ``Out.size`` does (``out``)."""

    messages: int
    size: int
    message: int
    out: int


class Made(NamedTuple):
    """Everything up to ``upto`` is in ``outs``, or at the hub, or there never was anything. Headers have no end yet."""

    outs: list[Out]
    seqs: list[int]
    upto: int
    noticed: tuple[str, ...] = ()


class Grouping:
    """Makes groups of one stream; ``prefix`` comes before subjects, ``live_ns`` is the wall time from which on messages
    are not history."""

    def __init__(self, stream: Stream, prefix: str) -> None:
        self._stream = stream
        self._prefix = prefix.encode()
        self._pattern = self._prefix + b">"
        self._outs: list[Out] = []
        self._seqs: list[int] = []
        self._noticed: list[str] = []

    def make(self, start: int, bounds: Bounds, have: frozenset[int], live_ns: int, wall_ns: int) -> Made:
        """The next messages from ``start`` on, without those that the hub has."""
        stream = self._stream
        self._outs, self._seqs, self._noticed = [], [], []
        if start < stream.first_seq:
            count, reason = stream.lost(start, stream.first_seq - 1)
            self._gap(start, stream.first_seq - 1, count, reason, wall_ns)
            start = stream.first_seq
        epochs = stream.epochs
        i = epoch_of(epochs, start)
        end = stream.last_seq
        if i + 1 < len(epochs):
            end = min(end, epochs[i + 1].first_seq - 1)
        if start > end or bounds.messages <= len(self._outs):
            return self._made(start - 1)
        taken = stream.take(start, end, bounds.messages - len(self._outs), bounds.size, live_ns)
        if taken.damaged:
            self._gap(
                start, taken.next_seq - 1, taken.damaged, stream.lost(start, taken.next_seq - 1)[1], wall_ns
            )
        self._items(taken.items, epochs[i], bounds, have, live_ns, wall_ns)
        return self._made(taken.next_seq - 1)

    def _made(self, upto: int) -> Made:
        return Made(self._outs, self._seqs, upto, tuple(self._noticed))

    def _items(
        self,
        items: list[Item],
        epoch: Epoch,
        bounds: Bounds,
        have: frozenset[int],
        live_ns: int,
        wall_ns: int,
    ) -> None:
        shift, clock = time_of(epoch)
        origin = self._origin(epoch)
        for seq, ts, subject, header, payload in items:
            if seq in have:
                continue
            lines = with_origin(header, origin, seq, ts + shift, clock)
            if ts < live_ns:
                lines += HISTORICAL_LINE
            out = Out(self._prefix + subject, b"", lines, payload)
            size = len(lines) + LINES_MAX + len(self._pattern)
            if size > HEADER_MAX or size + len(payload) > bounds.message or out.size > bounds.out:
                self._gap(seq, seq, 1, "larger than the hub's stream takes", wall_ns)
                continue
            self._outs.append(out)
            self._seqs.append(seq)

    def _origin(self, epoch: Epoch) -> bytes:
        return f"{identity_text(self._stream.store)}.{identity_text(epoch.ident)}".encode()

    def _gap(self, first: int, last: int, count: int, reason: str, wall_ns: int) -> None:
        epochs = self._stream.epochs
        epoch = epochs[epoch_of(epochs, last)]
        shift, clock = time_of(epochs[-1])
        header = with_origin(b"", self._origin(epoch), last, wall_ns + shift, clock)
        text = json.dumps({"first": first, "last": last, "count": count, "reason": reason}).encode()
        self._outs.append(Out(self._prefix + GAP_TOKEN.encode(), b"", header, text))
        self._seqs.append(last)
        self._noticed.append(f"{count} messages will not come, {first} to {last}: {reason}")

    # --- what makes a group of them ------------------------------------------------------------------------

    def batch(self, made: Made, stream: str, hub_seq: int, batch: bytes, token: bytes) -> list[Out]:
        """All or none, and only if the device's last message at the hub is ``hub_seq``. The first one's answer tells
        early that it cannot be, the last one's that it is stored."""
        outs, n = made.outs, len(made.outs)
        expected = (
            b"\r\nNats-Expected-Stream: %b\r\nNats-Expected-Last-Subject-Sequence: %d"
            b"\r\nNats-Expected-Last-Subject-Sequence-Subject: %b" % (stream.encode(), hub_seq, self._pattern)
        )
        if n == 1:
            one = outs[0]
            return [Out(one.subject, token + b".1", one.header + expected + b"\r\n\r\n", one.payload)]
        lines = b"\r\nNats-Batch-Id: %b\r\nNats-Batch-Sequence: " % batch
        posted = [
            Out(subject, b"", b"%b%b%d\r\n\r\n" % (header, lines, i), payload)
            for i, (subject, _, header, payload) in enumerate(outs, 1)
        ]
        first, last = posted[0], posted[-1]
        posted[0] = first._replace(token=token + b".1", header=first.header[:-4] + expected + b"\r\n\r\n")
        posted[-1] = last._replace(
            token=token + b".%d" % n, header=last.header[:-4] + b"\r\nNats-Batch-Commit: 1\r\n\r\n"
        )
        return posted

    def with_ids(self, made: Made, token: bytes) -> list[Out]:
        """Each by itself, told apart by an id."""
        epochs, store = self._stream.epochs, self._stream.store
        posted = []
        for i, ((subject, _, header, payload), seq) in enumerate(zip(made.outs, made.seqs, strict=True), 1):
            epoch = epochs[epoch_of(epochs, seq)]
            line = b"\r\nNats-Msg-Id: %b.%b.%d\r\n\r\n" % (
                identity_text(store).encode(),
                identity_text(epoch.ident).encode(),
                seq,
            )
            posted.append(Out(subject, token + b".%d" % i, header + line, payload))
        return posted
