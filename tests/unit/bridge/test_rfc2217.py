"""Telnet with COM-PORT: against pyserial's server, byte by byte, and against peers that are none."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serial import rfc2217 as pyserial

from phloem.firmware_bridge.port import LineErrors
from phloem.firmware_bridge.rfc2217 import Rfc2217, Settings

SETTINGS = Settings(9600, 7, "even", 2, "none", "on", "off")
IAC, SB, SE, COM = b"\xff", b"\xfa", b"\xf0", b"\x2c"


class FakeSerial:
    """What pyserial's server sets up."""

    cts = dsr = ri = cd = False

    def __init__(self) -> None:
        self.baudrate, self.bytesize, self.parity, self.stopbits = 1200, 8, "N", 1
        self.xonxoff = self.rtscts = self.dtr = self.rts = None
        self.purged = 0

    def reset_input_buffer(self) -> None:
        self.purged += 1


class Server:
    """pyserial's, with a connection to nowhere."""

    def __init__(self) -> None:
        self.serial, self.said, self.received = FakeSerial(), bytearray(), b""
        self.manager: Any = pyserial.PortManager(self.serial, self)

    def write(self, data: bytes) -> None:
        self.said += data

    def take(self, data: bytes) -> bytes:
        """Hand it ``data``; what it says."""
        self.received += b"".join(self.manager.filter(data))
        said = bytes(self.said)
        self.said.clear()
        return said

    def escaped(self, data: bytes) -> bytes:
        return b"".join(self.manager.escape(data))


def agree(client: Rfc2217, server: Server, cut: Callable[[bytes], list[bytes]]) -> bytes:
    """Until both have nothing more to say; the device's bytes that came meanwhile."""
    got, to_server = b"", client.start()
    for _ in range(20):
        for piece in cut(server.take(to_server)):
            got += client.decode(piece)
        to_server = client.take_reply()
        if not to_server and not server.said:
            return got
    raise AssertionError("they answer one another for ever")


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_agreeing_with_pyserials_server(size: int) -> None:
    client, server = Rfc2217(SETTINGS), Server()
    assert not client.ready
    assert (
        agree(client, server, lambda said: [said[at : at + size] for at in range(0, len(said), size)]) == b""
    )
    assert client.ready
    assert client.trouble == ""
    serial = server.serial
    assert (serial.baudrate, serial.bytesize, serial.parity, serial.stopbits) == (9600, 7, "E", 2)
    assert (serial.dtr, serial.rts, serial.xonxoff, serial.rtscts) == (True, False, False, False)
    assert serial.purged == 1
    everything = bytes(range(256)) * 2
    assert client.decode(server.escaped(everything)) == everything
    server.take(client.encode(everything))
    assert server.received.endswith(everything)


@pytest.mark.parametrize(
    ("flow", "dtr", "rts", "found"),
    [
        ("xonxoff", "keep", "keep", (None, None, True, None)),
        ("rtscts", "off", "on", (False, None, None, True)),
    ],
)
def test_lines_and_flow_control(flow: str, dtr: str, rts: str, found: tuple[bool | None, ...]) -> None:
    client, server = Rfc2217(Settings(115_200, 8, "none", 1, flow, dtr, rts)), Server()
    agree(client, server, lambda said: [said])
    serial = server.serial
    assert client.ready
    assert (serial.dtr, serial.rts, serial.xonxoff, serial.rtscts) == found


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        (b"\xff\xfe\x2c", "does not speak RFC 2217"),
        (b"\xff\xfe\x00", "does not pass all bytes"),
        (b"\xff\xfd\x2c\xff\xfa\x2c\x65\x00\x00\x04\xb0\xff\xf0", "does not do this speed"),
        (b"\xff\xfd\x2c\xff\xfa\x2c\x67\x01\xff\xf0", "does not do this parity"),
    ],
)
def test_a_server_that_is_of_no_use(said: bytes, trouble: str) -> None:
    client = Rfc2217(SETTINGS)
    client.start()
    client.decode(said)
    assert trouble in client.trouble
    assert not client.ready


def test_options_that_nobody_wants_are_declined_and_known_ones_answered_once() -> None:
    client = Rfc2217(SETTINGS)
    client.start()
    client.decode(b"\xff\xfd\x18\xff\xfb\x18")  # terminal type
    assert client.take_reply() == b"\xff\xfc\x18\xff\xfe\x18"
    client.decode(b"\xff\xfb\x01\xff\xfb\x01\xff\xfd\x00\xff\xfd\x00")  # ECHO, and binary that was asked for
    assert client.take_reply() == b"\xff\xfd\x01"


def test_what_the_server_says_of_the_line() -> None:
    client = Rfc2217(SETTINGS)
    states = b"".join(IAC + SB + COM + b"\x6a" + bytes([bits]) + IAC + SE for bits in (2 | 8, 8, 4, 16, 0))
    assert client.decode(b"a" + states + b"b") == b"ab"
    assert client.errors == LineErrors(frame=2, overrun=1, parity=1, brk=1)
    client.decode(IAC + SB + COM + b"\x6c" + IAC + SE)
    assert client.suspended
    client.decode(IAC + SB + COM + b"\x6d" + IAC + SE)
    assert not client.suspended


def test_an_endless_suboption_takes_no_memory() -> None:
    client = Rfc2217(SETTINGS)
    for piece in (IAC + SB, *[b"x" * 10_000] * 10):
        assert client.decode(piece) == b""
    assert len(client._suboption) <= 64
    assert client.decode(IAC + SE + b"data") == b"data"


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_any_bytes_in_any_pieces_mean_the_same(pieces: list[bytes]) -> None:
    whole, cut = Rfc2217(SETTINGS), Rfc2217(SETTINGS)
    assert whole.decode(b"".join(pieces)) == b"".join(map(cut.decode, pieces))
    assert whole.take_reply() == cut.take_reply()
    assert (whole.errors, whole.trouble, whole.ready) == (cut.errors, cut.trouble, cut.ready)
