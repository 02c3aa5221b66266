"""Whatever has to be done before a store can be opened with an operator's keys: nothing, a new file of keys, the same
secret wrapped by another key, or everything written again with another secret, because the store was not encrypted,
because the cipher is another one, or because a compaction asks for it.

Writing again. The file of keys names the secret that is coming; ``data.mdb.sealed`` gets every entry; it and
``data.mdb`` change names, in one system call where the file system has it; the file of keys names the new secret alone;
what has the name ``data.mdb.sealed`` now is written over and deleted. Whatever breaks off: the next start sees by what
``data.mdb`` says with which of the two it is written, and goes on or begins again. The journal is moved into LMDB
before, so that there is none.

What was not encrypted is written over before it is deleted: the old ``data.mdb``, its journal, half-made files. Copies
that a repair kept beside the folder are told of.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from mmap import PROT_READ, mmap
from pathlib import Path

import lmdb

from phloem.shared.limits import STORE_COMPACT_MOVE_BYTES
from phloem.shared.store import inspect, keyring
from phloem.shared.store.folder import make_folder, refusal, sync_file, sync_folder, wipe_file
from phloem.shared.store.frames import generations_in
from phloem.shared.store.held import Progress, held, quiet
from phloem.shared.store.inspect import DATABASES, Inspector, Reader
from phloem.shared.store.keyring import PLAIN, Keys, Ring, Secret
from phloem.shared.store.store import Store, StoreDamaged, StoreError
from phloem.shared.store.vault import Vault

GENERATION_BYTES = 1 << 20
SPARE = 64 << 20  # address space beside what the old file has
GROWTH = 4  # times as much may a file of small entries need, which are longer when they are encrypted
SEALED = "data.mdb.sealed"
LEFT = ("data.mdb.compact", "data.mdb.new", "data.mdb.old")  # what may have been in the clear
LONG_BYTES = 64 << 20  # of a file whose progress is told

Tell = Callable[[str], None]


def prepare(folder: Path, keys: Keys | None, tell: Tell) -> Vault | None:
    """Makes a folder ready for a Store with these keys, and gives what that needs; None: nothing is encrypted.

    Raises:
        StoreDamaged: ``data.mdb`` has to be repaired first.
        StoreError: No key, a wrong one, no space; then everything is as it was, or goes on from there the next time.
    """
    if why_not := refusal(str(folder)):
        raise StoreError(why_not)
    ring = keyring.read(str(folder), keys)
    if keys is None or not keys.key:
        return None
    try:
        with _kept(folder):
            ring = _with_keys(folder, keys, ring, tell)
        while ring.coming is not None:
            ring = rewrite(folder, keys, ring, _told(tell))
            ring = _other_cipher(folder, keys, ring, tell)
        with _kept(folder):
            for name in (SEALED, keyring.FILE + ".old", keyring.FILE + ".new", *_leftovers(folder)):
                wipe_file(str(folder / name))
    except OSError as error:
        raise StoreError(f"{folder} cannot be encrypted: {error.strerror or error}") from error
    return ring.current.vault()


def _used(folder: Path) -> bool:
    return folder.is_dir() and ((folder / "data.mdb").exists() or bool(generations_in(str(folder))))


def _kept(folder: Path) -> contextlib.AbstractContextManager[None]:
    """From other servers, if there is something in it. Raises StoreError."""
    return held(folder) if _used(folder) else contextlib.nullcontext()


def _with_keys(folder: Path, keys: Keys, ring: Ring | None, tell: Tell) -> Ring:
    """The file of keys is there, opens with the key, and says what is to be done."""
    path = str(folder)
    if ring is None:
        make_folder(path)
        secret = keyring.fresh(keys.cipher)
        ring = Ring(PLAIN, secret) if _used(folder) else Ring(secret)
        keyring.write(path, keys, ring)
        if ring.coming is not None:
            tell(f"Encrypting the store with {keyring.TITLES[keys.cipher]}")
        for copy in sorted(folder.parent.glob(folder.name + ".damaged-*")):
            tell(f"{copy} may not be encrypted: delete it when it is not needed any more")
        return ring
    if ring.by_previous:
        ring = replace(ring, by_previous=False)
        keyring.write(path, keys, ring)
        tell("The store's key is wrapped by the new key now; prev_key can go")
    if ring.coming is not None and ring.current.cipher == keys.cipher and not _is_of(folder, ring.coming):
        ring = Ring(ring.current)  # of a compaction that was broken off
        keyring.write(path, keys, ring)
    return _other_cipher(folder, keys, ring, tell)


def _other_cipher(folder: Path, keys: Keys, ring: Ring, tell: Tell) -> Ring:
    if ring.coming is None and ring.current.cipher != keys.cipher:
        tell(f"Converting to {keyring.TITLES[keys.cipher]}")
        ring = Ring(ring.current, keyring.fresh(keys.cipher))
        keyring.write(str(folder), keys, ring)
    return ring


def secret_of(folder: Path, keys: Keys | None) -> Secret:
    """What ``data.mdb`` is encrypted with, without changing anything. Raises StoreError."""
    ring = keyring.read(str(folder), keys)
    if ring is None:
        return PLAIN
    return ring.coming if ring.coming is not None and _is_of(folder, ring.coming) else ring.current


def renewed(folder: Path, keys: Keys, progress: Progress) -> None:
    """Writes everything again with a secret that nobody had. Raises StoreError, OSError; then all is as it was."""
    path = str(folder)
    ring = keyring.read(path, keys)
    assert ring is not None
    old = Ring(secret_of(folder, keys))
    if old.current == PLAIN:
        raise StoreError(f"{folder} is not encrypted yet: start the server with the key first")
    ring = Ring(old.current, keyring.fresh(old.current.cipher))
    keyring.write(path, keys, ring)
    try:
        rewrite(folder, keys, ring, progress)
    except (StoreError, OSError):
        keyring.write(path, keys, Ring(secret_of(folder, keys)))
        raise


def rewrite(folder: Path, keys: Keys, ring: Ring, progress: Progress = quiet) -> Ring:
    """From one secret to the one that is coming; what the file of keys says then. Raises StoreError, OSError."""
    path, coming = str(folder), ring.coming
    assert coming is not None
    sealed = folder / SEALED
    if not _is_of(folder, coming):
        if ring.current == PLAIN:
            _keep_journals(folder)
        if (folder / "data.mdb").exists() or generations_in(path):
            if generations_in(path):
                _move_journal(folder, ring.current)
            with held(folder):
                sealed.unlink(missing_ok=True)
                _copy(folder / "data.mdb", sealed, ring.current, coming, progress)
                _like(folder / "data.mdb", sealed)
                _exchange(folder / "data.mdb", sealed)
                sync_folder(path)
    done = Ring(coming)
    keyring.write(path, keys, done)
    for name in (SEALED, *_leftovers(folder)):
        wipe_file(os.path.join(path, name))
    return done


def _leftovers(folder: Path) -> list[str]:
    return [
        *(name for name in LEFT if (folder / name).exists()),
        *(p.name for p in folder.glob("journal-*.old")),
    ]


def _keep_journals(folder: Path) -> None:
    """They get a second name, so that they can be written over when they are moved."""
    for generation in generations_in(str(folder)):
        journal = folder / f"journal-{generation:08d}"
        with contextlib.suppress(FileExistsError, PermissionError, NotImplementedError):
            os.link(journal, journal.with_name(journal.name + ".old"))


def _move_journal(folder: Path, current: Secret) -> None:
    """Everything is in LMDB, and there is no journal. Raises StoreError."""
    problems: list[str] = []
    store = Store(
        str(folder),
        seed=secrets.randbits(64),
        generation_bytes=GENERATION_BYTES,
        on_problem=problems.append,
        vault=current.vault(),
        converts=True,
    )
    damage = store.open()
    store.close()
    if generations_in(str(folder)):
        raise StoreError(f"{folder}: the journal cannot be moved: {'; '.join(problems) or 'no space'}")
    if damage:
        problems.extend(damage)


def _is_of(folder: Path, secret: Secret) -> bool:
    """Whether ``data.mdb`` is written with this secret."""
    path = folder / "data.mdb"
    if not path.exists() or path.stat().st_size == 0:
        return False
    reader = Reader(secret.vault())
    with path.open("rb") as file, mmap(file.fileno(), 0, prot=PROT_READ) as data:
        inspector = Inspector(data)
        try:
            return inspector.readable and any(
                reader.unsealed("meta", key, value) is not None for key, value in inspector.walk("meta")
            )
        finally:
            inspector.close()


def _copy(path: Path, new: Path, current: Secret, coming: Secret, progress: Progress) -> None:
    """Raises StoreDamaged, StoreError, OSError."""
    reader, into = Reader(current.vault()), coming.vault()
    size = path.stat().st_size
    with path.open("rb") as file, mmap(file.fileno(), 0, prot=PROT_READ) as data:
        inspector = Inspector(data)
        env = lmdb.open(
            str(new), subdir=False, lock=False, sync=False, max_dbs=8, map_size=GROWTH * size + SPARE
        )
        try:
            if not inspector.readable or inspector.missing():
                raise StoreDamaged(f"{path} is damaged")
            done = 0
            for name in DATABASES:
                database = env.open_db(name.encode())
                for part in _parts(_resealed(inspector, name, reader, into, path)):
                    with env.begin(write=True, db=database) as txn:
                        for key, value in sorted(part):
                            txn.put(key, value)
                            done += len(key) + len(value)
                    progress("encrypting", min(done, size), size)
            inspector.finish()
            if inspector.problems():
                raise StoreDamaged(f"{path} is damaged")
            env.sync(True)
        except lmdb.Error as error:
            raise StoreError(f"{path} was not changed: {error}") from error
        finally:
            inspector.close()
            env.close()
    sync_file(str(new))


def _resealed(
    inspector: Inspector, name: str, reader: Reader, into: Vault | None, path: Path
) -> Iterator[tuple[bytes, bytes]]:
    for key, value in inspector.walk(name):
        entry = reader.resealed(name, key, value, into)
        if entry is None:
            raise StoreDamaged(f"{path} is damaged: an entry of {name}")
        yield entry


def _parts(entries: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    """As much at a time as one transaction takes."""
    part: list[tuple[bytes, bytes]] = []
    size = 0
    for entry in entries:
        part.append(entry)
        size += len(entry[0]) + len(entry[1])
        if size >= STORE_COMPACT_MOVE_BYTES:
            yield part
            part, size = [], 0
    yield part


def _like(old: Path, new: Path) -> None:
    there = old.stat()
    os.chmod(new, there.st_mode & 0o7777)
    with contextlib.suppress(PermissionError):
        os.chown(new, there.st_uid, there.st_gid)


def _exchange(path: Path, sealed: Path) -> None:
    """The new file takes the name; the old one has the other's, to be written over."""
    try:
        inspect.exchange(str(path), str(sealed))
    except OSError:  # not every file system can: what was there is written over as far as this process lives
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            sealed.replace(path)
            sync_folder(str(path.parent))  # else the name could still be that of what is written over
            left, noise = os.fstat(fd).st_size, os.urandom(1 << 20)
            while left > 0:
                left -= os.write(fd, noise[: min(left, len(noise))])
            os.fsync(fd)
        finally:
            os.close(fd)


def _told(tell: Tell) -> Progress:
    """Progress in words, where it takes long enough to be worth one."""
    told = 0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal told
        if total >= LONG_BYTES and 10 * done // total > told:
            told = 10 * done // total
            tell(f"  {what}: {10 * told} %")

    return progress
