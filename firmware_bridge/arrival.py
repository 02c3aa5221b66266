"""Waiting until a device that is not there has come."""

import asyncio
import os.path
from collections.abc import Iterator
from contextlib import contextmanager

from phloem.firmware_bridge.hotplug import Hotplug
from phloem.firmware_bridge.port_errors import PortAbsent, PortError, PortLost, PortRefused
from phloem.firmware_bridge.selector import AtPath, Linked, Network, Pseudo, Usb, find
from phloem.firmware_bridge.settings import SerialSettings


class Arrival:
    """One port's. Without a ``hotplug``, and for what inotify does not see, nothing is waited for."""

    def __init__(self, settings: SerialSettings, hotplug: Hotplug | None) -> None:
        self._device, self._selector, self._hotplug = settings.device, settings.selector, hotplug
        self._came: asyncio.Event | None = None

    @contextmanager
    def watched(self, error: PortError) -> Iterator["Arrival"]:
        """From here on a device that comes is noticed, if ``error`` is that it is not there."""
        selector, hotplug, end = self._selector, self._hotplug, None
        absent = isinstance(error, PortAbsent | PortLost)
        if hotplug is not None and absent and not isinstance(selector, Network | Pseudo):
            came = asyncio.Event()
            end = hotplug.watch(selector.folders, came.set)
            self._came = came if end is not None else None
        try:
            yield self
        finally:
            self._came = None
            if end is not None:
                end()

    async def wait(self) -> None:
        """Return when an attempt is worth it."""
        came = self._came
        if came is None:
            return
        while not await asyncio.to_thread(self._is_there):
            await came.wait()
            came.clear()

    def _is_there(self) -> bool:
        match self._selector:
            case AtPath(path):
                return os.path.exists(path)
            case Linked() | Usb() as selector:
                try:
                    find(self._device, selector)
                except PortAbsent:
                    return False
                except PortRefused:  # several; the attempt will say so
                    return True
        return True
