"""All places at which one port is shared.

They are there as long as the port is configured, also while its device is not. One that cannot be made, as another
program has its address, is tried again whenever the device is opened, and said once.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

from phloem.firmware_bridge.port import Line
from phloem.firmware_bridge.port_errors import PortRefused
from phloem.firmware_bridge.selector import Pseudo
from phloem.firmware_bridge.sharing.host import Host
from phloem.firmware_bridge.sharing.places import Place
from phloem.firmware_bridge.sharing.shared_pty import SharedPty
from phloem.firmware_bridge.sharing.shared_server import SharedServer

logger = logging.getLogger("phloem.bridge")

Shared: TypeAlias = SharedPty | SharedServer


class Exports:
    """One port's. ``told`` gets an event's kind and its reason."""

    def __init__(
        self, name: str, places: Sequence[Place], host: Host, told: Callable[[str, str], None]
    ) -> None:
        self._name, self._host, self._told = name, host, told
        self._missing: list[Shared] = [
            SharedPty(place.name, host) if isinstance(place, Pseudo) else SharedServer(place, host)
            for place in places
        ]
        self._shared: list[Shared] = []
        self._said = False
        self.places: list[str] = []

    def start(self) -> None:
        """Share."""
        missing, self._missing = self._missing, []
        for each in missing:
            try:
                place = each.start()
            except PortRefused as error:
                self._missing.append(each)
                if not self._said:
                    self._said = True
                    self._told("export_failed", f"it cannot be shared: {error}")
            else:
                self._shared.append(each)
                self.places.append(place)
                logger.info("serial port %s is shared at %s", self._name, place)

    def stop(self) -> None:
        """Not any more."""
        for each in self._shared:
            each.stop()
        self._shared = []

    def opened(self, line: Line, write: Callable[[bytes], bool]) -> None:
        """The device is there."""
        self._host.opened(line, write)
        if self._missing:
            self.start()

    def closing(self) -> None:
        """It will be closed."""
        self._host.closing()

    def closed(self) -> None:
        """It is gone; nobody's turn goes on."""
        for each in self._shared:
            each.lost()

    def received(self, data: bytes) -> None:
        """It has said ``data``."""
        for each in self._shared:
            each.received(data)
