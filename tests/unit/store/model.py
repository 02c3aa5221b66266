"""A log of dicts and lists that is only meant to be right, and the drivers of the real ones."""

import functools
import random
from collections.abc import Callable
from pathlib import Path

from phloem.shared.store.log import Log, Message
from phloem.shared.store.store import Store
from phloem.shared.store.vault import Vault


@functools.cache
def covers(pattern: bytes, subject: bytes) -> bool:
    p, s = pattern.split(b"."), subject.split(b".")
    for i, token in enumerate(p):
        if token == b">":
            return len(s) > i
        if i >= len(s) or token not in (b"*", s[i]):
            return False
    return len(p) == len(s)


class ModelLog:
    """What a log does, without any cleverness."""

    def __init__(self) -> None:
        self.kept: dict[int, Message] = {}
        self.last_seq = 0
        self.after_purge = 1

    @property
    def first_seq(self) -> int:
        return min(self.kept, default=self.last_seq + 1)

    def append(self, subject: bytes, header: bytes, payload: bytes, ts: int, seq: int = 0) -> int:
        self.last_seq = seq or self.last_seq + 1
        self.kept[self.last_seq] = Message(self.last_seq, ts, subject, header, payload)
        return self.last_seq

    def skip(self, last_seq: int) -> None:
        self.last_seq = max(self.last_seq, last_seq)

    def remove(self, seq: int) -> bool:
        return self.kept.pop(seq, None) is not None

    def matching(self, filters: tuple[bytes, ...], start: int = 0, end: int | None = None) -> list[Message]:
        end = self.last_seq if end is None else end
        return [
            m
            for seq, m in sorted(self.kept.items())
            if start <= seq <= end and (not filters or any(covers(f, m.subject) for f in filters))
        ]

    def purge(self, filters: tuple[bytes, ...] = (), *, below: int = 0, keep: int = 0) -> int:
        found = self.matching(filters, 0, below - 1 if below else None) if below != 1 else []
        gone = found[: max(len(found) - keep, 0)]
        for message in gone:
            del self.kept[message.seq]
        if not filters and not keep and below > self.last_seq:
            self.last_seq = below - 1
        return len(gone)

    def subjects(self, filters: tuple[bytes, ...] = ()) -> dict[bytes, int]:
        counts: dict[bytes, int] = {}
        for message in self.matching(filters):
            counts[message.subject] = counts.get(message.subject, 0) + 1
        return dict(sorted(counts.items()))

    def subject(self, subject: bytes) -> tuple[int, int, int]:
        seqs = [m.seq for m in self.matching((subject,))]
        return (len(seqs), seqs[0], seqs[-1]) if seqs else (0, 0, 0)

    def last_of_subjects(self, filters: tuple[bytes, ...], end: int) -> list[int]:
        return sorted({m.subject: m.seq for m in self.matching(filters, 0, end)}.values())

    def seq_from_time(self, ts: int) -> int:
        return next((m.seq for m in self.matching(()) if m.ts >= ts), self.last_seq + 1)


class MemoryDriver:
    """A memory log."""

    def __init__(self, folder: Path) -> None:
        self.log = Log(seed=7)

    def settle(self) -> None:
        pass

    def again(self) -> None:
        pass

    def close(self) -> None:
        pass


class FileDriver:
    """A file log whose generations end so often that most of it is on disk, and which can be opened again."""

    generation_bytes = 3000
    compress = False
    cipher = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open()

    def _open(self) -> None:
        self.problems: list[str] = []
        self.store = Store(
            str(self.folder / "store"),
            seed=11,
            generation_bytes=self.generation_bytes,
            on_problem=self.problems.append,
            vault=Vault(self.cipher, bytes(range(32))) if self.cipher else None,
        )
        assert self.store.open() == []
        self.log = self.store.open_log(1, compress=self.compress)
        self.other = self.store.open_log(2)

    def settle(self) -> None:
        self.store.wait()
        assert self.log.visible_seq == self.log.last_seq

    def again(self) -> None:
        self.store.close()
        self._open()

    def close(self) -> None:
        self.store.close()
        assert self.problems == []


class CompressedDriver(FileDriver):
    compress = True


class EncryptedDriver(FileDriver):
    cipher = "chacha"


class EncryptedCompressedDriver(CompressedDriver):
    cipher = "aes"


Driver = MemoryDriver | FileDriver
DRIVERS: dict[str, Callable[[Path], Driver]] = {
    "memory": MemoryDriver,
    "file": FileDriver,
    "compressed": CompressedDriver,
    "encrypted": EncryptedDriver,
    "encrypted and compressed": EncryptedCompressedDriver,
}
LONG = b"long." + b"x" * 600
SUBJECTS = [b"a.b", b"a.c", b"b.a.c", b"k.%d", LONG]
FILTERS: list[tuple[bytes, ...]] = [
    (),
    (b">",),
    (b"a.*",),
    (b"k.>",),
    (b"a.b",),
    (b"*.c", b"b.>"),
    (LONG,),
    (b"none.>",),
]


def subject_of(rng: random.Random) -> bytes:
    subject = rng.choice(SUBJECTS)
    return subject % rng.randrange(40) if b"%" in subject else subject


def compare(log: Log, model: ModelLog, rng: random.Random) -> None:
    """Every question has the model's answer."""
    assert (log.messages, log.last_seq, log.first_seq) == (len(model.kept), model.last_seq, model.first_seq)
    assert log.subjects_count == len(model.subjects())
    start, end = sorted(rng.randrange(0, model.last_seq + 3) for _ in range(2))
    for filters in FILTERS:
        found = [m.seq for m in model.matching(filters, start, end)]
        at, seen = start, []
        while (message := log.next(filters, at, end)) is not None:
            assert message == model.kept[message.seq]
            seen.append(message.seq)
            at = message.seq + 1
        assert seen == found, (filters, start, end)
        assert log.count(filters, start, end) == len(found), (filters, start, end)
        assert log.subjects(filters) == model.subjects(filters)
        assert log.last_of_subjects(filters, end) == model.last_of_subjects(filters, end)
    for subject in (b"a.b", b"k.7", LONG, b"zz"):
        assert log.subject(subject) == model.subject(subject), subject
    for seq in (start, end, model.last_seq):
        assert log.read(seq) == model.kept.get(seq)
    ts = rng.randrange(0, 2000)
    assert log.seq_from_time(ts) == model.seq_from_time(ts)
