"""Properties of MQTT 5 as headers, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge.mqtt.headers import Properties, Wish, headers_of, shielded, wish_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(TEXT, TEXT, st.binary(max_size=20), st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_there_and_back(kind: str, topic: str, correlation: bytes, user: list[tuple[str, str]]) -> None:
    properties = Properties(kind, topic, correlation, tuple(user))
    headers = headers_of(properties)
    assert all(value.isprintable() or not set(value) & set("\r\n\x00") for _, value in headers)
    assert wish_of(headers) == Wish(1, False, properties)


def test_what_a_command_wants() -> None:
    assert wish_of([]) == Wish(1, False, Properties())
    assert wish_of([("Mqtt-Qos", "0"), ("Mqtt-Retain", "true"), ("Other", "x")]) == Wish(
        0, True, Properties()
    )


@pytest.mark.parametrize("header", [("Mqtt-Qos", "2"), ("Mqtt-Correlation", "?"), ("Mqtt-Properties", "x")])
def test_what_cannot_be_read(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        wish_of([header])


def test_a_topic_as_one_line() -> None:
    assert shielded("a\r\nb%é") == "a%0D%0Ab%25é"
