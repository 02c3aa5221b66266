"""Makes tests/vectors/edgelink.json, which the hosts and boards in Python, C and MicroPython all have to agree on.

``python -m tests.unit.bridge.edgelink.make_vectors``. What it writes is meant to stay as it is: a difference is
another protocol. Bytes are hexadecimal there.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from cobs import cobs

from phloem.firmware_bridge.edgelink import messages as m
from phloem.firmware_bridge.edgelink.frame import wrap
from phloem.firmware_bridge.edgelink.schema import Channel, checksum, encode_channel
from phloem.firmware_bridge.edgelink.sequence import nearest, tag_of
from phloem.firmware_bridge.edgelink.values import KINDS, encode_value, scaled

PATH = Path(__file__).parents[3] / "vectors" / "edgelink.json"

UID = bytes.fromhex("1122334455667788")
EPOCH, BOOT, SESSION = 0xDEADBEEF, 3, 0x0A0B0C0D
IMAGE = b"an image of some firmware, 41 bytes long.."
SHA = hashlib.sha256(IMAGE).digest()
IMAGE_ID = int.from_bytes(SHA[:4], "little")
CHANNELS = (
    Channel(0, 4, -1, "temperature", "Cel"),
    Channel(1, 3, 1, "pressure", "Pa"),
    Channel(2, 0, 0, "door", ""),
    Channel(3, 7, 0, "tilt", "deg"),
    Channel(7, 12, 0, "note", ""),
    Channel(255, 9, -3, "energie-zähler", "kW.h"),
)
ENTRIES = [encode_channel(channel) for channel in CHANNELS]
SCHEMA = checksum(ENTRIES)

READINGS: tuple[tuple[int, Any], ...] = (
    (0, -215),
    (1, 10132),
    (2, True),
    (3, 0.5),
    (7, "zu"),
    (255, -(2**40)),
)

MESSAGES: tuple[tuple[str, m.Message], ...] = (
    ("hello", m.Hello(UID, EPOCH, 70_000, 69_990, BOOT, 4, 8, 256, 0b0101, SCHEMA, "greenhouse 1.4.2")),
    ("hello, least", m.Hello(b"\0", 0, 0, 0, 0, 0, 1, 32, 0, 0, "")),
    (
        "hello, most",
        m.Hello(b"\xff" * 16, *[2**32 - 1] * 3, 65535, 6, 8, 1024, 65535, 2**32 - 1, "é" * 8 + "x"),
    ),
    (
        "hello, a longer window",
        m.Hello(UID, EPOCH, 70_000, 69_990, BOOT, 4, 8, 256, 0b0101, SCHEMA, "green 1", 64),
    ),
    ("welcome", m.Welcome(SESSION, tag_of(EPOCH, BOOT), 70_003, 1024)),
    ("welcome, zeros", m.Welcome(0, 0, 0, 32)),
    ("welcome, a longer window", m.Welcome(SESSION, tag_of(EPOCH, BOOT), 70_003, 1024, 32)),
    ("ask", m.Ask(SESSION)),
    ("schema get", m.SchemaGet(0)),
    ("data", m.Data(tag_of(EPOCH, BOOT), 70_003 & 0xFFFF, 123_456, b"\x00\x29\xff\x02\x01")),
    ("data, zeros", m.Data(0, 0, 0, b"\0" * 12)),
    ("data, 254 without a zero", m.Data(0x0101, 0x0101, 0x01010101, b"\x07\x01" * 120 + b"\x01")),
    ("data, 600 bytes", m.Data(0xFFFF, 0xFFFF, 0xFFFFFFFF, bytes(range(256)) * 2 + b"\x55" * 88)),
    ("ack", m.Ack(tag_of(EPOCH, BOOT), 70_004 & 0xFFFF, 0)),
    ("ack, held", m.Ack(tag_of(EPOCH, BOOT), 65_535, 0b10110110)),
    ("ack, held, a longer window", m.Ack(tag_of(EPOCH, BOOT), 1, 1 << 63 | 0b101)),
    ("ack, held, two bytes", m.Ack(tag_of(EPOCH, BOOT), 1, 0b1_0000_0010)),
    ("cmd", m.Cmd(SESSION, 17, 2000, "pump", b"on\0\x01")),
    ("cmd, bare", m.Cmd(SESSION, 65535, 0, "reboot", b"")),
    ("reply", m.Reply(SESSION, 17, m.Status.DONE, b"42")),
    ("reply, failed", m.Reply(SESSION, 18, m.Status.FAILED, b"no water")),
    ("clock get", m.ClockGet(7, 0, 0, 0)),
    ("clock get, known", m.ClockGet(8, 1, 4_294_967_295, 1_795_852_800_123)),
    ("clock", m.Clock(tag_of(EPOCH, BOOT), 7, 4_294_967_290, 1)),
    ("log", m.Log(3, 99, "Füllstand niedrig".encode())),
    ("log, empty", m.Log(0, 0, b"")),
    ("image, begin", m.Image(m.ImageOp.BEGIN, IMAGE_ID, m.begin_rest(len(IMAGE), SHA, "1.5.0"))),
    ("image, chunk", m.Image(m.ImageOp.CHUNK, IMAGE_ID, m.chunk_rest(32, IMAGE[32:]))),
    ("image, finish", m.Image(m.ImageOp.FINISH, IMAGE_ID, b"")),
    ("image, abort", m.Image(m.ImageOp.ABORT, IMAGE_ID, b"")),
    ("image state", m.ImageState(m.ImageStatus.RECEIVING, IMAGE_ID, 32)),
    ("ping", m.Ping(0x1234, 0)),
    ("pong", m.Ping(0x1234, 1)),
)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _message(name: str, message: m.Message) -> dict[str, Any]:
    plain = m.encode(message)
    return {
        "name": name,
        "type": type(message).__name__,
        "number": message.TYPE,
        "fields": {key: _plain(value) for key, value in msgspec.structs.asdict(message).items()},
        "plain": plain.hex(),
        "wire": wrap(plain).hex(),
    }


def _refused() -> Iterable[dict[str, str]]:
    """Frames with a right checksum that no receiver may take."""
    good = dict(MESSAGES)
    hello, welcome = m.encode(good["hello"]), m.encode(good["welcome"])
    window = hello.index(bytes([4, 8, 0, 1])) + 1

    def put(data: bytes, at: int, new: bytes) -> bytes:
        return data[:at] + new + data[at + len(new) :]

    cases = {
        "type 0": b"\x10",
        "version 2": b"\x23" + SESSION.to_bytes(4, "little"),
        "version 0": b"\x03" + SESSION.to_bytes(4, "little"),
        "ask, short": m.encode(good["ask"])[:-1],
        "welcome, short": welcome[:-1],
        "welcome, max_frame 31": put(welcome, 11, (31).to_bytes(2, "little")),
        "welcome, max_frame 1025": put(welcome, 11, (1025).to_bytes(2, "little")),
        "hello without a uid": put(hello, 1, b"\0")[:2] + hello[10:],
        "hello, uid of 17": b"\x11\x11" + b"u" * 17 + hello[10:],
        "hello, window 0": put(hello, window, b"\0"),
        "hello, window 9": put(hello, window, b"\x09"),
        "hello, firmware longer than the frame": hello[:-1],
        "hello, firmware not UTF-8": hello[:-1] + b"\xff",
        "schema, index is count": m.encode(m.Schema(SCHEMA, 0, 1, b"")).replace(b"\0\x01", b"\x01\x01"),
        "cmd, name longer than the frame": m.encode(m.Cmd(1, 2, 3, "pump", b""))[:-1],
        "cmd, short": m.encode(m.Cmd(1, 2, 3, "", b""))[:-1],
        "clock, short": m.encode(good["clock"])[:-1],
        "clock get, short": m.encode(good["clock get"])[:-1],
        "image, without a number": m.encode(good["image, finish"])[:-1],
        "image state, short": m.encode(good["image state"])[:-1],
        "ack, short": m.encode(good["ack"])[:-1],
        "ping, short": m.encode(good["ping"])[:-1],
        "log, short": m.encode(good["log, empty"])[:-1],
        "data, short": m.encode(m.Data(1, 2, 3, b""))[:-1],
        "reply, short": m.encode(m.Reply(1, 2, 0, b""))[:-1],
        "schema get, short": m.encode(good["schema get"])[:-1],
    }
    for name, plain in cases.items():
        yield {"name": name, "plain": plain.hex(), "wire": wrap(plain).hex()}


def _longer() -> Iterable[dict[str, str]]:
    """Frames with fields that a later version has added at the end: taken as if they ended before."""
    for name in (
        "hello, a longer window",
        "welcome, a longer window",
        "ask",
        "schema get",
        "ack, held, a longer window",
        "clock get",
        "clock",
        "image, begin",
        "ping",
    ):
        plain = m.encode(dict(MESSAGES)[name]) + b"\x01\x02\x00\x03"
        yield {"name": name, "plain": plain.hex(), "wire": wrap(plain).hex(), "as": name}


def _streams() -> Iterable[dict[str, Any]]:
    """Bytes on a line, and the frames and text that a receiver hears in them."""
    ask, ping = (m.encode(dict(MESSAGES)[name]) for name in ("ask", "ping"))
    broken = bytearray(wrap(ask))
    broken[4] ^= 0x40
    long_frame = m.encode(m.Log(1, 2, b"x" * 200))
    cases = [
        ("one zero between two", wrap(ask) + wrap(ping)[1:], [ask, ping], [], 0),
        ("text", b"a\r\n" + wrap(ask) + b"b\n" + wrap(ping) + b"c\n", [ask, ping], ["a", "b", "c"], 0),
        ("text without an end before a frame", b"> " + wrap(ask), [ask], ["> "], 0),
        (
            "text that a frame interrupts",
            b"one tw" + wrap(ask) + b"o three\n",
            [ask],
            ["one tw", "o three"],
            0,
        ),
        ("a bit wrong", bytes(broken) + wrap(ping), [ping], [], 1),
        ("a byte lost", wrap(ask)[:3] + wrap(ask)[4:] + wrap(ping), [ping], [], 1),
        ("noise", b"\xff\xfe\x80" + wrap(ask) + b"\x01\x02\xc3" + wrap(ping), [ask, ping], [], 2),
        ("cut off, then whole", wrap(long_frame)[:100] + wrap(ping), [ping], [], 1),
        ("zeros", b"\0" * 20 + wrap(ask) + b"\0" * 20, [ask], [], 0),
        ("200 bytes", wrap(long_frame) + wrap(ask), [long_frame, ask], [], 0),
    ]
    for name, wire, plains, text, noises in cases:
        yield {
            "name": name,
            "wire": wire.hex(),
            "frames": [plain.hex() for plain in plains],
            "text": text,
            "noises": noises,
        }


def _values() -> Iterable[dict[str, Any]]:
    cases: tuple[tuple[str, Any], ...] = (
        ("bool", False), ("bool", True), ("u8", 255), ("i8", -128), ("u16", 65535), ("i16", -215),
        ("u32", 2**32 - 1), ("i32", -(2**31)), ("f32", 0.5), ("f32", -1.25e9), ("u64", 2**64 - 1),
        ("i64", -(2**63)), ("f64", 3.141592653589793), ("bytes", b""), ("bytes", b"\0\xff"), ("text", "Grüße"),
    )  # fmt: skip
    for kind, value in cases:
        number = KINDS.index(kind)
        yield {
            "kind": kind,
            "number": number,
            "value": _plain(value),
            "bytes": encode_value(number, value).hex(),
        }


def vectors() -> dict[str, Any]:
    """All of them, as JSON can say it."""
    by_number = {channel.number: channel for channel in CHANNELS}
    readings = b"".join(
        bytes([number]) + encode_value(by_number[number].kind, value) for number, value in READINGS
    )
    ones = b"\x01" * 254
    raw = [
        b"",
        b"\0",
        b"\0\0",
        b"a",
        b"a\0",
        b"\0a",
        ones[1:],
        ones,
        ones + b"\x01",
        b"\0" + ones,
        ones + b"\0",
    ]
    raw += [bytes(range(256)), bytes(range(1, 256)), bytes(range(2, 256)) + b"\0"]
    return {
        "about": "EdgeLink/1 (docs/edgelink.md): what every host and board has to agree on. Bytes are hexadecimal; "
        "'plain' is head and payload without the checksum, 'wire' the frame with its zeros. "
        "Made by tests/unit/bridge/edgelink/make_vectors.py.",
        "cobs": [{"raw": data.hex(), "stuffed": cobs.encode(data).hex()} for data in raw],
        "crc32": [
            {"data": data.hex(), "crc": crc}
            for data, crc in ((b"", 0), (b"123456789", 0xCBF43926), (b"\0\0\0\0", 0x2144DF1C))
        ],
        "messages": [
            *(_message(name, message) for name, message in MESSAGES),
            *(
                _message(f"schema, {CHANNELS[at].name}", m.Schema(SCHEMA, at, len(ENTRIES), entry))
                for at, entry in enumerate(ENTRIES)
            ),
            _message("data of the schema", m.Data(tag_of(EPOCH, BOOT), 70_004 & 0xFFFF, 123_457, readings)),
        ],
        "refused": list(_refused()),
        "longer": list(_longer()),
        "streams": list(_streams()),
        "values": list(_values()),
        "schema": {
            "number": SCHEMA,
            "channels": [
                {**channel._asdict(), "entry": entry.hex()}
                for channel, entry in zip(CHANNELS, ENTRIES, strict=True)
            ],
            "readings": readings.hex(),
            "samples": [
                {
                    "channel": by_number[number].name,
                    "value": value,
                    "scaled": scaled(by_number[number].kind, value, by_number[number].exponent),
                }
                for number, value in READINGS
            ],
        },
        "tags": [
            {"epoch": epoch, "boot": boot, "tag": tag_of(epoch, boot)}
            for epoch, boot in ((0, 0), (1, 0), (0x10000, 1), (0x10001, 65_535), (EPOCH, BOOT), (2**32 - 1, 0x1234))
        ],
        "nearest": [
            {"expected": expected, "low": low, "number": nearest(low, expected)}
            for expected, low in (
                (0, 0), (0, 7), (8, 0), (65_535, 3), (65_536, 65_530), (65_540, 2), (70_000, 4464), (70_000, 4460),
                (2**32 - 2, 1), (2**32 - 1, 65_533), (1, 65_535),
            )
        ],
    }  # fmt: skip


def main() -> None:
    """Write the file."""
    text = json.dumps(vectors(), indent=1, ensure_ascii=False)
    PATH.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
