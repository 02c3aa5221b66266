"""Journals read back (frames.pyx)."""

from phloem.shared.store.vault import Vault

def generations_in(folder: str) -> list[int]:
    """Numbers of the journal files in a folder, in order."""

class Journals:
    """The generations of one journal, read in order."""

    batch: int
    """The number of the last batch; 0: none is known."""
    unsynced: int
    """Batches that are missing and of which nobody had said that they were on the disk; after ``damage``."""
    def __init__(self, batch: int, vault: Vault | None = None) -> None:
        """``batch``: the last one that LMDB has; 0: unknown. ``vault``: of an encrypted store."""
    def read(self, name: str, data: bytes, generation: int) -> list[int]:
        """Where the whole batches of a generation's file begin."""
    def plain(self, data: bytes, at: int) -> tuple[bytes, int]:
        """One of them as ``open_batch`` and a replay want it: what has it, and where."""
    def holes(self) -> list[tuple[str, int, int, int, int]]:
        """What is missing although it was on the disk: name, from byte to byte, the batches before and behind."""
    def damage(self) -> list[str]:
        """The same in words."""

def open_batch(data: bytes, at: int) -> bool:
    """Whether every record of a valid batch can be read; one that cannot is not applied."""
