"""Several serial ports under one owner: what ``phloem bridge`` runs, and what another program embeds."""

import asyncio
from collections.abc import Sequence
from random import Random
from types import TracebackType

from phloem.firmware_bridge.handover import Handover
from phloem.firmware_bridge.publisher import Publisher
from phloem.firmware_bridge.session import Session
from phloem.firmware_bridge.settings import SerialSettings, check_distinct
from phloem.firmware_bridge.timers import CallLater, loop_call_later
from phloem.shared.clock import Clock


class Bridge:
    """Use as ``async with Bridge(settings, publisher, clock, rng) as bridge``.

    Entering starts a session for each port and does not wait for devices. Leaving closes all ports and
    ends all tasks. One port in trouble leaves the others alone; a session that crashes is a bug and
    ends the block with its error, as in ``asyncio.TaskGroup``.
    """

    def __init__(
        self,
        settings: Sequence[SerialSettings],
        publisher: Publisher,
        clock: Clock,
        rng: Random,
        *,
        call_later: CallLater = loop_call_later,
        handover: Handover | None = None,
    ) -> None:
        check_distinct(settings)
        self.boot = f"{rng.getrandbits(64):016x}"
        self.sessions = [
            Session(port, publisher, clock, rng, self.boot, call_later=call_later, handover=handover)
            for port in settings
        ]
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Bridge":
        await self._group.__aenter__()
        self._tasks = [
            self._group.create_task(session.run(), name=f"serial port {session.settings.name}")
            for session in self.sessions
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(kind, error, trace)
