"""EdgeLink/1 for boards that run MicroPython: what they measure reaches the edge's stream once and in order.

The protocol is docs/edgelink.md of phloem. Copy this file onto the board; it needs struct, time and os, and takes
binascii.crc32 and hashlib where they are. Readings wait in RAM until the edge has them on disk::

    uart = UART(1, 115200)
    link = edgelink.Board(uart.write, unique_id(), "greenhouse 1.0", ((0, edgelink.I16, -1, "temperature", "Cel"),))
    while True:
        link.receive(uart.read() or b"")
        link.poll()
        if time_to_measure():
            link.put({0: 215})  # False: the ring is full

Nothing is trusted that comes in: each length is looked at first. One thread, no interrupts.
"""

import struct
import time
from os import urandom

try:
    from binascii import crc32 as _crc32
except ImportError:

    def _crc32(data, crc=0):  # type: ignore[no-untyped-def,misc]
        crc ^= 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF


try:
    from collections.abc import Callable
    from typing import Any
except ImportError:  # MicroPython, which reads over annotations
    pass

_STRUCT_ERROR = getattr(
    struct, "error", ValueError
)  # MicroPython has none of its own, and cuts what is too large
BOOL, U8, I8, U16, I16, U32, I32, F32, U64, I64, F64, BYTES, TEXT = range(13)
DONE, NO_SUCH_COMMAND, FAILED, STILL_AT_IT, ARGUMENT_REFUSED = range(5)
CAP_COMMANDS, CAP_IMAGES, CAP_KEPT, CAP_WALL_TIME = 1, 2, 4, 8
FRAME_LEAST, FRAME_MIN, FRAME_MAX, WINDOW_MAX = 32, 64, 1024, 8

_HELLO, _WELCOME, _ASK, _SCHEMA_GET, _SCHEMA, _DATA, _ACK, _CMD = range(1, 9)
_REPLY, _CLOCK_GET, _CLOCK, _LOG, _IMAGE, _IMAGE_STATE, _PING = range(9, 16)
_FORMATS = "BBbHhIifQqd"  # of the kinds up to F64, for struct
_DATA_FRAME = 9  # a DATA body without board_ms and readings: head, tag, seq, crc32
_HELLO_EVERY_MS = 1000
_RETRY_MS_MAX = 5000


def stuff(data: bytes) -> bytes:
    """COBS: the bytes without a zero."""
    out = bytearray()
    start = 0
    while True:
        end = data.find(b"\0", start, start + 254)
        if end < 0:
            end = min(len(data), start + 254)
            out.append(end - start + 1)
            out.extend(data[start:end])
            if end == len(data):
                return bytes(out)
            start = end
        else:
            out.append(end - start + 1)
            out.extend(data[start:end])
            start = end + 1


def unstuff(data: bytes) -> bytes | None:
    """What COBS made of it, None if that cannot be."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        if code == 0 or at + code > len(data):
            return None
        out.extend(data[at + 1 : at + code])
        at += code
        if code != 255 and at < len(data):
            out.append(0)
    return bytes(out)


def _str(text: bytes) -> bytes:
    return bytes((len(text),)) + text


class Counts:
    """What came in and what became of it."""

    def __init__(self) -> None:
        self.frames = self.noise = self.foreign = self.repeated = self.refused = self.renewed = 0


class Board:
    """One board on one line.

    ``write(bytes)`` says how many it took (None: none). ``channels`` are tuples of channel, kind, exponent, name, unit.
    ``command(name, argument)`` returns a status and result bytes; STILL_AT_IT: ``finish`` comes later. ``now_ms`` is a
    monotonic clock modulo 2^32, else ``time.ticks_ms`` is taken, which ``poll`` has to look at every few days.
    ``images`` is an ``edgelink_images.Images``. Raises ValueError for what the protocol cannot carry.
    """

    def __init__(
        self,
        write: "Callable[[bytes], int | None]",
        uid: bytes,
        firmware: str,
        channels: "tuple[tuple[int, int, int, str, str], ...]",
        *,
        now_ms: "Callable[[], int] | None" = None,
        ring_bytes: int = 4096,
        max_frame: int = 256,
        window: int = 4,
        retry_ms: int = 200,
        boot: int | None = None,
        reason: int = 0,
        epoch: int | None = None,
        command: "Callable[[str, bytes], tuple[int, bytes]] | None" = None,
        images: "Any" = None,
    ) -> None:
        if not (
            FRAME_MIN <= max_frame <= FRAME_MAX and 1 <= window <= WINDOW_MAX and ring_bytes >= FRAME_MIN
        ):
            raise ValueError("max_frame 64 to 1024, window 1 to 8, ring_bytes from 64 on")
        if not 1 <= len(uid) <= 16 or len(uid) + len(firmware.encode()) > FRAME_MIN - 31:
            raise ValueError("a uid has 1 to 16 bytes, with the firmware 33")
        if not all([0 <= c[0] <= 255 and 0 <= c[1] <= TEXT and -128 <= c[2] <= 127 for c in channels]):
            raise ValueError("a channel is 0 to 255, its kind 0 to 12, its exponent -128 to 127")
        self.counts = Counts()
        self.welcomed = False
        self._write, self._uid, self._firmware, self._clock = write, bytes(uid), firmware.encode(), now_ms
        self._ring_bytes, self._max_frame, self._window, self._first_retry = (
            ring_bytes,
            max_frame,
            window,
            retry_ms,
        )
        self._reason, self._command, self._images = reason, command, images
        self._kinds = {channel[0]: channel[1] for channel in channels}
        self._entries = [
            struct.pack("<BBb", *channel[:3]) + _str(channel[3].encode()) + _str(channel[4].encode())
            for channel in channels
        ]
        if len(self._entries) > 255 or any([len(e) > FRAME_MIN - 11 for e in self._entries]):
            raise ValueError("at most 255 channels; name and unit have 48 bytes together")
        self._schema = _crc32(b"".join(self._entries))
        self._ticks = self._ms = 0
        self._boot = struct.unpack("<H", urandom(2))[0] if boot is None else boot
        self._host_frame = FRAME_MIN
        self._session = self._hello_ms = self._heard_ms = 0
        self._in, self._in_bad, self._out = bytearray(), False, b""
        self._out_place = -1  # in the window, of the DATA frame on its way out
        self._due: dict[int, bytes | None] = {}
        self._wall: tuple[int, int] | None = None
        self._done: tuple[bytes, int, bytes] | None = None  # last command: session and id, status, result
        self._heard_ms = self._now()
        self._begin(epoch)

    # What the program calls

    def put(self, values: "dict[int, Any]") -> bool:
        """Keep one frame of readings by channel. False, and nothing kept, if the ring is full or one does not fit."""
        try:
            payload = struct.pack("<I", self._now()) + b"".join(self._value(c, v) for c, v in values.items())
        except (KeyError, ValueError, OverflowError, TypeError, AttributeError, _STRUCT_ERROR):
            payload = b""
        room = min(self._max_frame, self._host_frame) - _DATA_FRAME
        if not 4 < len(payload) <= room or self._used + len(payload) > self._ring_bytes:
            self.counts.refused += 1
            return False
        self._ring.append(payload)
        self._used += len(payload)
        return True

    def receive(self, data: bytes) -> None:
        """Bytes from the line, in any pieces."""
        start = 0
        while True:
            end = data.find(b"\0", start)
            piece = data[start:] if end < 0 else data[start:end]
            room = self._max_frame + self._max_frame // 254 + 1 - len(self._in)
            self._in_bad = self._in_bad or len(piece) > room
            if not self._in_bad:
                self._in.extend(piece)
            if end < 0:
                return
            if self._in_bad or self._in:
                self._take_piece(bytes(self._in))
            self._in, self._in_bad = bytearray(), False
            start = end + 1

    def poll(self) -> bool:
        """Send what is due. True if the line could not take all of a frame: call it again soon."""
        if not self.welcomed and self._since(self._hello_ms) >= _HELLO_EVERY_MS:
            self._due[_HELLO] = None
        while self._flush():
            if self._images and self._images.work(self._due):
                return True
            if not self._say_due() and not self._say_data():
                return False
        return True

    def log(self, level: int, text: str) -> bool:
        """A line for the host's log, cut at what fits. False, and not said, if a frame is still on its way out."""
        if not self._flush():
            return False
        said = text.encode()
        room = min(self._max_frame, self._host_frame) - 10
        if len(said) > room:
            while said[room] & 0xC0 == 0x80:
                room -= 1
            said = said[:room]
        self._send(_LOG, struct.pack("<BI", level, self._now()) + said)
        self._flush()
        return True

    def finish(self, status: int, result: bytes = b"") -> None:
        """The end of a command that was STILL_AT_IT."""
        if self._done and self._done[1] == STILL_AT_IT:
            self._done = (self._done[0], status, result[: self._result_room()])
            self._due[_REPLY] = self._done[0]

    def idle(self) -> bool:
        """Whether no frame is half written: the moment to print text on the same line."""
        return not self._out

    def waiting(self) -> int:
        """Frames of readings that the edge's stream does not have yet."""
        return len(self._ring)

    def silence_ms(self) -> int:
        """How long the host was not heard."""
        return self._since(self._heard_ms)

    def unix_ms(self) -> int | None:
        """The edge's time as the host told it."""
        if self._wall is None:
            return None
        since = self._since(self._wall[0])
        return self._wall[1] + (since if since < 1 << 31 else since - (1 << 32))

    # Time and the ring

    def _now(self) -> int:
        if self._clock is not None:
            return self._clock() & 0xFFFFFFFF
        module: Any = time
        ticks = module.ticks_ms()  # wraps at 2^30 on most boards
        self._ms = (self._ms + module.ticks_diff(ticks, self._ticks)) & 0xFFFFFFFF
        self._ticks = ticks
        return self._ms

    def _since(self, then: int) -> int:
        return (self._now() - then) & 0xFFFFFFFF

    def _begin(self, epoch: int | None = None) -> None:
        """An empty ring of a new epoch."""
        self._epoch = struct.unpack("<I", urandom(4))[0] if epoch is None else epoch
        self._tag = ((self._epoch ^ (self._epoch >> 16)) & 0xFFFF) ^ self._boot
        self._ring: list[bytes] = []
        self._used = self._first = 0
        self.welcomed = self._settled = False
        self._due[_HELLO] = None
        self._forget_window()

    def _forget_window(self) -> None:
        self._sent: list[int | None] = [None] * self._window  # when each frame of the window was sent
        self._held = 0
        self._retry = self._first_retry
        self._out_place = -1

    def _free(self, frames: int) -> None:
        self._used -= sum([len(payload) for payload in self._ring[:frames]])
        self._ring = self._ring[frames:]
        self._first = (self._first + frames) & 0xFFFFFFFF
        moved = min(frames, self._window)
        self._sent = self._sent[moved:] + [None] * moved
        self._held >>= moved
        self._out_place = max(-1, self._out_place - moved)

    def _value(self, channel: int, value: "Any") -> bytes:
        kind = self._kinds[channel]
        if kind >= BYTES:
            data = value.encode() if kind == TEXT else bytes(value)
            if len(data) > 255:
                raise ValueError
            return struct.pack("<BB", channel, len(data)) + data
        if kind in (F32, F64):
            return struct.pack("<B" + _FORMATS[kind], channel, value)
        low, bits = 0, 8 * struct.calcsize("<" + _FORMATS[kind])
        if kind in (I8, I16, I32, I64):
            low, bits = -(1 << (bits - 1)), bits - 1
        if not low <= value <= (1 if kind == BOOL else (1 << bits) - 1):
            raise ValueError
        return struct.pack("<B" + _FORMATS[kind], channel, value)

    # Frames out

    def _send(self, kind: int, payload: bytes) -> None:
        body = bytes((0x10 | kind,)) + payload
        self._out = b"\0" + stuff(body + struct.pack("<I", _crc32(body))) + b"\0"

    def _flush(self) -> bool:
        while self._out:
            taken = self._write(self._out)
            if not taken:
                return False
            self._out = self._out[taken:]
        if self._out_place >= 0:
            self._sent[self._out_place] = self._now()
            self._out_place = -1
        return True

    def _say_due(self) -> bool:
        for kind in (_CLOCK, _REPLY, _IMAGE_STATE, _PING, _HELLO, _SCHEMA):
            if kind in self._due:
                known = self._due.pop(kind)
                self._send(kind, self._answer(kind, known))
                return True
        return False

    def _answer(self, kind: int, known: bytes | None) -> bytes:
        if kind == _HELLO:
            self._hello_ms = self._now()
            caps = (
                CAP_WALL_TIME | (CAP_COMMANDS if self._command else 0) | (CAP_IMAGES if self._images else 0)
            )
            ring = struct.pack("<III", self._epoch, self._first, 0)
            life = struct.pack(
                "<HBBHHI", self._boot, self._reason, self._window, self._max_frame, caps, self._schema
            )
            return _str(self._uid) + ring + life + _str(self._firmware)
        if kind == _IMAGE_STATE or known is None:
            return bytes(self._images.standing())
        if kind == _SCHEMA:
            return struct.pack("<IBB", self._schema, known[0], len(self._entries)) + self._entries[known[0]]
        if kind == _CLOCK:
            return struct.pack("<H", self._tag) + known + struct.pack("<I", self._now())
        if kind == _REPLY:
            _, status, result = (
                self._done if self._done and self._done[0] == known else (None, STILL_AT_IT, b"")
            )
            return known + bytes((status,)) + result
        return known + b"\1"

    def _expire(self, frames: int) -> None:
        # If all are held the oldest is sent again: the ACK that it became durable may have been lost
        now, retry = self._now(), self._retry
        all_held = all([sent is None or self._held >> place & 1 for place, sent in enumerate(self._sent)])
        for place in range(frames):
            sent = self._sent[place]
            wanted = not self._held >> place & 1 or (place == 0 and all_held)
            if wanted and sent is not None and (now - sent) & 0xFFFFFFFF >= retry:
                self._sent[place] = None
                self.counts.repeated += 1
                self._retry = min(_RETRY_MS_MAX, 2 * retry)

    def _say_data(self) -> bool:
        frames = min(self._window, len(self._ring))
        if not self.welcomed or not frames:
            return False
        self._expire(frames)
        for place in range(frames):
            if self._sent[place] is None:
                payload = self._ring[place]
                if len(payload) + _DATA_FRAME > self._host_frame:
                    return False  # made for a host that takes more
                self._sent[place] = self._now()
                self._send(_DATA, struct.pack("<HH", self._tag, self._first + place & 0xFFFF) + payload)
                self._out_place = place
                return True
        return False

    # Frames in

    def _take_piece(self, piece: bytes) -> None:
        body = None if self._in_bad else unstuff(piece)
        sound = body is not None and 5 <= len(body) <= self._max_frame
        if not body or not sound or struct.unpack("<I", body[-4:])[0] != _crc32(body[:-4]):
            self.counts.noise += 1
        else:
            self.counts.frames += 1
            self._heard_ms = self._now()
            if body[0] >> 4 != 1 or not self._take(body[0] & 15, body[1:-4]):
                self.counts.foreign += 1

    def _take(self, kind: int, p: bytes) -> bool:
        """What a payload asks for. False if it is too short, or not for this board."""
        if kind == _ACK:
            return len(p) >= 5 and self._take_ack(*struct.unpack("<HHB", p[:5]))
        if kind == _WELCOME:
            return len(p) >= 12 and self._take_welcome(*struct.unpack("<IHIH", p[:12]))
        if kind == _ASK and len(p) >= 4:
            self.welcomed = self.welcomed and struct.unpack("<I", p[:4])[0] == self._session
            self._due[_HELLO] = None
        elif kind == _SCHEMA_GET and p and p[0] < len(self._entries):
            self._due[_SCHEMA] = p[:1]
        elif kind == _CLOCK_GET and len(p) >= 15:
            self._due[_CLOCK] = p[:2] + struct.pack("<I", self._now())
            if p[2] == 1:
                self._wall = struct.unpack("<IQ", p[3:15])
        elif kind == _CMD:
            return len(p) >= 9 and len(p) >= 9 + p[8] and self._take_command(p)
        elif kind == _IMAGE and self._images and self.welcomed and len(p) >= 5:
            self._due[_IMAGE_STATE] = None
            return bool(self._images.take(p))
        elif kind == _PING and len(p) >= 3:
            if p[2] == 0:
                self._due[_PING] = p[:2]
        else:
            return False
        return True

    def _doubt(self) -> bool:
        """The host speaks to another board, or to this one before a reset."""
        if self._since(self._hello_ms) >= _HELLO_EVERY_MS:
            self._due[_HELLO] = None
        return False

    def _take_welcome(self, session: int, tag: int, following: int, frame: int) -> bool:
        if not FRAME_LEAST <= frame <= FRAME_MAX:
            return False
        if tag != self._tag:
            return self._doubt()
        moved = (following - self._first) & 0xFFFFFFFF
        made = len(self._ring) if self._settled else 0  # nothing is durable before the first WELCOME
        if made < moved < 1 << 31:
            self.counts.renewed += 1  # the host knows numbers that this ring has not given yet
            self._free(made)
            self._first = following
        elif moved <= made:
            self._free(moved)
        self._settled = True
        self._host_frame = max(FRAME_MIN, frame)
        self._session = session
        self.welcomed = True
        self._due.pop(_HELLO, None)
        self._forget_window()
        return True

    def _take_ack(self, tag: int, following: int, held: int) -> bool:
        if tag != self._tag:
            return self._doubt()
        moved = (following - self._first) & 0xFFFF
        if moved >= 0x8000 and self.welcomed:
            return self._doubt()  # the host waits for what is not here any more
        if moved > min(self._window, len(self._ring)) or not self.welcomed:
            return False
        if moved:
            self._free(moved)
            self._retry = self._first_retry
        held &= (1 << min(self._window, len(self._ring))) - 1
        fresh = held & ~self._held
        self._held = held
        for place in range(self._window):
            if fresh >> place <= 1:
                break
            if not held >> place & 1 and self._sent[place] is not None and place != self._out_place:
                self._sent[place] = None
                self.counts.repeated += 1
        return True

    def _result_room(self) -> int:
        return min(self._max_frame, self._host_frame) - 12

    def _take_command(self, p: bytes) -> bool:
        # Of a host that was not welcomed it is an old one
        if not self._command or not self.welcomed or struct.unpack("<I", p[:4])[0] != self._session:
            return False
        asked = p[:6]
        if not self._done or (self._done[0] != asked and self._done[1] != STILL_AT_IT):
            try:
                name = p[9 : 9 + p[8]].decode()
            except UnicodeError:
                return False
            self._done = (asked, STILL_AT_IT, b"")
            status, result = self._command(name, p[9 + p[8] :])
            if status != STILL_AT_IT:
                self._done = (asked, status, result[: self._result_room()])
        self._due[_REPLY] = asked
        return True
