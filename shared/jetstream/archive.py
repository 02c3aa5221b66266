"""What a snapshot of a stream contains, once it is unpacked: the format NATSARC1 of nats-server 2.15 (reference 5.4).

``NATSARC1``, then entries: length of the name, time stamp, sequence, sizes of header and body as variable-length
numbers, the name, header and body. The first entry is ``state.json``, then come ``consumers/<name>``, then the messages
in the order of their sequences (their name is the subject), then an entry of zeros. Rules: nothing is kept before its
size has been checked; every mistake is an ``ArchiveError`` in words, nothing else is raised.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from phloem.shared import limits
from phloem.shared.errors import PhloemError
from phloem.shared.jetstream.consumer_config import ConsumerConfig
from phloem.shared.jetstream.strict_json import UNREADABLE

MAGIC = b"NATSARC1"
STATE = b"state.json"
CONSUMER = b"consumers/"
VARINT_MAX = 10  # bytes of a number of 64 bits


class ArchiveError(PhloemError):
    """What was read is no snapshot, or not all of it."""


class Entry(NamedTuple):
    """One entry; ``name`` of a message is its subject."""

    name: bytes
    ts: int
    seq: int
    header: bytes
    body: bytes


class State(msgspec.Struct):
    """What a stream's state says and a restore needs."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    consumer_count: int = 0


class Pair(msgspec.Struct):
    """A consumer's sequence and the stream's."""

    consumer_seq: int = 0
    stream_seq: int = 0


class Outstanding(msgspec.Struct, rename={"seq": "Sequence", "ts": "Timestamp"}):
    """A message that was handed out and not acknowledged."""

    seq: int = 0
    ts: int = 0


class ConsumerState(msgspec.Struct):
    """How far a consumer is; the keys of both maps are sequences of the stream, as text."""

    delivered: Pair = msgspec.field(default_factory=Pair)
    ack_floor: Pair = msgspec.field(default_factory=Pair)
    pending: dict[str, Outstanding] | None = None
    redelivered: dict[str, int] | None = None

    def outstanding(self) -> list[tuple[int, int, int]]:
        """(stream sequence, consumer sequence, deliveries), in the order in which they were handed out. Raises
        ArchiveError for what no consumer can have."""
        again = self.redelivered or {}
        found = []
        for key, one in (self.pending or {}).items():
            seq = int(key) if key.isdecimal() and len(key) <= 20 else 0
            if not (self.ack_floor.stream_seq < seq <= self.delivered.stream_seq):
                raise ArchiveError(f"a message is outstanding that was not handed out: {key[:20]}")
            if not (0 < one.seq <= self.delivered.consumer_seq) or not 0 <= again.get(key, 0) < 1 << 31:
                raise ArchiveError(f"message {seq} has an impossible delivery")
            found.append((seq, one.seq, again.get(key, 0) + 1))
        if len({n for _, n, _ in found}) != len(found):
            raise ArchiveError("two messages have the same delivery")
        return sorted(found, key=lambda one: one[1])

    def check(self) -> None:
        """Raises ArchiveError for numbers that contradict one another."""
        for high, low in (
            (self.delivered.consumer_seq, self.ack_floor.consumer_seq),
            (self.delivered.stream_seq, self.ack_floor.stream_seq),
        ):
            if not 0 <= low <= high < 1 << 63:
                raise ArchiveError("a consumer acknowledged more than it was given")


class ConsumerDocument(msgspec.Struct):
    """The content of ``consumers/<name>``."""

    config: ConsumerConfig
    state: ConsumerState


def state_of(entry: Entry) -> State:
    """The first entry. Raises ArchiveError."""
    if entry.name != STATE:
        raise ArchiveError("expected state.json first")
    try:
        state = msgspec.json.decode(entry.body, type=State)
    except UNREADABLE as problem:
        raise ArchiveError(f"error in state.json: {problem}") from None
    check_state(state)
    return state


def check_state(state: State) -> None:
    """Raises ArchiveError for numbers that no stream has."""
    if min(state.messages, state.first_seq, state.last_seq, state.consumer_count) < 0:
        raise ArchiveError("error in state.json: negative numbers")
    if state.first_seq > state.last_seq + 1 or state.last_seq > limits.SEQUENCE_MAX:
        raise ArchiveError("error in state.json: impossible sequences")


def consumer_of(entry: Entry) -> tuple[str, ConsumerDocument]:
    """Name, configuration and state of a consumer. Raises ArchiveError."""
    name = entry.name.removeprefix(CONSUMER).decode(errors="replace")
    if not entry.name.startswith(CONSUMER):
        raise ArchiveError(f'expected consumer, found "{name}"')
    try:
        document = msgspec.json.decode(entry.body, type=ConsumerDocument)
    except UNREADABLE as problem:
        raise ArchiveError(f'failed to decode consumer "{name}" state: {problem}') from None
    document.state.check()
    document.state.outstanding()
    return name, document


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; -1: more is needed. Raises ArchiveError."""
    value = 0
    for shift in range(VARINT_MAX):
        if at + shift >= len(data):
            return -1, at
        byte = data[at + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at + shift + 1
    raise ArchiveError("archive: invalid archive stream")


class Reader:
    """``feed`` plain bytes, then take ``entries`` until there are no more; ``done`` once the last has been seen."""

    def __init__(self, message_max: int) -> None:
        self._data = bytearray()
        self._begun = False
        self._messages = False  # documents are over
        self._message_max = message_max
        self._need = 0  # bytes without which the next entry is not complete
        self.done = False

    def feed(self, data: bytes) -> None:
        """More of the archive. Raises ArchiveError when it has already ended."""
        if self.done and data:
            raise ArchiveError("archive: something follows the end")
        self._data += data

    def entries(self) -> Iterator[Entry]:
        """What is complete. Raises ArchiveError."""
        if len(self._data) < self._need:
            return
        data, at, self._need = bytes(self._data), 0, 0
        try:
            if not self._begun:
                if len(data) < len(MAGIC):
                    return
                if not data.startswith(MAGIC):
                    raise ArchiveError("archive: invalid archive stream")
                at, self._begun = len(MAGIC), True
            while not self.done:
                found, at = self._entry(data, at)
                if found is None:
                    return
                yield found
        finally:
            del self._data[:at]

    def _entry(self, data: bytes, start: int) -> tuple[Entry | None, int]:
        """An entry and where it ends; None: it is not complete, or was the last."""
        at, values = start, []
        for _ in range(5):
            if at < len(data) and data[at] < 0x80:
                values.append(data[at])
                at += 1
                continue
            value, at = _number(data, at)
            if value < 0:
                return None, start
            values.append(value)
        name_size, ts, seq, header_size, body_size = self._checked(values)
        header = at + name_size
        body = header + header_size
        end = body + body_size
        if len(data) < end:
            self._need = end - start
            return None, start
        if not any(values):
            self.done = True
            if len(data) > at:
                raise ArchiveError("archive: something follows the end")
            return None, at
        if seq:
            self._messages = True
        elif self._messages:
            raise ArchiveError("expected message sequence")
        return Entry(data[at:header], ts, seq, data[header:body], data[body:end]), end

    def _checked(self, values: list[int]) -> tuple[int, int, int, int, int]:
        name, zigzag, seq, header, body = values
        most = self._message_max if seq else limits.ARCHIVE_DOCUMENT
        if name > limits.MAX_CONTROL_LINE_CEILING:
            raise ArchiveError("archive: invalid archive stream")
        if header + body > most:
            what = (
                f"message sequence {seq} exceeds maximum payload size" if seq else "a document is too large"
            )
            raise ArchiveError(what)
        if header > limits.HEADER_BLOCK or seq >= 1 << 62:
            raise ArchiveError(f"message sequence {seq} is impossible")
        return name, (zigzag >> 1) ^ -(zigzag & 1), seq, header, body


SMALL = [bytes([value]) for value in range(0x80)]


def _varint(value: int) -> bytes:
    if value < 0x80:
        return SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def entry(name: bytes, ts: int, seq: int, header: bytes, body: bytes) -> bytes:
    """One entry as it is written."""
    zigzag = (ts << 1) ^ (ts >> 63)
    head = _varint(len(name)) + _varint(zigzag) + _varint(seq) + _varint(len(header)) + _varint(len(body))
    return head + name + header + body


END = entry(b"", 0, 0, b"", b"")


def document(name: bytes, ts: int, content: dict[str, Any]) -> bytes:
    """An entry that is JSON: the state or a consumer."""
    return entry(name, ts, 0, b"", msgspec.json.encode(content))
