"""Carries out Steps on the folder of a store, then lets everything at it that reads one.

``use`` says how the folder was made, the others damage it. Files are numbered in the order of their names, positions
are taken modulo the file's size, so that every Step means something. As long as no Step gives damage a good checksum
(``frame``, ``reseal``, ``entry``, ``bomb``), all that is read back has to be what was once stored.
"""

import atexit
import contextlib
import random
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import lmdb
import zstandard

from phloem.shared.store import inspect, keyring
from phloem.shared.store.check import check
from phloem.shared.store.keyring import Keys, Ring, Secret
from phloem.shared.store.log import Damaged, Log, Message
from phloem.shared.store.repair import repair
from phloem.shared.store.store import Store, StoreError
from tests.fuzz import seals
from tests.fuzz.frames import Nonsense
from tests.fuzz.steps import Step, Steps

KEYS = Keys("of every store that is fuzzed")
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
GENERATION = 48 << 10
SHAPES = 8  # the second half encrypted
READ_MAX = 2_000
DATABASES = ("meta", "pairs", "dead", "blocks", "subjects")
LONG = b"long." + b"y" * 600
SECRET = Secret("chacha", seals.DATA_KEY)
Ever = dict[tuple[int, int], Message]

keyring.COST = 1  # guessing keys costs nothing here

_made: dict[int, tuple[Path, Ever]] = {}


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="phloem-fuzz-", dir=MEMORY))


def _write(store: Store, rng: random.Random, count: int, ever: Ever) -> None:
    logs = [store.open_log(1), store.open_log(2, compress=True), store.open_log(3, relaxed=True)]
    for number in range(count):
        log = logs[number % 3]
        subject = rng.choice((b"a.%d" % rng.randrange(20), b"b", b"c.d.e", LONG))
        header = b"NATS/1.0\r\nA: b\r\n\r\n" if number % 5 == 0 else b""
        payload = b"%d " % number + rng.randbytes(4) * rng.randrange(1, 30)
        seq = log.append(subject, header, payload, 1_000 + number)
        ever[log.ident, seq] = Message(seq, 1_000 + number, subject, header, payload)
        if number % 6 == 0:
            log.remove(rng.randrange(1, log.last_seq + 1))
        if number % 40 == 0:
            store.put(b"s/A/S%d" % log.ident, b'{"ident": %d}' % log.ident)
            store.note(9, b"note %d" % number)
            store.put_state(8, b"state %d" % number)
        if number % 97 == 0:
            log.purge((b"b",))
            log.skip(log.last_seq + 3)
        if number % 20 == 0:
            store.wait()
    store.wait()


def _encrypted(folder: Path) -> bool:
    return keyring.has_keys(str(folder))


def _store(folder: Path, seed: int, generation_bytes: int) -> Store:
    vault = SECRET.vault() if _encrypted(folder) else None
    return Store(str(folder), seed=seed, generation_bytes=generation_bytes, vault=vault)


def made(shape: int) -> tuple[Path, Ever]:
    """A sound folder and all that was ever stored in it. 0: moved to LMDB; 1: only in the journal; 2: both, and a log
    that is gone; 3: with little in it; 4 to 7: the same, encrypted."""
    if not _made:
        atexit.register(lambda: [shutil.rmtree(path.parent) for path, _ in _made.values()])
    if shape not in _made:
        folder, ever, rng = _temporary() / "store", Ever(), random.Random(shape)
        encrypted, shape_of = shape >= SHAPES // 2, shape % (SHAPES // 2)
        if encrypted:
            folder.mkdir()
            keyring.write(str(folder), KEYS, Ring(SECRET))
        store = _store(folder, 3, 1 << 20 if shape_of == 0 else GENERATION)
        store.open()
        _write(store, rng, (600, 200, 400, 4)[shape_of], ever)
        if shape_of == 2:
            store.close()
            store = _store(folder, 4, GENERATION)
            store.open()
            _write(store, rng, 60, ever)
            store.drop_log(3)
            store.wait()
        left = folder.with_name("left")
        if shape_of in (1, 2):
            shutil.copytree(folder, left)
        store.close()
        if shape_of in (1, 2):
            folder = left
        _made[shape] = folder, ever
    return _made[shape]


class Folder:
    """One damaged store."""

    def __init__(self) -> None:
        self.root = _temporary()
        self.path = self.root / "store"
        self.honest = True
        self.ever = Ever()
        self.numbers = 0
        self.vault = SECRET.vault()

    def run(self, steps: Steps) -> None:
        try:
            for step in steps:
                if step.verb == "use" or not self.path.exists():
                    shutil.rmtree(self.path, ignore_errors=True)
                    source, self.ever = made(step.number % SHAPES if step.verb == "use" else 3)
                    shutil.copytree(source, self.path)
                ACTIONS[step.verb](self, step)
            if self.path.exists():
                self._examine()
        finally:
            shutil.rmtree(self.root)

    # --- damage ----------------------------------------------------------------------------------------

    def _use(self, step: Step) -> None:
        """The folder is there."""

    def _file(self, step: Step) -> tuple[Path, bytearray]:
        files = sorted(
            p for p in self.path.iterdir() if p.name == "data.mdb" or p.name.startswith("journal-")
        )
        path = files[step.who % len(files)]
        return path, bytearray(path.read_bytes())

    def _flip(self, step: Step) -> None:
        path, data = self._file(step)
        if data:
            data[(step.number >> 3) % len(data)] ^= 1 << (step.number & 7)
        path.write_bytes(data)

    def _cut(self, step: Step) -> None:
        path, data = self._file(step)
        path.write_bytes(data[: step.number % (len(data) + 1)])

    def _put(self, step: Step) -> None:
        path, data = self._file(step)
        at = step.number % (len(data) + 1)
        data[at : at + len(step.data)] = step.data
        path.write_bytes(data)

    def _copy(self, step: Step) -> None:
        """A page, or half a kilobyte, where another was: what a confused disk does."""
        path, data = self._file(step)
        size = 4096 if step.number & 1 else 512
        places = max(len(data) // size, 1)
        source, to = (step.number >> 1) % places * size, (step.number >> 16) % places * size
        data[to : to + size] = data[source : source + size]
        path.write_bytes(data)

    def _page(self, step: Step) -> None:
        """A field of a page of LMDB: its head, an offset or a node."""
        path, data = self._file(step._replace(who=0))
        if len(data) >= 4096:
            page = (step.number >> 16) % (len(data) // 4096) * 4096
            at = page + step.number % 4096
            data[at : at + len(step.data)] = step.data
            path.write_bytes(data[: max(len(data), at)])

    def _frame(self, step: Step) -> None:
        """A batch with these records at the end of a generation; the next one in the row, or not quite."""
        self.honest = False
        number = 1 + step.who % 3
        path = self.path / f"journal-{number:08d}"
        data = path.read_bytes() if path.exists() else b""
        at, batch = 0, 700
        while len(data) - at >= seals.FRAME and data[at : at + 3] == b"PHL":
            batch = int.from_bytes(data[at + 16 : at + 24], "little")
            at += seals.FRAME + int.from_bytes(data[at + 4 : at + 8], "little")
        numbers = number, batch + (step.number & 3 or 1), step.number >> 2
        if _encrypted(self.path):
            frame = seals.frame_shut(*numbers, step.data, self._number())
        else:
            frame = seals.frame(*numbers, step.data)
        path.write_bytes(data[:at] + frame)

    def _reseal(self, step: Step) -> None:
        """A frame that may have been changed gets a good checksum."""
        self.honest = False
        path, data = self._file(step)
        found = [at for at in range(0, len(data) - seals.FRAME) if data.startswith(b"PHL1", at)]
        if found:
            at = found[step.number % len(found)]
            end = at + seals.FRAME + int.from_bytes(data[at + 4 : at + 8], "little")
            data[at:end] = seals.frame_sealed(bytes(data[at:end]))
            path.write_bytes(data)

    def _entry(self, step: Step) -> None:
        """Key and value put into LMDB. Bits of the number: 1 sealed, 2 the head of a block is right, 4 compressed."""
        self.honest = False
        size = int.from_bytes(step.data[:2], "little") % 512
        key, value = step.data[2 : 2 + size] or b"k", step.data[2 + size :]
        name = DATABASES[step.who % len(DATABASES)]
        if name == "blocks" and step.number & 6:
            value = seals.block_sealed(value, squeeze=bool(step.number & 4))
        if _encrypted(self.path):
            key, value = self._shut(name, key, value, bool(step.number & 7))
        elif name != "blocks" and step.number & 1:
            value = seals.sealed(name, key, value)
        with (
            contextlib.suppress(lmdb.Error),
            lmdb.open(
                str(self.path / "data.mdb"), subdir=False, max_dbs=8, map_size=64 << 20, sync=False
            ) as env,
            env.begin(env.open_db(name.encode()), write=True) as txn,
        ):
            txn.put(key[:511], value)

    def _number(self) -> int:
        self.numbers += 1000
        return self.numbers

    def _shut(self, name: str, key: bytes, value: bytes, sealed: bool) -> tuple[bytes, bytes]:
        """As somebody who has the key writes it, under a name that may be hidden and mostly is."""
        if not sealed:
            return key, value
        if name == "blocks":
            whole = len(value) >= seals.BLOCK_HEAD
            tail = min(seals.tail_of(value), len(value)) if whole else 0
            return key, seals.block_shut(key, value, tail, self._number())
        plain = seals.sealed(name, key, value)
        entry = (
            inspect.Reader().resealed(name, key, plain, self.vault) if name in ("subjects", "pairs") else None
        )
        if entry is not None:
            return entry
        return key, seals.value_shut(name, key, value, self._number())

    def _bomb(self, step: Step) -> None:
        """A block that is zeros when it is expanded; what it says of its size may be wrong."""
        size, said = min(step.number & 0xFFFFFFFF, 200 << 20), step.number >> 32
        head = struct.pack("<BB2xIQQqqII", 1, 1, 3, 1, 3, 0, 0, said or size + seals.BLOCK_HEAD, 0)
        squeezer = zstandard.ZstdCompressor(write_content_size=step.who & 1 == 0).compressobj()
        packed = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + squeezer.flush()
        key = struct.pack(">IQ", 1, 3)
        self._entry(Step("entry", DATABASES.index("blocks"), 2, b"\x0c\0" + key + head + packed))

    # --- looking at it ---------------------------------------------------------------------------------

    def _examine(self) -> None:
        other = self.root / "other"
        shutil.copytree(self.path, other)
        self._use_it(self.path, self.honest)
        if any(self.path.iterdir()):
            self._use_it(self.path, self.honest)  # as the first run left it
        try:
            before = check(other, keys=KEYS)
            done = repair(other, keys=KEYS)
        except StoreError:
            return
        if (done.kept is None) != (not before.findings):
            raise Nonsense(f"check and repair do not agree: {before.findings[:3]}")
        if left := check(other, keys=KEYS).findings:
            raise Nonsense(f"a repaired store has findings: {[str(f) for f in left[:3]]}")
        if not self._use_it(other, self.honest):
            raise Nonsense("a repaired store cannot be opened")

    def _use_it(self, folder: Path, honest: bool) -> bool:
        store = _store(folder, 5, GENERATION)
        try:
            store.open()
        except StoreError:
            return False
        try:
            for ident in (1, 2, 3, 7):
                with contextlib.suppress(StoreError):
                    self._read(store.open_log(ident), honest)
            store.state(8), store.state(9), list(store.scan(b""))
            store.note(9, b"more")
            store.wait()
        finally:
            with contextlib.suppress(StoreError):
                store.close()
        return True

    def _read(self, log: Log, honest: bool) -> None:
        at = 1
        for _ in range(READ_MAX):
            try:
                message = log.next((), at)
            except Damaged as damage:
                if damage.seq < at:
                    raise Nonsense(f"reading goes back from {at} to {damage.seq}") from None
                at = damage.seq + 1
                continue
            if message is None:
                break
            if message.seq < at:
                raise Nonsense(f"reading goes back from {at} to {message.seq}")
            if honest and message != self.ever.get((log.ident, message.seq)) and message.payload != b"more":
                raise Nonsense(f"log {log.ident} serves what was not stored: {message}")
            at = message.seq + 1
        for filters in ((b"a.>",), (LONG,), (b"b", b"c.*.e")):
            log.subjects(filters), log.last_of_subjects(filters), log.count(filters, 1, log.last_seq)
            with contextlib.suppress(Damaged):
                log.next(filters, 1)
        log.subject(b"b"), log.subject(LONG), log.seq_from_time(1_100), log.gaps(50), log.count((), 2)
        if log.last_seq < 1 << 62:
            log.remove(log.first_seq)
            log.append(b"a.1", b"", b"more", 5_000)
            log.purge((b"a.*",), keep=2)


ACTIONS: dict[str, Callable[[Folder, Step], None]] = {
    verb: getattr(Folder, f"_{verb}")
    for verb in ("use", "flip", "cut", "put", "copy", "page", "frame", "reseal", "entry", "bomb")
}


def run(steps: Steps) -> None:
    Folder().run(steps)
