"""S2 streams that are nearly right, a decoder in Python that is only meant to be right, and the comparison of both."""

import struct
from itertools import pairwise
from random import Random

from phloem.shared.wire.s2 import CorruptStream, Decoder, Encoder
from tests.fuzz.frames import Nonsense
from tests.fuzz.making import spoil
from tests.fuzz.steps import Step, Steps

S2, SNAPPY = b"\xff\x06\x00\x00S2sTwO", b"\xff\x06\x00\x00sNaPpY"
BLOCK_MAX = 4 << 20
WHOLE_MAX = 64 << 20  # of what one input may unpack to


def _row(c: int) -> int:
    for _ in range(8):
        c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
    return c


TABLE = [_row(c) for c in range(256)]


def crc(data: bytes) -> int:
    """CRC-32C byte by byte, masked."""
    c = 0xFFFFFFFF
    for byte in data:
        c = (c >> 8) ^ TABLE[(c ^ byte) & 0xFF]
    c ^= 0xFFFFFFFF
    return (((c >> 15) | (c << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def unpacked(block: bytes) -> bytes | None:
    """What a compressed block is, its length in front included; None: it is corrupt or too large."""
    size = 0
    for at in range(5):
        if at >= len(block):
            return None
        size |= (block[at] & 0x7F) << 7 * at
        if block[at] < 0x80:
            out = None if size > BLOCK_MAX else expanded(block[at + 1 :], size)
            return out if out is not None and len(out) == size else None
    return None


def expanded(data: bytes, most: int) -> bytes | None:
    """What elements make; None: they are corrupt or make more than ``most``."""
    out, at, offset = bytearray(), 0, 0
    while at < len(data):
        tag, at = data[at], at + 1
        literal = tag & 3 == 0
        extra = max((tag >> 2) - 59, 0) if literal else (1, 2, 4)[(tag & 3) - 1]
        if at + extra > len(data):
            return None
        number, at = int.from_bytes(data[at : at + extra], "little"), at + extra
        if literal:
            length = (number if extra else tag >> 2) + 1
            if at + length > len(data) or len(out) + length > most:
                return None
            out += data[at : at + length]
            at += length
            continue
        length = 1 + (tag >> 2)
        if tag & 3 == 1:
            length, number = (tag >> 2 & 7) + 4, (tag & 0xE0) << 3 | number
            if number == 0:  # S2: the last offset again, its length may go on
                more = max(length - 8, 0)
                if at + more > len(data):
                    return None
                if more:
                    length = (
                        int.from_bytes(data[at : at + more], "little") + (0, 4, 1 << 8, 1 << 16)[more] + 4
                    )
                at, number = at + more, offset
        offset = number
        if not 0 < offset <= len(out) or len(out) + length > most:
            return None
        for _ in range(length):
            out.append(out[-offset])
    return bytes(out)


def element(r: Random, made: int) -> bytes:
    """An element of a block."""
    dice = r.random()
    if dice < 0.4 or not made:
        data = r.randbytes(r.choice((1, 3, 30, 60, 61, 255, 256, 257)))
        n = len(data) - 1
        return (
            bytes([n << 2])
            if n < 60
            else bytes([60 << 2, n])
            if n < 256
            else b"\xf4" + n.to_bytes(2, "little")
        ) + data
    offset = r.choice((1, made, r.randint(1, made), 0, made + 1, 2047, 65_536))
    if dice < 0.6:
        return bytes([r.randrange(64) << 2 | 2]) + (offset & 0xFFFF).to_bytes(2, "little")
    if dice < 0.7:
        return bytes([r.randrange(64) << 2 | 3]) + offset.to_bytes(4, "little")
    if dice < 0.85:
        return bytes([(offset >> 8 & 7) << 5 | r.randrange(8) << 2 | 1, offset & 0xFF])
    return bytes([r.randrange(8) << 2 | 1, 0]) + r.randbytes(r.randrange(4))


def sealed(kind: int, content: bytes, plain: bytes) -> bytes:
    """A chunk with a good checksum."""
    return (
        bytes([kind]) + (len(content) + 4).to_bytes(3, "little") + crc(plain).to_bytes(4, "little") + content
    )


def chunk(r: Random) -> bytes:
    """A chunk, often with a good checksum."""
    dice = r.random()
    if dice < 0.1:
        return r.choice((S2, SNAPPY, b"\x80\x03\0\0abc", b"\xfe\0\0\0", b"\x02\0\0\0", b"\xff\x06\0\0wrong!"))
    if dice < 0.3:
        plain = r.randbytes(r.choice((0, 1, 100, 3_000)))
        kind, content = 1, plain
    else:
        elements, made = [], 0
        for _ in range(r.randint(1, 12)):
            elements.append(element(r, made))
            made = len(expanded(b"".join(elements), 1 << 17) or b"")
        packed, kind = b"".join(elements), 0
        size = (
            made
            if r.random() < 0.9
            else r.choice((0, made + 1, 65_537, BLOCK_MAX + 1, 1 << 31, (1 << 35) - 1))
        )
        content = varint(size) + packed
        plain = (unpacked(content) or b"") if size <= 1 << 17 else b""
    body = (crc(plain) if r.random() < 0.95 else r.getrandbits(32)).to_bytes(4, "little") + content
    size = len(body) if r.random() < 0.95 else r.choice((0, 3, len(body) + 1, 0xFFFFFF))
    return bytes([kind]) + size.to_bytes(3, "little") + body


def make(r: Random) -> Steps:
    if r.random() < 0.3:
        plain = r.choice(
            (
                r.randbytes(200),
                bytes(3_000),
                b"".join(r.choice((b"abc", b"defg", b"h")) for _ in range(4_000)),
            )
        )
        return (Step("plain", 0, r.randrange(1, 40_000), plain * r.choice((1, 1, 30))),)
    data = (r.choice((S2, SNAPPY)) if r.random() < 0.95 else b"") + b"".join(
        chunk(r) for _ in range(r.randint(1, 5))
    )
    if r.random() < 0.3:
        data = spoil(r, data)
    cuts = sorted({0, len(data), *(r.randint(0, len(data)) for _ in range(r.randint(0, 6)))})
    return tuple(Step("feed", 0, 0, data[a:b]) for a, b in pairwise(cuts))


def decoded(pieces: list[bytes]) -> tuple[bytes, str, bool]:
    """Plain bytes, the error's text, and whether the stream may end here."""
    decoder, out, size = Decoder(), [], 0
    try:
        for piece in pieces:
            decoder.feed(piece)
            while block := decoder.block():
                size += len(block)
                if len(block) > BLOCK_MAX or size > WHOLE_MAX:
                    raise Nonsense(f"a block of {len(block)} bytes, {size} in all")
                out.append(block)
    except CorruptStream as error:
        if decoder.between_chunks:
            raise Nonsense("a corrupt stream may end") from None
        return b"".join(out), str(error), False
    return b"".join(out), "", decoder.between_chunks


def _expected(data: bytes) -> bytes | None:
    """All of a stream; None: something is wrong with it or it is cut short."""
    out, at, most = bytearray(), 0, 0
    while at < len(data):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "little")
        body = data[at + 4 : at + 4 + size]
        at += 4 + size
        if at > len(data) or (not most and kind != 0xFF):
            return None
        if kind == 0xFF:
            if body not in (S2[4:], SNAPPY[4:]):
                return None
            most = BLOCK_MAX if body == S2[4:] else 1 << 16
        elif kind < 0x80:
            plain = body[4:] if kind == 1 else unpacked(body[4:]) if kind == 0 else None
            if (
                plain is None
                or len(body) < 4
                or len(plain) > most
                or struct.pack("<I", crc(plain)) != body[:4]
            ):
                return None
            out += plain
    return bytes(out)


def run(steps: Steps) -> None:
    for step in steps:
        if step.verb == "plain":
            encoder, size = Encoder(), max(step.number % 100_000, 1)
            pieces = [encoder.feed(step.data[at : at + size]) for at in range(0, len(step.data), size)]
            if decoded([*pieces, encoder.flush()]) != (step.data, "", True):
                raise Nonsense("what was written is not what is read")
    pieces = [step.data for step in steps if step.verb == "feed"]
    found, whole = decoded(pieces), decoded([b"".join(pieces)])
    if found != whole:
        raise Nonsense(f"depends on pieces: {found} {whole}")
    expected = _expected(b"".join(pieces))
    if (expected is not None) != (not found[1] and found[2]) or (
        expected is not None and expected != found[0]
    ):
        raise Nonsense(f"{found} where {expected!r} was expected")
