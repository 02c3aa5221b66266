"""What goes wrong with a store (contents.pyx); ``store.pyi`` has the same."""

class StoreError(Exception):
    """The folder cannot be used, or the disk refused something; says what to do."""

class StoreDamaged(StoreError):
    """LMDB must not be let at the file as it is."""
