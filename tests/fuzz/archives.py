"""Snapshots that are nearly right, in both formats, read piece by piece and restored.

What is expected: an ``ArchiveError`` or entries that do not depend on the pieces, nothing kept beyond a bound, and a
restore that ends with an answer. Steps: ``kind`` (who 0: archive, 1: tar; number: bytes of a piece), ``entry`` and
``file`` with their bytes, ``state`` for a consumer's state in the old form.
"""

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from phloem.shared.jetstream import archive
from phloem.shared.jetstream.archive import ArchiveError, ConsumerDocument, Entry, Reader, State
from phloem.shared.jetstream.archive_tar import BLOCK, Removed, TarReader, consumer_state
from phloem.shared.server.jetstream.snapshot import Restore
from phloem.shared.testing.manual_clock import ManualClock
from phloem.shared.wire.s2 import Encoder
from tests.fuzz.frames import Nonsense
from tests.fuzz.making import spoil
from tests.fuzz.steps import Step, Steps
from tests.fuzz.stored import HUGE, NUMBERS, any_number

MESSAGE_MAX = 1 << 16
KEPT_MAX = 12 << 20  # a document, and what was fed
TURNS_MAX = 10_000
STATE = {"messages": 2, "bytes": 60, "first_seq": 1, "last_seq": 3, "consumer_count": 1}
CONSUMER = {
    "config": {"name": "C", "durable_name": "C", "ack_policy": "explicit", "deliver_policy": "all"},
    "state": {
        "delivered": {"consumer_seq": 2, "stream_seq": 2},
        "ack_floor": {"consumer_seq": 1, "stream_seq": 1},
        "pending": {"2": {"Sequence": 2, "Timestamp": 5}},
        "redelivered": {"2": 1},
    },
}


def _changed(r: Random, value: Any) -> Any:
    """A document with a value of another size or kind somewhere."""
    if isinstance(value, dict) and value and r.random() < 0.85:
        key = r.choice(list(value))
        return {**value, key: _changed(r, value[key])}
    return r.choice((None, "", "x", -1, 1.5, [], {}, True, 1e300, *NUMBERS, *HUGE))


def _document(r: Random, value: dict[str, Any]) -> bytes:
    text = json.dumps(_changed(r, value) if r.random() < 0.4 else value).encode()
    return spoil(r, text) if r.random() < 0.1 else text


def _archive(r: Random) -> list[Step]:
    entries = [b"NATSARC1" if r.random() < 0.97 else b"NATSARC2"]
    entries.append(archive.entry(b"state.json", 5, 0, b"", _document(r, STATE)))
    entries += [
        archive.entry(b"consumers/C", 5, 0, b"", _document(r, CONSUMER))
        for _ in range(r.choice((0, 1, 1, 2)))
    ]
    for seq in range(1, r.randint(1, 6)):
        header = r.choice((b"", b"NATS/1.0\r\nA: b\r\n\r\n", b"x" * 70_000 if r.random() < 0.1 else b"x"))
        number = seq if r.random() < 0.9 else any_number(r)
        entries.append(archive.entry(b"s.%d" % seq, 7, number, header, r.randbytes(r.choice((0, 10, 900)))))
    if r.random() < 0.2:
        wild = b"".join(archive._varint(r.choice((0, 1, *NUMBERS, *HUGE))) for _ in range(5))
        entries.insert(r.randrange(1, len(entries) + 1), wild + b"abc")
    if r.random() < 0.9:
        entries.append(archive.END)
    return [Step("entry", 0, 0, spoil(r, e) if r.random() < 0.05 else e) for e in entries]


def tar_file(path: bytes, data: bytes, size: bytes = b"", kind: bytes = b"0") -> bytes:
    head = bytearray(BLOCK)
    head[: len(path[:100])] = path[:100]
    head[124:136] = (size or b"%011o" % len(data)).ljust(12, b"\0")[:12]
    head[156:157] = kind
    head[148:156] = b"%06o\0 " % (sum(head) + 8 * 32)
    return bytes(head) + data + bytes(-len(data) % BLOCK)


def _row(r: Random) -> bytes:
    """Records of a block file."""
    out = b""
    for seq in range(1, r.randint(2, 8)):
        subject, headers, body = (
            b"s.%d" % seq,
            r.choice((b"", b"", b"NATS/1.0\r\n\r\n")),
            r.randbytes(r.choice((0, 9, 500))),
        )
        rest = subject + (struct.pack("<I", len(headers)) + headers if headers else b"") + body + bytes(8)
        length = 22 + len(rest) | ((1 << 31) if headers else 0)
        number = (
            seq
            if r.random() < 0.8
            else r.choice((seq | 1 << 63, seq | 1 << 62, 0, any_number(r))) & ((1 << 64) - 1)
        )
        size = len(subject) if r.random() < 0.95 else r.choice((0, 65_535))
        length = length if r.random() < 0.95 else r.choice((0, 1, 22, 1 << 31, (1 << 32) - 1, length + 1))
        out += struct.pack("<IQqH", length, number, 7, size) + rest
    return out


def old_state(r: Random) -> bytes:
    """``o.dat``."""
    put = archive._varint
    numbers = [r.choice((0, 1, 2, 3, any_number(r))) for _ in range(r.choice((4, 5, 6, 12)))]
    return bytes([22, 2 if r.random() < 0.95 else 3]) + b"".join(put(number) for number in numbers)


def _tar(r: Random) -> list[Step]:
    size = r.choice((b"", b"", b"", b"777777777777", b"-1", b"9", b"\x80" + b"\xff" * 11, b"0_1", b" 12 "))
    files = [
        tar_file(b"meta.inf", _document(r, {"name": "S", "subjects": ["s.>"]})),
        tar_file(b"msgs/1.blk", _row(r)),
        tar_file(b"obs/C/meta.inf", _document(r, CONSUMER["config"])),
        tar_file(b"obs/C/o.dat", old_state(r)),
        tar_file(
            r.choice((b"sums", b"errors.txt", b"obs/D/o.dat", b"msgs/2.blk", b"\xff")),
            b"x" * r.choice((0, 700)),
            size,
        ),
        tar_file(
            b"x",
            r.choice((b"18 path=msgs/9.blk\n", b"99 path=a\n", b"0 path=", b"\xb2 path=", b"")),
            b"",
            b"x",
        ),
    ]
    chosen = [f for f in files if r.random() < 0.75]
    if r.random() < 0.2:
        r.shuffle(chosen)
    chosen += [bytes(2 * BLOCK)] * (r.random() < 0.9)
    return [Step("file", 0, 0, spoil(r, f) if r.random() < 0.1 else f) for f in chosen]


def make(r: Random) -> Steps:
    if r.random() < 0.1:
        return (Step("state", 0, 0, spoil(r, old_state(r))), Step("state", 0, 0, old_state(r)))
    tar = r.random() < 0.5
    return (Step("kind", int(tar), r.choice((1, 7, 100, 512, 5_000))), *(_tar(r) if tar else _archive(r)))


# --- carrying it out -----------------------------------------------------------------------------------


class _Turn:
    def __init__(self, work: Callable[[], None]) -> None:
        self.work, self.off = work, False

    def cancel(self) -> None:
        self.off = True


class _Line:
    """A line whose turns are taken one after another; what waits for time never comes."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.turns: list[_Turn] = []
        self.answers: list[bytes] = []
        self.callback: Callable[[bytes, bytes, bytes, bytes], None] | None = None

    def publish(self, subject: str, reply: str, header: bytes, body: bytes) -> int:
        return 1

    def answer(self, reply: bytes, body: bytes) -> None:
        self.answers.append(body)

    def subscribe(self, subject: str, callback: Callable[[bytes, bytes, bytes, bytes], None]) -> int:
        self.callback = callback
        return 1

    def unsubscribe(self, ident: int) -> None:
        self.callback = None

    def call_later(self, delay_ns: int, work: Callable[[], None]) -> _Turn:
        turn = _Turn(work)
        if not delay_ns:
            self.turns.append(turn)
        return turn

    def run(self) -> None:
        for _ in range(TURNS_MAX):
            if not self.turns:
                return
            if not (turn := self.turns.pop(0)).off:
                turn.work()
        raise Nonsense("a restore goes on and on")


class _Target:
    name = "S"

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.aborted = 0

    def begin(self, state: State) -> None:
        self.calls.append(state)

    def consumer(self, name: str, document: ConsumerDocument) -> None:
        document.state.outstanding()
        self.calls.append(name)

    def message(self, entry: Entry) -> None:
        if not 0 < entry.seq < 1 << 62 or len(entry.header) + len(entry.body) > MESSAGE_MAX:
            raise Nonsense(f"an impossible message: {entry.seq}")
        self.calls.append(entry)

    def remove(self, seq: int) -> None:
        self.calls.append(seq)

    def finish(self) -> dict[str, Any]:
        return {"did_create": True}

    def abort(self) -> None:
        self.aborted += 1


def _read(tar: bool, pieces: list[bytes]) -> tuple[list[Entry | Removed], bool, bool]:
    """What is in it, whether that was an error, whether it was all."""
    reader: Reader | TarReader = TarReader("S", MESSAGE_MAX) if tar else Reader(MESSAGE_MAX)
    found: list[Entry | Removed] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            for one in reader.entries():
                found.append(one)
            if len(reader._data) > KEPT_MAX:
                raise Nonsense(f"{len(reader._data)} bytes are kept")
    except ArchiveError:
        return found, True, False
    return found, False, reader.done


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _restored(data: bytes, size: int) -> tuple[list[object], bytes]:
    line, target, ends = _Line(), _Target(), list[str]()
    restore = Restore(line, target, "N", MESSAGE_MAX, lambda count, why: ends.append(why), State(last_seq=9))
    encoder = Encoder()
    packed = encoder.feed(data) + encoder.flush()
    for piece in [*_pieces(packed, size), b""]:
        if line.callback is None:
            break
        line.callback(b"", b"reply", b"", piece)
        line.run()
    if not restore.over or len(ends) != 1 or not line.answers or target.aborted > 1:
        raise Nonsense(f"a restore does not end once: {ends} {target.aborted}")
    return target.calls, line.answers[-1]


def run(steps: Steps) -> None:
    for step in steps:
        if step.verb == "state":
            try:
                consumer_state(step.data)
            except ArchiveError:
                continue
    kind = next((step for step in steps if step.verb == "kind"), Step("kind"))
    data = b"".join(step.data for step in steps if step.verb in ("entry", "file"))
    size = max(kind.number % 10_000, 1)
    if len(data) // size > 5_000:
        size = len(data) // 5_000
    found, whole = _read(bool(kind.who), _pieces(data, size)), _read(bool(kind.who), [data])
    if found[1:] != whole[1:] or (not found[1] and found[0] != whole[0]):
        raise Nonsense(f"depends on pieces: {found} {whole}")
    for one in found[0]:
        for reading in (archive.state_of, archive.consumer_of):
            try:
                reading(one) if isinstance(one, Entry) else None
            except ArchiveError:
                continue
    if _restored(data, size) != _restored(data, len(data) + 100):
        raise Nonsense("what is restored depends on pieces")
