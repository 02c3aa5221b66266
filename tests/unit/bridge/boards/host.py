"""A host by docs/edgelink.md alone, small and slow: it shares no code with phloem's, so both are held against the page.

``durable`` is the edge's stream: it outlives crashes of the host. What came becomes durable in ``sync``, in order.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from zlib import crc32

from cobs import cobs

HELLO, WELCOME, ASK, SCHEMA_GET, SCHEMA, DATA, ACK, CMD = range(1, 9)
REPLY, CLOCK_GET, CLOCK, LOG, IMAGE, IMAGE_STATE, PING = range(9, 16)


def frame(kind: int, payload: bytes) -> bytes:
    body = bytes((0x10 | kind,)) + payload
    return b"\0" + cobs.encode(body + struct.pack("<I", crc32(body))) + b"\0"


def read(pieces: bytes) -> Iterator[tuple[int, bytes]]:
    """The good frames between zeros: type and payload."""
    for piece in pieces.split(b"\0"):
        try:
            body = cobs.decode(piece)
        except cobs.DecodeError:
            continue
        if len(body) >= 5 and crc32(body[:-4]) == struct.unpack("<I", body[-4:])[0]:
            assert body[0] >> 4 == 1
            yield body[0] & 15, body[1:-4]


@dataclass
class Hello:
    uid: bytes
    epoch: int
    first: int
    fresh: int
    boot: int
    reason: int
    window: int
    max_frame: int
    caps: int
    schema: int
    firmware: str
    most: int = 0

    @classmethod
    def of(cls, payload: bytes) -> "Hello":
        uid, rest = payload[1 : 1 + payload[0]], payload[1 + payload[0] :]
        numbers = struct.unpack_from("<IIIHBBHHI", rest)
        end = 25 + rest[24]
        assert end <= len(rest) <= end + 1
        return cls(uid, *numbers, rest[25:end].decode(), *rest[end:])

    @property
    def tag(self) -> int:
        return (self.epoch ^ self.epoch >> 16) & 0xFFFF ^ self.boot


@dataclass
class Host:
    session: int
    max_frame: int = 64
    durable: dict[int, list[bytes]] = field(default_factory=dict)  # by epoch: board_ms and readings
    first: dict[int, int] = field(default_factory=dict)  # by epoch: the number of the first of them
    gaps: list[tuple[int, int, int]] = field(default_factory=list)
    said: list[tuple[int, bytes]] = field(default_factory=list)  # everything that is no DATA and no HELLO
    hello: Hello | None = None
    _held: dict[int, bytes] = field(default_factory=dict)
    _rest: bytes = b""
    _asked_ms: int | None = None

    def crash(self, session: int) -> None:
        """What was not durable is forgotten."""
        self.session, self.hello, self._held, self._rest, self._asked_ms = session, None, {}, b"", None

    def next_of(self, epoch: int) -> int:
        return self.first[epoch] + len(self.durable[epoch])

    def tick(self, now_ms: int, data: bytes) -> bytes:
        whole, zero, rest = (self._rest + data).rpartition(b"\0")
        self._rest = rest
        out = b"".join(self._take(kind, payload, now_ms) for kind, payload in read(whole + zero))
        if self.hello is None and (self._asked_ms is None or now_ms - self._asked_ms >= 1000):
            out += self._ask(now_ms)
        return out

    def sync(self) -> bytes:
        """What is held in order is durable now."""
        if self.hello is None:
            return b""
        epoch, moved = self.hello.epoch, False
        while (payload := self._held.pop(self.next_of(epoch), None)) is not None:
            self.durable[epoch].append(payload)
            moved = True
        return self.ack() if moved else b""

    def ack(self) -> bytes:
        assert self.hello
        following = self.next_of(self.hello.epoch)
        held = sum(1 << seq - following for seq in self._held if 0 <= seq - following < 8)
        return frame(ACK, struct.pack("<HHB", self.hello.tag, following & 0xFFFF, held))

    def _ask(self, now_ms: int) -> bytes:
        self._asked_ms = now_ms
        return frame(ASK, struct.pack("<I", self.session))

    def _take(self, kind: int, payload: bytes, now_ms: int) -> bytes:
        if kind == HELLO:
            return self._welcome(Hello.of(payload))
        if kind == DATA:
            return self._data(payload, now_ms)
        self.said.append((kind, payload))
        return b""

    def _welcome(self, hello: Hello) -> bytes:
        if self.hello is None or (hello.epoch, hello.boot) != (self.hello.epoch, self.hello.boot):
            self._held = {}
        self.hello = hello
        self.first.setdefault(hello.epoch, hello.first)
        frames = self.durable.setdefault(hello.epoch, [])
        following = self.next_of(hello.epoch)
        if following < hello.first:
            self.gaps.append((hello.epoch, following, hello.first))
            frames += [b""] * (hello.first - following)
            following = hello.first
        return frame(WELCOME, struct.pack("<IHIH", self.session, hello.tag, following, self.max_frame))

    def _data(self, payload: bytes, now_ms: int) -> bytes:
        tag, seq = struct.unpack_from("<HH", payload)
        if self.hello is None or tag != self.hello.tag:
            asked = self._asked_ms is not None and now_ms - self._asked_ms < 1000
            return b"" if asked else self._ask(now_ms)
        following = self.next_of(self.hello.epoch)
        ahead = (seq - following + 0x8000 & 0xFFFF) - 0x8000
        assert -9 <= ahead < 8, "from nowhere"
        late = ahead != 0 or following in self._held
        if ahead >= 0:
            self._held[following + ahead] = payload[4:]
        return self.ack() if late else b""
