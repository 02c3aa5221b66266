"""The golden vectors: this host agrees with them, and the file is what the script makes."""

import json
import zlib
from typing import Any

import msgspec
import pytest
from cobs import cobs
from tests.support.rows import each
from tests.unit.bridge.edgelink.make_vectors import PATH, vectors

from phloem.firmware_bridge.edgelink import messages
from phloem.firmware_bridge.edgelink.frame import Frame, FrameReader, Text, unwrap, wrap
from phloem.firmware_bridge.edgelink.messages import Malformed
from phloem.firmware_bridge.edgelink.schema import Dictionary, decode_channel
from phloem.firmware_bridge.edgelink.sequence import nearest, tag_of
from phloem.firmware_bridge.edgelink.values import encode_value, take_value

GOLDEN: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))


def cases(key: str) -> Any:
    """The test goes through the entries of a list of the file."""
    return each("case", GOLDEN[key], ids=lambda entry: entry.get("name", entry))


def plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def test_the_file_is_what_the_script_makes() -> None:
    assert vectors() == GOLDEN


def test_every_type_is_there() -> None:
    assert {case["number"] for case in GOLDEN["messages"]} == set(range(1, 16))


@cases("messages")
def test_messages(case: dict[str, Any]) -> None:
    message = messages.decode(bytes.fromhex(case["plain"]))
    assert type(message).__name__ == case["type"]
    assert {key: plain(value) for key, value in msgspec.structs.asdict(message).items()} == case["fields"]
    assert messages.encode(message).hex() == case["plain"]
    assert wrap(bytes.fromhex(case["plain"])).hex() == case["wire"]


@cases("refused")
def test_what_no_receiver_may_take(case: dict[str, Any]) -> None:
    data = unwrap(bytes.fromhex(case["wire"]).strip(b"\0"))
    assert data == bytes.fromhex(case["plain"])
    with pytest.raises(Malformed):
        messages.decode(data)


@cases("longer")
def test_fields_of_a_later_version_are_ignored(case: dict[str, Any]) -> None:
    (known,) = [entry for entry in GOLDEN["messages"] if entry["name"] == case["as"]]
    decoded = messages.decode(bytes.fromhex(case["plain"]))
    if isinstance(decoded, messages.Image):  # what is behind its number is read by whoever carries it out
        assert decoded.rest.startswith(bytes.fromhex(known["fields"]["rest"]))
    else:
        assert decoded == messages.decode(bytes.fromhex(known["plain"]))


@each("size", [1, 2, 7, 100_000])
@cases("streams")
def test_streams(case: dict[str, Any], size: int) -> None:
    reader, wire, heard = FrameReader(), bytes.fromhex(case["wire"]), []
    for at in range(0, len(wire), size):
        heard += reader.feed(wire[at : at + size], 0)
    heard += reader.expire(10**12)
    assert [item.plain.hex() for item in heard if isinstance(item, Frame)] == case["frames"]
    assert [item.line for item in heard if isinstance(item, Text)] == case["text"]
    assert reader.noises == case["noises"]


@cases("values")
def test_values(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    value, end = take_value(case["number"], b"!" + data + b"!", 1)
    assert (plain(value), end) == (case["value"], 1 + len(data))
    assert encode_value(case["number"], value) == data
    for cut in range(len(data)):
        with pytest.raises(Malformed):
            take_value(case["number"], data[:cut], 0)


def test_schema() -> None:
    schema = GOLDEN["schema"]
    entries = [bytes.fromhex(channel["entry"]) for channel in schema["channels"]]
    for channel, entry in zip(schema["channels"], entries, strict=True):
        assert {**decode_channel(entry)._asdict(), "entry": entry.hex()} == channel
    dictionary = Dictionary(entries)
    assert dictionary.number == schema["number"]
    read = dictionary.read(bytes.fromhex(schema["readings"]))
    assert [(sample.channel.name, sample.value) for sample in read.samples] == [
        (sample["channel"], sample["scaled"]) for sample in schema["samples"]
    ]


def test_small_things() -> None:
    for case in GOLDEN["cobs"]:
        assert cobs.encode(bytes.fromhex(case["raw"])).hex() == case["stuffed"]
        assert cobs.decode(bytes.fromhex(case["stuffed"])).hex() == case["raw"]
    for case in GOLDEN["crc32"]:
        assert zlib.crc32(bytes.fromhex(case["data"])) == case["crc"]
    for case in GOLDEN["tags"]:
        assert tag_of(case["epoch"], case["boot"]) == case["tag"]
    for case in GOLDEN["nearest"]:
        assert nearest(case["low"], case["expected"]) == case["number"]
