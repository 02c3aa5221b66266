"""A disk that fails on purpose (faults.pyx)."""

from phloem.shared.store.store import Store

def break_disk(
    store: Store, *, room_bytes: int = -1, on_write: int = 0, on_sync: int = 0, write_most: int = 0
) -> None:
    """``on_write``: errno after ``room_bytes``; ``on_sync``: errno of every sync; ``write_most``: of one write."""

def mend_disk(store: Store) -> None:
    """The disk works again."""
