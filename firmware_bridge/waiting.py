"""Who waits for an answer, all of them equally long: one timer for all."""

from collections.abc import Callable
from typing import Generic, TypeVar

from phloem.firmware_bridge.timers import CallLater, Timer
from phloem.shared.clock import Clock

Waiter = TypeVar("Waiter")


class Waiting(Generic[Waiter]):
    """By a key, as the subject of the answer. ``late`` gets key and waiter of each that has waited ``patience_ns``,
    and then it waits no more."""

    def __init__(
        self, patience_ns: int, clock: Clock, call_later: CallLater, late: Callable[[str, Waiter], None]
    ) -> None:
        self._patience_ns, self._clock, self._call_later, self._late = patience_ns, clock, call_later, late
        self._waiting: dict[str, tuple[Waiter, int]] = {}  # in the order of their deadlines
        self._timer: Timer | None = None

    def add(self, key: str, waiter: Waiter) -> None:
        """It waits from now on."""
        self._waiting[key] = waiter, self._clock.monotonic_ns() + self._patience_ns
        if self._timer is None:
            self._timer = self._call_later(self._patience_ns, self._due)

    def pop(self, key: str) -> Waiter | None:
        """It has its answer; None if it does not wait any more. The timer stays: the next one has use for it."""
        found = self._waiting.pop(key, None)
        return found[0] if found is not None else None

    def clear(self) -> dict[str, Waiter]:
        """Nobody waits any more; who did."""
        waiting = {key: waiter for key, (waiter, _) in self._waiting.items()}
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return waiting

    def _due(self) -> None:
        self._timer = None
        now_ns = self._clock.monotonic_ns()
        while self._waiting:
            key, (waiter, due_ns) = next(iter(self._waiting.items()))
            if due_ns > now_ns:
                break
            del self._waiting[key]
            self._late(key, waiter)
        if self._waiting and self._timer is None:
            due_ns = next(iter(self._waiting.values()))[1]
            self._timer = self._call_later(due_ns - now_ns, self._due)
