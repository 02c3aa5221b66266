"""An MQTT 3.1.1 broker inside the test, which does what the test says: it is cut between packets, holds PUBACKs back,
forgets sessions. One client. The packets are those of the OASIS standard, section 3.
"""

import asyncio
import socket
from collections import deque
from typing import NamedTuple

from tests.support.accepting import Accepting, streams

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14


class Published(NamedTuple):
    """What the client has published."""

    mid: int
    topic: str
    payload: bytes
    dup: bool


class MqttBroker(Accepting):
    """Remembers what happened: ``acked`` identifiers, ``subscribed`` and ``left`` filters, ``published`` messages.

    ``welcome``: what CONNACK says, 0 to let in. ``resumes``: it has the session of whoever comes.
    """

    def __init__(self) -> None:
        super().__init__(self._serve)
        self.welcome, self.resumes, self.answers_publish = 0, False, True
        self.acked: list[int] = []
        self.subscribed: list[str] = []
        self.left: list[str] = []
        self.published: list[Published] = []
        self.connects = 0
        self.first: deque[bytes] = deque()  # sent right behind CONNACK
        self._writer: asyncio.StreamWriter | None = None
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    async def until(self, condition: "object") -> None:
        """Wait until ``condition()`` is true; asked when something has come."""
        assert callable(condition)
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(condition)

    def send(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)

    def cut(self) -> None:
        """Reset the connection."""
        assert self._writer is not None
        self._writer.transport.abort()

    async def _serve(self, sock: socket.socket) -> None:
        async with streams(sock) as (reader, writer):
            try:
                while True:
                    kind, flags, body = await _packet(reader)
                    await self._answer(writer, kind, flags, body)
            except asyncio.IncompleteReadError:
                return

    async def _answer(self, writer: asyncio.StreamWriter, kind: int, flags: int, body: bytes) -> None:
        match kind:
            case 1:
                self.connects += 1
                writer.write(_framed(CONNACK, 0, bytes([self.resumes and not self.welcome, self.welcome])))
                if not self.welcome:
                    self._writer = writer
                    while self.first:
                        writer.write(self.first.popleft())
            case 3:
                topic, rest = _text(body)
                qos = flags >> 1 & 3
                mid = int.from_bytes(rest[:2]) if qos else 0
                self.published.append(Published(mid, topic, rest[2:] if qos else rest, bool(flags & 8)))
                if qos and self.answers_publish:
                    writer.write(_framed(PUBACK, 0, rest[:2]))
            case 4:
                self.acked.append(int.from_bytes(body))
            case 8:
                rest, granted = body[2:], bytearray()
                while rest:
                    topic, rest = _text(rest)
                    self.subscribed.append(topic)
                    granted.append(rest[0])
                    rest = rest[1:]
                writer.write(_framed(SUBACK, 0, body[:2] + granted))
            case 10:
                rest = body[2:]
                while rest:
                    topic, rest = _text(rest)
                    self.left.append(topic)
                writer.write(_framed(UNSUBACK, 0, body[:2]))
            case 12:
                writer.write(_framed(PINGRESP, 0, b""))
        async with self._changed:
            self._changed.notify_all()


def publish(topic: str, payload: bytes, mid: int = 0, *, dup: bool = False, retain: bool = False) -> bytes:
    """A PUBLISH, of QoS 1 if there is an identifier."""
    name = topic.encode()
    head = len(name).to_bytes(2) + name + (mid.to_bytes(2) if mid else b"")
    return _framed(PUBLISH, dup << 3 | bool(mid) << 1 | retain, head + payload)


def _framed(kind: int, flags: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, low = divmod(rest, 128)
        length.append(low | (128 if rest else 0))
        if not rest:
            return bytes([kind << 4 | flags]) + bytes(length) + body


async def _packet(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return first >> 4, first & 15, await reader.readexactly(length)


def _text(data: bytes) -> tuple[str, bytes]:
    size = int.from_bytes(data[:2])
    return data[2 : 2 + size].decode(), data[2 + size :]
