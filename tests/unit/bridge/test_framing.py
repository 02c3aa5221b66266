"""Framers: how the bytes were cut into chunks never matters, bounds hold, losses are counted."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge.framing.catalogue import framing_of
from phloem.firmware_bridge.framing.framer import Framer
from phloem.firmware_bridge.framing.line import LineFramer
from phloem.firmware_bridge.framing.raw import RawFramer

MAX = 8
# Few letters, so that lines of every length around the bound and all line ends come up often.
TEXT = st.text(alphabet="ab\r\n", max_size=60).map(str.encode)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(data) + 1) for at in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def feed(framer: Framer, chunks: list[bytes]) -> list[bytes]:
    return [frame for chunk in chunks for frame in framer.feed(chunk)]


@given(TEXT, st.lists(st.integers(0, 60)))
def test_line_frames_do_not_depend_on_chunks(data: bytes, cuts: list[int]) -> None:
    whole, pieces = LineFramer(MAX), LineFramer(MAX)
    assert feed(pieces, cut(data, cuts)) == whole.feed(data)
    assert (pieces.resyncs, pieces.dropped_bytes) == (whole.resyncs, whole.dropped_bytes)


@given(TEXT)
def test_line_frames_are_the_lines_that_fit(data: bytes) -> None:
    framer = LineFramer(MAX)
    lines = [line for line in (data + b"\n").replace(b"\r", b"\n").split(b"\n") if line]
    assert framer.feed(data + b"\n") == [line for line in lines if len(line) <= MAX]
    too_long = [line for line in lines if len(line) > MAX]
    assert framer.resyncs == len(too_long)
    assert framer.dropped_bytes == sum(map(len, too_long))


@given(st.lists(TEXT))
def test_the_buffer_is_bounded(chunks: list[bytes]) -> None:
    for framer in (LineFramer(MAX), RawFramer(MAX), RawFramer(MAX, idle_gap_ns=1_000)):
        for chunk in chunks:
            assert all(0 < len(frame) <= MAX for frame in framer.feed(chunk))
            assert len(framer._buffer) <= MAX


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end(end: bytes) -> None:
    assert LineFramer(MAX).feed(b"one" + end + b"two" + end) == [b"one", b"two"]


def test_an_over_long_line_is_dropped_up_to_its_end() -> None:
    framer = LineFramer(MAX)
    assert feed(framer, [b"ok\n", b"x" * 9, b"x" * 50, b"x\nback\n"]) == [b"ok", b"back"]
    assert (framer.resyncs, framer.dropped_bytes) == (1, 60)


def test_a_line_of_exactly_the_maximum_is_a_frame() -> None:
    assert LineFramer(MAX).feed(b"12345678\n123456789\n") == [b"12345678"]


def test_reset_forgets_half_a_line_and_ends_skipping() -> None:
    framer = LineFramer(MAX)
    framer.feed(b"half")
    framer.reset()
    assert framer.feed(b"whole\n") == [b"whole"]
    assert (framer.resyncs, framer.dropped_bytes) == (1, 4)
    framer.feed(b"far too long")
    framer.reset()
    assert framer.feed(b"fine\n") == [b"fine"]


def test_a_pause_inside_a_line_breaks_it() -> None:
    framer = LineFramer(MAX, idle_gap_ns=100)
    assert framer.feed(b"ha", now_ns=0) == []
    assert framer.due_ns == 100
    assert framer.feed(b"lf\n", now_ns=99) == [b"half"]
    assert framer.due_ns is None
    framer.feed(b"lost", now_ns=200)
    assert framer.feed(b"new\n", now_ns=300) == [b"new"]
    assert (framer.resyncs, framer.dropped_bytes) == (1, 4)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60)))
def test_raw_loses_nothing(data: bytes, cuts: list[int]) -> None:
    chunks = cut(data, cuts)
    assert b"".join(feed(RawFramer(MAX), chunks)) == data
    gap = RawFramer(MAX, idle_gap_ns=100)
    frames = feed(gap, chunks) + gap.expire(100)
    assert b"".join(frames) == data
    assert all(len(frame) == MAX for frame in frames[:-1])


def test_raw_without_a_gap_passes_chunks_on() -> None:
    assert feed(RawFramer(MAX), [b"a", b"\n", b"0123456789"]) == [b"a", b"\n", b"01234567", b"89"]


def test_raw_with_a_gap_collects_until_silence() -> None:
    framer = RawFramer(MAX, idle_gap_ns=100)
    assert framer.feed(b"\x01", 0) + framer.feed(b"\x03", 90) == []
    assert framer.due_ns == 190
    assert framer.expire(189) == []
    assert framer.expire(190) == [b"\x01\x03"]
    framer.feed(b"\x02", 500)
    assert framer.feed(b"\x04", 700) == [b"\x02"]


@pytest.mark.parametrize(
    "name", ["line", "delimiter", "cobs", "slip", "hdlc", "nmea", "ubx", "modbus_rtu", "json_lines"]
)
def test_every_registered_framing_keeps_the_contract(name: str) -> None:
    framer = framing_of({"type": name, "delimiter": ";"} if name == "delimiter" else name).framer(MAX, 100)
    assert framer.due_ns is None
    assert framer.expire(10**9) == []
    framer.feed(b"x", 0)
    framer.reset()
    assert framer.due_ns is None
    assert framer.dropped_bytes == 1
