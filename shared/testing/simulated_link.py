"""A connection between a device and a hub that does what connections do, and what they should not.

Frames stay in order, as TCP has it. What vanishes on its own was dropped by somebody in between: a server that takes
its peer for a slow consumer, a route that is not there any more.
"""

import random
from collections.abc import Callable

from phloem.shared.limits import SECOND_NS
from phloem.shared.testing.schedule import Schedule

Take = Callable[[bytes], None]


class SimulatedLink:
    """Both directions. ``rate`` is bytes a second, ``delay_ns`` one way."""

    def __init__(self, schedule: Schedule, rng: random.Random, *, delay_ns: int, rate: int) -> None:
        self.delay_ns, self.rate = delay_ns, rate
        self.loss = 0.0  # share of the frames that vanish
        self.twice = 0.0  # share that comes twice
        self.swallows = [False, False]  # up, down: nothing arrives, and nobody is told
        self.frames = self.bytes = 0  # that were sent
        self._schedule, self._rng = schedule, rng
        self._free_ns = [0, 0]
        self._last_ns = [0, 0]
        self._connections = [0, 0]

    def send(self, way: int, data: bytes, take: Take) -> None:
        """``way``: 0 up, 1 down. ``take`` gets it when it arrives, unless the connection is cut before."""
        self.frames, self.bytes = self.frames + 1, self.bytes + len(data)
        now, connection = self._schedule.now_ns, self._connections[way]
        self._free_ns[way] = max(self._free_ns[way], now) + len(data) * SECOND_NS // self.rate
        arrives = max(self._free_ns[way] + self.delay_ns, self._last_ns[way])
        self._last_ns[way] = arrives
        if self.swallows[way] or self._rng.random() < self.loss:
            return

        def arrive() -> None:
            if connection == self._connections[way]:
                take(data)

        for _ in range(1 + (self._rng.random() < self.twice)):
            self._schedule.at(arrives, arrive)

    def cut(self, *, late: bool = False) -> None:
        """What is on its way is gone; ``late``: the hub still gets it, although there is another connection by then."""
        self._connections[1] += 1
        if not late:
            self._connections[0] += 1
        self._free_ns, self._last_ns = [0, 0], [0, 0]
