"""Options of requests as Go reads them; nats-server says the same (tests/conformance/test_24_system.py)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.shared.server.system.asked import FILTERS, BadRequest, read

FIELDS = {**FILTERS, "limit": "int", "cid": "uint64", "queue": "[]uint8", "for": "time.Duration"}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"{}", {}),
        (b"null", {}),
        (b'{"limit":null,"none":1}', {}),
        (b'{"LIMIT":1,"Server_Name":"x"}', {"limit": 1, "server_name": "x"}),
        (b'{"limit":1,"limit":2}', {"limit": 2}),
        (b'{"limit":-9223372036854775808}', {"limit": -(1 << 63)}),
        (b'{"cid":18446744073709551615}', {"cid": (1 << 64) - 1}),
        (b'{"tags":["a",null]}', {"tags": ["a", ""]}),
        (b'{"exact_match":true,"queue":"cQ=="}', {"exact_match": True, "queue": "cQ=="}),
    ],
)
def test_what_is_read(body: bytes, found: dict[str, object]) -> None:
    assert read(body, "Options", FIELDS) == found


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "unexpected end of JSON input"),
        (b"[1]", "json: cannot unmarshal array into Go value of type server.Options"),
        (b'{"limit":true}', "json: cannot unmarshal bool into Go struct field Options.limit of type int"),
        (
            b'{"limit":1.0}',
            "json: cannot unmarshal number 1.0 into Go struct field Options.limit of type int",
        ),
        (
            b'{"cid":18446744073709551616}',
            "json: cannot unmarshal number 18446744073709551616 into Go struct field Options.cid of type uint64",
        ),
        (
            b'{"for":"1s"}',
            "json: cannot unmarshal string into Go struct field Options.for of type time.Duration",
        ),
        (b'{"tags":[[]]}', "json: cannot unmarshal array into Options.tags.0 of type string"),
    ],
)
def test_what_cannot_be_read(body: bytes, text: str) -> None:
    with pytest.raises(BadRequest) as problem:
        read(body, "Options", FIELDS)
    assert str(problem.value) == text


def test_depth_is_bounded() -> None:
    with pytest.raises(BadRequest):
        read(b'{"a":' + b"[" * 100_000, "Options", FIELDS)


@given(st.binary(max_size=60))
def test_anything_at_all(body: bytes) -> None:
    found = {}
    with suppress(BadRequest):
        found = read(body, "Options", FIELDS)
    assert set(found) <= set(FIELDS)
