"""Frames among text and noise, however the bytes are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge.edgelink import limits
from phloem.firmware_bridge.edgelink.frame import Frame, FrameReader, Heard, Text, unwrap, wrap

plain = st.binary(min_size=1, max_size=60)
heads = st.builds(lambda head, rest: bytes([0x10 | head]) + rest, st.integers(1, 15), st.binary(max_size=60))
pieces = st.one_of(
    heads.map(wrap),
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.sampled_from([b"\n", b"\r\n", b"\0", b"\x0a\x1b[31mred\n", b"x" * 80, b"\x0d\x1b", "é".encode() * 40]),
)
SMALL = 64


def hear(wire: bytes, cuts: list[int]) -> tuple[list[Heard], FrameReader]:
    reader, heard = FrameReader(SMALL), list[Heard]()
    edges = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        heard += reader.feed(wire[start:end], 0)
        assert len(reader._buffer) <= SMALL + 2
    heard += reader.expire(limits.TEXT_IDLE_NS)
    return heard, reader


@given(plain)
def test_there_and_back(data: bytes) -> None:
    wire = wrap(data)
    assert (wire[0], wire[-1], wire[1:-1].count(0)) == (0, 0, 0)
    assert unwrap(wire[1:-1]) == data


@given(st.lists(pieces, max_size=8).map(b"".join), st.lists(st.integers(0, 999), max_size=20))
def test_how_bytes_are_cut_says_nothing(wire: bytes, cuts: list[int]) -> None:
    whole, one = hear(wire, [])
    parted, other = hear(wire, cuts)
    assert parted == whole
    assert (one.frames, one.noises, one.noise_bytes) == (other.frames, other.noises, other.noise_bytes)


@given(st.lists(st.tuples(st.binary(max_size=200), heads), max_size=6))
def test_frames_after_any_garbage(parts: list[tuple[bytes, bytes]]) -> None:
    wire = b"".join(garbage + wrap(data) for garbage, data in parts)
    heard, _ = hear(wire, [])
    frames = [item.plain for item in heard if isinstance(item, Frame)]
    wanted = [data for _, data in parts if len(data) + limits.CRC_BYTES <= SMALL]
    found = iter(frames)
    assert all(data in found for data in wanted), "a frame was lost"


@given(heads, st.data())
def test_a_damaged_frame_is_none(data: bytes, draw: st.DataObject) -> None:
    wire = bytearray(wrap(data))
    at = draw.draw(st.integers(1, len(wire) - 2))
    wire[at] ^= draw.draw(st.integers(1, 255))
    heard, _ = hear(bytes(wire), [])
    assert not any(isinstance(item, Frame) and item.plain == data for item in heard)
    assert not any(isinstance(item, Frame) for item in heard)


def test_text_is_shown_when_its_line_ends() -> None:
    reader = FrameReader()
    assert reader.feed(b"boot", 0) == []
    assert reader.feed(b"ing\r\nwait", 1) == [Text("booting")]
    assert reader.due_ns == 1 + limits.TEXT_IDLE_NS
    assert reader.expire(limits.TEXT_IDLE_NS) == []
    assert reader.expire(1 + limits.TEXT_IDLE_NS) == [Text("wait")]
    assert reader.due_ns is None


def test_a_frame_that_begins_like_a_line_is_no_line() -> None:
    """Its code byte is a line feed, and comes alone."""
    wire = wrap(b"\x13\x01\x02\x03\x04\x05\x06\x07\x08\x00")
    assert wire[1:2] == b"\n"
    reader, heard = FrameReader(), list[Heard]()
    for byte in wire:
        heard += reader.feed(bytes([byte]), 0)
    assert heard == [Frame(b"\x13\x01\x02\x03\x04\x05\x06\x07\x08\x00")]


def test_noise_without_end_is_counted_and_not_kept() -> None:
    reader = FrameReader(SMALL)
    for _ in range(1000):
        assert reader.feed(b"\xff" * 100, 0) == []
    assert (reader.noises, reader.noise_bytes, len(reader._buffer)) == (1, 100_000, 0)
    assert reader.feed(b"\0" + wrap(b"\x13abcd"), 0) == [Frame(b"\x13abcd")]


def test_a_frame_above_the_bound_is_none() -> None:
    reader = FrameReader(SMALL)
    assert reader.feed(wrap(b"\x1c" + b"\xfe" * (SMALL - 4)), 0) == []
    assert reader.feed(wrap(b"\x1c" + b"\xfe" * (SMALL - 5)), 0) == [Frame(b"\x1c" + b"\xfe" * (SMALL - 5))]
