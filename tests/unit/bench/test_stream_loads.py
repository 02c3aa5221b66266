"""The generator's JetStream modes against nats-server, and against brokers that get it wrong on purpose."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Thread

import pytest
from tests.bench import generator
from tests.bench.generator import Figures, LoadFailed
from tests.bench.servers import PRODUCTS, Deployment, running, store

KEYS = 2_000
STREAMS: list[dict[str, object]] = [
    {"name": "bench", "subjects": ["bench.data.>", "bench.data"]},
    {"name": "KV_load", "subjects": ["$KV.load.>"], "max_msgs_per_subject": 1, "allow_direct": True},
]
KV = f"--stream KV_load --subject $KV.load --keys {KEYS} --size 16"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """A server with 1,000 messages in one stream and as many keys as KEYS in a bucket."""
    with store() as storage, running(PRODUCTS["nats-server"], storage=storage) as server:
        here = Deployment(server, server)
        for stream in STREAMS:
            subject = f"$JS.API.STREAM.CREATE.{stream['name']}"
            _run(here, "request", "--subject", subject, "--body", json.dumps(stream))
        _run(here, "js-pub", "--messages", "1000", "--window", "100", "--size", "16")
        _run(here, *f"js-pub --messages {KEYS} --window 100 {KV}".split())
        yield here


def _run(deployment: Deployment, *arguments: str) -> Figures:
    return generator.run((*arguments, *deployment.arguments()))


@pytest.mark.parametrize(
    ("arguments", "figure", "count"),
    [
        ("js-pub --messages 300 --window 1", "requests", 300),
        ("js-pub --messages 300 --window 10 --rate 20000", "requests", 300),
        (f"js-pub --messages 300 --window 50 --random {KV}", "requests", 300),
        ("js-pub --messages 300 --window 50 --ids", "requests", 300),
        (f"js-get --messages 300 --window 8 --random {KV}", "requests", 300),
        ("js-pull --messages 700 --batch 200", "delivered", 700),
        ("js-pull --messages 700 --no-acks", "delivered", 700),
        ("js-push --messages 700", "delivered", 700),
        ("js-push --messages 700 --max-ack-pending 5000 --flow-control", "delivered", 700),
        (
            f"js-push --messages {KEYS} --no-acks --flow-control --policy last_per_subject "
            "--filter $KV.load.> --stream KV_load",
            "delivered",
            KEYS,
        ),
        (f"js-filter --messages 3 --no-acks --flow-control {KV}", "delivered", 3 * KEYS / 1000),
    ],
)
def test_counts_on_a_real_server(deployment: Deployment, arguments: str, figure: str, count: float) -> None:
    figures = _run(deployment, *arguments.split())
    assert figures[figure] == count
    assert figures["seconds"] > 0


def test_a_rate_is_kept(deployment: Deployment) -> None:
    figures = _run(deployment, "js-pub", "--messages", "200", "--window", "100", "--rate", "1000")
    assert figures["seconds"] > 0.19


def test_a_server_that_is_too_slow_for_a_rate_comes_to_an_end(deployment: Deployment) -> None:
    words = ("js-pub", "--messages", "90000000", "--window", "1", "--rate", "90000000", "--seconds", "1")
    figures = _run(deployment, *words)
    assert figures["seconds"] > 1
    assert 0 < figures["requests"] < 90_000_000


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (f"js-get --messages 10 --keys {KEYS + 1000} --stream KV_load --subject $KV.load", "404"),
        ("js-pub --messages 1 --stream other", 'publish 0: {"stream":"bench"'),
        ("js-pub --messages 1 --subject bench.nobody", "nobody answers"),
        ("js-pull --messages 1 --stream none", "stream not found"),
        ("js-push --messages 700 --size 17", "not what was published"),
        ("js-get --messages 1", "js-get wants --keys"),
        ("js-filter --messages 1 --keys 10", "js-filter wants --keys 1000 or more"),
    ],
)
def test_what_a_real_server_refuses_ends_the_run(deployment: Deployment, arguments: str, reason: str) -> None:
    words = arguments.split()
    if words[0] == "js-get" and "--keys" in words:
        words += ["--random", "--messages", "5000"]
    with pytest.raises(LoadFailed, match=reason):
        _run(deployment, *words)


def test_an_error_of_the_api_ends_a_request(deployment: Deployment) -> None:
    words = ("request", "--subject", "$JS.API.STREAM.DELETE.none", "--body", "")
    with pytest.raises(LoadFailed, match="10059"):
        _run(deployment, *words)


ACK = b'{"stream":"bench","seq":%d}'


@contextmanager
def _acknowledging(acks: list[tuple[int, bytes]]) -> Iterator[tuple[str, ...]]:
    """A broker that answers a window of three publishes with ``acks``: number of the request, payload."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b'INFO {"server_id":"x"}\r\n')
            heard, answered = b"", 0
            while chunk := _received(connection):
                heard += chunk
                if heard.count(b"PUB ") == 3 and acks:
                    for number, payload in acks:
                        subject = b"_INBOX.window.%09d" % number
                        line = b"MSG %s 1 %d\r\n%s\r\n" % (subject, len(payload), payload)
                        connection.sendall(line)
                    acks.clear()
                while answered < heard.count(b"PING\r\n"):
                    connection.sendall(b"PONG\r\n")
                    answered += 1

    thread = Thread(target=serve)
    thread.start()
    with closing(listener):
        port = str(listener.getsockname()[1])
        yield ("js-pub", "--messages", "3", "--window", "3", "--stall", "1", "--port", port)
        thread.join()


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def test_acknowledgements_may_come_in_any_order() -> None:
    acks = [(1, ACK % 8), (0, ACK % 7), (2, ACK % 9)]
    with _acknowledging(acks) as arguments:
        assert generator.run(arguments)["requests"] == 3


@pytest.mark.parametrize(
    ("acks", "reason"),
    [
        ([(0, ACK % 7), (1, ACK % 8)], "nothing moved for 1 s"),
        ([(0, ACK % 7), (0, ACK % 7)], "a second answer to request 0"),
        ([(0, ACK % 7), (1, ACK % 7)], "publish 1 has sequence 7, want 8"),
        ([(0, ACK % 7), (3, ACK % 8)], "a second answer to request 3, or one before it"),
        ([(0, b'{"error":{"code":503},"stream":"bench","seq":0}')], "publish 0: .*503"),
        ([(0, b'{"stream":"bench","seq":7,"duplicate":true}')], "publish 0: .*duplicate"),
        ([(0, b'{"stream":"other","seq":7}')], "publish 0: .*other"),
    ],
    ids=["lost", "twice", "sequence again", "never sent", "error", "duplicate", "another stream"],
)
def test_a_wrong_acknowledgement_is_noticed(acks: list[tuple[int, bytes]], reason: str) -> None:
    with _acknowledging(acks) as arguments, pytest.raises(LoadFailed, match=reason):
        generator.run(arguments)
