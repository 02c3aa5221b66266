"""Whether a store is sound: every page, block, message, index entry, counter and batch of the journal is looked at.

Read-only, and only of a folder that nobody uses: the folder is held while it is looked at, so that no server starts on
it meanwhile.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from phloem.shared.store.store import StoreError
from phloem.shared.store.survey import Progress, Survey


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder of a store, kept from everybody else. Raises StoreError."""
    if not (folder / "data.mdb").exists() and not any(folder.glob("journal-*")):
        inner = folder / "jetstream" / "phloem"
        hint = f"; did you mean {inner}?" if inner.exists() else ""
        raise StoreError(f"{folder} is not the folder of a store: there is no data.mdb{hint}")
    try:
        fd = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)  # nobody has it open who follows the rules
    except OSError as error:
        raise StoreError(f"{folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StoreError(f"{folder} is in use; stop the server first") from None
    finally:
        os.close(fd)


def _quiet(_what: str, _done: int, _total: int) -> None:
    pass


def check(folder: Path, progress: Progress = _quiet) -> Survey:
    """Look at everything. Raises StoreError if the folder is none or in use."""
    with held(folder):
        return Survey(folder, progress).run()
