"""A closed store looked through without LMDB (inspect.pyx): for check.py and repair.py."""

from collections.abc import Callable, Iterator
from mmap import mmap
from typing import NamedTuple

from phloem.shared.store.store import Store
from phloem.shared.store.vault import Vault

DATABASES: tuple[str, ...]

Bytes = bytes  # Tally has a property of that name

class Block(NamedTuple):
    """One block of messages; ``damaged`` are sequences, those of removed messages not among them."""

    ident: int
    first: int
    last: int
    live: int
    kept: int
    damaged: list[int]
    chains: list[int]
    text: str

class State(NamedTuple):
    """The counters of a log."""

    first_seq: int
    last_seq: int
    messages: int
    bytes: int
    subjects: int
    last_ts: int
    blocks: int | None  # the fold of its blocks' keys; None: an earlier version did not say

class Inspector:
    """The trees in a file; ``data`` is not empty and stays as it is while this is used."""

    def __init__(self, data: mmap | bytes) -> None: ...
    @property
    def readable(self) -> bool:
        """Whether there is a head to begin with."""
    @property
    def pages(self) -> int: ...
    def entries(self, name: str) -> int | None:
        """How many entries a database is said to have; None: it cannot be found."""
    def missing(self) -> list[str]:
        """Databases whose tree cannot be found by its name."""
    def walk(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Everything of a database that can be read, in order; each database can be walked once."""
    def finish(self) -> None:
        """Looks at the rest: names and the list of free pages. When all databases have been walked."""
    def orphans(self) -> Iterator[tuple[bytes, bytes, bool]]:
        """Entries of pages that should be in a tree and are not, or are damaged, after ``finish``; nothing if the list
        of free pages is damaged. They have to prove themselves; True: their keys stand between those of others."""
    def problems(self) -> list[tuple[int, str]]:
        """Pages and what is wrong with them."""
    def close(self) -> None: ...

class Reader:
    """Takes the seals off entries; None for those that are not what was written."""

    vault: Vault | None
    def __init__(self, vault: Vault | None = None) -> None: ...
    def unsealed(self, name: str, key: bytes, value: bytes) -> bytes | None:
        """The value of an entry of ``meta``, ``subjects`` or ``dead``."""
    def rightful(self, name: str, key: bytes, value: bytes) -> bytes | None:
        """The key that a sealed entry was written under, if one bit of it has flipped since."""
    def home(self, key: bytes, value: bytes) -> bytes | None:
        """The key that a block was written under; None: nobody knows."""
    def pair(self, key: bytes, value: bytes) -> tuple[bytes, bytes] | None:
        """Key and value of an entry of ``pairs``."""
    def block(self, key: bytes, value: bytes) -> bytes | None:
        """A whole block as it is without encryption."""
    def is_block(self, key: bytes, value: bytes) -> bool | None:
        """Whether an entry proves itself by its head to be a block: then whether it is compressed; else None."""
    def resealed(self, name: str, key: bytes, value: bytes, into: Vault | None) -> tuple[bytes, bytes] | None:
        """An entry of any database as a store with another vault has it: key and value."""

def place_of(value: bytes) -> tuple[int, int] | None:
    """The last generation of the journal that LMDB has, and its last batch (0: unknown)."""

def fold_of(key: bytes) -> int:
    """What a block's key is in ``State.blocks``, by exclusive or."""

def state_of(value: bytes) -> State | None: ...
def subject_of(key: bytes, value: bytes, vault: Vault | None = None) -> tuple[bytes, int, int, int] | None:
    """Subject, count, first and last of an unsealed entry of ``subjects``."""

class Tally:
    """One log: its blocks in order, then its index."""

    def __init__(
        self, ident: int, expand: Callable[[bytes, int], bytes], vault: Vault | None = None
    ) -> None: ...
    messages: int
    bytes: int
    first: int
    last: int
    last_ts: int
    compressed: bool
    @property
    def subjects(self) -> int: ...
    def block(self, key: Bytes, value: Bytes, bits: Bytes | None, into: Store | None = None) -> Block:
        """``bits``: of removed messages, unsealed. What is good and not removed is put ``into`` a store."""
    def subject(self, subject: Bytes, count: int, first: int, last: int) -> bool:
        """Whether the index agrees with the messages."""
    def unseen(self) -> list[Bytes]:
        """Subjects with messages that ``subject`` was not asked about; at most ten of them."""
    @property
    def left(self) -> int:
        """How many those are."""
    def close(self) -> None: ...

def begin(store: Store, ident: int, *, compress: bool) -> None:
    """A log of a store that is being made."""

def finish(store: Store, ident: int, last_seq: int) -> None:
    """No sequence up to ``last_seq`` is given out again."""

def put(store: Store, key: bytes, value: bytes) -> None: ...
def apply(store: Store, batches: list[tuple[bytes, int]]) -> None:
    """Batches of a journal, as ``Journals.plain`` gives them."""

def move(store: Store) -> None:
    """What is in memory goes to the disk."""

def place(store: Store, generation: int, batch: int) -> None:
    """Where the journal goes on from, once the store that is being made is closed."""

def exchange(one: str, other: str) -> None:
    """Two folders change names at once. Raises OSError."""
