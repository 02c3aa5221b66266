"""What a scenario sees, step by step, and what has to be so."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from tests.device import image
from tests.device.load import Publisher, Trickle, contents
from tests.device.machine import Machine


class Step(NamedTuple):
    """One line of a result."""

    what: str
    seen: str
    well: bool = True


class Story:
    """The steps of a scenario so far; ``tell`` shows each as it comes."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.steps: list[Step] = []
        self._tell = tell

    def step(self, what: str, seen: object, *, well: bool = True) -> None:
        """It was seen; ``well``: it had to be so, and was."""
        self.steps.append(Step(what, str(seen), well))
        self._tell(f"{'' if well else 'NOT WELL: '}{what}: {seen}")


class Place(NamedTuple):
    """Where a scenario is played: a package, the cache of systems, a folder of its own; a later package."""

    package: Path
    cache: Path
    folder: Path
    later: Path | None = None

    @property
    def product(self) -> image.Product:
        """What is installed."""
        return image.Product("phloem", package=self.package)


Scenario = Callable[[Place, Story], Awaitable[None]]


class Acknowledged:
    """What was ever acknowledged in a machine's stream, through whatever happens to it."""

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self._sent = 0

    async def publish(self, machine: Machine, until: Callable[[], Awaitable[object]]) -> int:
        """Publishes until ``until`` has ended; how many were acknowledged."""
        publisher = Publisher(machine.port, self._sent)
        task = asyncio.create_task(publisher.run())
        try:
            await until()
        finally:
            publisher.end()
            await asyncio.wait({task}, timeout=60)
            task.cancel()
            self.ids |= publisher.acked
            self._sent = publisher.sent
        return len(publisher.acked)

    async def trickle(self, machine: Machine, until: Callable[[], Awaitable[object]]) -> tuple[int, float]:
        """Publishes one after the other until ``until`` has ended, whether somebody serves or not: how many were
        acknowledged, and the longest time in seconds in which none was."""
        trickle = Trickle(machine.port, self._sent)
        task = asyncio.create_task(trickle.run())
        try:
            await until()
        finally:
            task.cancel()
            await asyncio.wait({task})
            self.ids |= trickle.acked
            self._sent = trickle.sent
        if not task.cancelled():
            task.result()  # it never ends by itself
        return len(trickle.acked), trickle.gap_s

    async def look(self, machine: Machine, story: Story, what: str) -> None:
        """All of it has to be there, once and whole."""
        found = await contents(machine.port)
        lost = len(self.ids - found.ids.keys())
        twice = sum(count - 1 for count in found.ids.values())
        seen = f"{len(self.ids):,} acknowledged, {lost} lost, {twice} twice, {found.garbled} garbled"
        story.step(what, seen, well=not lost and not twice and not found.garbled)


def markdown(steps: list[Step]) -> str:
    """For documents."""
    lines = ["| what | seen |", "|---|---|"]
    return "\n".join([*lines, *(f"| {step.what} | {step.seen} |" for step in steps)]) + "\n"
