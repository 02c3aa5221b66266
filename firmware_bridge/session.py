"""The life of one port: wait for the device, open it, pump bytes, notice the loss, start again.

* A port that is missing or vanishes is one warning, whatever happens until it works again; only a
  different kind of trouble (absent, then there but refused) is worth a second one.
* A device that comes is opened when it does, not when a timer says so; pauses grow for one that fails
  again and again, however often it comes.
* A command is meant for the device as it is now: what cannot be written at once or queued is dropped
  and counted, never kept for a device that is plugged in later.

What the bytes become is ``intake.py``, what the port says of itself ``port_voice.py``.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.arrival import Arrival
from phloem.firmware_bridge.asking import Asking
from phloem.firmware_bridge.backoff import Backoff
from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.diagnose import explain
from phloem.firmware_bridge.handover import Handover
from phloem.firmware_bridge.headers import Stamps
from phloem.firmware_bridge.hotplug import Hotplug
from phloem.firmware_bridge.intake import Intake
from phloem.firmware_bridge.port import Line, LineErrors, Port
from phloem.firmware_bridge.port_errors import (
    PortAbsent,
    PortError,
    PortLent,
    PortLost,
    PortRefused,
    PortSilent,
)
from phloem.firmware_bridge.port_figures import port_figures
from phloem.firmware_bridge.port_open import open_line
from phloem.firmware_bridge.port_voice import Voice
from phloem.firmware_bridge.publisher import Publisher
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.sharing.exports import Exports
from phloem.firmware_bridge.sharing.host import Host
from phloem.firmware_bridge.timers import CallLater, Timer, loop_call_later, pause
from phloem.firmware_bridge.turns import Turn, Turns
from phloem.shared.clock import Clock
from phloem.shared.limits import SECOND_NS

if TYPE_CHECKING:
    from phloem.firmware_bridge.edgelink.station import Link
    from phloem.firmware_bridge.modbus.master import Master

logger = logging.getLogger("phloem.bridge")

_STATES: Mapping[type[PortError], str] = {PortLost: "lost", PortSilent: "silent", PortRefused: "refused"}
_COUNT_NS = SECOND_NS  # how often the hardware's counters are read while bytes come


class Session:
    """One port. ``run`` until cancelled; it ends in no other way."""

    def __init__(
        self,
        settings: SerialSettings,
        publisher: Publisher,
        clock: Clock,
        rng: Random,
        boot: str,
        quality: Callable[[], str],
        *,
        call_later: CallLater = loop_call_later,
        hotplug: Hotplug | None = None,
        handover: Handover | None = None,
        link: "Link | None" = None,
    ) -> None:
        self.settings = settings
        self._handover = handover
        self.counters = Counters()
        self._publisher, self._clock = publisher, clock
        self._call_later = call_later
        self._backoff = Backoff(settings.retry_min_ns, settings.retry_max_ns, rng)
        self._arrival = Arrival(settings, hotplug)
        stamps = Stamps(settings.name, settings.device, boot, quality)
        self._voice = Voice(settings, publisher, clock, stamps, self.figures)
        self._intake = Intake(settings, publisher, clock, stamps, self.counters, call_later, rng, self._tell)
        self._link = link  # what takes the bytes instead, of a port with a protocol
        self._turns = Turns(call_later)
        self._asking = self._make_asking() if settings.request_subject else None
        self._master = self._make_master() if settings.poll else None
        host = Host(settings, self._turns, clock, call_later, self.counters) if settings.export else None
        self.exports = Exports(settings.name, settings.places, host, self._tell) if host else None
        self._port: Port | None = None
        self._path = settings.device  # where it was last
        self._state, self._reason = "absent", ""
        self._since_ns = self._heard_ns = self._counted_ns = clock.monotonic_ns()
        self._errors_then: LineErrors | None = None  # what the line's counters said last
        self._silence_timer: Timer | None = None
        self._garbled = False  # said so
        self._warned: set[type[PortError]] = set()  # kinds of trouble of this outage
        self._doubtful = False  # it came and went, or said nothing: that it is open is said when bytes come
        self._commands_blocked = False  # warned; until the device has caught up
        self._having = asyncio.Lock()  # whoever opens the device
        self._give: Callable[[PortError], None] | None = None  # ends the pump
        self._opened, self._closed = asyncio.Event(), asyncio.Event()
        self._closed.set()

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

    def figures(self) -> dict[str, Any]:
        """State and counters, for monitoring; docs/serial.md has them."""
        self._count_errors()
        now_ns = self._clock.monotonic_ns()
        state = {
            "port": self.settings.name,
            "device": self.settings.device,
            "path": self._port.line.device if self._port is not None else "",
            "state": self._state,
            "reason": self._reason,
            "for_s": (now_ns - self._since_ns) / SECOND_NS,
            "garbled": self._garbled,
            "shared_at": self.exports.places if self.exports is not None else [],
        }
        frame_ns = (self._link or self._intake).frame_mono_ns
        age_s = (now_ns - frame_ns) / SECOND_NS if frame_ns >= 0 else -1
        return state | port_figures(self.counters, age_s, self._intake.waiting)

    async def run(self) -> None:
        """Serve the port until cancelled; closes it then and takes the subscriptions back."""
        ends = [self._voice.serve()]
        try:
            if self.settings.command_subject and self._link is None:
                ends.append(self._publisher.subscribe(self.settings.command_subject, self._command))
            if self._asking is not None:
                ends.append(self._asking.serve(self._publisher))
            if self.exports is not None:
                ends.append(self.exports.stop)
                self.exports.start()
            while True:
                line, fresh = await self._open()
                try:
                    lost = await self._pump(line, fresh)
                finally:
                    self._having.release()
                if not isinstance(lost, PortLent):
                    await self._trouble(lost)
        finally:
            for end in ends:
                end()
            await self._intake.stop()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[str]:
        """Close the port and keep it closed for the block; the device's path, for a program that opens it.

        A device that is not there is no error: its path is what is configured, or where it was last.
        """
        if self._port is not None:
            self._path = self._port.line.device
        if self._give is not None:
            self._give(PortLent(self.settings.device, reason="a program has it"))
        async with self._having:
            self._is("lent", "a program has it")
            self._voice.event("lent")
            yield self._path

    async def _open(self) -> tuple[Line, bool]:
        """What a bridge before this one has left open, else try until the device opens; whether it is fresh. Returns
        with ``_having`` held."""
        if self._handover is not None and (kept := self._handover.take(self.settings)):
            await self._having.acquire()
            self._intake.resume(self._handover.take_rest(self.settings))
            return kept, False
        while True:
            await self._having.acquire()
            try:
                return await open_line(self.settings, self._call_later), True
            except PortError as error:
                trouble = error
                self._having.release()
            except BaseException:
                self._having.release()
                raise
            await self._trouble(trouble)

    async def _trouble(self, error: PortError) -> None:
        """Warn if this is news, then wait for the next attempt."""
        # A device that was unplugged is absent afterwards, which is the same news.
        kind: type[PortError] = PortAbsent
        if isinstance(error, PortRefused | PortSilent):
            kind = PortSilent if isinstance(error, PortSilent) else PortRefused
        state = next((word for cause, word in _STATES.items() if isinstance(error, cause)), "absent")
        if kind not in self._warned:
            self._warned.add(kind)
            text = await asyncio.to_thread(explain, error)
            self._is(state, text)
            self._doubtful |= kind is PortSilent
            self._voice.event(state, text)
            logger.warning(
                "serial port %s (%s): %s; retrying every %.1f to %.1f s",
                self.settings.name,
                self.settings.device,
                text,
                self.settings.retry_min_ns / SECOND_NS,
                self.settings.retry_max_ns / SECOND_NS,
            )
        else:
            self._is(state, error.reason)
            if isinstance(error, PortLost):
                logger.info("serial port %s (%s): gone again", self.settings.name, self.settings.device)
                if not self._doubtful:
                    self._doubtful = True
                    self._voice.event("lost", "it comes and goes")
        with self._arrival.watched(error) as arrival:
            await pause(self._backoff.next_ns(), self._call_later)
            await arrival.wait()

    def _is(self, state: str, reason: str = "") -> None:
        if state != self._state:
            self._state, self._since_ns = state, self._clock.monotonic_ns()
        self._reason = reason

    async def _pump(self, line: Line, fresh: bool) -> PortError:
        """Pass on what the open device sends until it is gone, or silent for too long. One that is not fresh has had
        its init strings."""
        gone: asyncio.Future[PortError] = asyncio.get_running_loop().create_future()

        def end(error: PortError) -> None:
            # On the way out ``gone`` is cancelled before the port is closed, and a loss may fall in between.
            if not gone.done():
                gone.set_result(error)

        since_ns = self._heard_ns = self._clock.monotonic_ns()
        self._errors_then = line.errors()
        self._port = port = Port(line, self._received, end)
        self._path, self._give = line.device, end
        lost: PortError | None = None
        try:
            self._began(line)
            if self.settings.silent_after_ns:
                self._await_silence(end)
            if fresh:
                await self._greet(port, gone)
            if self._link is not None:
                self._link.opened(lambda data: self._write(port, data))
            if self._master is not None:
                self._master.opened(lambda data: self._write(port, data))
            if self._asking is not None:
                ask = self._master.write if self._master else lambda data: self._write(port, data)
                self._asking.opened(ask)
            if self.exports is not None:
                self.exports.opened(line, lambda data: self._write(port, data))
            lost = await gone
            return lost
        finally:
            self._count_errors()
            if self.exports is not None:
                self.exports.closing()
            if self._handover is not None:
                self._leave(self._handover, line, well=not gone.done() or gone.cancelled())
            port.close()
            self._ended(lost)
            # A silent one is opened again and again, and each time open for longer than that.
            if self._clock.monotonic_ns() - since_ns >= self.settings.retry_max_ns:
                self._works(unless=PortSilent)

    def _leave(self, handover: Handover, line: Line, *, well: bool) -> None:
        """To the next bridge, if the port is well."""
        if well:
            handover.left(self.settings, line.fileno(), self._intake.unfinished)
            line.leave()
        else:
            handover.lost(self.settings)

    def _began(self, line: Line) -> None:
        self.counters.opens += 1
        if self._handover is not None:
            self._handover.opened(self.settings, line.fileno())
        self._closed.clear()
        self._opened.set()
        self._is("open")
        logger.info("serial port %s (%s): open", self.settings.name, self.settings.device)
        if not self._doubtful:
            self._voice.event("opened")

    def _ended(self, lost: PortError | None) -> None:
        self._port = self._give = None
        self.counters.losses += isinstance(lost, PortLost)
        self.counters.silences += isinstance(lost, PortSilent)
        self._opened.clear()
        self._closed.set()
        self._intake.interrupt()
        if self._link is not None:
            self._link.closed()
        self._turns.clear("the device is gone")
        if self._master is not None:
            self._master.closed()
        if self._asking is not None:
            self._asking.closed()
        if self.exports is not None:
            self.exports.closed()
        if self._silence_timer is not None:
            self._silence_timer.cancel()
            self._silence_timer = None
        if lost is None:
            self._is("closed")
            self._voice.event("closed")

    async def _greet(self, port: Port, gone: "asyncio.Future[PortError]") -> None:
        """Write the init strings, with their pauses, as long as the device is there."""
        for entry in self.settings.greeting:
            if gone.done():
                return
            if isinstance(entry, int):
                await pause(entry, self._call_later)
            else:
                self._write(port, entry)

    def _await_silence(self, end: Callable[[PortError], None]) -> None:
        """One timer that looks when it fires for how long it has been silent, instead of one for every chunk."""

        def look() -> None:
            quiet_ns = self._clock.monotonic_ns() - self._heard_ns
            if quiet_ns >= self.settings.silent_after_ns:
                self._silence_timer = None
                seconds = self.settings.silent_after_ns / SECOND_NS
                end(
                    PortSilent(
                        self.settings.device, reason=f"nothing came for {seconds:g} s; it is opened anew"
                    )
                )
            else:
                self._silence_timer = self._call_later(self.settings.silent_after_ns - quiet_ns, look)

        self._silence_timer = self._call_later(self.settings.silent_after_ns, look)

    def _works(self, unless: type[PortError] | None = None) -> None:
        """The outage is over. Bytes prove that, or having been open for long; a port that opens and
        fails at once, over and over, stays one outage with growing waits."""
        if unless in self._warned:
            return
        self._warned.clear()
        self._backoff.reset()
        if self._doubtful:
            self._doubtful = False
            if self._port is not None:
                self._voice.event("opened")

    def _received(self, data: bytes) -> None:
        self._works()
        now_ns = self._heard_ns = self._clock.monotonic_ns()
        self.counters.bytes_read += len(data)
        self._voice.capture.note("<", data, now_ns)
        if self.exports is not None:
            self.exports.received(data)
        if self._link is not None:
            self._link.received(data)
            self._link.count(self.counters)
        elif self._master is not None:
            self._master.received(data)
        else:
            self._intake.take(data)
        if now_ns - self._counted_ns >= _COUNT_NS:
            self._count_errors()
        if self._intake.garbled != self._garbled:
            self._garbled = self._intake.garbled
            self._tell_garbled()

    def _tell_garbled(self) -> None:
        if not self._garbled:
            self._voice.event("clear")
            return
        text = "most of what comes makes no sense: another speed, framing or cable?"
        if self._intake.trouble:
            text = f"{text} The last frame: {self._intake.trouble}"
        logger.warning("serial port %s (%s): %s", self.settings.name, self.settings.device, text)
        self._voice.event("garbled", text)

    def _count_errors(self) -> None:
        """What the hardware has counted since the last look."""
        self._counted_ns = self._clock.monotonic_ns()
        if self._port is None or (now := self._port.line.errors()) is None:
            return
        new = now.since(self._errors_then or LineErrors())
        self._errors_then = now
        if any(new):
            self.counters.line_errors = self.counters.line_errors.plus(new)
            self._intake.blame(new.frame + new.parity)

    def _write(self, port: Port, data: bytes) -> bool:
        if not port.write(data):
            return False
        self._wrote(data)
        return True

    def _wrote(self, data: bytes) -> None:
        self.counters.bytes_written += len(data)
        self._voice.capture.note(">", data, self._clock.monotonic_ns())

    def _make_asking(self) -> Asking:
        asking = Asking(
            self.settings,
            self._turns,
            self.counters,
            self._call_later,
            self._voice.headers,
        )
        self._intake.on_frame = asking.heard
        return asking

    def _make_master(self) -> "Master":
        from phloem.firmware_bridge.modbus.master import Master  # noqa: PLC0415  (only who asks pays for it)

        settings, intake = self.settings, self._intake
        return Master(
            settings,
            settings.polls,
            self._turns,
            self._clock,
            self.counters,
            self._call_later,
            intake.note,
            intake.read,
            self._tell,
        )

    def _command(self, payload: bytes) -> None:
        def begin(turn: Turn) -> None:
            self._carry_out(payload)
            turn.end()

        self._turns.take(begin, lambda _reason: self._drop_command(), limits.COMMAND_WAIT_NS)

    def _carry_out(self, payload: bytes) -> None:
        if self._port is not None and self._port.write(payload):
            self.counters.commands += 1
            self._wrote(payload)
            if self._port is not None and not self._port.write_queue_bytes:
                self._commands_blocked = False
            return
        self._drop_command()
        if self._port is not None and not self._commands_blocked:
            self._commands_blocked = True
            self._tell("blocked", "the device takes no more bytes; commands are dropped")

    def _drop_command(self) -> None:
        self.counters.commands_dropped += 1

    def _tell(self, kind: str, text: str) -> None:
        """An event that is not of the device's coming and going; a warning, if there is something to say."""
        if text:
            logger.warning("serial port %s: %s", self.settings.name, text)
        self._voice.event(kind, text)
