"""Cluster names as small numbers: the *origin* that keeps messages from going back where they came from.

The kernel compares origins for every message, so it gets numbers. A name has its number as long as any link
has the name; 0 is "no name" and equals nothing, not even itself (wire 2.4: only a non-empty name suppresses).
"""


class Origins:
    """The names in use, each with a number and a count of its links."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._links: dict[int, int] = {}
        self._made = 0

    def take(self, cluster: str) -> int:
        """The number of ``cluster`` for one more link; 0 for the empty name."""
        if not cluster:
            return 0
        number = self._numbers.get(cluster)
        if number is None:
            self._made += 1
            number = self._numbers[cluster] = self._made
            self._links[number] = 0
        self._links[number] += 1
        return number

    def give_back(self, cluster: str) -> None:
        """One link of ``cluster`` has ended; the name is forgotten with its last link."""
        if not cluster:
            return
        number = self._numbers[cluster]
        self._links[number] -= 1
        if not self._links[number]:
            del self._links[number]
            del self._numbers[cluster]
