"""Messages: any bytes are a message or malformed, and never anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge.edgelink import messages
from phloem.firmware_bridge.edgelink.messages import Malformed, Message
from phloem.firmware_bridge.edgelink.schema import (
    Channel,
    Dictionary,
    Gathering,
    checksum,
    decode_channel,
    encode_channel,
)
from phloem.firmware_bridge.edgelink.values import encode_value, scaled

heads = st.integers(0, 15).map(lambda number: bytes([0x10 | number]))


@given(st.one_of(st.binary(max_size=80), st.builds(bytes.__add__, heads, st.binary(max_size=80))))
def test_any_bytes(data: bytes) -> None:
    try:
        message: Message = messages.decode(data)
    except Malformed:
        return
    again = messages.encode(message)
    assert data.startswith(again) or messages.decode(again) == message


@given(st.binary(max_size=60))
def test_any_entry_of_a_schema(entry: bytes) -> None:
    try:
        channel = decode_channel(entry)
    except Malformed:
        return
    assert entry.startswith(encode_channel(channel))


@given(st.binary(max_size=60))
def test_any_readings(readings: bytes) -> None:
    dictionary = Dictionary([encode_channel(Channel(n, n, 0, f"c{n}", "")) for n in range(13)])
    try:
        read = dictionary.read(readings)
    except Malformed:
        return
    assert read.samples
    assert [str(each) for each in dictionary.read(readings).samples] == [str(each) for each in read.samples]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100)), min_size=1, max_size=6), st.data())
def test_readings_at_one_go_are_what_they_are_one_by_one(
    readings: list[tuple[int, int]], more: st.DataObject
) -> None:
    """Frames of one size, of the same channels or of others: the first of each kind is read one by one."""
    kinds = ((1, 0), (4, -1), (0, 0), (7, -2), (5, 3), (10, 0))
    channels = [Channel(n, kind, exponent, f"c{n}", "") for n, (kind, exponent) in enumerate(kinds)]
    entries = [encode_channel(channel) for channel in channels]
    dictionary = Dictionary(entries)
    for _ in range(3):
        raw = b"".join(
            bytes([n]) + encode_value(kinds[n][0], value % 2 if kinds[n][0] == 0 else value)
            for n, value in readings
        )
        read, anew = dictionary.read(raw), Dictionary(entries).read(raw)
        assert read.samples == anew.samples
        assert [type(value) for value in read.values] == [type(value) for value in anew.values]
        readings = more.draw(st.permutations(readings))


def test_a_field_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="255 bytes"):
        messages.encode(messages.Cmd(1, 2, 3, "n" * 256, b""))
    with pytest.raises(ValueError, match=r"ubyte|0 <= number"):
        messages.encode(messages.SchemaGet(256))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (b"\x01\x0d\x00\x01a\x00", "kind 13"),
        (b"\x01\x04\x00\x00\x00", "no token"),
        (b"\x01\x04\x00\x03a.b\x00", "no token"),
        (b"\x01\x04\x00\x04$gap\x00", "no token"),
        (b"\x01\x04\x1f\x01a\x00", "exponent 31"),
        (b"\x01\x04\x00\x02a", "too short"),
        (b"\x01\x04", "too short"),
    ],
)
def test_an_entry_that_cannot_be_used(entry: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode_channel(entry)


def test_two_channels_of_one_number_or_name() -> None:
    first, second = Channel(1, 4, 0, "a", ""), Channel(1, 4, 0, "b", "")
    with pytest.raises(Malformed, match="one number"):
        Dictionary([encode_channel(first), encode_channel(second)])
    with pytest.raises(Malformed, match="one name"):
        Dictionary([encode_channel(first), encode_channel(first._replace(number=2))])


def test_a_schema_is_gathered_in_any_order_and_believed_by_its_checksum() -> None:
    entries = [encode_channel(Channel(n, 4, 0, f"c{n}", "")) for n in range(3)]
    number = checksum(entries)
    gathering = Gathering(number)
    assert gathering.missing == 0
    assert not gathering.take(messages.Schema(number + 1, 0, 3, entries[0]))
    assert gathering.take(messages.Schema(number, 2, 3, entries[2]))
    assert not gathering.take(messages.Schema(number, 2, 3, entries[2]))
    assert gathering.take(messages.Schema(number, 0, 3, entries[1]))  # not what the checksum is of
    assert gathering.take(messages.Schema(number, 1, 3, entries[1]))
    assert gathering.whole() is None
    assert gathering.missing == 0  # all anew
    for index, entry in enumerate(entries):
        gathering.take(messages.Schema(number, index, 3, entry))
    dictionary = gathering.whole()
    assert dictionary is not None
    assert [channel.name for channel in dictionary.channels.values()] == ["c0", "c1", "c2"]


@pytest.mark.parametrize(
    ("value", "exponent", "is_"),
    [(215, -1, 21.5), (-1, -3, -0.001), (7, 2, 700), (7, 0, 7), (2**63, -3, 2**63 / 1000), (0.5, 1, 5.0)],
)
def test_scale(value: float, exponent: int, is_: float) -> None:
    made = scaled(4 if isinstance(value, int) else 7, value, exponent)
    assert (made, type(made)) == (is_, type(is_))
