"""Makes a sound store of a damaged one: a new one beside it gets every message and pair that is good, with indexes made
anew; when it has been checked, the two folders change names, and the damaged one is kept as ``FOLDER.damaged-N``.

A server does the same on its own when it must not open a store as it is (``mend``); logs of which something was lost
are marked then, so that nothing is added to them before somebody has looked.

The damaged folder is only read. Whatever fails before the exchange leaves it as it was; the exchange is one system call
where the file system has it.
"""

import contextlib
import errno
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from phloem.shared.limits import STORE_DAMAGED_MAX
from phloem.shared.store import inspect, keyring
from phloem.shared.store.encrypt import secret_of
from phloem.shared.store.folder import sync_folder
from phloem.shared.store.held import Progress, held, quiet
from phloem.shared.store.keyring import Keys
from phloem.shared.store.store import Store, StoreError
from phloem.shared.store.survey import MADE_ANEW, Finding, Survey
from phloem.shared.store.vault import Vault

UNFINISHED = "unfinished"  # a file in the store that is being made; without it the folder may be anything
GENERATION_BYTES = 1 << 20  # nothing goes through this journal


@dataclass(frozen=True)
class Repaired:
    """What a repair did. ``kept`` None: nothing was wrong, nothing was done."""

    found: Survey
    kept: Survey | None
    damaged: Path | None

    @property
    def lost(self) -> list[Finding]:
        """What could not be kept."""
        return [] if self.kept is None else [f for f in self.kept.findings if f.kind not in MADE_ANEW]


def repair(folder: Path, progress: Progress = quiet, keys: Keys | None = None) -> Repaired:
    """Repair, if there is something to repair. Raises StoreError; then everything is as it was."""
    return _repair(folder, progress, keys, marks=False)


def mend(folder: Path, progress: Progress = quiet, keys: Keys | None = None) -> Repaired:
    """The same, and logs of which something was lost say so (``Store.lost``). Raises StoreError."""
    return _repair(folder, progress, keys, marks=True)


def _repair(folder: Path, progress: Progress, keys: Keys | None, *, marks: bool) -> Repaired:
    folder = folder.resolve()
    with held(folder):
        secret = secret_of(folder, keys)
        found = Survey(folder, progress, vault=secret.vault()).run()
        if not found.findings:
            return Repaired(found, None, None)
        made = folder.with_name(folder.name + ".repair")
        try:
            room_for(folder, found.totals.bytes)
            _clear(folder, made)
            kept = make(folder, made, found, progress, secret.vault(), marks=marks)
            _like(folder, made)
            damaged = _exchange(folder, made)
        except OSError as error:
            with contextlib.suppress(OSError):
                shutil.rmtree(made)
            raise StoreError(f"{folder} was not changed: {error.strerror or error}") from error
    return Repaired(found, kept, damaged)


def room_for(folder: Path, size: int) -> None:
    """Raises OSError if there is less space than a new store may need."""
    free = shutil.disk_usage(folder.parent).free
    if free < size:
        text = f"the new store may need {size} bytes beside the old one and {free} are free"
        raise OSError(errno.ENOSPC, text)


def make(
    folder: Path,
    made: Path,
    found: Survey,
    progress: Progress,
    vault: Vault | None,
    *,
    marks: bool,
    place: tuple[int, int] | None = None,
) -> Survey:
    """A store with all that is good; what could not be kept. ``place``: the journal is not read, and goes on from this
    generation and batch. Raises OSError and StoreError."""
    made.mkdir(mode=0o700)
    (made / UNFINISHED).touch()
    if keyring.has_keys(str(folder)):
        shutil.copyfile(folder / keyring.FILE, made / keyring.FILE)
    store = Store(
        str(made),
        seed=secrets.randbits(64),
        generation_bytes=GENERATION_BYTES,
        vault=vault,
        converts=True,
    )
    store.open()
    try:
        kept = Survey(folder, progress, store, vault, journals=place is None).run(found.orphans)
        if marks:
            _mark(store, kept.findings)
            inspect.move(store)  # marks have no records in the journal
        if place is not None:
            inspect.place(store, *place)
    finally:
        store.close()
    with held(made):
        look = Survey(made, progress, vault=vault)
        left = [f for f in look.run().findings if f.kind != "mark"]
    if left:
        raise OSError(errno.EIO, f"what was written to {made} is not what is read there: {left[0]}")
    return kept


def marks_of(findings: list[Finding]) -> dict[int, tuple[int, int, str]]:
    """Each log of which something could not be kept: first and last sequence (0: unknown) and what it is."""
    of_logs: dict[int, list[Finding]] = {}
    for finding in findings:
        if finding.ident and finding.kind not in MADE_ANEW:
            of_logs.setdefault(finding.ident, []).append(finding)
    marks = {}
    for ident, found in of_logs.items():
        placed = [finding for finding in found if finding.last]
        first = min((finding.first for finding in placed), default=0)
        last = max((finding.last for finding in placed), default=0)
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        marks[ident] = (first, last, f"{found[0].kind}: {found[0].text}{more}")
    return marks


def _mark(store: Store, findings: list[Finding]) -> None:
    for ident, mark in marks_of(findings).items():
        store.mark(ident, *mark)


def _like(folder: Path, made: Path) -> None:
    for old, new in ((folder, made), *((folder / "data.mdb", path) for path in made.iterdir())):
        if old.exists():
            like_file(old, new)


def like_file(old: Path, new: Path) -> None:
    """The same owner and the same rights. Raises OSError."""
    shutil.copymode(old, new)
    there = old.stat()
    if os.geteuid() == 0:
        os.chown(new, there.st_uid, there.st_gid)


def free_name(folder: Path) -> Path:
    """Where a damaged store is kept. Raises OSError when there are too many."""
    numbers = (folder.with_name(f"{folder.name}.damaged-{n}") for n in range(1, STORE_DAMAGED_MAX + 1))
    damaged = next((path for path in numbers if not path.exists()), None)
    if damaged is None:
        raise OSError(errno.EEXIST, f"there are {STORE_DAMAGED_MAX} damaged stores beside it already")
    return damaged


def _clear(folder: Path, made: Path) -> None:
    """Makes way for the new store: one that was never finished goes, anything else may be somebody's messages."""
    if (made / UNFINISHED).exists():
        shutil.rmtree(made)
    elif made.exists():
        made.rename(free_name(folder))
        sync_folder(str(folder.parent))


def _exchange(folder: Path, made: Path) -> Path:
    """Where the damaged store is now. Raises OSError if nothing has changed, StoreError if something has."""
    damaged = free_name(folder)
    (made / UNFINISHED).unlink()
    sync_folder(str(made))
    try:
        inspect.exchange(str(folder), str(made))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        _exchange_in_two(folder, made, damaged)
    else:
        try:
            made.rename(damaged)
        except OSError:
            damaged = made  # a later repair sets it aside
    try:
        sync_folder(str(folder.parent))
    except OSError as error:
        text = f"{folder} was repaired, the damaged store is {damaged}; that may not outlive a power cut"
        raise StoreError(f"{text}: {error.strerror}") from error
    return damaged


def _exchange_in_two(folder: Path, made: Path, damaged: Path) -> None:
    """Where the file system cannot exchange."""
    folder.rename(damaged)
    try:
        made.rename(folder)
    except OSError as error:
        try:
            damaged.rename(folder)
        except OSError:
            text = f"{folder} is not there now: the damaged store is {damaged}, the repaired one {made}"
            raise StoreError(f"{text}: {error.strerror}") from error
        raise
