"""The contract of ``timer.pyx``."""

class Timer:
    """Rings once after each ``set``; the last one counts. ``OSError``: no descriptors."""

    def __init__(self) -> None: ...
    def fileno(self) -> int:
        """Readable when the time has come, until ``heard``; -1 when closed."""
    def set(self, after_ns: int) -> None:
        """Ring so long from now; 0: at once."""
    def heard(self) -> bool:
        """Take notice; whether it had rung."""
    def close(self) -> None:
        """Give the descriptor back. May be called more than once."""
