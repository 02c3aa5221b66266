"""The folder of a store, kept from everybody else while it is looked at or worked on without being opened."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from phloem.shared.store.contents import StoreError
from phloem.shared.store.folder import refusal

Progress = Callable[[str, int, int], None]  # what, done, of how much


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder of a store, kept from everybody else. Raises StoreError."""
    if not (folder / "data.mdb").exists() and not any(folder.glob("journal-*")):
        inner = folder / "jetstream" / "phloem"
        hint = f"; did you mean {inner}?" if inner.exists() else ""
        raise StoreError(f"{folder} is not the folder of a store: there is no data.mdb{hint}")
    if why_not := refusal(str(folder)):
        raise StoreError(why_not)
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


def quiet(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody looks at."""
