"""LMDB's file read without trusting it (pages.pyx)."""

def file_sound(path: bytes | str) -> bool:
    """Whether LMDB may be let at a file. Raises OSError."""
