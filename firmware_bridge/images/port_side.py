"""A port as an installer sees it, and an installer as a port's board sees it."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from phloem.firmware_bridge.edgelink.effects import ImageEnd
from phloem.firmware_bridge.edgelink.messages import Hello
from phloem.firmware_bridge.images.installer import Installer, Told
from phloem.firmware_bridge.images.machine import Flashed
from phloem.firmware_bridge.images.settings import image_settings
from phloem.firmware_bridge.publisher import Publisher
from phloem.firmware_bridge.requests import Requests
from phloem.firmware_bridge.session import Session
from phloem.firmware_bridge.timers import CallLater
from phloem.shared.clock import Clock

if TYPE_CHECKING:
    from phloem.firmware_bridge.edgelink.station import Link

_HOW = {
    ImageEnd.RUNS: Flashed.PROVEN,
    ImageEnd.RETURNED: Flashed.RETURNED,
    ImageEnd.REFUSED: Flashed.UNHARMED,
    ImageEnd.GONE: Flashed.INTERRUPTED,
}


class BoardSide:
    """An EdgeLink board. It is told to an installer, and takes images if it is the board that flashes."""

    def __init__(self, link: "Link") -> None:
        self._link = link
        self._told: Told | None = None
        self.installer: Installer | None = None

    def install(self, image: bytes, version: str, told: Told) -> None:
        """As ``Uploads`` has it."""
        self._told = told
        try:
            self._link.install(image, version)
        except ValueError as error:
            here = self._link.session is not None and self._link.session.welcomed
            self._end(Flashed.UNHARMED if here else Flashed.INTERRUPTED, str(error))

    def give_up(self) -> None:
        """As ``Uploads`` has it."""
        self._told = None
        self._link.give_up_image()

    def joined(self, hello: Hello) -> None:
        """As ``Watching`` has it."""
        if self.installer is not None:
            self.installer.present(hello.uid.hex(), hello.firmware)

    def left(self) -> None:
        """As ``Watching`` has it."""
        if self.installer is not None:
            self.installer.absent()

    def image_whole(self) -> None:
        """As ``Watching`` has it."""
        if self._told is not None:
            self._told(None, "")

    def image_ended(self, how: ImageEnd, why: str) -> None:
        """As ``Watching`` has it."""
        self._end(_HOW[how], why)

    def _end(self, how: Flashed, why: str) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(how, why)


class PortSide:
    """What serves the firmware of one port, beside its session."""

    def __init__(
        self,
        session: Session,
        link: "Link | None",
        publisher: Publisher,
        requests: Requests,
        clock: Clock,
        call_later: CallLater,
        owners: dict[str, Installer],
    ) -> None:
        settings = image_settings(session.settings.images, session.settings.protocol)
        self._session = session
        self._plain = link is None
        board = BoardSide(link) if link is not None else None
        self.installer = Installer(
            session.settings.name, settings, self, board, publisher, requests, clock, call_later, owners
        )
        if link is not None and board is not None:
            board.installer = self.installer
            link.board = board

    def lent(self) -> AbstractAsyncContextManager[str]:
        """As ``Lending`` has it."""
        return self._session.lent()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.installer.run(), name=f"firmware of {self._session.settings.name}")
            if self._plain:
                group.create_task(self._watch(), name=f"port with firmware {self._session.settings.name}")

    async def _watch(self) -> None:
        """Of a board that does not speak EdgeLink it is known that its port is open."""
        while True:
            await self._session.wait_open()
            self.installer.present("", "")
            await self._session.wait_closed()
            self.installer.absent()
