"""Decoders: what they make of good frames, and that nothing else but DecodeError comes of bad ones."""

import math
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.firmware_bridge.decoding.catalogue import DECODINGS, decoding_of
from phloem.firmware_bridge.decoding.decoder import READINGS_MAX, DecodeError
from phloem.firmware_bridge.decoding.fields import Field, Fields, number, numbers
from phloem.firmware_bridge.decoding.pattern import PatternDecoder
from phloem.firmware_bridge.pipeline import Pipeline
from phloem.firmware_bridge.reading import Quality, Reading, as_json, payloads
from phloem.shared.errors import ConfigError

GGA = b"$GPGGA,184353.07,1929.045,S,02410.506,E,1,04,2.6,100.00,M,-33.9,M,,0000*6D"
RECORD = {
    "type": "struct",
    "layout": "<xhHf4s",
    "fields": [{"channel": "t", "unit": "Cel", "scale": 0.5}, "h:%", "_", {"channel": "id", "kind": "text"}],
}


def decoded(written: object, frame: bytes) -> list[tuple[Any, ...]]:
    readings = decoding_of(written).decoder().decode(frame, 7)
    assert all(reading.mono_ns == 7 for reading in readings)
    return [(r.channel, r.value, r.unit) if r.unit else (r.channel, r.value) for r in readings]


@pytest.mark.parametrize(
    ("written", "frame", "expected"),
    [
        ("text", b"hello", [("text", "hello")]),
        ({"type": "text", "channel": "log"}, "21 °C".encode(), [("log", "21 °C")]),
        ("number", b" -42 ", [("value", -42)]),
        (
            {"type": "number", "channel": "l", "unit": "mm", "scale": 2, "offset": 1},
            b"0x10",
            [("l", 33, "mm")],
        ),
        (
            {"type": "csv", "columns": ["t:Cel", "_", {"channel": "door", "kind": "bool"}, "x"]},
            b"21.5,?,open,",
            [("t", 21.5, "Cel"), ("door", True)],
        ),
        ({"type": "csv", "separator": "", "columns": ["a", "b"]}, b" 1 \t 2e3", [("a", 1), ("b", 2000.0)]),
        ({"type": "csv", "spare": True, "columns": ["a", "b", "c"]}, b"1,2", [("a", 1), ("b", 2)]),
        ("key_value", b"node7 t=21, h=on;", [("t", 21), ("h", "on")]),
        (
            {"type": "key_value", "pair": ":", "fields": {"T": {"channel": "t", "unit": "K"}}, "only": True},
            b"T:290 P:1013",
            [("t", 290, "K")],
        ),
        (
            "json",
            b'{"imu":{"x":1,"y":null},"t":[20,true],"s":"a"}',
            [("imu_x", 1), ("t_0", 20), ("t_1", True), ("s", "a")],
        ),
        ({"type": "json", "fields": {"t": {"channel": "t", "scale": 0.5}}}, b'{"t":3}', [("t", 1.5)]),
        (
            {"type": "regex", "pattern": r"T:(?P<t>-?\d+)( H:(?P<h>\d+))?", "fields": {"t": "Cel"}},
            b"> T:-3",
            [("t", -3, "Cel")],
        ),
        (
            RECORD,
            b"\xff\x2b\x00\x28\x00\x00\x00\x80\x3fabc\x00",
            [("t", 21.5, "Cel"), ("h", 40, "%"), ("id", "abc")],
        ),
        (
            {"type": "nmea", "sentences": ["GGA"]},
            GGA,
            [
                ("GGA_timestamp", "18:43:53.070000+00:00"),
                ("GGA_lat", 1929.045),
                ("GGA_lat_dir", "S"),
                ("GGA_lon", 2410.506),
                ("GGA_lon_dir", "E"),
                ("GGA_gps_qual", 1),
                ("GGA_num_sats", 4),
                ("GGA_horizontal_dil", 2.6),
                ("GGA_altitude", 100.0, "m"),
                ("GGA_altitude_units", "M"),
                ("GGA_geo_sep", -33.9, "m"),
                ("GGA_geo_sep_units", "M"),
                ("GGA_ref_station_id", 0),
                ("GGA_latitude", pytest.approx(-19.484083), "deg"),
                ("GGA_longitude", pytest.approx(24.1751), "deg"),
            ],
        ),
        ({"type": "nmea", "sentences": ["RMC"]}, GGA, []),
        ({"type": "nmea", "talkers": ["GN"]}, GGA, []),
    ],
)
def test_what_frames_say(written: object, frame: bytes, expected: list[tuple[Any, ...]]) -> None:
    assert decoded(written, frame) == expected


@pytest.mark.parametrize(
    ("written", "frame", "says"),
    [
        ("text", b"ok \xff", r"byte 3 \(0xff\) is not UTF-8; is the baud right"),
        ("number", b"21 C", "value: '21 C' is no number"),
        ("number", b"nan", "no number"),
        ("number", b"1_000", "no number"),
        ("number", b"9" * 65, "no number"),
        ({"type": "csv", "columns": ["a", "b"]}, b"1", "1 values for 2 columns"),
        (
            {"type": "csv", "columns": [{"channel": "a", "kind": "bool"}]},
            b"perhaps",
            "neither true nor false",
        ),
        ("key_value", b"hello", "0 pairs"),
        ("key_value", b"a=1 " * (READINGS_MAX + 1), "257 pairs"),
        ("key_value", b"a.b=1", "'a.b' is not one token"),
        ("json", b"{", "not JSON"),
        ("json", b"17", "neither an object nor an array"),
        ("json", b"[" * 9 + b"]" * 9, "nested more than 8"),
        ("json", b"[" * 3000 + b"]" * 3000, "JSON|nested"),
        ("json", b"[" + b"1," * READINGS_MAX + b"1]", "more than 256"),
        ({"type": "regex", "pattern": "(?P<t>x)"}, b"y", "does not match"),
        (RECORD, b"short", "5 bytes for a layout of 13"),
        ({"type": "struct", "layout": "<f", "fields": ["t"]}, b"\x00\x00\xc0\x7f", "t: nan"),
        ("nmea", b"$GPXXX,1*52", "not a sentence that is known"),
        ("nmea", GGA[:-1] + b"E", "checksum"),
    ],
)
def test_what_frames_do_not_say(written: object, frame: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        decoded(written, frame)


ODD = (
    "",
    "-0",
    "007",
    "+1",
    ".5",
    "1.",
    "1e5",
    "1E400",
    "NaN",
    "true",
    "null",
    "[1]",
    '"1"',
    "1_0",
    "0x1F",
    " 7 ",
)


@given(
    st.lists(
        st.one_of(
            st.integers().map(str),
            st.floats(allow_nan=False).map(str),
            st.sampled_from(ODD),
            st.text("0123456789.-e, ", max_size=70),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_numbers_at_once_are_those_one_by_one(texts: list[str]) -> None:
    found = numbers(texts)
    if found is not None:
        one_by_one = [number(text.strip()) for text in texts]
        assert repr(found) == repr(one_by_one)


def test_all_payloads_at_once_are_those_one_by_one() -> None:
    values: list[Any] = [1, -2.5, True, "a\nb,c", "", b"\x00\xff", float("nan"), 10**30]
    readings = [
        Reading("x", value, unit, quality)
        for value in values
        for unit in ("", "Cel", 'a"b')
        for quality in (Quality.GOOD, Quality.BAD)
    ]
    assert payloads(readings) == [as_json(reading) for reading in readings]
    assert payloads([]) == []
    assert as_json(Reading("t", 21.5, "Cel", Quality.BAD)) == b'{"v":21.5,"u":"Cel","q":"bad"}'


def test_names_that_change_all_the_time_are_not_all_remembered() -> None:
    decoder: Any = decoding_of("key_value").decoder()
    for at in range(5000):
        assert decoder.decode(f"n{at}=1 m{at}=2 k=x".encode(), 0)[0] == Reading(f"n{at}", 1)
    assert len(decoder._rows) * 3 <= 1024
    assert len(decoder._names._known) <= 1024


def test_a_decoder_with_a_bug_costs_the_frame() -> None:
    class Buggy:
        def decode(self, frame: bytes, mono_ns: int) -> list[Reading]:
            if frame == b"bad":
                raise ZeroDivisionError("never tried")
            return [Field(channel="a").read(frame.decode(), mono_ns)]

    pipeline = Pipeline(Buggy(), ())
    assert [reading.value for reading in pipeline.take([b"1", b"bad", b"2"], 0)] == [1, 2]
    assert (pipeline.undecodable, pipeline.sensible) == (1, True)
    assert pipeline.take([b"bad"], 0) == []
    assert "ZeroDivisionError" in pipeline.error
    assert isinstance(pipeline.bug, ZeroDivisionError)


def test_a_dear_pattern_has_an_eighth_of_a_core() -> None:
    """Frames each of which stays below the limit for one, 1,000 a second: 5 ms of the processor for each."""
    used_ns, refused = 0, ""

    def cpu_ns() -> int:
        nonlocal used_ns
        used_ns += 5_000_000
        return used_ns

    decoder = PatternDecoder(regex.compile("(?P<a>x)"), Fields(), cpu_ns)
    looked_at = 0
    for at in range(10_000):
        try:
            looked_at += len(decoder.decode(b"x", at * 1_000_000))
        except DecodeError as error:
            refused = str(error)
    assert "1/8 of a core" in refused
    assert 265 <= looked_at <= 275  # 10 s / 8 / 5 ms, and the burst


def test_a_pattern_that_backtracks_is_stopped() -> None:
    with pytest.raises(DecodeError, match="make it simpler"):
        decoded({"type": "regex", "pattern": r"(?P<a>(\w+\s?)+)$"}, b"word " * 200 + b"!")


@pytest.mark.parametrize("name", DECODINGS)
@settings(max_examples=60)
@given(
    frame=st.binary(max_size=200)
    | st.text("$,.*=:{}[]\"'GPRMC0123456789abc \t", max_size=200).map(str.encode)
)
def test_hostile_frames(name: str, frame: bytes) -> None:
    settings_of = {
        "csv": {"type": "csv", "columns": ["a", "b"], "spare": True},
        "regex": {"type": "regex", "pattern": r"(?P<k>\w+)=(?P<v>.*)"},
        "struct": {"type": "struct", "layout": ">d", "fields": ["x"]},
    }
    decoder = decoding_of(settings_of.get(name, name)).decoder()
    try:
        readings = decoder.decode(frame, 1)
    except DecodeError:
        return
    assert len(readings) <= READINGS_MAX
    for reading in readings:
        assert isinstance(reading, Reading)
        assert not isinstance(reading.value, float) or math.isfinite(reading.value)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("xml", "none of text, number"),
        ({"type": "csv", "columns": ["_"]}, "names no channel"),
        ({"type": "csv", "columns": ["a", "a"]}, "'a' twice"),
        ({"type": "csv", "columns": ["a b"]}, "not one token"),
        ({"type": "csv", "columns": [{"channel": "a", "scale": 0}]}, "scale"),
        ({"type": "csv", "columns": [{"channel": "a", "kind": "int"}]}, "kind 'int' is none of auto"),
        ({"type": "key_value", "pair": "=", "separator": "="}, "no character in common"),
        ({"type": "regex", "pattern": "("}, "pattern"),
        ({"type": "regex", "pattern": "a"}, "no named group"),
        ({"type": "regex", "pattern": "(?P<a>a)", "fields": {"b": "m"}}, "no group 'b'"),
        ({"type": "struct", "layout": "hh", "fields": ["a", "b"]}, "begin with <"),
        ({"type": "struct", "layout": "<hh", "fields": ["a"]}, "has 2 values, fields 1"),
        ({"type": "struct", "layout": "<9999999999999s", "fields": ["a"]}, "layout"),
        ({"type": "nmea", "sentences": ["R*"]}, "neither a sentence"),
        ({"type": "json", "field": {}}, "unknown field"),
    ],
)
def test_settings_that_cannot_work(written: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        decoding_of(written)
