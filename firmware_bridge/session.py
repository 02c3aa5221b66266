"""The life of one port: wait for the device, open it, pump frames, notice the loss, start again.

* A port that is missing or vanishes is one warning, whatever happens until it works again; only a
  different kind of trouble (absent, then there but refused) is worth a second one.
* ``Phloem-Seq`` counts frames from 1 and runs on when the device is plugged in again; it counts frames
  that the publisher could not keep as well. With ``Phloem-Boot``, which changes with every run, a
  subscriber sees each gap, duplicate and restart.
* A command is meant for the device as it is now: what cannot be written at once or queued is dropped
  and counted, never kept for a device that is plugged in later.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import serial

from phloem.firmware_bridge.backoff import Backoff
from phloem.firmware_bridge.diagnose import explain
from phloem.firmware_bridge.framing.framer import Frame
from phloem.firmware_bridge.handover import Handover, KeptLine
from phloem.firmware_bridge.pipeline import Pipeline
from phloem.firmware_bridge.port import (
    Port,
    PortAbsent,
    PortError,
    PortLost,
    PortRefused,
    open_serial,
)
from phloem.firmware_bridge.publisher import Publisher
from phloem.firmware_bridge.reading import Reading, as_json
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.timers import CallLater, Timer, loop_call_later, pause
from phloem.shared.clock import Clock
from phloem.shared.limits import SECOND_NS

logger = logging.getLogger("phloem.bridge")


@dataclass
class Counters:
    """What happened since the session began."""

    frames: int = 0
    bytes_read: int = 0
    resyncs: int = 0
    dropped_bytes: int = 0
    undecodable: int = 0
    readings: int = 0
    withheld: int = 0
    commands: int = 0
    commands_dropped: int = 0
    opens: int = 0


class Session:
    """One port. ``run`` until cancelled; it ends in no other way."""

    def __init__(
        self,
        settings: SerialSettings,
        publisher: Publisher,
        clock: Clock,
        rng: Random,
        boot: str,
        *,
        call_later: CallLater = loop_call_later,
        handover: Handover | None = None,
    ) -> None:
        self._handover = handover
        self.settings = settings
        self._publisher, self._clock = publisher, clock
        self._call_later = call_later
        self._backoff = Backoff(settings.retry_min_ns, settings.retry_max_ns, rng)
        self._framer, self._pipeline = settings.framer(), settings.pipeline()
        self._boot = boot
        self._counters = Counters()
        self._port: Port | None = None
        self._gap_timer: Timer | None = None
        self._shape_timer: Timer | None = None
        self._senseless = False  # warned that frames cannot be decoded; until one can
        self._warned: set[type[PortError]] = set()  # kinds of trouble of this outage
        self._commands_blocked = False  # warned; until the device has caught up
        self._opened, self._closed = asyncio.Event(), asyncio.Event()
        self._closed.set()

    @property
    def counters(self) -> Counters:
        """The counters as they stand now."""
        self._counters.resyncs = self._framer.resyncs
        self._counters.dropped_bytes = self._framer.dropped_bytes
        if self._pipeline is not None:
            self._counters.withheld = self._pipeline.withheld
        return self._counters

    @property
    def is_open(self) -> bool:
        """Whether the device is open at this moment."""
        return self._port is not None

    async def wait_open(self) -> None:
        """Return when the device is open."""
        await self._opened.wait()

    async def wait_closed(self) -> None:
        """Return when the device is not open."""
        await self._closed.wait()

    async def run(self) -> None:
        """Serve the port until cancelled; closes it then and takes the subscription back."""
        unsubscribe = None
        if self.settings.command_subject:
            unsubscribe = self._publisher.subscribe(self.settings.command_subject, self._command)
        try:
            while True:
                opened = await self._open()
                lost = await self._pump(opened)
                await self._trouble(lost)
        finally:
            if unsubscribe is not None:
                unsubscribe()
            if self._shape_timer is not None:
                self._shape_timer.cancel()

    async def _open(self) -> serial.Serial | KeptLine:
        """What a bridge before this one has left open; else try until the device opens."""
        if self._handover is not None and (kept := self._handover.take(self.settings)):
            self._framer.feed(self._handover.take_rest(self.settings), self._clock.monotonic_ns())
            return kept
        while True:
            try:
                return await _open_aside(self.settings)
            except PortError as error:
                await self._trouble(error)

    async def _trouble(self, error: PortError) -> None:
        """Warn if this is news, then wait for the next attempt."""
        # A device that was unplugged is absent afterwards, which is the same news.
        kind = PortRefused if isinstance(error, PortRefused) else PortAbsent
        if kind not in self._warned:
            self._warned.add(kind)
            text = await asyncio.to_thread(explain, error)
            logger.warning(
                "serial port %s (%s): %s; retrying every %.1f to %.1f s",
                self.settings.name,
                self.settings.device,
                text,
                self.settings.retry_min_ns / SECOND_NS,
                self.settings.retry_max_ns / SECOND_NS,
            )
        elif isinstance(error, PortLost):
            logger.info("serial port %s (%s): gone again", self.settings.name, self.settings.device)
        await pause(self._backoff.next_ns(), self._call_later)

    async def _pump(self, opened: serial.Serial | KeptLine) -> PortLost:
        """Pass on what the open device sends until it is gone."""
        gone: asyncio.Future[PortLost] = asyncio.get_running_loop().create_future()
        since_ns = self._clock.monotonic_ns()
        # On the way out ``gone`` is cancelled before the port is closed, and a loss may fall in between.
        self._port = port = Port(
            opened, self._received, lambda lost: None if gone.done() else gone.set_result(lost)
        )
        self._counters.opens += 1
        if self._handover is not None:
            self._handover.opened(self.settings, opened.fileno())
        self._closed.clear()
        self._opened.set()
        logger.info("serial port %s (%s): open", self.settings.name, self.settings.device)
        try:
            return await gone
        finally:
            if self._handover is not None and not gone.cancelled():
                self._handover.lost(self.settings)
            elif self._handover is not None:
                self._handover.left(self.settings, opened.fileno(), self._framer.unfinished)
            port.close()
            self._port = None
            self._opened.clear()
            self._closed.set()
            self._framer.reset()
            if self._gap_timer is not None:
                self._gap_timer.cancel()
                self._gap_timer = None
            if self._clock.monotonic_ns() - since_ns >= self.settings.retry_max_ns:
                self._works()

    def _works(self) -> None:
        """The outage is over. Bytes prove that, or having been open for long; a port that opens and
        fails at once, over and over, stays one outage with growing waits."""
        self._warned.clear()
        self._backoff.reset()

    def _received(self, data: bytes) -> None:
        self._works()
        self._counters.bytes_read += len(data)
        self._publish(self._framer.feed(data, self._clock.monotonic_ns()))

    def _gap(self) -> None:
        self._gap_timer = None
        self._publish(self._framer.expire(self._clock.monotonic_ns()))

    def _publish(self, frames: list[Frame]) -> None:
        now = str(self._clock.wall_ns())
        for frame in frames:
            self._counters.frames += 1
            if not self.settings.subject or self._pipeline is not None:
                continue
            headers = {
                "Phloem-Port": self.settings.name,
                "Phloem-Seq": str(self._counters.frames),
                "Phloem-Time": now,
                "Phloem-Boot": self._boot,
            }
            self._publisher.publish(self.settings.subject, frame, headers)
        if self._pipeline is not None and frames:
            self._say(self._pipeline.take(frames, self._clock.monotonic_ns()))
            self._judge(self._pipeline)
        # One timer runs until it fires and looks again then, instead of a new one for every chunk.
        due_ns = self._framer.due_ns
        if due_ns is not None and self._gap_timer is None:
            self._gap_timer = self._call_later(due_ns - self._clock.monotonic_ns(), self._gap)

    def _say(self, readings: Sequence[Reading]) -> None:
        """Publish readings, and see to those that are held back."""
        assert self._pipeline is not None
        ahead_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
        for reading in readings:
            self._counters.readings += 1
            headers = {
                "Phloem-Port": self.settings.name,
                "Phloem-Seq": str(self._counters.readings),
                "Phloem-Time": str(reading.mono_ns + ahead_ns),
                "Phloem-Boot": self._boot,
            }
            subject = f"{self.settings.subject}.{reading.channel}"
            self._publisher.publish(subject, as_json(reading), headers)
        due_ns = self._pipeline.due_ns
        if due_ns is not None and self._shape_timer is None:
            self._shape_timer = self._call_later(due_ns - self._clock.monotonic_ns(), self._shape_due)

    def _shape_due(self) -> None:
        assert self._pipeline is not None
        self._shape_timer = None
        self._say(self._pipeline.expire(self._clock.monotonic_ns()))

    def _judge(self, pipeline: Pipeline) -> None:
        """One warning when frames stop to make sense, until one does again."""
        if pipeline.undecodable > self._counters.undecodable and not self._senseless:
            logger.warning("serial port %s: a frame says nothing: %s", self.settings.name, pipeline.error)
        self._senseless = not pipeline.sensible
        self._counters.undecodable = pipeline.undecodable

    def _command(self, payload: bytes) -> None:
        if self._port is not None and self._port.write(payload):
            self._counters.commands += 1
            if not self._port.write_queue_bytes:
                self._commands_blocked = False
            return
        self._counters.commands_dropped += 1
        if self._port is not None and not self._commands_blocked:
            self._commands_blocked = True
            logger.warning(
                "serial port %s: the device takes no more bytes; commands are dropped", self.settings.name
            )


async def _open_aside(settings: SerialSettings) -> serial.Serial:
    """``open_serial`` in a thread, as a device that does not answer must not stop the event loop."""
    attempt = asyncio.get_running_loop().run_in_executor(None, open_serial, settings)
    try:
        return await asyncio.shield(attempt)
    except asyncio.CancelledError:
        attempt.add_done_callback(_close_unwanted)
        raise


def _close_unwanted(attempt: "asyncio.Future[serial.Serial]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
