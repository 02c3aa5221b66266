"""What a snapshot of nats-server up to 2.14 contains: a tar of the files of its store.

``meta.inf`` is the stream's configuration, ``msgs/<n>.blk`` are rows of records, ``obs/<consumer>/`` has ``meta.inf``
and ``o.dat``, its state. A record is: length (the highest bit: it has headers), sequence, time stamp, length of the
subject, subject, length of the headers, headers, body, eight bytes of hash. A record that has been erased has the
highest bit of its sequence set; a tombstone, bit 62, says that an earlier message is gone. Rules: those of
archive.py; files that restoring does not need (sums, the index) are passed over unread. The sums are HighwayHash and
are not checked: the S2 stream around all of it has checksums of its own.

Specification: nats-server 2.14, filestore.go, and what it sends.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from phloem.shared import limits
from phloem.shared.jetstream.archive import CONSUMER, ArchiveError, Entry
from phloem.shared.jetstream.strict_json import UNREADABLE

BLOCK = 512
HEAD = struct.Struct("<IQqH")  # of a record
HASH = 8
HAS_HEADERS = 1 << 31
ERASED, TOMBSTONE = 1 << 63, 1 << 62
STATE_MAGIC, STATE_VERSION = 22, 2
PAX_MAX = 64 << 10


class Removed(NamedTuple):
    """An earlier message that is gone."""

    seq: int


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _file_head(block: bytes) -> tuple[str, int, bytes]:
    """Path, size and kind of the file that follows. Raises ArchiveError."""
    digits = block[124:136].strip(b" \0")
    wanted = block[148:156].split(b"\0")[0].strip()
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    try:
        size, checksum = int(digits or b"0", 8), int(wanted, 8)
    except ValueError:
        raise ArchiveError("the tar in the snapshot has an impossible head") from None
    if size < 0 or checksum != total:
        raise ArchiveError("the tar in the snapshot has an impossible head")
    name, prefix = _text(block[:100]), _text(block[345:500])
    return f"{prefix}/{name}" if prefix else name, size, block[156:157]


def _pax_path(data: bytes) -> str:
    """The path in an extended head, "" if it has none."""
    while data:
        length, _, rest = data.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(data):
            return ""
        record = rest[: int(length) - len(length) - 1]
        if record.startswith(b"path="):
            return record[5:].rstrip(b"\n").decode(errors="replace")
        data = data[int(length) :]
    return ""


def _numbers(data: bytes) -> list[int]:
    found, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append(value)
            value = shift = 0
        elif shift > 63:
            raise ArchiveError("a consumer's state is damaged")
    return found


def consumer_state(data: bytes) -> dict[str, Any]:
    """``o.dat`` as the state of a consumer is written in newer snapshots. Raises ArchiveError."""
    if len(data) < 6 or data[0] != STATE_MAGIC or data[1] != STATE_VERSION:
        raise ArchiveError("a consumer's state is damaged or too old")
    take = iter(_numbers(data[2:]))
    try:
        floor_consumer, floor_stream, consumer, stream = (next(take) for _ in range(4))
        pending, redelivered = {}, {}
        count = next(take)
        oldest = next(take) if count else 0
        for _ in range(count):
            seq, number, age = next(take), next(take), next(take)
            ts = max((oldest >> 1) - (age >> 1), 0)
            pending[str(floor_stream + seq)] = {"Sequence": floor_consumer + number, "Timestamp": ts * 10**9}
        for _ in range(next(take)):
            seq = next(take)
            redelivered[str(floor_stream + seq)] = next(take)
    except (StopIteration, RuntimeError):
        raise ArchiveError("a consumer's state is damaged") from None
    return {
        "delivered": {"consumer_seq": consumer, "stream_seq": stream},
        "ack_floor": {"consumer_seq": floor_consumer, "stream_seq": floor_stream},
        "pending": pending,
        "redelivered": redelivered,
    }


class TarReader:
    """``feed`` plain bytes, then take ``entries`` until there are no more; consumers look as in newer snapshots."""

    def __init__(self, stream: str, message_max: int) -> None:
        self._stream, self._message_max = stream, message_max
        self._data = bytearray()
        self._path, self._size, self._kind = "", 0, b""
        self._whole = 0  # of the file, as padding counts it
        self._in_file = False
        self._next_path = ""
        self._padding = 0
        self._last_seq = 0
        self._metas: dict[str, bytes] = {}
        self.done = False

    def feed(self, data: bytes) -> None:
        """More of the archive."""
        if not self.done:
            self._data += data

    def entries(self) -> Iterator[Entry | Removed]:
        """What is complete. Raises ArchiveError."""
        while not self.done:
            if self._padding:
                n = min(self._padding, len(self._data))
                del self._data[:n]
                self._padding -= n
                if self._padding:
                    return
            if not self._in_file:
                if len(self._data) < BLOCK:
                    return
                self._begin(bytes(self._data[:BLOCK]))
                del self._data[:BLOCK]
                continue
            before = len(self._data), self._in_file
            yield from self._content()
            if (len(self._data), self._in_file) == before:
                return

    def _begin(self, block: bytes) -> None:
        if block == bytes(BLOCK):
            self.done = True
            return
        path, self._size, self._kind = _file_head(block)
        if self._kind not in (b"0", b"\0", b"x"):
            raise ArchiveError("unexpected content")
        if self._kind != b"x":
            self._path, self._next_path = self._next_path or path, ""
        self._in_file = True
        self._whole = self._size

    def _ended(self) -> None:
        self._in_file = False
        self._padding = -self._whole % BLOCK

    def _content(self) -> Iterator[Entry | Removed]:
        """What there is of the file."""
        if self._kind != b"x" and self._path.startswith("msgs/") and self._path.endswith(".blk"):
            yield from self._records()
        elif self._kind == b"x" or self._path == "errors.txt" or self._path.endswith(("meta.inf", "o.dat")):
            most = PAX_MAX if self._kind == b"x" else limits.ARCHIVE_DOCUMENT
            if self._size > most:
                raise ArchiveError(f'"{self._path}" is too large')
            if len(self._data) >= self._size:
                document = bytes(self._data[: self._size])
                del self._data[: self._size]
                self._ended()
                yield from self._document(document)
        else:
            n = min(self._size, len(self._data))
            del self._data[:n]
            self._size -= n
            if not self._size:
                self._ended()

    def _document(self, data: bytes) -> Iterator[Entry]:
        if self._kind == b"x":
            self._next_path = _pax_path(data)
            return
        folder, _, file = self._path.rpartition("/")
        if self._path == "errors.txt":
            raise ArchiveError(f"the snapshot was not completed: {data[:200].decode(errors='replace')}")
        if not folder:
            self._check_name(data)
        elif file == "meta.inf":
            self._metas[folder] = data
        elif folder in self._metas:
            name = folder.removeprefix("obs/").encode()
            state = msgspec.json.encode(consumer_state(data))
            body = b'{"config":' + self._metas.pop(folder) + b',"state":' + state + b"}"
            yield Entry(CONSUMER + name, 0, 0, b"", body)

    def _check_name(self, data: bytes) -> None:
        try:
            name = msgspec.json.decode(data, type=dict[str, Any]).get("name")
        except UNREADABLE as problem:
            raise ArchiveError(f"error in meta.inf: {problem}") from None
        if name != self._stream:
            raise ArchiveError("stream names do not match")

    def _records(self) -> Iterator[Entry | Removed]:
        data, at = self._data, 0
        try:
            while self._size:
                if self._size < HEAD.size + HASH:
                    raise ArchiveError(f'"{self._path}" ends in the middle of a record')
                if len(data) - at < HEAD.size:
                    return
                length, seq, ts, subject = HEAD.unpack_from(data, at)
                headers, length = bool(length & HAS_HEADERS), length & ~HAS_HEADERS
                self._check_record(length, subject + (4 if headers else 0))
                if len(data) - at < length:
                    return
                record = bytes(data[at + HEAD.size : at + length - HASH])
                at += length
                self._size -= length
                found = self._record(record, seq, ts, subject, headers)
                if found is not None:
                    yield found
            self._ended()
        finally:
            del data[:at]

    def _check_record(self, length: int, least: int) -> None:
        most = self._message_max + limits.MAX_CONTROL_LINE_CEILING + HEAD.size + HASH + 4
        if not HEAD.size + least + HASH <= length <= min(most, self._size):
            raise ArchiveError(f'"{self._path}" has an impossible record')

    def _record(
        self, record: bytes, seq: int, ts: int, subject: int, headers: bool
    ) -> Entry | Removed | None:
        if seq & ERASED or seq == 0:
            return None
        if seq & TOMBSTONE:
            return Removed(seq & ~TOMBSTONE)
        if seq <= self._last_seq:
            return None
        self._last_seq = seq
        name, rest = record[:subject], record[subject:]
        size = int.from_bytes(rest[:4], "little") if headers else 0
        rest = rest[4:] if headers else rest
        if size > min(len(rest), limits.HEADER_BLOCK):
            raise ArchiveError(f'"{self._path}" has an impossible record')
        return Entry(name, ts, seq, rest[:size], rest[size:])
