"""Servers with accounts, as the account model's test drives them: log in, send an operation, see what everybody got."""

import json
import re
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from tests.property.account_config import PASSWORD
from tests.property.account_model import REPLY, Delivery, Error, Message, split_headers
from tests.property.account_operations import Script
from tests.property.broker_driver import TIMEOUT_S, frames
from tests.property.kernel_driver import StillServer
from tests.support.server_process import ServerProcess, StartFailed

from phloem.shared.errors import ConfigError


class AccountDriver(Protocol):
    """One server with one configuration."""

    def send(self, client: int, data: bytes) -> None:
        """One operation, whole; its effect is there when :meth:`received` is called."""
        ...

    def received(self) -> dict[int, bytes]:
        """What each client was sent since the last call."""
        ...

    def reload(self, config: str) -> None:
        """Another configuration; Refused if it is none, and then nothing has changed."""
        ...

    def close(self) -> None: ...


def connect(script: Script, number: int) -> bytes:
    user, echo, headers = script.clients[number]
    fields = {
        "verbose": False,
        "pedantic": False,
        "user": user.name,
        "pass": PASSWORD,
        "echo": echo,
        "headers": headers,
        "no_responders": headers,
    }
    return f"CONNECT {json.dumps(fields)}\r\n".encode()


class Refused(Exception):
    """The server does not take the configuration."""


class ProcessAccounts:
    """A server over TCP: who sent something waits for its PONG, then everybody does."""

    def __init__(
        self, start: Callable[[str, Path], ServerProcess], config: str, script: Script, folder: Path
    ) -> None:
        self._reloads = 0
        try:
            self._server = start(config, folder)
        except StartFailed as failed:
            raise Refused(str(failed)) from failed
        self._sockets = [self._log_in(connect(script, number)) for number in range(len(script.clients))]

    def _log_in(self, line: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._server.port()), TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(line + b"PING\r\n")
        self._until_pong(connection)
        return connection

    def send(self, client: int, data: bytes) -> None:
        self._sockets[client].sendall(data + b"PING\r\n")
        self._early = (client, self._until_pong(self._sockets[client]))

    def received(self) -> dict[int, bytes]:
        for connection in self._sockets:
            connection.sendall(b"PING\r\n")
        found = {number: self._until_pong(connection) for number, connection in enumerate(self._sockets)}
        client, data = self._early
        found[client] = data + found[client]
        return found

    def reload(self, config: str) -> None:
        self._reloads += 1
        self._server.configure(config)
        self._server.signal(signal.SIGHUP)
        said = f"(?s)(?:(?:Reloaded server configuration|Failed to reload server configuration).*?){{{self._reloads}}}"
        self._server.wait_for_log(said)
        if "Failed" in re.findall("(?:Reloaded|Failed to reload) server configuration", self._server.log)[-1]:
            raise Refused(self._server.log)
        self._early = (0, b"")

    def _until_pong(self, connection: socket.socket) -> bytes:
        data = b""
        while not data.endswith(b"PONG\r\n"):
            more = connection.recv(1 << 16)
            assert more, f"closed after {data!r}"
            data += more
        return data.removesuffix(b"PONG\r\n")

    def close(self) -> None:
        for connection in self._sockets:
            connection.close()
        self._server.stop()


class KernelAccounts:
    """phloem's server in memory, from the same configuration file."""

    def __init__(self, config: str, script: Script) -> None:
        try:
            self._server = StillServer(config)
        except ConfigError as refused:
            raise Refused(str(refused)) from refused
        self._clients = [
            self._server.clients.attach(-1, "memory", 1, "STANDARD") for _ in range(len(script.clients))
        ]
        for number in range(len(script.clients)):
            self.send(number, connect(script, number))
        for data in self.received().values():
            assert b"-ERR" not in data, data

    def send(self, client: int, data: bytes) -> None:
        self._clients[client].conn.feed(data)

    def reload(self, config: str) -> None:
        try:
            self._server.become(config)
        except ConfigError as refused:
            raise Refused(str(refused)) from refused

    def received(self) -> dict[int, bytes]:
        return {number: client.conn.output() for number, client in enumerate(self._clients)}

    def close(self) -> None:
        for client in self._clients:
            client.conn.close(1)
        self._server.kernel.close()


class Names:
    """What the server calls the model's reply subjects."""

    def __init__(self) -> None:
        self._real: dict[str, str] = {}
        self._symbol: dict[str, str] = {}

    def real(self, text: str) -> str:
        """The text with the server's names; one that nobody has seen stays as it is."""
        return REPLY.sub(lambda found: self._real.get(found[0], found[0]), text)

    def symbol(self, text: str) -> str:
        return REPLY.sub(lambda found: self._symbol.get(found[0], found[0]), text)

    def told(self, delivery: Delivery) -> Delivery:
        """The delivery with symbols, where they are known; a 503 names a subject in its headers."""
        client, sid, subject, reply, message = delivery
        if message.headers is not None:
            message = message._replace(headers=self.symbol(message.headers.decode()).encode())
        return Delivery(client, sid, self.symbol(subject), self.symbol(reply), message)

    def learn(self, symbol: str, real: str) -> None:
        self._real[symbol], self._symbol[real] = real, symbol

    def knows(self, symbol: str) -> bool:
        return symbol in self._real


def parse(client: int, frame: bytes) -> Delivery | Error:
    """A frame as the model says it, with the server's own names."""
    if frame.startswith(b"-ERR"):
        return Error(client, frame.decode().removeprefix("-ERR '").removesuffix("'\r\n"))
    head, _, rest = frame.partition(b"\r\n")
    verb, subject, sid, *reply, size = head.decode().split(" ")
    headers, payload = None, rest[:-2]
    if verb == "HMSG":
        length = int(reply.pop())
        headers, payload = payload[:length], payload[length:]
        assert int(size) == length + len(payload), frame
    return Delivery(client, sid, subject, "".join(reply), Message(payload, *split_headers(headers)))


def parse_all(received: Mapping[int, bytes]) -> list[Delivery | Error]:
    return [parse(number, frame) for number, data in received.items() for frame in frames(data)]
