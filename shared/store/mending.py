"""A data.mdb that was damaged while it is in use, made anew: every message and pair in it that is good is put into a
new file, which takes the old one's name. The journal is left alone: the store goes on from where the old file ended.

It runs on the mover's thread, the only one that writes to data.mdb. Readers have the old file open until the loop's
thread opens the new one (generations.pyx). A power cut leaves the old file or the new one: to take a name is one step.
The damaged file is kept in ``FOLDER.damaged-N``, as a repair keeps it.
"""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from phloem.shared.store import keyring
from phloem.shared.store.contents import StoreError
from phloem.shared.store.folder import sync_folder
from phloem.shared.store.held import quiet
from phloem.shared.store.repair import free_name, like_file, make, marks_of, room_for
from phloem.shared.store.survey import MADE_ANEW, Survey
from phloem.shared.store.vault import Vault

WORK = "mending"  # a folder in the store's: on the same file system, whatever is mounted where
FILE = "data.mdb"


@dataclass(frozen=True)
class Mended:
    """What could not be kept, in words, and what of that is of no log; for each log of which something was lost first
    and last sequence (0: unknown) and what it was; logs that have other counters or another index now; where the
    damaged file is."""

    lost: list[str]
    loose: list[str]
    marks: dict[int, tuple[int, int, str]]
    changed: set[int]
    damaged: Path


def mend_open(folder: Path, vault: Vault | None, place: tuple[int, int]) -> Mended:
    """Make data.mdb anew; ``place``: the last generation of the journal that it has as a whole, and the last batch of
    it. Raises StoreError; then nothing has changed."""
    made = folder / WORK
    try:
        shutil.rmtree(made, ignore_errors=True)
        found = Survey(folder, quiet, vault=vault, journals=False).run()
        room_for(folder, found.totals.bytes)
        kept = make(folder, made, found, quiet, vault, marks=True, place=place)
        damaged = _exchange(folder, made)
    except OSError as error:
        raise StoreError(f"{folder / FILE} was not changed: {error.strerror or error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    told = [finding for finding in kept.findings if finding.kind not in (*MADE_ANEW, "mark")]
    return Mended(
        lost=[str(finding) for finding in told],
        loose=[str(finding) for finding in told if not finding.ident],
        marks=marks_of(told),
        changed={finding.ident for finding in kept.findings if finding.ident},
        damaged=damaged,
    )


def _exchange(folder: Path, made: Path) -> Path:
    """Where the damaged file is now. Raises OSError; then the folder has what it had."""
    path, new = folder / FILE, made / FILE
    like_file(path, new)
    damaged = free_name(folder)
    damaged.mkdir(mode=0o700)
    try:
        try:
            os.link(path, damaged / FILE)
        except OSError:  # not every file system has links
            shutil.copyfile(path, damaged / FILE)
        if keyring.has_keys(str(folder)):
            shutil.copyfile(folder / keyring.FILE, damaged / keyring.FILE)
        sync_folder(str(damaged))
        sync_folder(str(damaged.parent))
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            shutil.rmtree(damaged)
        raise
    sync_folder(str(folder))
    return damaged
