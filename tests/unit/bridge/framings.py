"""For each framing that can be told apart on the wire: its settings, and frames as a device would send them."""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

from cobs import cobs
from hypothesis import strategies as st

from phloem.firmware_bridge.framing.checks import CHECKS
from phloem.firmware_bridge.framing.ubx import fletcher

MAX = 64


class Wire(NamedTuple):
    framing: object
    payload: st.SearchStrategy[bytes]
    sent: Callable[[bytes], bytes]
    """What goes over the wire for a payload."""
    frame: Callable[[bytes], bytes] = lambda payload: payload
    """What the framer hands on for it."""


def _slip(data: bytes) -> bytes:
    return data.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def _hdlc(data: bytes) -> bytes:
    data += CHECKS["crc16_x25"].compute(data)
    stuffed = b"".join(bytes([0x7D, b ^ 0x20]) if b in (0x7D, 0x7E) else bytes([b]) for b in data)
    return b"\x7e" + stuffed + b"\x7e"


def _nmea(body: bytes) -> bytes:
    return b"$" + body + b"*%02X" % reduce(int.__xor__, body) + b"\r\n"


def _ubx(body: bytes) -> bytes:
    body = body[:2] + len(body[2:]).to_bytes(2, "little") + body[2:]
    return b"\xb5\x62" + body + fletcher(body)


def _crc32(data: bytes) -> bytes:
    return data + CHECKS["crc32"].compute(data)


def _prefixed(data: bytes) -> bytes:
    head = b"\xaa\x07" + (len(data) + 4).to_bytes(2, "big") + data
    return head + CHECKS["crc32"].compute(head)


some = st.binary(min_size=1, max_size=40)
word = st.text("abcXYZ019,.-", min_size=1, max_size=40).map(str.encode)
full = st.binary(min_size=20, max_size=20)
WIRES: dict[str, Wire] = {
    "line": Wire("line", word, lambda p: p + b"\r\n"),
    "delimiter": Wire({"type": "delimiter", "delimiter": "END"}, word, lambda p: p + b"END"),
    "fixed": Wire(
        {"type": "fixed", "size": 26, "start": "\\xfa\\xce", "check": "crc32"},
        full,
        lambda p: _crc32(b"\xfa\xce" + p),
        lambda p: _crc32(b"\xfa\xce" + p),
    ),
    "length_prefix": Wire(
        {
            "type": "length_prefix",
            "start": "\\xaa",
            "offset": 2,
            "length": "u16be",
            "counts": "rest",
            "check": "crc32",
        },
        some,
        _prefixed,
        _prefixed,
    ),
    "cobs": Wire({"type": "cobs", "check": "crc32"}, some, lambda p: cobs.encode(_crc32(p)) + b"\0"),
    "slip": Wire({"type": "slip", "check": "crc32"}, some, lambda p: _slip(_crc32(p))),
    "hdlc": Wire("hdlc", some, _hdlc),
    "nmea": Wire("nmea", word, _nmea, lambda p: _nmea(p)[:-2]),
    "ubx": Wire("ubx", st.binary(min_size=2, max_size=40), _ubx, lambda p: _ubx(p)[2:-2]),
    "json_lines": Wire(
        "json_lines", st.integers(0, 10**9).map(lambda n: b'{"v":%d}' % n), lambda p: p + b"\r\n"
    ),
}
CHECKED = ("fixed", "length_prefix", "cobs", "slip", "hdlc", "nmea", "ubx")
"""Those that notice damage."""
