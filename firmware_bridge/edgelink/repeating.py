"""When to say something again that was not answered. Pure."""


class Repeating:
    """Due at once, then after ``least_ns``, doubling to ``most_ns``."""

    def __init__(self, least_ns: int, most_ns: int, now_ns: int) -> None:
        self._least_ns, self._most_ns = least_ns, most_ns
        self._wait_ns = least_ns
        self.due_ns = now_ns

    def said(self, now_ns: int) -> None:
        """It was said now."""
        self.due_ns = now_ns + self._wait_ns
        self._wait_ns = min(2 * self._wait_ns, self._most_ns)

    def again(self, now_ns: int) -> None:
        """There was progress: due at once, and patient from the beginning."""
        self._wait_ns, self.due_ns = self._least_ns, now_ns
