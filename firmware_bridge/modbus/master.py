"""Asks Modbus devices at one port: polls in their turn, and requests of others between them.

* One exchange at a time. Over RTU the line rests for 3.5 characters behind each.
* A poll that is late is not made up for. A device that does not answer is asked less and less often, up to once a
  minute, so that it does not take the bus from the others; that is said once, and when it answers again.
* An answer counts if it is from the unit that was asked, and for the function; over TCP also by its number.

pymodbus knows what frames look like; the port, its life and its turns are the bridge's own.
"""

from collections.abc import Callable, Sequence
from typing import Any

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.modbus.settings import FUNCTIONS, Poll
from phloem.firmware_bridge.reading import Reading
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.timers import CallLater, Timer
from phloem.firmware_bridge.turns import Turn, Turns
from phloem.shared.clock import Clock
from phloem.shared.limits import SECOND_NS

_BUFFER_BYTES_MAX = 600  # twice the longest answer
_CHARACTERS, _BITS_OF_ONE = 3.5, 11
_GAP_MIN_NS = 1_750_000  # the standard's, from 19,200 baud on
_EXCEPTIONS = {
    1: "no such function",
    2: "no such address",
    3: "no such value",
    4: "the device failed",
    6: "the device is busy",
    11: "nobody behind the gateway answers",
}


class Entry:
    """A poll, and how it goes."""

    def __init__(self, poll: Poll) -> None:
        self.poll = poll
        self.due_ns = 0
        self.failures = 0  # in a row
        self.turn: Turn | None = None  # it waits for its turn, or has it

    def next_ns(self) -> int:
        """How long until it is asked again."""
        every_ns = self.poll.every_ns << min(self.failures, 10)
        return min(every_ns, max(self.poll.every_ns, limits.POLL_PAUSE_MAX_NS))


class Master:
    """One port's. ``heard`` gets each answer (unit and PDU), ``took`` the readings of a poll."""

    def __init__(
        self,
        settings: SerialSettings,
        polls: Sequence[Poll],
        turns: Turns,
        clock: Clock,
        counters: Counters,
        call_later: CallLater,
        heard: Callable[[bytes], None],
        took: Callable[[Sequence[Reading]], None],
        told: Callable[[str, str], None],
    ) -> None:
        from pymodbus.framer.rtu import FramerRTU  # noqa: PLC0415  (only who asks pays for it)
        from pymodbus.framer.socket import FramerSocket  # noqa: PLC0415
        from pymodbus.pdu import DecodePDU  # noqa: PLC0415

        self._turns, self._clock, self._counters, self._call_later = turns, clock, counters, call_later
        self._heard, self._took, self._told = heard, took, told
        self._limit_ns, self._tcp = settings.request_timeout_ns, settings.modbus_kind == "tcp"
        self._gap_ns = max(_GAP_MIN_NS, int(_CHARACTERS * _BITS_OF_ONE * SECOND_NS / settings.baud))
        self._decoder: Any = DecodePDU(False)
        self._framer: Any = FramerSocket(self._decoder) if self._tcp else FramerRTU(self._decoder)
        self._entries = [Entry(poll) for poll in polls]
        self._failing: set[int] = set()  # entries
        self._write: Callable[[bytes], bool] | None = None
        self._buffer = bytearray()
        self._number = 0  # of the newest question
        self._asked: tuple[int, int] | None = None  # unit and function that an answer is awaited of
        self._current: Entry | None = None
        self._damaged = False
        self._timer: Timer | None = None  # until something is due
        self._answer_timer: Timer | None = None  # of the exchange, then of the rest behind it

    def opened(self, write: Callable[[bytes], bool]) -> None:
        """The port is open: everything is asked, in order."""
        self._write = write
        for entry in self._entries:
            entry.due_ns = self._clock.monotonic_ns()
        self._look()

    def closed(self) -> None:
        """It is not any more."""
        self._write = self._asked = self._current = None
        for entry in self._entries:
            entry.turn = None
        for timer in (self._timer, self._answer_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._answer_timer = None

    def write(self, request: bytes) -> bool:
        """Somebody who has the turn asks: unit and PDU. The answer is one of those ``heard``."""
        if len(request) < 2 or self._write is None:
            return False
        self._number = self._number % 0xFFFF + 1
        self._buffer.clear()
        self._damaged = False
        self._asked = request[0], request[1]
        return self._write(self._framer.encode(request[1:], request[0], self._number))

    def received(self, data: bytes) -> None:
        """What the port says."""
        if self._asked is None:  # too late, or an answer to somebody else's question
            self._counters.dropped_bytes += len(data)
            return
        self._buffer += data
        while self._asked is not None and self._buffer:
            try:
                used, unit, number, pdu = self._framer.decode(bytes(self._buffer))
            except Exception:  # of bytes that are no Modbus, pymodbus raises what it likes
                used, unit, number, pdu = len(self._buffer), 0, 0, b""
            if not used:
                break
            del self._buffer[:used]
            if not pdu:
                self._counters.damaged += 1
                self._counters.dropped_bytes += used
                self._damaged = True
            elif (unit, pdu[0] & 0x7F) != self._asked or (self._tcp and number != self._number):
                self._counters.dropped_bytes += used
            else:
                self._answered(unit, pdu)
        if len(self._buffer) > _BUFFER_BYTES_MAX:
            self._counters.resyncs += 1
            self._counters.dropped_bytes += len(self._buffer)
            self._buffer.clear()

    # -- polls ----------------------------------------------------------------------------------------

    def _look(self) -> None:
        """What is due waits for its turn; then a timer for what comes next."""
        self._timer = None
        now_ns = self._clock.monotonic_ns()
        for entry in self._entries:
            if entry.due_ns <= now_ns:
                entry.due_ns = max(entry.due_ns + entry.next_ns(), now_ns + entry.next_ns() // 2)
                if entry.turn is None:
                    self._ask(entry)
        if self._write is not None and self._entries:
            due_ns = min(entry.due_ns for entry in self._entries)
            self._timer = self._call_later(due_ns - now_ns, self._look)

    def _ask(self, entry: Entry) -> None:
        def begin(turn: Turn) -> None:
            entry.turn = turn
            poll, self._current = entry.poll, entry
            self._counters.polls += 1
            question = bytes((poll.unit, FUNCTIONS[poll.function]))
            question += poll.address.to_bytes(2) + (poll.count or poll.size).to_bytes(2)
            if self.write(question):
                self._answer_timer = self._call_later(self._limit_ns, self._late)
            else:
                self._failed("the device takes no more bytes")

        def refuse(_reason: str) -> None:  # another program has the port: that is no failure of the device
            entry.turn = None

        turn = self._turns.take(begin, refuse, max(entry.poll.every_ns, limits.COMMAND_WAIT_NS))
        if self._current is not entry and turn.waits:
            entry.turn = turn

    def _answered(self, unit: int, pdu: bytes) -> None:
        self._asked = None
        entry = self._current
        if entry is None:
            self._heard(bytes((unit,)) + pdu)
            return
        self._heard(bytes((unit,)) + pdu)
        if pdu[0] & 0x80:
            code = pdu[1] if len(pdu) > 1 else 0
            self._failed(_EXCEPTIONS.get(code, f"exception {code}"))
            return
        answer = self._decoder.decode(pdu)
        values = () if answer is None else answer.bits if entry.poll.bits else answer.registers
        if len(values) < entry.poll.size:
            self._failed(f"it answers with {len(values)} of {entry.poll.size}")
            return
        self._end(entry)
        at = self._entries.index(entry)
        entry.failures = 0
        if at in self._failing:
            self._failing.discard(at)
            if not self._failing:
                self._told("poll_works", "")
        self._took(entry.poll.read(values, self._clock.monotonic_ns()))

    def _late(self) -> None:
        self._answer_timer = None
        what = "the answer is damaged" if self._damaged else "no answer"
        self._failed(f"{what} within {self._limit_ns / SECOND_NS:g} s")

    def _failed(self, reason: str) -> None:
        entry = self._current
        assert entry is not None
        self._asked = None
        self._counters.polls_failed += 1
        entry.failures += 1
        entry.due_ns = self._clock.monotonic_ns() + entry.next_ns()
        self._end(entry)
        at = self._entries.index(entry)
        if at not in self._failing:
            self._failing.add(at)
            self._told("poll_failed", f"{entry.poll}: {reason}")

    def _end(self, entry: Entry) -> None:
        """The line rests, then the next one has its turn."""
        self._current = None
        turn, entry.turn = entry.turn, None
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None
        if turn is not None and self._tcp:
            turn.end()
        elif turn is not None:
            self._answer_timer = self._call_later(self._gap_ns, turn.end)
