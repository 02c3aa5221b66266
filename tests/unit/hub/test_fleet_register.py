"""The register of devices: what is written is read, and what is not ours is refused with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.hub.fleet.register import HEAD, Device, keys_of, parse, render
from phloem.shared.errors import ConfigError
from phloem.shared.security.nkeys import Prefix, encode

KEY = encode(Prefix.USER, bytes(32))
SECONDS = st.integers(1, 4_000_000_000)
DEVICES = st.builds(
    Device,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True),
    key=st.binary(min_size=32, max_size=32).map(lambda raw: encode(Prefix.USER, raw)),
    enrolled_s=SECONDS,
    expires_s=st.just(0) | SECONDS,
    revoked_s=st.just(0) | SECONDS,
)


@given(st.lists(DEVICES, max_size=8))
def test_it_is_read_as_it_was_written(devices: list[Device]) -> None:
    assert list(parse(render(devices), "f")) == devices


def test_a_person_can_read_it() -> None:
    text = render([Device("pump1", KEY, 1_800_000_000), Device("pump1", KEY, 1, 2, 3)])
    assert text.removeprefix(HEAD).splitlines() == [
        f"pump1  {KEY}  2027-01-15T08:00:00Z  never  -",
        f"pump1  {KEY}  1970-01-01T00:00:01Z  1970-01-01T00:00:02Z  1970-01-01T00:00:03Z",
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pump1", "five columns"),
        (f"pump1 {KEY} 2027-01-15T08:00:00Z never - -", "five columns"),
        (f"pump1 {KEY[:-1]} 2027-01-15T08:00:00Z never -", "not the public key of a user"),
        (f"pump1 {encode(Prefix.ACCOUNT, bytes(32))} 2027-01-15T08:00:00Z never -", "not the public key"),
        (f"pump1 {KEY} yesterday never -", "a time is like"),
        (f"pump1 {KEY} 2027-01-15T08:00:00Z - -", "a time is like"),
        (f"pump1 {KEY} 2027-01-15T08:00:00Z never never", "a time is like"),
        (f"pump1 {KEY} 2027-02-30T08:00:00Z never -", "a time is like"),
    ],
)
def test_a_line_that_is_none(line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        parse(f"# head\n\n{line}\n", "devices.txt")
    assert (refused.value.file, refused.value.line) == ("devices.txt", 3)


def test_states() -> None:
    assert Device("a", KEY, 10).state(20) == "active"
    assert Device("a", KEY, 10, 20).state(20) == "active"
    assert Device("a", KEY, 10, 20).state(21) == "expired"
    assert Device("a", KEY, 10, 20, 15).state(21) == "revoked"


def test_keys_of_a_device() -> None:
    devices = [Device("a", KEY, 1), Device("b", KEY, 2), Device("a", KEY, 3)]
    assert [one.enrolled_s for one in keys_of(devices, "a")] == [1, 3]
    assert keys_of(devices, "A") == []
