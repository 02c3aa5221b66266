"""The leaf node of a device: a server, and the serial ports of its configuration beside it.

The ports never delay or disturb the server: they start when it is ready, live in a task of their own, and are closed
before it stops. A bug in there is logged and the ports start again; clients and links do not notice.
"""

import asyncio
import gc
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from phloem.edge.forward.settings import check
from phloem.edge.kernel_publisher import KernelPublisher
from phloem.edge.ports import port_settings
from phloem.edge.profile import PLAN_BYTES, for_device
from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.timers import CallLater, loop_call_later, pause
from phloem.shared import limits
from phloem.shared.clock import Clock
from phloem.shared.kernel.reactor import heap_give_back
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.load import as_options
from phloem.shared.server.options import Options
from phloem.shared.server.server import Server

if TYPE_CHECKING:
    from phloem.edge.forward.forwarder import Forwarder

log = logging.getLogger("phloem.edge")

RESTART_NS = (
    10 * SECOND_NS
)  # after a bug: often enough to be of use, seldom enough not to fill a disk with logs


class Edge(Server):
    """A server with the defaults of a small device and its serial ports; use it like ``Server``.

    Raises (beside what ``Server`` raises):
        ConfigError: When made, for a ``serial`` block that cannot work.
    """

    plan_bytes_max: ClassVar[int] = PLAN_BYTES
    generation_bytes: ClassVar[int] = limits.GENERATION_BYTES_EDGE
    sparing: ClassVar[bool] = True
    serves_serial_ports: ClassVar[bool] = True

    def __init__(
        self,
        config: Options | str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
        call_later: CallLater = loop_call_later,
    ) -> None:
        options = config if isinstance(config, Options) else as_options(config)
        check(options)
        super().__init__(for_device(options), clock=clock, seed=seed)
        self.bridge: Bridge | None = None
        self.forwarders: list[Forwarder] = []
        self._settings = port_settings(options)
        self._call_later = call_later
        self._ports: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the server; the ports open when they can, which nobody waits for."""
        await super().start()
        try:
            self._start_forwarding()
        except BaseException:
            await self.stop()
            raise
        if self._settings:
            self._ports = asyncio.create_task(self._keep_ports(), name="serial ports")
        gc.collect()
        heap_give_back()  # what importing and reading the configuration left in pieces

    def _start_forwarding(self) -> None:
        if self.options.forward:
            from phloem.edge.forward.start import start  # noqa: PLC0415  (only who forwards pays for it)

            self.forwarders = start(self)

    async def stop(self) -> None:
        """Close the ports, then the server: what was read by then is still delivered."""
        if self._ports is not None:
            self._ports.cancel()
            await asyncio.wait({self._ports})
        for forwarder in self.forwarders:
            forwarder.stop()
        self.forwarders = []
        await super().stop()

    async def _keep_ports(self) -> None:
        """Serve the ports until cancelled."""
        while True:
            serving = asyncio.create_task(self._serve_ports(), name="serial bridge")
            try:
                await asyncio.wait({serving})
            finally:
                serving.cancel()
                await asyncio.wait({serving})
            log.critical("serial ports: a bug ended them; they start again", exc_info=serving.exception())
            await pause(RESTART_NS, self._call_later)

    async def _serve_ports(self) -> None:
        publisher = KernelPublisher(self)
        async with Bridge(
            self._settings, publisher, self.clock, self.rng, call_later=self._call_later
        ) as self.bridge:
            await asyncio.Event().wait()
