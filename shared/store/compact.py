"""Gives space back that a store does not use: LMDB uses pages again that were left, and never shortens its file.

Every entry is copied into a new file, in order and without gaps. It is read without LMDB, which trusts what it reads,
so that a damaged file is noticed and left alone. The new file is on the disk before it takes the old one's name, which
is one step: a power cut leaves the one or the other.

A store that is encrypted is written again with a new data key (``encrypt.py``), so that what anybody knew of the old
one is worth nothing any more.
"""

import contextlib
import errno
import mmap
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lmdb

from phloem.shared.limits import STORE_COMPACT_MOVE_BYTES
from phloem.shared.store import keyring
from phloem.shared.store.encrypt import renewed, secret_of
from phloem.shared.store.folder import sync_file, sync_folder
from phloem.shared.store.held import Progress, held, quiet
from phloem.shared.store.inspect import DATABASES, Inspector
from phloem.shared.store.pages import file_sound
from phloem.shared.store.store import StoreError
from phloem.shared.store.vault import Vault

SPARE = 64 << 20  # address space beside what the old file has


@dataclass(frozen=True)
class Compacted:
    """Bytes of the file."""

    before: int
    after: int


def compact(folder: Path, progress: Progress = quiet, keys: keyring.Keys | None = None) -> Compacted:
    """Raises StoreError; then everything is as it was."""
    path, new = folder / "data.mdb", folder / "data.mdb.compact"
    if keyring.has_keys(str(folder)):
        return _with_new_key(folder, progress, keys)
    with held(folder):
        if not path.exists():
            raise StoreError(f"{folder} has no data.mdb")
        before = path.stat().st_size
        _sound(folder, None)
        try:
            new.unlink(missing_ok=True)
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                _copy(data, new, progress)
            _like(path, new)
            new.replace(path)
            sync_folder(str(folder))
        except (OSError, ValueError, lmdb.Error) as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            what = getattr(error, "strerror", None) or str(error)
            raise StoreError(f"{path} was not changed: {what}") from error
        return Compacted(before, path.stat().st_size)


def _sound(folder: Path, vault: Vault | None) -> None:
    """Raises StoreError: a copy of a damaged file would be damaged, and nobody would look for what is missing."""
    if (folder / "data.mdb").exists() and not file_sound(str(folder / "data.mdb"), vault):
        raise StoreError(
            f"{folder}/data.mdb is damaged and was not changed; first keep what is good: phloem store repair {folder}"
        )


def _with_new_key(folder: Path, progress: Progress, keys: keyring.Keys | None) -> Compacted:
    path = folder / "data.mdb"
    with held(folder):
        ring = keyring.read(str(folder), keys)
        if ring is not None and ring.by_previous:
            raise StoreError(
                f"{folder} has been encrypted with prev_key: start the server with the new one first"
            )
        before = path.stat().st_size if path.exists() else 0
        _sound(folder, secret_of(folder, keys).vault())
    assert keys is not None
    try:
        renewed(folder, keys, progress)
    except (OSError, lmdb.Error) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise StoreError(f"{path} was not changed: {what}") from error
    return Compacted(before, path.stat().st_size)


def _copy(data: mmap.mmap, new: Path, progress: Progress) -> None:
    env = lmdb.open(
        str(new), subdir=False, lock=False, sync=False, meminit=False, max_dbs=8, map_size=len(data) + SPARE
    )
    inspector = Inspector(data)
    try:
        if not inspector.readable or inspector.missing():
            raise ValueError("it is damaged; try: phloem store repair")
        done = 0
        for name in DATABASES:
            database = env.open_db(name.encode())
            for part in _parts(inspector.walk(name)):
                with env.begin(write=True, db=database) as txn:
                    for key, value in part:
                        txn.put(key, value, append=True)
                        done += len(key) + len(value)
                progress("copying", done, len(data))
        inspector.finish()
        if inspector.problems():
            raise ValueError("it is damaged; try: phloem store repair")
        env.sync(True)
    finally:
        inspector.close()
        env.close()
    sync_file(str(new))


def _parts(entries: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    """As much at a time as one transaction takes."""
    part: list[tuple[bytes, bytes]] = []
    size = 0
    for entry in entries:
        part.append(entry)
        size += len(entry[1])
        if size >= STORE_COMPACT_MOVE_BYTES:
            yield part
            part, size = [], 0
    yield part


def _like(old: Path, new: Path) -> None:
    """The same owner and the same rights."""
    shutil.copymode(old, new)
    there = old.stat()
    try:
        os.chown(new, there.st_uid, there.st_gid)
    except PermissionError as error:
        raise OSError(errno.EPERM, "the new file cannot have the owner of the old one") from error
