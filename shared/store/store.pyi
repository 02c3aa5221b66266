"""The store of one server: streams' messages and everything else that has to outlive it, in one folder (store.pyx).

It belongs to the loop's thread. ``fileno`` and ``timer_fileno`` become readable when there is something to do; the
engine does it (``Engine(kernel, store)`` watches both), or whoever uses a store without one calls ``work``.
"""

from collections.abc import Callable, Iterator
from typing import Any

from phloem.shared.store.log import Log
from phloem.shared.store.vault import Vault

class StoreError(Exception):
    """The folder cannot be used, or the disk refused something; says what to do."""

class StoreDamaged(StoreError):
    """LMDB must not be let at the file as it is; ``repair.mend`` makes a store of it that can be opened."""

def mark_of(mark: bytes) -> tuple[int, int, str]:
    """First and last sequence (0: unknown) and the text of what was lost of a log, as LMDB keeps it."""

class Store:
    """``folder`` is made if it is not there. Nothing is opened before ``open``."""

    folder: str
    figures: dict[str, Any]
    def __init__(
        self,
        folder: str,
        *,
        seed: int,
        generation_bytes: int,
        on_freeze: Callable[[], None] | None = None,
        on_problem: Callable[[str], None] | None = None,
        vault: Vault | None = None,
        converts: bool = False,
        sparing: bool = False,
    ) -> None:
        """``on_freeze`` is called when a generation ends, to ``put`` what notes had said so far; ``on_problem`` is told
        what an operator has to know. ``vault``: what the folder is encrypted with (``encrypt.prepare``); ``converts``:
        a folder with keys is not encrypted yet, and that is meant. ``sparing``: of a small device. What was freed
        or looked at in data.mdb leaves the process soon; both costs page faults when it is needed again.
        """
    def open(self) -> list[str]:
        """Takes the folder, replays the journal; what was found damaged, in words. Raises StoreError.

        On a full disk it opens as well: all is read, ``full`` is set until there is space.
        """
    def close(self) -> None:
        """Everything goes to LMDB; the next ``open`` replays nothing."""
    def fileno(self) -> int: ...
    def timer_fileno(self) -> int: ...
    def work(self) -> None:
        """Takes what is finished, hands over the next batch."""
    def tell(self) -> None:
        """Tells ``on_problem`` what has happened; ``work`` does it, too."""
    def wait(self) -> None:
        """Blocks until all that was written so far is on the disk (tests, shutting down). Raises StoreError."""
    def open_log(self, ident: int, *, relaxed: bool = False, compress: bool = False, name: str = "") -> Log:
        """The file log of this number (1 or higher), as the last run left it or empty; ``name``: for problems."""
    def drop_log(self, ident: int) -> None:
        """Deletes a log and all its messages. Its number must not be used again."""
    def configure_log(self, ident: int, *, relaxed: bool, compress: bool) -> None: ...
    def mark(self, ident: int, first: int, last: int, text: str) -> None:
        """Something of this log was lost. LMDB keeps the mark until the log is purged as a whole or dropped."""
    def lost(self, ident: int) -> tuple[int, int, str] | None:
        """First and last sequence (0: unknown) and text of its mark: nothing more may be appended."""
    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes) -> None: ...
    def delete(self, key: bytes) -> None: ...
    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs whose key begins so, in order."""
    def note(self, owner: int, data: bytes) -> None:
        """Something that changed since ``owner``'s last pair; see ``on_freeze``."""
    def put_state(self, owner: int, value: bytes) -> None:
        """The whole of what ``owner`` has to remember; its notes so far are in it."""
    def state(self, owner: int) -> tuple[bytes | None, list[bytes]]:
        """What ``put_state`` said last, and the notes that the journal had behind it when it was opened."""
    def drop_state(self, owner: int) -> None: ...
    def glance_due(self, now_ns: int) -> bool:
        """Somebody's timer, once a minute or less: looks at the file of an idle store if it is time, in a thread.

        ``now_ns`` is ``time.monotonic_ns``'s. What is wrong is told and mended as what is found before a move."""
    on_mended: Callable[[list[str]], None] | None
    """Told when data.mdb was damaged while it was in use and has been made anew: what was lost of no log, in words; of
    logs ``lost`` says it. Counters of logs may be others than before."""
    mending: str
    """Why data.mdb is being made anew; "": it is not."""
    @property
    def failed(self) -> int:
        """errno of the failure after which nothing is acknowledged any more; 0: all is well."""
    @property
    def full(self) -> bool:
        """Whether there is no space: what would need more is refused."""
    @property
    def why_full(self) -> str:
        """In a few words; "" if it is not."""
    @property
    def settled(self) -> bool:
        """Whether all that was written is on the disk."""
    @property
    def space(self) -> tuple[int, int]:
        """Bytes of LMDB's file, and of its pages that something is on, as of the last move: the file never becomes
        smaller, what is free in it is used again."""
    @property
    def stats(self) -> dict[str, int]: ...
