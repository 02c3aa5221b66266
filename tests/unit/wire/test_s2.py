"""S2 streams: every form of an element, checksums, bounds; what is written is read again."""

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.shared.wire.s2 import CorruptStream, Decoder, Encoder
from tests.fuzz.snappy import S2, SNAPPY, crc
from tests.support.examples import examples


def chunk(kind: int, content: bytes, plain: bytes | None = None) -> bytes:
    body = (crc(plain).to_bytes(4, "little") if plain is not None else b"") + content
    return bytes([kind]) + len(body).to_bytes(3, "little") + body


def decoded(*pieces: bytes) -> bytes:
    decoder, out = Decoder(), []
    for piece in pieces:
        decoder.feed(piece)
        while block := decoder.block():
            out.append(block)
    assert decoder.between_chunks
    return b"".join(out)


def varint(n: int) -> bytes:
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def test_known_checksum() -> None:
    assert decoded(S2 + chunk(1, b"123456789", b"123456789")) == b"123456789"
    assert crc(b"123456789") == (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("elements", "plain"),
    [
        (b"\x0cabcd", b"abcd"),
        (b"\xf0\x3b" + b"x" * 60, b"x" * 60),
        (b"\xf4\x2b\x01" + b"y" * 300, b"y" * 300),
        (b"\xf8\x2b\x01\x00" + b"y" * 300, b"y" * 300),
        (b"\xfc\x2b\x01\x00\x00" + b"y" * 300, b"y" * 300),
        (b"\x0cabcd\x01\x04", b"abcdabcd"),  # copy of 4 with one byte of offset
        (b"\x0cabcd\x05\x02", b"abcdcdcdc"),  # it overlaps what it writes
        (b"\x0cabcd\x1e\x04\x00", b"abcdabcdabcd"),  # copy of 8, two bytes of offset
        (b"\x0cabcd\x1f\x04\x00\x00\x00", b"abcdabcdabcd"),  # four bytes
        (b"\x0cabcd\x01\x04\x01\x00", b"abcd" * 3),  # repeat: 4
        (b"\x0cabcd\x01\x04\x11\x00", b"abcd" * 4),  # repeat: 8, the last of the short ones
        (b"\x0cabcd\x01\x04\x15\x00\x00", b"abcd" * 4),  # repeat with one more byte: 8 + n
        (b"\x0cabcd\x01\x04\x19\x00\x04\x00", b"abcd" * 68),  # with two: 260 + n
        (b"\x0cabcd\x01\x04\x1d\x00\x00\x00\x00", b"abcd" * 16387),  # with three: 65540 + n
    ],
)
def test_elements(elements: bytes, plain: bytes) -> None:
    block = varint(len(plain)) + elements
    stream = S2 + chunk(0, block, plain)
    assert decoded(stream) == plain
    assert decoded(*(stream[i : i + 1] for i in range(len(stream)))) == plain


@pytest.mark.parametrize(
    "elements",
    [
        b"\x0cabc",  # a literal that is cut off
        b"\x0cabcd\x01\x05",  # a copy from before the beginning
        b"\x0cabcd\x01\x00",  # a repeat of nothing
        b"\x0cabcd\x01",  # a copy without its offset
        b"\x0cabcd\x1f\x04\x00",
        b"\x0cabcd\x01\x04\x15\x00",  # a repeat without its length
        b"\xf0",  # a literal without its length
        b"\xfc\xff\xff\xff\xff",
        b"\x0cabcd",  # too little
        b"\x0cabcd\x01\x04\x01\x04",  # too much
    ],
)
def test_corrupt_blocks(elements: bytes) -> None:
    decoder = Decoder()
    decoder.feed(S2 + chunk(0, b"\x08" + elements, b""))
    with pytest.raises(CorruptStream, match=r"^s2: corrupt input$"):
        decoder.block()
    assert decoder.block() == b""
    assert not decoder.between_chunks


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"NATSARC1", "s2: corrupt input"),
        (b"\xff\x06\x00\x00S2sTw0", "s2: corrupt input"),
        (b"\xff\x07\x00\x00S2sTwOO", "s2: corrupt input"),
        (S2 + chunk(1, b"abc", b"abd"), "s2: corrupt input, crc mismatch"),
        (S2 + chunk(2, b"abc", b"abc"), "s2: unsupported input"),
        (S2 + b"\x00\x03\x00\x00abc", "s2: corrupt input"),
        (S2 + chunk(0, b"\xff\xff\xff\xff\xff\xff", b""), "s2: corrupt input"),
        (S2 + chunk(0, varint((4 << 20) + 1) + b"\x00a", b""), "s2: corrupt input"),
        (SNAPPY + chunk(0, varint((1 << 16) + 1) + b"\x00a", b""), "s2: corrupt input"),
        (S2 + b"\x01\xff\xff\xff", "s2: corrupt input"),  # refused before it is awaited
    ],
)
def test_corrupt_streams(stream: bytes, text: str) -> None:
    decoder = Decoder()
    decoder.feed(stream + b"\x00")
    with pytest.raises(CorruptStream) as caught:
        decoder.block()
    assert str(caught.value) == text


def test_chunks_that_are_passed_over() -> None:
    stream = (
        S2
        + chunk(0x80, b"index")
        + SNAPPY
        + chunk(0xFE, b"")
        + chunk(1, b"a", b"a")
        + chunk(0xFD, bytes(300_000))
    )
    assert decoded(stream) == b"a"
    assert decoded(*(stream[i : i + 7] for i in range(0, len(stream), 7))) == b"a"


def test_heads_that_come_alone() -> None:
    """What was set aside for a chunk is not what the next one is kept in."""
    body = bytes(range(256)) * 4
    stream = S2 + chunk(1, body, body)
    assert decoded(stream[:4], stream[4:20], stream[20:500], stream[500:]) == body
    assert decoded(stream[:14], stream[14:] + stream[:14], stream[14:700], stream[700:]) == body * 2


def test_a_stream_that_ends_in_a_chunk() -> None:
    decoder = Decoder()
    decoder.feed((S2 + chunk(1, b"abc", b"abc"))[:-1])
    assert decoder.block() == b""
    assert not decoder.between_chunks


def test_a_small_input_that_means_a_lot_comes_in_blocks() -> None:
    plain = b"a" * 150_000
    elements = b"\x00a\x01\x01\x1d\x00" + (len(plain) - 5 - 65540).to_bytes(3, "little")
    decoder = Decoder()
    decoder.feed(S2 + chunk(0, varint(len(plain)) + elements, plain) * 3)
    for _ in range(3):
        assert decoder.block() == plain
    assert decoder.block() == b""


words = st.lists(
    st.sampled_from([b"the ", b"quick", b"brown fox", b"\x00" * 70, b"x" * 12]), max_size=300
).map(b"".join)


@settings(max_examples=examples(80))
@given(st.lists(st.one_of(words, st.binary(max_size=3000)), max_size=8), st.integers(1, 5000))
def test_what_is_written_is_read(parts: list[bytes], step: int) -> None:
    encoder = Encoder()
    stream = b"".join(encoder.feed(part) for part in parts) + encoder.flush()
    assert decoded(*(stream[i : i + step] for i in range(0, len(stream), step))) == b"".join(parts)


@settings(max_examples=20)
@given(st.integers(0, 200_000), st.sampled_from([b"a", b"ab", b"reading 17 ", bytes(range(256))]))
def test_long_content_gets_small(size: int, pattern: bytes) -> None:
    plain = (pattern * (size // len(pattern) + 1))[:size]
    encoder = Encoder()
    stream = encoder.feed(plain) + encoder.flush()
    assert decoded(stream) == plain
    assert len(stream) < size / 10 + 600


def test_what_does_not_compress_stays_plain() -> None:
    plain = random.Random(3).randbytes(150_000)
    encoder = Encoder()
    stream = encoder.feed(plain) + encoder.flush()
    assert len(stream) <= len(plain) + 10 + 3 * 8
    assert stream[10] == 1


@settings(max_examples=examples(150))
@given(words, st.data())
def test_flipped_bytes_are_noticed(plain: bytes, data: st.DataObject) -> None:
    encoder = Encoder()
    stream = bytearray(encoder.feed(plain + b"end") + encoder.flush())
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    decoder, out = Decoder(), b""
    decoder.feed(bytes(stream))
    try:
        while block := decoder.block():
            out += block
    except CorruptStream:
        return
    # a chunk that became one to be passed over, or one that waits for more
    assert out in (b"", plain + b"end")


@settings(max_examples=examples(150))
@given(st.binary(max_size=400), st.booleans())
def test_anything_at_all(data: bytes, framed: bool) -> None:
    decoder = Decoder()
    decoder.feed(S2 + (chunk(0, data, b"x") if framed else data))
    with contextlib.suppress(CorruptStream):
        while block := decoder.block():
            assert len(block) <= 4 << 20
