"""LMDB's file read without trusting it (pages.pyx)."""

from phloem.shared.store.vault import Vault

def file_sound(path: bytes | str, vault: Vault | None = None) -> bool:
    """Whether LMDB may be let at a file, which is encrypted with ``vault`` if there is one. Raises OSError."""
