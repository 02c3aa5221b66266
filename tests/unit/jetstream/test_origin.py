"""What an origin is asked, and what its deliveries mean, without a server."""

import json

import pytest

from phloem.shared.jetstream.errors import ApiError
from phloem.shared.jetstream.origin import (
    Asker,
    Delivery,
    Opened,
    Place,
    Track,
    answered,
    consumer_name,
    deliver_subject,
    delivery,
    is_remote,
    question,
)
from phloem.shared.jetstream.stream_config import (
    External,
    SourceConsumer,
    StreamConfig,
    StreamSource,
    SubjectTransform,
)

NOWHERE = Place(0, b"")
PLAIN = StreamSource(name="O")
FAR = StreamSource(name="O", external=External(api="$JS.edge.API"))
DURABLE = StreamSource(name="O", consumer=SourceConsumer(name="dd", deliver_subject="in.d"))


def _asker(*sources: StreamSource, mirror: StreamSource | None = None) -> Asker:
    return Asker(StreamConfig(name="T", sources=list(sources), mirror=mirror), "A", "hub")


def _config(source: StreamSource, place: Place = NOWHERE, **more: str) -> dict[str, object]:
    asked = question(_asker(source), source, place, "d", **more)
    return dict(json.loads(asked.body)["config"])


@pytest.mark.parametrize(
    ("source", "remote"),
    [
        (PLAIN, False),
        (FAR, True),
        (DURABLE, True),
        (StreamSource(name="O", external=External(api="$JS.hub.API")), False),
        (StreamSource(name="O", external=External(deliver="x")), False),
    ],
)
def test_who_has_to_be_asked(source: StreamSource, remote: bool) -> None:
    assert is_remote(source, "hub") == remote


def test_the_request() -> None:
    asked = question(_asker(FAR), FAR, Place(7, b"abcdefgh"), "$JS.S.x")
    assert asked.subject == b"$JS.edge.API.CONSUMER.CREATE.O"
    assert asked.header == b"NATS/1.0\r\nNats-Required-Api-Level: 5\r\nNats-Stream-Identity: abcdefgh\r\n\r\n"
    config = json.loads(asked.body)["config"]
    assert (config["deliver_policy"], config["opt_start_seq"]) == ("by_start_sequence", 8)
    assert (config["deliver_subject"], config["direct"], config["sourcing"]) == ("$JS.S.x", True, True)
    assert config["metadata"] == {
        "_nats.src.acc": "A",
        "_nats.src.stream": "T",
        "_nats.src.domain": "hub",
    }


def test_a_mirror_expects_nothing() -> None:
    asked = question(_asker(mirror=FAR), FAR, Place(7, b""), "d")
    assert asked.header == b"NATS/1.0\r\nNats-Required-Api-Level: 5\r\n\r\n"
    assert json.loads(asked.body)["config"]["name"].startswith("JS_MIRROR_")


def test_a_durable_consumer_is_reset() -> None:
    asked = question(_asker(DURABLE), DURABLE, NOWHERE, "in.d")
    assert (asked.subject, asked.body) == (b"$JS.API.CONSUMER.RESET.O.dd", b"")
    assert deliver_subject(_asker(DURABLE), DURABLE, "x") == "in.d"


def test_where_it_begins() -> None:
    begins = [
        _config(StreamSource(name="O", **more))
        for more in ({}, {"opt_start_seq": 3}, {"opt_start_time": "2030-01-01T00:00:00Z"})  # type: ignore[arg-type]
    ]
    assert [config["deliver_policy"] for config in begins] == ["all", "by_start_sequence", "by_start_time"]


def test_filters() -> None:
    one = StreamSource(name="O", subject_transforms=[SubjectTransform("o.a", "x")])
    two = StreamSource(
        name="O", subject_transforms=[SubjectTransform("o.a", "x"), SubjectTransform("o.b", "y")]
    )
    assert _config(one)["filter_subject"] == "o.a"
    assert _config(two)["filter_subjects"] == ["o.a", "o.b"]
    asked = question(_asker(one), one, NOWHERE, "d")
    assert asked.subject.decode() == f"$JS.API.CONSUMER.CREATE.O.{consumer_name(_asker(one), one)}.o.a"


def test_an_older_server_knows_nothing_of_sourcing() -> None:
    config = _config(FAR, old="12345678")
    assert "sourcing" not in config
    assert str(config["name"]).endswith("_12345678")
    assert question(_asker(FAR), FAR, NOWHERE, "d", old="x").header == b""


def test_names_of_one_streams_sources_differ() -> None:
    other = StreamSource(name="O", filter_subject="o.b")
    asker = _asker(PLAIN, other)
    assert consumer_name(asker, PLAIN) != consumer_name(asker, other)
    assert consumer_name(_asker(PLAIN), PLAIN) == consumer_name(_asker(other), other)


def test_deliver_prefix() -> None:
    source = StreamSource(name="O", external=External(api="x.API", deliver="dl"))
    assert deliver_subject(_asker(source), source, "t") == "dl.S.t"
    assert deliver_subject(_asker(mirror=source), source, "t") == "dl.M.t"


def _answer(**config: str) -> bytes:
    return json.dumps({"name": "C", "config": config, "delivered": {"stream_seq": 6}}).encode()


def test_answers() -> None:
    opened = answered(
        _asker(FAR), FAR, b"NATS/1.0\r\nNats-Stream-Identity: ab\r\n\r\n", _answer(deliver_subject="d")
    )
    assert opened == Opened("C", b"ab")


@pytest.mark.parametrize(
    ("source", "body", "code"),
    [
        (FAR, b"", 10045),
        (FAR, b"[]", 10045),
        (FAR, b'{"name":"C"}', 10045),
        (FAR, b'{"error":{}}', 10045),
        (FAR, b'{"error":{"code":404,"err_code":10059,"description":"x"}}', 10059),
        (DURABLE, _answer(ack_policy="explicit"), 10217),
    ],
)
def test_refusals(source: StreamSource, body: bytes, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        answered(_asker(source), source, b"", body)
    assert refused.value.err_code == code


def _reply(seq: int, number: int, deliveries: int = 1, consumer: str = "C") -> bytes:
    return f"$JS.ACK.O.{consumer}.{deliveries}.{seq}.{number}.5.2@o.x".encode()


def test_deliveries() -> None:
    assert delivery(b"d", _reply(8, 1)) == Delivery("C", 1, 8, 1, 5, 2, b"o.x")
    assert delivery(b"o.y", b"$JS.ACK._.hash.O.C.1.8.1.5.2.more") == Delivery("C", 1, 8, 1, 5, 2, b"o.y")


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"_INBOX.x",
        b"$JS.ACK.O.C.1.8.1.5",
        b"$JS.ACK.O.C.1.x.1.5.2",
        b"$JS.ACK.O.C.1.%b.1.5.2" % (b"9" * 30),
    ],
)
def test_what_is_no_delivery(reply: bytes) -> None:
    assert delivery(b"d", reply) is None


def _track(taken: int = 0) -> Track:
    return Track(Opened("C", b""), taken)


def _takes(track: Track, seq: int, number: int, **more: object) -> bool:
    found = delivery(b"d", _reply(seq, number, **more))  # type: ignore[arg-type]
    assert found is not None
    return track.takes(found)


def test_in_order() -> None:
    track = _track()
    assert [_takes(track, seq, number) for seq, number in ((7, 1), (9, 2))] == [True, True]
    assert (track.seq, track.number, track.broken) == (9, 2, False)


def test_what_is_here_is_not_taken_again() -> None:
    track = _track(8)
    assert [_takes(track, seq, number) for seq, number in ((8, 1), (9, 2), (9, 2))] == [False, True, False]
    assert not track.broken


def test_an_origin_that_counts_from_before() -> None:
    """It was killed, and its consumer goes on from a state it had earlier."""
    track = _track()
    assert [_takes(track, seq, number) for seq, number in ((7, 1), (8, 2))] == [True, True]
    assert not _takes(track, 9, 1)
    assert track.broken


def test_others_are_not_heard() -> None:
    track = _track()
    assert not _takes(track, 7, 1, consumer="D")
    assert not _takes(track, 7, 1, deliveries=2)
    assert not track.broken


def test_a_gap() -> None:
    track = _track()
    assert not _takes(track, 8, 2)
    assert track.broken


@pytest.mark.parametrize(("number", "broken"), [("0", True), ("1", False), ("2", True), ("x", False)])
def test_heartbeats_tell_of_gaps(number: str, broken: bool) -> None:
    track = _track()
    assert _takes(track, 7, 1)
    assert (
        track.heartbeat(f"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: {number}\r\n\r\n".encode())
        == b""
    )
    assert track.broken == broken


def test_a_heartbeat_may_wait_for_an_answer() -> None:
    header = (
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 0\r\nNats-Consumer-Stalled: $JS.FC.O.C.x\r\n\r\n"
    )
    assert _track().heartbeat(header) == b"$JS.FC.O.C.x"
