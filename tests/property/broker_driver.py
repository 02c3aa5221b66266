"""How a property test drives a broker: open a connection, feed it bytes, look at what came out.

:class:`BrokerDriver` is the interface; :class:`ServerDriver` does it over TCP with a server process.
A driver that feeds the kernel in memory takes every chunk in at once (``in_step``); over TCP the
effect of bytes can only be awaited at the end of an operation, so ``in_step`` is False there and a
test changes connections at such places only.
"""

import json
import re
import socket
import time
import urllib.request
from contextlib import suppress
from typing import Protocol

from tests.property.model import Permissions
from tests.support.server_process import ServerProcess

TIMEOUT_S = 10.0
PEDANTIC = b"-ERR 'Invalid Publish Subject'\r\n"
PEDANTIC_AGAIN = re.compile(rb"(?:-ERR 'Invalid Publish Subject'\r\n)+")
PASSWORD = "p"  # of every user


class BrokerDriver(Protocol):
    """Deterministic and synchronous: when :meth:`send` has returned, the bytes have had their effect."""

    in_step: bool

    def open(self) -> int:
        """A new connection; its INFO need not be read."""
        ...

    def send(self, connection: int, data: bytes) -> None:
        """Feed ``data``, which may end anywhere."""
        ...

    def received(self, connection: int) -> bytes:
        """What the connection was sent since the last call."""
        ...

    def closed(self, connection: int) -> bool:
        """True if the broker has ended the connection."""
        ...

    def close_all(self) -> None:
        """End every connection."""
        ...


def config_for(users: dict[str, Permissions]) -> str:
    """The configuration with these users; who names none is the user called ``nobody``."""
    lines = []
    for name, rights in users.items():
        allow_publish = "" if rights.publish_allow is None else f"allow: {_array(rights.publish_allow)}, "
        allow_subscribe = (
            "" if rights.subscribe_allow is None else f"allow: {_array(rights.subscribe_allow)}, "
        )
        publish = f"{{ {allow_publish}deny: {_array(rights.publish_deny)} }}"
        subscribe = f"{{ {allow_subscribe}deny: {_array(rights.subscribe_deny)} }}"
        block = (
            f", permissions: {{ publish: {publish}, subscribe: {subscribe} }}"
            if rights != Permissions()
            else ""
        )
        lines.append(f'  {{ user: "{name or "nobody"}", password: {PASSWORD}{block} }}')
    return (
        "authorization { users: [\n"
        + "\n".join(lines)
        + '\n] }\nno_auth_user: nobody\nhttp: "127.0.0.1:-1"\n'
    )


def _array(subjects: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{subject}"' for subject in subjects) + "]"


class ServerDriver:
    """A server process over TCP. A barrier is a publish that every server refuses, numbered to be told apart.

    nats-server reads a publish line again for every read that the payload is spread over, and says
    each time that a subject is not literal. Said in a row, it is taken for once; so a test may let
    one such publish at most happen between two calls of :meth:`received`.
    """

    in_step = False

    def __init__(self, server: ServerProcess) -> None:
        self._port = server.port()
        self._monitor = server.wait_for_log(r"Starting http monitor on (\S+)")[1]
        self._subscriptions_at_rest = self._subscriptions()
        self._sockets: dict[int, socket.socket] = {}
        self._closed: set[int] = set()
        self._barriers = 0

    def open(self) -> int:
        connection = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = len(self._sockets) + 1
        self._sockets[number] = connection
        return number

    def send(self, connection: int, data: bytes) -> None:
        """A connection that the server has just ended takes no more; :meth:`received` finds that out."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._sockets[connection].sendall(data)

    def received(self, connection: int) -> bytes:
        """Valid when the last thing sent ended an operation."""
        if connection in self._closed:
            return b""
        self._barriers += 1
        subject = f"$NRG.barrier.{self._barriers}"
        barrier = f"-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n".encode()
        self.send(connection, f"PUB {subject} 0\r\n\r\n".encode())
        data = b""
        while not data.endswith(barrier):
            try:
                more = self._sockets[connection].recv(1 << 16)
            except ConnectionResetError:
                more = b""
            if not more:
                self._closed.add(connection)
                return PEDANTIC_AGAIN.sub(PEDANTIC, data)
            data += more
        return PEDANTIC_AGAIN.sub(PEDANTIC, data[: -len(barrier)])

    def closed(self, connection: int) -> bool:
        return connection in self._closed

    def close_all(self) -> None:
        for connection in self._sockets.values():
            connection.close()
        self._sockets.clear()
        self._closed.clear()
        deadline = time.monotonic() + TIMEOUT_S
        while self._subscriptions() != self._subscriptions_at_rest:
            assert time.monotonic() < deadline, "subscriptions outlive their connections"

    def _subscriptions(self) -> int:
        """How many the server has; closing takes effect there some time after it does here."""
        with urllib.request.urlopen(f"http://{self._monitor}/subsz", timeout=TIMEOUT_S) as answer:
            return int(json.load(answer)["num_subscriptions"])


FRAME = re.compile(
    rb"MSG \S+ \S+ (?:\S+ )?(?P<msg>\d+)\r\n|HMSG \S+ \S+ (?:\S+ )?\d+ (?P<hmsg>\d+)\r\n|[^\n]*\r\n"
)
UNASKED = (b"INFO ", b"PING\r\n")


def frames(data: bytes) -> list[bytes]:
    """Cut what a client received into messages and lines; INFO and the server's own PING are left out."""
    found = []
    at = 0
    while at < len(data):
        head = FRAME.match(data, at)
        assert head, f"not a frame: {data[at : at + 80]!r}"
        size = head["msg"] or head["hmsg"]
        end = head.end() + (int(size) + 2 if size else 0)
        assert end <= len(data), f"cut short: {data[at:]!r}"
        assert not size or data[end - 2 : end] == b"\r\n", f"not ended by CRLF: {data[at:end]!r}"
        if not data.startswith(UNASKED, at):
            found.append(data[at:end])
        at = end
    return found
