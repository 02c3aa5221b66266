"""What a device tells of itself: anything may come, and what is shown is bounded."""

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from phloem.shared import limits
from phloem.shared.forward.figures import LARGE, DeviceStatus, StreamStatus, plain, read
from phloem.shared.forward.messages import Status, decode, encode

scalars = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text()
anything = (
    scalars
    | st.binary(max_size=9)
    | st.lists(scalars, max_size=3)
    | st.dictionaries(st.text(max_size=3), scalars)
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "s": st.dictionaries(st.text(max_size=5), st.lists(scalars, max_size=8) | anything) | anything,
        "l": st.dictionaries(st.text(max_size=5), scalars, max_size=8) | anything,
        "h": anything,
    },
)


@given(likely)
@settings(max_examples=examples(50))
def test_whatever_comes_is_read_and_bounded(figures: dict[str, Any]) -> None:
    status = read(figures)
    json.loads(msgspec.json.encode(status))
    assert len(status.streams) <= limits.FORWARD_STREAMS
    for one in status.streams.values():
        assert all(0 <= number <= LARGE for number in (one.backlog, one.bytes, one.age_s, one.last_seq))
    for group in (status.link, status.health):
        assert len(group) <= limits.FLEET_FIGURES
        for name, value in group.items():
            assert len(name) <= limits.FLEET_TEXT
            assert name.isprintable()
            assert not isinstance(value, str) or (value.isprintable() and len(value) <= limits.FLEET_TEXT)


def test_more_than_there_is_room_for() -> None:
    many = {f"{number}{'x' * 200}\n": "y" * 200 + "\x1b" for number in range(100)}
    status = read({"s": {str(n): [n] for n in range(100)}, "l": many, "h": {"a": "\x1b[1m", "b": 1 << 63}})
    assert (len(status.streams), len(status.link)) == (limits.FORWARD_STREAMS, limits.FLEET_FIGURES)
    assert {len(text) for pair in status.link.items() for text in map(str, pair)} == {limits.FLEET_TEXT}
    assert status.health == {"a": "?[1m", "b": LARGE}


def test_what_was_told_arrives() -> None:
    status = DeviceStatus(
        {"tele": StreamStatus(1, 2, 3, 4, "alarm", "why")}, {"rtt_ms": 1.5}, {"full": False}
    )
    message = decode(encode(Status(1, plain(status))))
    assert isinstance(message, Status)
    assert read(message.figures) == status
