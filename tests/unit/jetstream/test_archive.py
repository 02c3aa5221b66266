"""Snapshots as entries: what is written is read; whatever else is read is an ArchiveError."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.shared.jetstream import archive
from phloem.shared.jetstream.archive import ArchiveError, Entry, Reader, consumer_of, entry, state_of
from tests.support.examples import examples

NAMES = st.binary(min_size=1, max_size=40)
MESSAGES = st.builds(
    Entry,
    NAMES,
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(1, (1 << 62) - 1),
    st.binary(max_size=200),
    st.binary(max_size=400),
)


def taken(data: bytes, step: int, most: int = 1 << 20) -> tuple[list[Entry], bool]:
    reader, found = Reader(most), []
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        found += list(reader.entries())
    return found, reader.done


@settings(max_examples=examples(100))
@given(st.lists(MESSAGES, max_size=10), st.integers(1, 300))
def test_what_is_written_is_read(messages: list[Entry], step: int) -> None:
    first = Entry(archive.STATE, 5, 0, b"", b"{}")
    data = archive.MAGIC + b"".join(entry(*one) for one in [first, *messages]) + archive.END
    assert taken(data, step) == ([first, *messages], True)
    _, done = taken(data[:-1], step)
    assert not done


@settings(max_examples=examples(300))
@given(st.binary(max_size=300), st.integers(1, 50))
def test_anything_at_all(data: bytes, step: int) -> None:
    try:
        found, _ = taken(archive.MAGIC + data, step)
    except ArchiveError:
        return
    for one in found:
        for read in (state_of, consumer_of):
            try:
                read(one)
            except ArchiveError:
                continue


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"NATSARC2", "archive: invalid archive stream"),
        (archive.MAGIC + b"\xff" * 10, "archive: invalid archive stream"),
        (archive.MAGIC + b"\xff\xff\xff\x7f\x00\x00\x00\x00", "archive: invalid archive stream"),
        (
            archive.MAGIC + b"\x01\x00\x07\x00\xff\xff\xff\x7f",
            "message sequence 7 exceeds maximum payload size",
        ),
        (archive.MAGIC + b"\x01\x00\x00\x00\xff\xff\xff\x7f", "a document is too large"),
        (archive.MAGIC + archive.END + b"x", "archive: something follows the end"),
        (
            archive.MAGIC + entry(b"s", 1, 1, b"", b"") + entry(b"t", 1, 0, b"", b""),
            "expected message sequence",
        ),
    ],
)
def test_what_is_refused_before_it_is_kept(data: bytes, text: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        taken(data, 7)
    assert str(caught.value) == text


def test_nothing_follows_the_end() -> None:
    reader = Reader(100)
    reader.feed(archive.MAGIC + archive.END)
    assert list(reader.entries()) == []
    assert reader.done
    with pytest.raises(ArchiveError, match="something follows"):
        reader.feed(b"x")


def consumer(**state: object) -> Entry:
    body = msgspec.json.encode({"config": {"durable_name": "d", "unknown": 1}, "state": state})
    return Entry(b"consumers/d", 1, 0, b"", body)


def test_a_consumer() -> None:
    name, found = consumer_of(
        consumer(
            delivered={"consumer_seq": 4, "stream_seq": 9},
            ack_floor={"consumer_seq": 1, "stream_seq": 2},
            pending={"9": {"Sequence": 3, "Timestamp": 1}, "5": {"Sequence": 4, "Timestamp": 1}},
            redelivered={"5": 2},
        )
    )
    assert name == "d"
    assert found.config.durable_name == "d"
    assert found.state.outstanding() == [(9, 3, 1), (5, 4, 3)]


@pytest.mark.parametrize(
    "state",
    [
        {"delivered": {"consumer_seq": 1, "stream_seq": 1}, "ack_floor": {"consumer_seq": 2}},
        {"delivered": {"consumer_seq": 1, "stream_seq": 1}, "pending": {"2": {"Sequence": 1}}},
        {"delivered": {"consumer_seq": 1, "stream_seq": 1}, "pending": {"x": {"Sequence": 1}}},
        {"delivered": {"consumer_seq": 1, "stream_seq": 1}, "pending": {"1": {"Sequence": 2}}},
        {
            "delivered": {"consumer_seq": 1, "stream_seq": 2},
            "pending": {"1": {"Sequence": 1}, "2": {"Sequence": 1}},
        },
        {
            "delivered": {"consumer_seq": 1, "stream_seq": 1},
            "pending": {"1": {"Sequence": 1}},
            "redelivered": {"1": -1},
        },
        {"delivered": {"consumer_seq": -1}},
        {"delivered": 3},
    ],
)
def test_consumers_that_cannot_be(state: dict[str, object]) -> None:
    with pytest.raises(ArchiveError):
        consumer_of(consumer(**state))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"x":' + b"[" * 100_000,
        b'{"messages":-1}',
        b'{"first_seq":5,"last_seq":2}',
        b'{"last_seq":1e30}',
        b'{"last_seq":"x"}',
    ],
)
def test_states_that_cannot_be(body: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"error in state\.json"):
        state_of(Entry(archive.STATE, 1, 0, b"", body))
