"""Columns of parcels: what was packed is what is stored, and nothing else can be."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.seals import varint
from tests.support.examples import examples

from phloem.shared.engine.engine import Engine, Stream
from phloem.shared.engine.parcel import Packer, Unpacker, Unreadable
from phloem.shared.kernel import Kernel
from phloem.shared.store.log import Log

ORIGIN = b"store.1"
figures = st.from_regex(rb"([-a, ]|\d{1,20}|0\d{1,5}|\d{1,9}\.\d{1,12}|\.){0,12}", fullmatch=True)
payloads = (
    st.binary(max_size=200)
    | figures
    | st.integers(0, 10**20).map(lambda n: b'{"ts":%d,"v":%d.%d}' % (n, n % 97, n % 1009))
)
messages = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"tele.x", b"tele.y.z", b"x" * 300]),
        st.sampled_from([b"", b"NATS/1.0\r\nA: b\r\n\r\n"])
        | payloads.map(lambda line: b"NATS/1.0\r\n" + line + b"\r\n\r\n"),
        payloads,
        st.integers(0, 1 << 62),
        st.integers(0, 3),  # sequences passed over before it
    ),
    max_size=60,
)


class Events:
    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Kernel(Events(), seed=1))


def new_stream(engine: Engine, **limits: int) -> Stream:
    account = engine.kernel.account("A")
    stream = Stream(engine, account, Log(), b"FLEET", b"", b"", lambda *_: None)
    wanted = {"max_msgs": -1, "max_bytes": -1, "max_msgs_per_subject": -1, "max_msg_size": -1} | limits
    stream.configure(
        slow=False,
        retention=0,
        no_ack=False,
        sealed=False,
        discard_new=True,
        discard_new_per_subject=False,
        quota=None,
        **wanted,
    )
    return stream


def filled(listed: list[tuple[bytes, bytes, bytes, int, int]]) -> Log:
    log = Log()
    for subject, header, payload, ts, passed in listed:
        if passed:
            log.skip(log.last_seq + passed)
        log.append(subject, header, payload, ts)
    return log


def contents(log: Log) -> list[tuple[bytes, bytes, bytes]]:
    found, at = [], 1
    while (message := log.next((), at)) is not None:
        found.append((message.subject, message.header, message.payload))
        at = message.seq + 1
    return found


@settings(max_examples=examples(60), deadline=None)
@given(listed=messages, size=st.integers(1, 3000), live=st.integers(0, 1 << 62), version=st.integers(1, 3))
def test_everything_arrives_once_and_in_order(
    engine: Engine, listed: list[tuple[bytes, bytes, bytes, int, int]], size: int, live: int, version: int
) -> None:
    log, stream = filled(listed), new_stream(engine)
    packer, unpacker = Packer(log), Unpacker(stream, b"fleet.t.dev.")
    at, expected = 1, []
    while (packed := packer.pack(at, log.last_seq, size, live, version)) is not None:
        got = unpacker.store(
            packed.columns, at, packed.next_seq, at, ORIGIN, 0, b"?", packed.newest_ts < live, 5
        )
        assert got == (packed.messages, 0, (), packed.next_seq)
        at = packed.next_seq
    at = 1
    while (message := log.next((), at)) is not None:
        line = b"Phloem-Origin: store.1 %d %d ?\r\n" % (message.seq, message.ts)
        late = b"Phloem-Historical: 1\r\n" if message.ts < live else b""
        head = message.header[:-2] or b"NATS/1.0\r\n"
        expected.append((b"fleet.t.dev." + message.subject, head + line + late + b"\r\n", message.payload))
        at = message.seq + 1
    assert contents(stream.log) == expected


def test_what_came_before_is_passed_over(engine: Engine) -> None:
    log, stream = filled([(b"a", b"", b"%d" % i, i, 0) for i in range(10)]), new_stream(engine)
    packed = Packer(log).pack(1, 10, 1 << 20, 0)
    assert packed is not None
    assert Unpacker(stream, b"f.").store(packed.columns, 1, 11, 7, ORIGIN, 3, b"?", False, 5) == (
        4,
        6,
        (),
        11,
    )
    assert [payload for _, _, payload in contents(stream.log)] == [b"6", b"7", b"8", b"9"]


def test_a_full_stream_takes_what_fits_and_says_how_far(engine: Engine) -> None:
    log, stream = filled([(b"a", b"", b"x", i, 0) for i in range(10)]), new_stream(engine, max_msgs=3)
    packed = Packer(log).pack(1, 10, 1 << 20, 0)
    assert packed is not None
    assert Unpacker(stream, b"f.").store(packed.columns, 1, 11, 1, ORIGIN, 0, b"?", False, 5) == (3, 0, (), 4)


def test_a_message_that_never_fits_is_named(engine: Engine) -> None:
    log = filled([(b"a", b"", b"x", 1, 0), (b"a", b"", b"x" * 500, 1, 0), (b"a", b"", b"y", 1, 0)])
    stream = new_stream(engine, max_msg_size=200)
    packed = Packer(log).pack(1, 3, 1 << 20, 0)
    assert packed is not None
    assert Unpacker(stream, b"f.").store(packed.columns, 1, 4, 1, ORIGIN, 0, b"?", False, 5) == (
        2,
        0,
        (2,),
        4,
    )


def test_many_subjects_take_more_than_one_parcel(engine: Engine) -> None:
    log, stream = filled([(b"s.%d" % i, b"", b"", 1, 0) for i in range(5000)]), new_stream(engine)
    packer, unpacker, at, parcels = Packer(log), Unpacker(stream, b"f."), 1, 0
    while (packed := packer.pack(at, 5000, 1 << 30, 0)) is not None:
        unpacker.store(packed.columns, at, packed.next_seq, at, ORIGIN, 0, b"?", False, 5)
        at, parcels = packed.next_seq, parcels + 1
    assert (parcels, stream.log.messages) == (2, 5000)


def test_readings_cost_few_bytes_beside_their_payload() -> None:
    log = filled(
        [(b"tele.climate", b"", b"x" * 100, 1_700_000_000_000_000_000 + i * 10**9, 0) for i in range(1000)]
    )
    packed = Packer(log).pack(1, 1000, 1 << 30, 0)
    assert packed is not None
    assert len(packed.columns) < 1000 * 100 + 1000 * 3
    assert packed.size >= 1000 * 100


@settings(max_examples=examples(150), deadline=None)
@given(
    listed=messages.filter(bool),
    where=st.integers(0, 10_000),
    bit=st.integers(0, 7),
    cut=st.booleans(),
    version=st.integers(1, 2),
)
def test_columns_that_are_wrong_store_nothing_or_what_they_say(
    engine: Engine,
    listed: list[tuple[bytes, bytes, bytes, int, int]],
    where: int,
    bit: int,
    cut: bool,
    version: int,
) -> None:
    log, stream = filled(listed), new_stream(engine)
    packed = Packer(log).pack(1, log.last_seq, 1 << 20, 0, version)
    assert packed is not None
    columns = bytearray(packed.columns)
    where %= len(columns)
    columns[where] ^= 1 << bit
    wrong = bytes(columns[:where] if cut else columns)
    try:
        got = Unpacker(stream, b"f.").store(wrong, 1, packed.next_seq, 1, ORIGIN, 0, b"?", False, 5)
    except Unreadable:
        assert stream.log.messages == 0
    else:
        assert got.messages == stream.log.messages
        assert not cut


@settings(max_examples=examples(200), deadline=None)
@given(
    shapes=st.lists(
        st.sampled_from([b'{"a":%d,"b":%d.%03d}', b"%d;%05d;%d", b"t=%d %d %02d"]), min_size=8, max_size=40
    ),
    start=st.integers(0, 10**18 - 1),
    data=st.data(),
)
def test_figures_come_back_as_they_were(
    engine: Engine, shapes: list[bytes], start: int, data: st.DataObject
) -> None:
    steps = st.integers(-1000, 1000)
    listed, value = [], start
    for shape in shapes:
        value = abs(value + data.draw(steps))
        listed.append((b"a", b"", shape % (value, value // 7, value % 1000), 1, 0))
    log, stream = filled(listed), new_stream(engine)
    packed = Packer(log).pack(1, log.last_seq, 1 << 20, 0)
    assert packed is not None
    got = Unpacker(stream, b"f.").store(packed.columns, 1, packed.next_seq, 1, ORIGIN, 0, b"?", False, 5)
    assert got.messages == len(listed)
    assert [payload for _, _, payload in contents(stream.log)] == [one[2] for one in listed]


NOW = 1_780_000_000_123_456_789


def serial(count: int, took: int = 90_000) -> list[tuple[bytes, bytes, bytes, int, int]]:
    """Lines of a serial device, once a second."""
    line = b"NATS/1.0\r\nPhloem-Port: ttyUSB0\r\nPhloem-Seq: %d\r\nPhloem-Time: %d\r\nPhloem-Boot: 8f1c22e0\r\n\r\n"
    listed = []
    for i in range(count):
        at = NOW + i * 10**9 + (i * 7_919_317) % 900_001
        listed.append(
            (b"tele.s", line % (i + 1, at), b"t=%d.%d" % (20 + i % 3, i % 10), at + took + i % 977, 0)
        )
    return listed


def arrived(engine: Engine, listed: list[tuple[bytes, bytes, bytes, int, int]], version: int) -> int:
    """Bytes of the columns; what was stored is what was sent."""
    log, stream = filled(listed), new_stream(engine)
    packed = Packer(log).pack(1, log.last_seq, 1 << 24, 0, version)
    assert packed is not None
    Unpacker(stream, b"f.").store(packed.columns, 1, packed.next_seq, 1, ORIGIN, 0, b"?", False, 5)
    origin = b"Phloem-Origin: store.1 %d %d ?\r\n\r\n"
    assert [(header, payload) for _, header, payload in contents(stream.log)] == [
        ((header[:-2] or b"NATS/1.0\r\n") + origin % (i, ts), payload)
        for i, (_, header, payload, ts, _) in enumerate(listed, 1)
    ]
    return len(packed.columns)


def test_headers_of_serial_readings_cost_little(engine: Engine) -> None:
    """What is new in them is how long the reading was under way before it was stored."""
    before, after = (arrived(engine, serial(1000), version) for version in (1, 2))
    assert before > 110_000
    assert after < 14_000


@settings(max_examples=examples(200), deadline=None)
@given(
    numbers=st.lists(
        st.integers(10**18 - 2, 10**19 + 2) | st.integers(NOW - 10**6, NOW + 10**6) | st.just(2**63 - 1),
        min_size=8,
    ),
    stamps=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8),
    text=st.sampled_from([b"A: %d", b"%d", b"a%d.5,%d", b"0%d"]),
)
def test_times_come_back_as_they_were(
    engine: Engine, numbers: list[int], stamps: list[int], text: bytes
) -> None:
    lines = [text % ((number,) * text.count(b"%d")) for number in numbers]
    listed = [
        (b"a", b"NATS/1.0\r\n" + line + b"\r\n\r\n", line, abs(stamps[i % len(stamps)] + i) >> 1, 0)
        for i, line in enumerate(lines)
    ]
    arrived(engine, listed, 2)


def no_harm(
    engine: Engine,
    listed: list[tuple[bytes, bytes, bytes, int, int]],
    version: int,
    where: int,
    change: int,
    cut: bool,
) -> None:
    """A byte of a parcel's columns is another, or they end there: nothing is stored, or what is said to be."""
    log, stream = filled(listed), new_stream(engine)
    packed = Packer(log).pack(1, log.last_seq, 1 << 20, 0, version)
    assert packed is not None
    columns = bytearray(packed.columns)
    where %= len(columns)
    columns[where] ^= change
    wrong = bytes(columns[:where] if cut else columns)
    try:
        got = Unpacker(stream, b"f.").store(wrong, 1, packed.next_seq, 1, ORIGIN, 0, b"?", False, 5)
    except Unreadable:
        assert stream.log.messages == 0
    else:
        assert got.messages == stream.log.messages


@settings(max_examples=examples(400), deadline=None)
@given(where=st.integers(0, 10_000), change=st.integers(1, 255), cut=st.booleans())
def test_wrong_columns_of_headers_do_no_harm(engine: Engine, where: int, change: int, cut: bool) -> None:
    no_harm(engine, serial(30), 2, where, change, cut)


@settings(max_examples=examples(300), deadline=None)
@given(where=st.integers(0, 10_000), change=st.integers(1, 255), cut=st.booleans())
def test_wrong_columns_of_figures_do_no_harm(engine: Engine, where: int, change: int, cut: bool) -> None:
    listed = [
        (b"a", b"", b'{"ts":%d,"t":%d.%02d,"z":"%04d"}' % (i * 1000, i, i % 100, i), 1, 0) for i in range(30)
    ]
    no_harm(engine, listed, 1, where, change, cut)


# --- few bytes that say a lot


def columns_of(count: int, subject: bytes, payloads: bytes) -> bytes:
    """Messages without headers."""
    head = b"\1" + varint(count) + varint(0) + bytes(8) + bytes(count - 1)
    names = varint(1) + varint(len(subject)) + subject + varint(0) + varint(count)
    return head + names + varint(0) + varint(count) + payloads


def test_a_shape_of_many_figures_takes_no_time_for_each_pair_of_them(engine: Engine) -> None:
    """It takes a second if each figure is found with a walk through those before it, and minutes with a few more."""
    count = 200_000
    shape = b"\0\1" * count + b"\0\0"
    payloads = (
        b"\1" + varint(1) + varint(len(shape)) + shape + b"\0" + (varint(0) + varint(1) + varint(2)) * count
    )
    stream = new_stream(engine)
    Unpacker(stream, b"f.").store(columns_of(1, b"a", payloads), 1, 2, 1, ORIGIN, 0, b"?", False, 5)
    assert contents(stream.log)[0][2] == b"1" * count


@pytest.mark.parametrize(("count", "stored"), [(2_000, True), (2_100, False)])
def test_a_subject_that_is_said_once_does_not_become_any_number_of_bytes(
    engine: Engine, count: int, stored: bool
) -> None:
    stream, columns = new_stream(engine), columns_of(count, b"y" * 32_768, b"\0" + bytes(count))
    try:
        Unpacker(stream, b"f.").store(columns, 1, count + 1, 1, ORIGIN, 0, b"?", False, 5)
    except Unreadable:
        assert not stored
    assert stream.log.messages == (count if stored else 0)


def test_more_than_the_hub_takes_at_once_goes_in_more_than_one_parcel(engine: Engine) -> None:
    """Also where compression makes little of it: a subject is in the columns once."""
    log, stream = filled([(b"x" * 30_000, b"", b"", i, 0) for i in range(1_500)]), new_stream(engine)
    packer, unpacker, at, parcels = Packer(log), Unpacker(stream, b"f."), 1, 0
    while (packed := packer.pack(at, 1_500, 1 << 30, 0)) is not None:
        unpacker.store(packed.columns, at, packed.next_seq, at, ORIGIN, 0, b"?", False, 5)
        at, parcels = packed.next_seq, parcels + 1
    assert (parcels, stream.log.messages) == (2, 1_500)


@pytest.mark.parametrize("subject", [b"a b", b"a\r\nMSG b", b"a\tb", b"\n"])
def test_a_subject_that_subscribers_would_read_as_more_is_none(engine: Engine, subject: bytes) -> None:
    with pytest.raises(Unreadable):
        Unpacker(new_stream(engine), b"f.").store(
            columns_of(1, subject, b"\0\0"), 1, 2, 1, ORIGIN, 0, b"?", False, 5
        )


@pytest.mark.parametrize(("header", "kept"), [(b"no end", b"no end\r\n"), (b"NATS/1.0\r\n", b"NATS/1.0\r\n")])
def test_who_it_is_from_stands_on_a_line_of_its_own(engine: Engine, header: bytes, kept: bytes) -> None:
    """Whatever a program has published as its header."""
    log, stream = filled([(b"a", header, b"x", 1, 0)]), new_stream(engine)
    packed = Packer(log).pack(1, 1, 1 << 20, 0)
    assert packed is not None
    Unpacker(stream, b"f.").store(packed.columns, 1, 2, 1, ORIGIN, 0, b"?", False, 5)
    assert contents(stream.log)[0][1] == kept + b"Phloem-Origin: store.1 1 1 ?\r\n\r\n"
