"""The load generator against nats-server, and against a broker that gets it wrong on purpose: a benchmark
that does not notice a lost message measures how fast messages are lost.
"""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Thread

import pytest
from tests.bench import generator
from tests.bench.generator import LoadFailed
from tests.bench.servers import PRODUCTS, Deployment, deployed

PUBLISH = b"PUB bench.data 16\r\n" + b"x" * 16 + b"\r\n"
MESSAGE = b"MSG bench.data 1 16\r\n" + b"x" * 16 + b"\r\n"
MESSAGES = 5


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """A nats-server that keeps nothing of what is sent through it."""
    with deployed(PRODUCTS["nats-server"], leaf=False) as made:
        yield made


@pytest.mark.parametrize(
    ("arguments", "delivered"),
    [
        ("pub --messages 2000", 0),
        ("pubsub --messages 2000 --publishers 2 --subscribers 3", 12_000),
        ("pubsub --messages 2000 --subscribers 3 --queue q", 2_000),
        ("subjects --messages 2000 --subjects 100 --wildcards 10 --subscribers 3", 4_000),
        ("subjects --messages 2000 --subjects 100 --wildcards 0 --subscribers 3", 2_000),
    ],
)
def test_counts_on_a_real_server(deployment: Deployment, arguments: str, delivered: int) -> None:
    figures = generator.run((*arguments.split(), *deployment.arguments()))
    assert figures["delivered"] == delivered
    assert figures["published_per_s"] > 0


def test_round_trips_on_a_real_server(deployment: Deployment) -> None:
    where = deployment.arguments()
    for inbox in ((), ("--fixed-inbox",)):
        figures = generator.run(("rtt", "--messages", "50", "--pairs", "2", *inbox, *where))
        assert figures["requests"] == 100
        assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["p999_us"]


def test_delivery_over_a_real_leaf_link_starts_after_interest_has_crossed_it() -> None:
    with deployed(PRODUCTS["nats-server"], leaf=True) as deployment:
        figures = generator.run(("leaf", "--messages", "2000", "--subscribers", "2", *deployment.arguments()))
    assert figures["delivered"] == 4_000


def test_idle_connections_are_held_while_the_block_runs(deployment: Deployment) -> None:
    arguments = ("idle", "--connections", "20", "--subscriptions", "3", *deployment.arguments())
    with generator.held(arguments) as figures:
        assert figures == {"connections": 20, "subscriptions": 60}
        assert deployment.resident_bytes() > 1_000_000


def test_a_refused_login_fails_with_the_servers_words(deployment: Deployment) -> None:
    arguments = ("pub", "--messages", "1", *deployment.arguments(), "--password", "wrong")
    with pytest.raises(LoadFailed, match="Authorization Violation"):
        generator.run(arguments)


def test_a_denied_subject_fails_with_the_servers_words(deployment: Deployment) -> None:
    arguments = ("pub", "--messages", "1", "--subject", "bench.secret.x", *deployment.arguments())
    with pytest.raises(LoadFailed, match="Permissions Violation"):
        generator.run(arguments)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("pub", "--port is missing"),
        ("pub --port 70000x", "want a number"),
        ("pubsub --port 1 --sub-port 2", "only leaf, wants --sub-port"),
        ("leaf --port 1", "wants --sub-port"),
        ("leaf --port 1 --sub-port 2 --queue q", "--queue cannot be used"),
        ("subjects --port 1 --subjects 5 --wildcards 6", "no more wildcards than subjects"),
        ("fly --port 1", "no such mode"),
        ("--port 1", "want one mode"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: str, reason: str) -> None:
    with pytest.raises(LoadFailed, match=reason):
        generator.run(arguments.split())


class ScriptedBroker:
    """Speaks just enough to serve one subscriber and one publisher, and delivers ``deliveries`` whatever
    was published. ``heard`` is all that the subscriber sent."""

    def __init__(self, deliveries: bytes) -> None:
        self.deliveries = deliveries
        self.heard = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.subscriber: socket.socket | None = None
        self.threads: list[Thread] = []

    def accept(self) -> None:
        for _ in range(2):
            connection, _ = self.listener.accept()
            thread = Thread(target=self.serve, args=(connection,))
            thread.start()
            self.threads.append(thread)

    def serve(self, connection: socket.socket) -> None:
        with connection:
            connection.sendall(b'INFO {"server_id":"x"}\r\n')
            heard, answered = b"", 0
            while chunk := _received(connection):
                heard += chunk
                if b"SUB " in heard:
                    self.subscriber, self.heard = connection, heard
                if heard.count(b"PUB ") == MESSAGES and heard.endswith(b"PING\r\n"):
                    assert self.subscriber is not None
                    self.subscriber.sendall(self.deliveries)
                while answered < heard.count(b"PING\r\n"):
                    connection.sendall(b"PONG\r\n")
                    answered += 1


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


@contextmanager
def _scripted(deliveries: bytes) -> Iterator[tuple[ScriptedBroker, tuple[str, ...]]]:
    broker = ScriptedBroker(deliveries)
    acceptor = Thread(target=broker.accept)
    acceptor.start()
    with closing(broker.listener):
        port = str(broker.listener.getsockname()[1])
        yield broker, ("pubsub", "--messages", str(MESSAGES), "--stall", "1", "--port", port)
        acceptor.join()
        for thread in broker.threads:
            thread.join()


def test_a_ping_between_messages_is_answered_and_not_counted() -> None:
    deliveries = MESSAGE * 2 + b"PING\r\n" + MESSAGE * 2 + b'INFO {"ldm":false}\r\n' + MESSAGE
    with _scripted(deliveries) as (broker, arguments):
        assert generator.run(arguments)["delivered"] == MESSAGES
    assert broker.heard.endswith(b"PONG\r\nPING\r\n")


@pytest.mark.parametrize(
    ("deliveries", "reason"),
    [
        (MESSAGE * (MESSAGES - 1), "nothing moved for 1 s: 5 published, 4 of 5 delivered"),
        (MESSAGE * (MESSAGES + 1), "received 6 of 5 messages"),
        (MESSAGE * 4 + MESSAGE.replace(b" 1 ", b" 2 "), "nobody sent: bench.data, sid 2, 16 bytes"),
        (MESSAGE * 4 + MESSAGE.replace(b"16", b"15"), "a payload without its CRLF"),
        (MESSAGE * 4 + MESSAGE.replace(b"x", b"y"), "nobody sent: bench.data, sid 1, 16 bytes"),
        (MESSAGE * 4 + b"-ERR 'Slow Consumer'\r\n", "the server said: -ERR 'Slow Consumer'"),
        (MESSAGE * 4 + b"MSG bench.data 1\n", "a line without its CRLF"),
    ],
    ids=["lost", "twice", "wrong subscription", "wrong size", "wrong payload", "error", "broken line"],
)
def test_a_wrong_delivery_is_noticed(deliveries: bytes, reason: str) -> None:
    with _scripted(deliveries) as (_, arguments), pytest.raises(LoadFailed, match=reason):
        generator.run(arguments)
