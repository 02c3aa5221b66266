"""Telnet with the COM-PORT option, the client's half: a serial port over TCP. Pure: bytes in, bytes out.

RFC 854 (Telnet), 856 (binary), 858 (no go-aheads), 2217 (speed, format, control lines, line errors). The order:

1. We ask for binary both ways and offer COM-PORT. A server that refuses either is no use: ``trouble`` says so.
2. When it takes COM-PORT we send the settings, and are ``ready`` when it has confirmed speed and format.
3. From then on bytes are the device's. Errors on its line that the server tells of are counted.

pyserial has a client of this, too, which takes every byte through a thread and a queue without bounds; its
server is what the tests talk to.
"""

import enum
from collections.abc import Iterator
from typing import NamedTuple

from phloem.firmware_bridge.port import LineErrors

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, ECHO, NO_GO_AHEAD, COM_PORT = 0, 1, 3, 44

SET_BAUD, SET_SIZE, SET_PARITY, SET_STOPS, SET_CONTROL, SET_LINE_MASK, PURGE = 1, 2, 3, 4, 5, 10, 12
LINE_STATE, SUSPEND, RESUME = 106, 108, 109  # of the server
CONFIRMS = 100  # the server's answer to option n is n + 100

_PARITIES = {"none": 1, "odd": 2, "even": 3, "mark": 4, "space": 5}
_FLOWS = {"none": 1, "xonxoff": 2, "rtscts": 3}
_DTR = {"on": 8, "off": 9}
_RTS = {"on": 11, "off": 12}
_OVERRUN, _PARITY, _FRAME, _BREAK = 2, 4, 8, 16  # bits of a line state
_OURS, _THEIRS = {BINARY, NO_GO_AHEAD, COM_PORT}, {BINARY, NO_GO_AHEAD, COM_PORT, ECHO}
_SUBOPTION_BYTES_MAX = 64  # the longest that means something has 6


class Settings(NamedTuple):
    """What the server is to do with its port, in the words of ``SerialSettings``."""

    baud: int
    bytesize: int
    parity: str
    stopbits: int
    flow_control: str
    dtr: str
    rts: str


class _At(enum.Enum):
    """Where in the stream we are."""

    DATA = enum.auto()
    COMMAND = enum.auto()  # behind IAC
    OPTION = enum.auto()  # behind IAC and one of WILL, WONT, DO, DONT
    SUBOPTION = enum.auto()
    SUBOPTION_COMMAND = enum.auto()


class Rfc2217:
    """One connection. Call ``start``, then ``decode`` with what comes, sending what ``take_reply`` gives each time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wanted = {
            CONFIRMS + SET_BAUD: settings.baud.to_bytes(4),
            CONFIRMS + SET_SIZE: bytes([settings.bytesize]),
            CONFIRMS + SET_PARITY: bytes([_PARITIES[settings.parity]]),
            CONFIRMS + SET_STOPS: bytes([settings.stopbits]),
        }
        self._unconfirmed = set(self._wanted)
        self._offered: set[int] = set()  # options that we said WILL to
        self._asked: set[int] = set()  # options that we said DO to
        self._configured = False
        self._reply = bytearray()
        self._at, self._verb, self._suboption = _At.DATA, 0, bytearray()
        self.trouble = ""
        self.suspended = False
        self.errors = LineErrors()

    @property
    def ready(self) -> bool:
        """Whether the port has its settings."""
        return not self._unconfirmed

    def start(self) -> bytes:
        """What to send first."""
        for option in (BINARY, NO_GO_AHEAD, COM_PORT):
            self._say(WILL, option)
        for option in (BINARY, NO_GO_AHEAD):
            self._say(DO, option)
        return self.take_reply()

    def take_reply(self) -> bytes:
        """What has to be sent because of what was decoded; asking takes it away."""
        reply = bytes(self._reply)
        self._reply.clear()
        return reply

    def encode(self, data: bytes) -> bytes:
        """The device's bytes as they are sent."""
        return data.replace(b"\xff", b"\xff\xff")

    def decode(self, data: bytes) -> bytes:
        """The device's bytes in ``data``."""
        if self._at is _At.DATA and IAC not in data:
            return data
        return b"".join(self._pieces(data))

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            if self._at is _At.DATA:
                end = data.find(IAC, at)
                if end < 0:
                    yield data[at:]
                    return
                yield data[at:end]
                self._at, at = _At.COMMAND, end + 1
                continue
            if self._take(data[at]):
                yield b"\xff"
            at += 1

    def _take(self, byte: int) -> bool:
        """One byte that is not plain data; True if it is a 255 of the device after all."""
        match self._at:
            case _At.COMMAND if byte == IAC:
                self._at = _At.DATA
                return True
            case _At.COMMAND if byte in (WILL, WONT, DO, DONT):
                self._at, self._verb = _At.OPTION, byte
            case _At.COMMAND if byte == SB:
                self._at = _At.SUBOPTION
                self._suboption.clear()
            case _At.COMMAND:  # no-operation, are-you-there and others that ask for nothing
                self._at = _At.DATA
            case _At.OPTION:
                self._at = _At.DATA
                self._negotiate(self._verb, byte)
            case _At.SUBOPTION if byte == IAC:
                self._at = _At.SUBOPTION_COMMAND
            case _At.SUBOPTION_COMMAND if byte != IAC:
                self._at = _At.DATA
                if byte == SE:
                    self._heard(bytes(self._suboption))
            case _:
                self._at = _At.SUBOPTION
                if len(self._suboption) < _SUBOPTION_BYTES_MAX:
                    self._suboption.append(byte)
        return False

    def _say(self, verb: int, option: int) -> None:
        self._reply += bytes((IAC, verb, option))
        (self._offered if verb == WILL else self._asked).add(option)

    def _negotiate(self, verb: int, option: int) -> None:
        """Answer what is new only, or both sides would answer one another for ever (RFC 1143)."""
        if verb == DO:
            if option not in _OURS:
                self._reply += bytes((IAC, WONT, option))
            elif option not in self._offered:
                self._say(WILL, option)
        elif verb == WILL:
            if option not in _THEIRS:
                self._reply += bytes((IAC, DONT, option))
            elif option not in self._asked:
                self._say(DO, option)
        elif option == COM_PORT and not self._configured:
            self.trouble = "the other end does not speak RFC 2217; is it socket://?"
        elif option == BINARY:
            self.trouble = "the other end does not pass all bytes (Telnet binary mode)"
        if option == COM_PORT and verb in (DO, WILL) and not self._configured:
            self._configured = True
            self._configure()

    def _configure(self) -> None:
        want = self._settings
        for option, value in self._wanted.items():
            self._set(option - CONFIRMS, value)
        self._set(SET_CONTROL, bytes([_FLOWS[want.flow_control]]))
        for lines, state in ((_DTR, want.dtr), (_RTS, want.rts)):
            if state in lines and not (lines is _RTS and want.flow_control == "rtscts"):
                self._set(SET_CONTROL, bytes([lines[state]]))
        self._set(SET_LINE_MASK, bytes([_OVERRUN | _PARITY | _FRAME | _BREAK]))
        self._set(PURGE, b"\x01")  # what came before is as old as nobody knows

    def _set(self, option: int, value: bytes) -> None:
        self._reply += bytes((IAC, SB, COM_PORT, option)) + self.encode(value) + bytes((IAC, SE))

    def _heard(self, suboption: bytes) -> None:
        if len(suboption) < 2 or suboption[0] != COM_PORT:
            return
        option, value = suboption[1], suboption[2:]
        if option in self._wanted:
            if value == self._wanted[option]:
                self._unconfirmed.discard(option)
            elif option in self._unconfirmed:
                what = {1: "speed", 2: "number of data bits", 3: "parity", 4: "number of stop bits"}
                self.trouble = f"the other end does not do this {what[option - CONFIRMS]}"
        elif option == LINE_STATE and value:
            seen = (_FRAME, _OVERRUN, _PARITY, _BREAK)
            self.errors = self.errors.plus(LineErrors(*(int(bool(value[0] & bit)) for bit in seen)))
        elif option in (SUSPEND, RESUME):
            self.suspended = option == SUSPEND
