"""All framings under the same rules: cut anywhere, damaged anywhere, drowned in noise."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.unit.bridge.framings import CHECKED, MAX, WIRES, Wire

from phloem.firmware_bridge.framing.catalogue import FRAMINGS, framing_of
from phloem.firmware_bridge.framing.checks import CHECKS
from phloem.firmware_bridge.framing.framer import Framer
from phloem.shared.errors import ConfigError

HELD_MAX = 2 * (MAX + 16)  # stuffed, with a checksum


def framer(wire: Wire, idle_gap_ns: int = 0) -> Framer:
    return framing_of(wire.framing).framer(MAX, idle_gap_ns)


def fed(framer: Framer, data: bytes, cuts: list[int]) -> list[bytes]:
    """What comes out if ``data`` comes in pieces, and the buffer's bound on the way."""
    frames, edges = [], [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        frames += framer.feed(data[start:end])
        assert len(framer._buffer) <= HELD_MAX
    return frames


cuts = st.lists(st.integers(0, 2000), max_size=12)


@pytest.mark.parametrize("name", WIRES)
@settings(max_examples=examples(60))
@given(data=st.data(), cuts=cuts)
def test_cut_anywhere(name: str, data: st.DataObject, cuts: list[int]) -> None:
    wire = WIRES[name]
    payloads = data.draw(st.lists(wire.payload, max_size=8))
    under_test = framer(wire)
    assert fed(under_test, b"".join(map(wire.sent, payloads)), cuts) == [wire.frame(p) for p in payloads]
    assert (under_test.resyncs, under_test.dropped_bytes) == (0, 0)


@pytest.mark.parametrize("name", CHECKED)
@settings(max_examples=examples(60))
@given(data=st.data(), cuts=cuts)
def test_damaged_anywhere(name: str, data: st.DataObject, cuts: list[int]) -> None:
    """A flipped, a lost or an added byte costs the frame that it hits and at most a neighbour whose end it ate;
    nothing comes that was not sent, and what comes is in order."""
    wire = WIRES[name]
    payloads = data.draw(st.lists(wire.payload, min_size=1, max_size=6))
    sent = b"".join(map(wire.sent, payloads))
    at, kind = data.draw(st.integers(0, len(sent) - 1)), data.draw(st.sampled_from(["flip", "lose", "add"]))
    other = bytes([data.draw(st.integers(0, 255))])
    hurt = {
        "flip": sent[:at] + bytes([sent[at] ^ (1 << data.draw(st.integers(0, 7)))]) + sent[at + 1 :],
        "lose": sent[:at] + sent[at + 1 :],
        "add": sent[:at] + other + sent[at:],
    }[kind]
    under_test = framer(wire, idle_gap_ns=1000)
    came = fed(under_test, hurt, cuts) + under_test.expire(1000)
    whole = [wire.frame(p) for p in payloads]
    left = iter(whole)
    assert all(any(frame == candidate for candidate in left) for frame in came)
    assert len(came) >= len(whole) - 2


@pytest.mark.parametrize("name", CHECKED)
@settings(max_examples=examples(60))
@given(data=st.data(), noise=st.binary(max_size=300), cuts=cuts)
def test_good_frames_after_noise_and_a_pause(
    name: str, data: st.DataObject, noise: bytes, cuts: list[int]
) -> None:
    wire = WIRES[name]
    payloads = data.draw(st.lists(wire.payload, min_size=1, max_size=3))
    under_test = framer(wire, idle_gap_ns=1000)
    fed(under_test, noise, cuts)
    under_test.expire(1000)
    came = under_test.feed(b"".join(map(wire.sent, payloads)), 2000)
    assert came == [wire.frame(p) for p in payloads]


@pytest.mark.parametrize("name", FRAMINGS)
@settings(max_examples=examples(60))
@given(noise=st.lists(st.binary(max_size=400), max_size=6), gap_ns=st.sampled_from([0, 1000]))
def test_noise_is_bounded_and_counted(name: str, noise: list[bytes], gap_ns: int) -> None:
    written = {
        "fixed": {"type": "fixed", "size": 26, "start": "\\xfa"},
        "delimiter": {"type": "delimiter", "delimiter": ";"},
    }.get(name, name)
    under_test = framing_of(written).framer(MAX, gap_ns)
    for at, piece in enumerate(noise):
        for frame in under_test.feed(piece, at * 500):
            assert 0 < len(frame) <= MAX
    assert len(under_test._buffer) <= max(HELD_MAX, 2 * 256)
    under_test.reset()
    assert under_test.due_ns is None
    assert under_test.dropped_bytes <= sum(map(len, noise))
    assert bool(under_test.dropped_bytes) == bool(under_test.resyncs)


def test_a_false_mark_does_not_swallow_the_frame_inside_it() -> None:
    wire = WIRES["length_prefix"]
    false = b"\xaa\x00\x00\x30"  # says that 48 bytes follow
    under_test = framer(wire, idle_gap_ns=1000)
    came = under_test.feed(false + wire.sent(b"good"), 0) + under_test.expire(1000)
    assert came == [wire.frame(b"good")]
    assert (under_test.resyncs, under_test.dropped_bytes) == (1, len(false))


def test_the_rest_of_a_sentence_before_a_whole_one() -> None:
    under_test = framer(WIRES["nmea"])
    assert under_test.feed(b"$GPGGA,12$GPXTE,A*28\r\n") == []
    good = WIRES["nmea"].sent(b"GPXTE,A")
    assert under_test.feed(b"$GPGGA,12" + good) == [good[:-2]]


def rtu(body: bytes) -> bytes:
    return body + CHECKS["crc16_modbus"].compute(body)


def test_modbus_messages_by_pause_and_by_crc() -> None:
    ask, answer = b"\x01\x03\x00\x00\x00\x02", b"\x01\x03\x04\x00\x0a\x00\x0b"
    under_test = framing_of("modbus_rtu").framer(4096, 0)
    assert under_test.feed(rtu(ask), 0) == []
    assert under_test.feed(rtu(answer), 30_000_000) == [ask]
    assert under_test.expire(60_000_000) == [answer]
    assert under_test.feed(rtu(ask) + rtu(answer), 10**9) == []
    assert under_test.expire(2 * 10**9) == [ask, answer]
    assert under_test.feed(b"\xff\x07" + rtu(answer)[:-1], 3 * 10**9) == []
    assert under_test.expire(4 * 10**9) == []
    assert (under_test.resyncs, under_test.dropped_bytes) == (1, 2 + len(answer) + 1)


def test_modbus_without_a_pause() -> None:
    ask = b"\x01\x03\x00\x00\x00\x02"
    under_test = framing_of("modbus_rtu").framer(256, 0)
    frames = [frame for _ in range(200) for frame in under_test.feed(rtu(ask), 0)]
    assert len(frames) > 100
    assert set(frames) == {ask}


@pytest.mark.parametrize(
    ("name", "polynomial", "turns"), [("crc16_modbus", 0xA001, 0), ("crc16_x25", 0x8408, 0xFFFF)]
)
def test_checks_are_their_definition(name: str, polynomial: int, turns: int) -> None:
    rng = Random(4)
    for size in range(60):
        data, crc = rng.randbytes(size), 0xFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
        assert CHECKS[name].compute(data) == (crc ^ turns).to_bytes(2, "little")


@pytest.mark.parametrize(
    ("name", "value"),
    [("crc16_modbus", "374b"), ("crc16_x25", "6e90"), ("crc16_ccitt", "29b1"), ("crc32", "2639f4cb")],
)
def test_check_values(name: str, value: str) -> None:
    """The catalogue of parametrised CRC algorithms gives each one's sum of 123456789."""
    assert CHECKS[name].compute(b"123456789").hex() == value
    assert CHECKS[name].holds(b"123456789" + bytes.fromhex(value))


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("cob", "none of line, raw"),
        (7, "Expected `object`"),
        ({"type": "delimiter"}, "`delimiter`"),
        ({"type": "delimiter", "delimiter": ""}, "0 bytes"),
        ({"type": "delimiter", "delimiter": "\\x1"}, "escape"),
        ({"type": "fixed", "size": 0}, "size 0"),
        ({"type": "fixed", "size": 3, "start": "abcd"}, "between 4"),
        ({"type": "fixed", "size": 3, "check": "md5"}, "md5"),
        ({"type": "length_prefix", "length": "u24"}, "u24"),
        ({"type": "length_prefix", "start": "ab", "offset": 1}, "offset 1"),
        ({"type": "cobs", "check": "crc"}, "crc16_modbus"),
        ({"type": "hdlc", "flag": 1}, "unknown field"),
    ],
)
def test_settings_that_cannot_work(written: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        framing_of(written)


def test_a_fixed_frame_has_to_be_found() -> None:
    with pytest.raises(ValueError, match="needs a start"):
        framing_of({"type": "fixed", "size": 8}).framer(MAX, 0)
    with pytest.raises(ValueError, match="above max_frame_bytes"):
        framing_of({"type": "fixed", "size": 80, "start": "a"}).framer(MAX, 0)
    assert framing_of({"type": "fixed", "size": 2}).framer(MAX, 9).feed(b"abc") == [b"ab"]
