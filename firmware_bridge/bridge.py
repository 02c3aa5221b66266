"""Several serial ports under one owner: what ``phloem bridge`` runs, and what another program embeds."""

import asyncio
from collections.abc import Sequence
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any

from phloem.firmware_bridge.handover import Handover
from phloem.firmware_bridge.hotplug import Hotplug
from phloem.firmware_bridge.publisher import Publisher
from phloem.firmware_bridge.requests import Requests
from phloem.firmware_bridge.session import Session
from phloem.firmware_bridge.settings import SerialSettings, check_distinct
from phloem.firmware_bridge.time_quality import AskQuality, TimeQuality
from phloem.firmware_bridge.timers import CallLater, loop_call_later
from phloem.shared.clock import Clock
from phloem.shared.errors import ConfigError

if TYPE_CHECKING:
    from phloem.firmware_bridge.edgelink.station import Link, Station
    from phloem.firmware_bridge.images.installer import Installer
    from phloem.firmware_bridge.images.port_side import PortSide


class Bridge:
    """Use as ``async with Bridge(settings, publisher, clock, rng) as bridge``.

    Entering starts a session for each port and does not wait for devices. Leaving closes all ports and
    ends all tasks. One port in trouble leaves the others alone; a session that crashes is a bug and
    ends the block with its error, as in ``asyncio.TaskGroup``. Without ``hotplug`` devices that are absent are
    looked for at intervals. ``requests`` is for ports with a protocol that may lose nothing. ``ask_quality`` is
    asked how far the clock can be trusted; unless given, the system is.
    """

    def __init__(
        self,
        settings: Sequence[SerialSettings],
        publisher: Publisher,
        clock: Clock,
        rng: Random,
        *,
        call_later: CallLater = loop_call_later,
        hotplug: bool = True,
        handover: Handover | None = None,
        requests: Requests | None = None,
        ask_quality: AskQuality | None = None,
    ) -> None:
        check_distinct(settings)
        quality = TimeQuality(clock, ask_quality)
        self._station = (
            _station(publisher, requests, clock, rng, call_later, quality)
            if any(port.protocol for port in settings)
            else None
        )
        self.boot = f"{rng.getrandbits(64):016x}"
        self._hotplug = Hotplug() if hotplug else None
        links = [self._link(port) for port in settings]
        self.sessions = [
            Session(
                port,
                publisher,
                clock,
                rng,
                self.boot,
                quality,
                call_later=call_later,
                hotplug=self._hotplug,
                handover=handover,
                link=link,
            )
            for port, link in zip(settings, links, strict=True)
        ]
        owners: dict[str, Installer] = {}
        self._firmware = [
            _port_side(session, link, publisher, requests, clock, call_later, owners)
            for session, link in zip(self.sessions, links, strict=True)
            if session.settings.images
        ]
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []

    def _link(self, port: SerialSettings) -> "Link | None":
        if self._station is None or not port.protocol:
            return None
        return self._station.link(port.name, port.subject, port.command_subject)

    async def __aenter__(self) -> "Bridge":
        if self._hotplug is not None:
            self._hotplug.__enter__()
        await self._group.__aenter__()
        self._tasks = [
            self._group.create_task(session.run(), name=f"serial port {session.settings.name}")
            for session in self.sessions
        ] + [
            self._group.create_task(side.run(), name=f"firmware of {side.installer.name}")
            for side in self._firmware
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, trace)
        finally:
            if self._station is not None:
                self._station.stop()
            if self._hotplug is not None:
                self._hotplug.__exit__()

    def figures(self) -> list[dict[str, Any]]:
        """State and counters of each port, for monitoring."""
        return [session.figures() for session in self.sessions]


def _station(
    publisher: Publisher,
    requests: Requests | None,
    clock: Clock,
    rng: Random,
    call_later: CallLater,
    quality: TimeQuality,
) -> "Station":
    from phloem.firmware_bridge.edgelink.station import Station  # noqa: PLC0415  (only who has such ports)

    if requests is None:
        raise ConfigError("protocol edgelink needs JetStream, so that it loses nothing")
    return Station(publisher, requests, clock, rng, call_later, quality)


def _port_side(
    session: Session,
    link: "Link | None",
    publisher: Publisher,
    requests: Requests | None,
    clock: Clock,
    call_later: CallLater,
    owners: "dict[str, Installer]",
) -> "PortSide":
    from phloem.firmware_bridge.images.port_side import PortSide  # noqa: PLC0415  (only who has such ports)

    if requests is None:
        raise ConfigError("images need JetStream, which has the bucket")
    return PortSide(session, link, publisher, requests, clock, call_later, owners)
