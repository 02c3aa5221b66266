"""Messages as entries of a snapshot (archived.pyx)."""

from phloem.shared.store.log import Log

def archived(log: Log, start: int, end: int, size: int) -> tuple[bytes, int]:
    """Entries of the messages from ``start`` to ``end``, of which the last one may reach over ``size`` bytes, and the
    sequence to go on with; above ``end``: there is no more. Raises Damaged."""
