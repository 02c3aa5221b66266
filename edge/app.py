"""The leaf node of a device: a server, and beside it the serial ports and brokers of its configuration, and its twin.

Neither delays or disturbs the server: they start when it is ready, live in tasks of their own, and are closed before it
stops. A bug in there is logged and it starts again; clients and links do not notice.
"""

import asyncio
import gc
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from phloem.edge.device.words import device_words
from phloem.edge.forward.settings import check
from phloem.edge.kernel_publisher import KernelPublisher
from phloem.edge.mqtt.settings import broker_settings
from phloem.edge.ports import port_settings
from phloem.edge.profile import PLAN_BYTES, for_device
from phloem.edge.storage.settings import check as check_disk
from phloem.edge.twin.prepare import device_of
from phloem.firmware_bridge.timers import CallLater, loop_call_later, pause
from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.clock import Clock
from phloem.shared.kernel.reactor import heap_give_back
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.load import as_options
from phloem.shared.server.options import Options
from phloem.shared.server.server import Server

if TYPE_CHECKING:
    from phloem.edge.forward.forwarder import Forwarder
    from phloem.edge.forward.publisher import Publisher
    from phloem.edge.forward.start import Forwarding
    from phloem.edge.forward.timekeeper import TimeKeeper
    from phloem.edge.mqtt.bridges import Bridges
    from phloem.edge.storage.storage import Storage
    from phloem.firmware_bridge.bridge import Bridge
    from phloem.firmware_bridge.port_reports import PortReports
    from phloem.shared.clock_quality import SystemSays

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
    forwards: ClassVar[bool] = True
    keeps_twin: ClassVar[bool] = True

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
        check_disk(options, self.generation_bytes)
        super().__init__(for_device(options), clock=clock, seed=seed)
        self.status_words = self._status_words
        self.bridge: Bridge | None = None
        self._forwarding: Forwarding | None = None
        self.timekeeper: TimeKeeper | None = None
        self.asks_system: Callable[[], SystemSays] | None = (
            None  # whether its clock is right; tests say it themselves
        )
        self.storage: Storage | None = None  # what becomes of the disk; without JetStream or a budget nothing
        self._settings = port_settings(self.options)
        broker_settings(self.options)
        self.mqtt: Bridges | None = None
        self._call_later = call_later
        self._ports: asyncio.Task[None] | None = None
        self._twin: asyncio.Task[None] | None = None
        self._reports: PortReports | None = None
        self.ports_told = self._ports_told

    async def start(self) -> None:
        """Open the server; the ports open when they can, which nobody waits for."""
        await super().start()
        try:
            self._start_forwarding()
            self._start_storage()
        except BaseException:
            await self.stop()
            raise
        self._open_ports()
        self._use_brokers()
        if self.options.twin is not None:
            self._twin = asyncio.create_task(self._keep("twin", self._keep_twin), name="twin")
        gc.collect()
        heap_give_back()  # what importing and reading the configuration left in pieces

    def _start_forwarding(self) -> None:
        if self.jetstream is not None:
            from phloem.edge.forward.timekeeper import TimeKeeper  # noqa: PLC0415  (only who stores pays for it)

            self.timekeeper = TimeKeeper(self, self.asks_system)
        if self.options.forward:
            self._forwarding = self._forward()
            self._forwarding.begin(self.options)
        if self.timekeeper is not None:
            self.timekeeper.begin(list(self.forwarders))

    def _forward(self) -> "Forwarding":
        from phloem.edge.forward.start import Forwarding  # noqa: PLC0415  (only who forwards pays for it)

        return Forwarding(self, self._renewed)

    def _renewed(self) -> None:
        """Other streams are forwarded than a moment ago."""
        if self._forwarding is not None and self.timekeeper is not None:
            self.timekeeper.use(self._forwarding.forwarders)
        if self.storage is not None:
            self._use_storage()

    @property
    def forwarders(self) -> "Sequence[Forwarder]":
        """What sends to a hub of phloem's: one for each account."""
        return self._forwarding.forwarders if self._forwarding is not None else ()

    @property
    def publishers(self) -> "Sequence[Publisher]":
        """What publishes to any other hub."""
        return self._forwarding.publishers if self._forwarding is not None else ()

    def _status_words(self) -> "Sequence[str]":
        """What waits, and how full the disk is."""
        lanes = self._forwarding.lanes if self._forwarding is not None else []
        return list(device_words(lanes, self.device_figures()))

    def device_figures(self) -> Mapping[str, Any]:
        """Disk, wear, clock, what is forwarded, bridges and serial ports, for monitoring and for the hub's ledger."""
        shown = self.storage.figures() if self.storage is not None else {}
        if self.timekeeper is not None:
            shown["clock"] = self.timekeeper.figures()
        if self._forwarding is not None:
            shown["forward"] = self._forwarding.figures()
        if self.mqtt is not None:
            shown["mqtt"] = self.mqtt.figures()
        if ports := self._port_figures():
            shown["ports"] = ports
        return shown

    def _port_figures(self) -> list[dict[str, Any]]:
        """Ports of this process, and of bridges beside it."""
        own = self.bridge.figures() if self.bridge is not None else []
        if self._reports is None:
            return own
        names = [port["port"] for port in own]
        return own + self._reports.figures(self.clock.monotonic_ns(), self.clients.open, names)

    def _ports_told(self, body: bytes) -> None:
        """A client says what the ports of its process do; only who came over the Unix socket is heard."""
        from phloem.firmware_bridge.port_reports import PortReports  # noqa: PLC0415  (only beside a bridge)

        client = self.clients.open.get(self.kernel.source_cid)
        if client is None or client.port:
            return
        self._reports = self._reports or PortReports()
        if not self._reports.told(client.conn.cid, body, self.clock.monotonic_ns()):
            log.debug("%s - what it says of serial ports is not understood", client)

    def _start_storage(self) -> None:
        if self.jetstream is not None and self.options.disk.budget:
            from phloem.edge.storage.storage import Storage  # noqa: PLC0415  (only who stores pays for it)

            lanes = self._forwarding.lanes if self._forwarding is not None else []
            self.storage = Storage(self, self.options.disk, lanes)

    async def stop(self) -> None:
        """Close twin and ports, then the server: what was read by then is still delivered."""
        for task in (self._twin, self._ports):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        if self.mqtt is not None:
            await self.mqtt.stop()
            self.mqtt = None
        if self.storage is not None:
            self.storage.stop()
            self.storage = None
        if self.timekeeper is not None:
            self.timekeeper.stop()
            self.timekeeper = None
        if self._forwarding is not None:
            self._forwarding.stop()
            self._forwarding = None
        await super().stop()

    def prepare(self, new: Options) -> Callable[[], None]:
        """As ``Server`` has it: whether ports, disk and what is forwarded can be as these options say."""
        port_settings(new)
        broker_settings(new)
        check(new)
        check_disk(new, self.generation_bytes)
        if new.forward == self.options.forward:
            return super().prepare(new)
        return (self._forwarding or self._forward()).prepare(new)

    def reloaded(self, old: Options) -> None:
        """What changed of what is forwarded, and of the disk. Other ports: all of them are closed and those of the
        options opened."""
        new = self.options
        if old.serial != new.serial:
            self._settings = port_settings(new)
            if self._ports is not None:
                self._ports.cancel()
            self._open_ports(after=self._ports)
        if old.bridge_mqtt != new.bridge_mqtt:
            self._use_brokers()
        if old.forward != new.forward:
            self._forwarding = self._forwarding or self._forward()
            self._forwarding.use(new)
            if self.timekeeper is not None:
                self.timekeeper.use(self._forwarding.forwarders)
        if (old.forward, old.disk) != (new.forward, new.disk):
            self._use_storage()

    def _use_storage(self) -> None:
        if self.storage is None:
            self._start_storage()
        elif self.options.disk.budget:
            self.storage.use(
                self.options.disk, self._forwarding.lanes if self._forwarding is not None else []
            )
        else:
            self.storage.end()
            self.storage = None

    def _open_ports(self, after: asyncio.Task[None] | None = None) -> None:
        async def serve() -> None:
            if after is not None:  # a device can be opened once
                await asyncio.wait({after})
            await self._keep("serial ports", self._serve_ports)

        self._ports = asyncio.create_task(serve(), name="serial ports") if self._settings or after else None

    def _use_brokers(self) -> None:
        if self.mqtt is None and self.options.bridge_mqtt:
            from phloem.edge.mqtt.bridges import Bridges  # noqa: PLC0415  (only who has a broker pays for it)

            self.mqtt = Bridges(self, self._call_later)
        if self.mqtt is not None:
            self.mqtt.use(broker_settings(self.options))

    async def _keep(self, what: str, serve: Callable[[], Awaitable[None]]) -> None:
        """Serve until cancelled."""
        while True:
            serving = asyncio.ensure_future(serve())
            try:
                await asyncio.wait({serving})
            finally:
                serving.cancel()
                await asyncio.wait({serving})
            log.critical("%s: a bug ended them; they start again", what, exc_info=serving.exception())
            await pause(RESTART_NS, self._call_later)

    async def _serve_ports(self) -> None:
        if not self._settings:
            await asyncio.Event().wait()
        from phloem.firmware_bridge.bridge import Bridge  # noqa: PLC0415  (1.7 MB that only who has ports should pay)

        publisher, requests = KernelPublisher(self), None
        if any(port.protocol or port.images for port in self._settings):
            from phloem.edge.kernel_requests import KernelRequests  # noqa: PLC0415  (only who has such ports)

            requests = KernelRequests(self, call_later=self._call_later)
        try:
            async with Bridge(
                self._settings,
                publisher,
                self.clock,
                self.rng,
                call_later=self._call_later,
                requests=requests,
                ask_quality=self.timekeeper.quality if self.timekeeper is not None else None,
            ) as self.bridge:
                await asyncio.Event().wait()
        finally:
            if requests is not None:
                requests.stop()

    async def _keep_twin(self) -> None:
        from phloem.edge.line import Line  # noqa: PLC0415  (only who keeps a twin pays for it)
        from phloem.edge.twin.twin import UNREADY, Twin  # noqa: PLC0415

        settings = self.options.twin
        assert settings is not None
        device = device_of(self.options, settings)
        while True:
            line = Line(self, self.account(settings.account or GLOBAL_ACCOUNT), f"_INBOX_{device}.twin")
            try:
                await Twin(self, settings, line, _finish).keep()
            except* UNREADY as problems:
                log.error("twin: %s; it is tried again", problems.exceptions[0])
            finally:
                line.close()
            await pause(RESTART_NS, self._call_later)


def _finish(options: Options) -> Options:
    """Options as this product runs with them. Raises ConfigError."""
    made = for_device(options)
    port_settings(made)
    broker_settings(made)
    return made
