"""LMDB's file read without trusting it (pages.pyx)."""

from phloem.shared.store.vault import Vault

class Stop:
    """Breaks off a look that another thread takes."""

    def set(self) -> None: ...
    @property
    def stopped(self) -> bool: ...

def file_sound(path: bytes | str, vault: Vault | None = None, stop: Stop | None = None) -> bool:
    """Whether LMDB may be let at a file, which is encrypted with ``vault`` if there is one; a look that was stopped
    says no. Raises OSError."""
