"""Simulated time: what is to happen when, one thing after the other, always in the same order."""

import heapq
import itertools
from collections.abc import Callable


class Schedule:
    """Calls what is due while ``run`` lets time pass. Times are nanoseconds, monotonic, and begin at one second."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self.calls = 0  # so far: a world that never comes to rest is noticed by it
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, ns: int, call: Callable[[], None]) -> None:
        """Call at this time, or now if it is over."""
        heapq.heappush(self._due, (max(ns, self.now_ns), next(self._count), call))

    def later(self, wait_ns: int, call: Callable[[], None]) -> None:
        """Call after a while."""
        self.at(self.now_ns + wait_ns, call)

    def run(self, until_ns: int, done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until then, or until ``done`` after some call; whether it was."""
        while self._due and self._due[0][0] <= until_ns:
            self.now_ns, _, call = heapq.heappop(self._due)
            self.calls += 1
            call()
            if done():
                return True
        self.now_ns = max(self.now_ns, until_ns)
        return False
