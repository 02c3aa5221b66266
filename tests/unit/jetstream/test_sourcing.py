"""Headers of sourced messages, and the sums of counters."""

import pytest

from phloem.shared.jetstream.counters import counted, sourced_count
from phloem.shared.jetstream.errors import ApiError
from phloem.shared.jetstream.headers import field_of, wishes_of, with_field, without
from phloem.shared.jetstream.sourcing import Place, Selection, parse_place, place_in
from phloem.shared.jetstream.stream_config import External, SourceConsumer, StreamSource, SubjectTransform


@pytest.mark.parametrize(
    ("source", "index"),
    [
        (StreamSource(name="O"), b"O > >"),
        (StreamSource(name="O", filter_subject="o.*"), b"O o.* >"),
        (
            StreamSource(
                name="O", subject_transforms=[SubjectTransform("a", "b"), SubjectTransform("", "c.>")]
            ),
            b"O a\f> b\fc.>",
        ),
        (StreamSource(name="OR", external=External(api="$JS.hub.API")), b"OR:bTMUkJQk > >"),
        (StreamSource(name="O", consumer=SourceConsumer(name="dd")), None),
    ],
)
def test_index(source: StreamSource, index: bytes | None) -> None:
    found = Selection(source).index
    assert found == index if index is not None else found.startswith(b"O:C=")


def test_header_and_back() -> None:
    selection = Selection(StreamSource(name="O", filter_subject="o.>"))
    header = selection.header(b"NATS/1.0\r\nNats-Batch-Id: b\r\nA: 1\r\n\r\n", 7, b"o.x", b"abcdefgh")
    assert header == b"NATS/1.0\r\nA: 1\r\nNats-Stream-Source: O 7 o.> > o.x abcdefgh\r\n\r\n"
    assert place_in(header) == Place(b"O o.> >", 7, b"abcdefgh")


@pytest.mark.parametrize(
    "value", [b"", b"O", b"O 1", b"O x > > s i", b"O 1 >", b"O " + b"9" * 21 + b" > > s"]
)
def test_no_place(value: bytes) -> None:
    assert parse_place(value) is None


def test_fields() -> None:
    header = b"NATS/1.0\r\nNats-Msg-Id:  a \r\nNats-Msg-Id: b\r\nX: Nats-TTL: 5\r\n\r\n"
    assert wishes_of(header) == {b"Nats-Msg-Id": b"a "}
    assert field_of(header, b"Nats-Msg-Id") == b"a "
    assert field_of(header, b"Nats-TTL") == b""
    assert without(header, (b"Nats-Msg-Id:",)) == b"NATS/1.0\r\nX: Nats-TTL: 5\r\n\r\n"
    assert without(b"NATS/1.0\r\nNats-TTL: 5\r\n\r\n", (b"Nats-",)) == b""
    assert with_field(b"", b"A: 1") == b"NATS/1.0\r\nA: 1\r\n\r\n"


def test_a_value_that_comes_again_is_not_added_twice() -> None:
    place = b"NATS/1.0\r\nNats-Incr: 5\r\nNats-Stream-Source: O 1 > > o.n i\r\n\r\n"
    header, body = sourced_count(b"", None, b"n", place, b'{"val":"5"}')
    assert body == b'{"val":"5"}'
    again, body = sourced_count(header, body, b"n", place, b'{"val":"5"}')
    assert (field_of(again, b"Nats-Incr"), body) == (b"0", b'{"val":"5"}')
    other = place.replace(b"O 1", b"P 1")
    header, body = sourced_count(again, body, b"n", other, b'{"val":"-2"}')
    assert body == b'{"val":"3"}'
    assert field_of(header, b"Nats-Counter-Sources") == b'{"O":{"o.n":"5"},"P":{"o.n":"-2"}}'


def test_own_increments_keep_what_the_origins_said() -> None:
    last = b'NATS/1.0\r\nNats-Counter-Sources: {"O":{"o.n":"5"}}\r\n\r\n'
    header, body, extra = counted(last, b'{"val":"5"}', b"+2", b"NATS/1.0\r\nNats-Incr: +2\r\n\r\n")
    assert (body, extra) == (b'{"val":"7"}', b',"val":"7"')
    assert field_of(header, b"Nats-Counter-Sources") == b'{"O":{"o.n":"5"}}'


@pytest.mark.parametrize("body", [b"", b"{}", b'{"val":"x"}', b'{"val":[]}', b"[]"])
def test_broken_counter(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        counted(b"", body, b"1", b"")
    assert caught.value.err_code == 10172
