"""A board that speaks EdgeLink, in Python: for tests, and to try a host without hardware. Pure.

What a board in C does in an interrupt and a loop is here ``receive`` and ``expire``, which return the bytes to send.
``reset`` is what a reset does: a ring in RAM is gone and has a new epoch, one in FRAM goes on.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from phloem.firmware_bridge.edgelink import limits, messages
from phloem.firmware_bridge.edgelink.frame import Frame, FrameReader, wrap
from phloem.firmware_bridge.edgelink.messages import (
    Caps,
    Data,
    Image,
    ImageOp,
    ImageState,
    ImageStatus,
    Malformed,
    Message,
    Status,
    encode,
    take_text,
)
from phloem.firmware_bridge.edgelink.repeating import Repeating
from phloem.firmware_bridge.edgelink.schema import Channel, checksum, encode_channel
from phloem.firmware_bridge.edgelink.sequence import WRAP, ahead, distance, tag_of
from phloem.firmware_bridge.edgelink.values import Value, encode_value

Command = Callable[[str, bytes], tuple[Status, bytes]]


def _knows_nothing(_name: str, _argument: bytes) -> tuple[Status, bytes]:
    return Status.UNKNOWN, b""


@dataclass
class Ring:
    """What a board remembers: frames ``first``, ``first`` + 1, ... as clock and readings."""

    epoch: int
    first: int = 0
    frames: deque[tuple[int, bytes]] = field(default_factory=deque)

    @property
    def next(self) -> int:
        """The number of the frame that is made next."""
        return (self.first + len(self.frames)) % WRAP


class SimulatedBoard:
    """One board. ``rate`` is how much faster than true its clock runs."""

    def __init__(
        self,
        uid: bytes,
        channels: Sequence[Channel],
        rng: Random,
        now_ns: int,
        *,
        survives: bool = False,
        capacity: int = 64,
        window: int = limits.WINDOW_MAX,
        max_frame: int = 256,
        firmware: str = "simulated 1",
        command: Command = _knows_nothing,
        rate: float = 0.0,
    ) -> None:
        self.uid, self.firmware, self.survives = uid, firmware, survives
        self.capacity, self.most, self.max_frame, self.rate = capacity, window, max_frame, rate
        self.command = command
        self._channels = {channel.name: channel for channel in channels}
        self._entries = [encode_channel(channel) for channel in channels]
        self._rng, self._boot = rng, rng.getrandbits(16)
        self.ring = Ring(rng.getrandbits(32))
        self.image = b""
        self._start(now_ns, 1)

    def reset(self, now_ns: int, reason: int = 2) -> None:
        """Start again; what was in RAM is gone."""
        if not self.survives:
            self.ring = Ring(self._rng.getrandbits(32))
        self._boot = (self._boot + 1) & 0xFFFF
        self._start(now_ns, reason)

    def _start(self, now_ns: int, reason: int) -> None:
        self.reason, self._started_ns = reason, now_ns
        self.fresh = self.ring.next if self.survives else 0
        self.reader = FrameReader(self.max_frame)
        self.session: int | None = None
        self.settled = False  # welcomed since the start
        self.wall_ns: int | None = None
        self._host_frame = limits.FRAME_UNKNOWN
        self.window = min(self.most, limits.WINDOW_MAX)  # until a host takes more
        self._hello_due_ns = now_ns
        self._hello_said_ns = now_ns - limits.SECOND_NS
        self._sent = 0  # frames of the window that are under way
        self._held: set[int] = set()
        self._again_for: dict[int, int] = {}
        self._repeating = Repeating(limits.DATA_MIN_NS, limits.DATA_MAX_NS, now_ns)
        self._last_command: tuple[int, int] | None = None
        self._last_reply = b""
        self._image_begun: tuple[int, int, bytes, str] | None = None
        self._image_state = ImageState(ImageStatus.NONE, 0, 0)

    @property
    def due_ns(self) -> int:
        """When ``expire`` wants to be called."""
        if self.session is None:
            return self._hello_due_ns
        return self._repeating.due_ns if self._sent else self._hello_due_ns + 3600 * limits.SECOND_NS

    def clock_ms(self, now_ns: int) -> int:
        """The board's clock."""
        return int((now_ns - self._started_ns) * (1 + self.rate)) // limits.MILLISECOND_NS % WRAP

    def push(self, readings: Sequence[tuple[str, Value]], now_ns: int) -> bool:
        """A frame of unscaled values by the channels' names into the ring; False if it is full."""
        if len(self.ring.frames) >= self.capacity:
            return False
        data = b"".join(
            bytes([self._channels[name].number]) + encode_value(self._channels[name].kind, value)
            for name, value in readings
        )
        self.ring.frames.append((self.clock_ms(now_ns), data))
        return True

    def log(self, level: int, text: str, now_ns: int) -> bytes:
        """A LOG frame to send."""
        return wrap(encode(messages.Log(level, self.clock_ms(now_ns), text.encode())))

    def expire(self, now_ns: int) -> bytes:
        """What is due: HELLO, new frames, frames again."""
        if self.session is None:
            return self._say_hello(now_ns) if self._hello_due_ns <= now_ns else b""
        out = b""
        if self._sent and self._repeating.due_ns <= now_ns:
            self._repeating.said(now_ns)
            seqs = [(self.ring.first + at) % WRAP for at in range(self._sent)]
            wanted = [seq for seq in seqs if seq not in self._held] or seqs[:1]
            out += b"".join(self._data(seq) for seq in wanted)
        while self._sent < min(self.window, len(self.ring.frames)):
            if not self._sent:
                self._repeating.again(now_ns)
                self._repeating.said(now_ns)
            out += self._data((self.ring.first + self._sent) % WRAP)
            self._sent += 1
        return out

    def receive(self, data: bytes, now_ns: int) -> bytes:
        """Bytes from the line, and what is answered."""
        out = b""
        for heard in self.reader.feed(data, now_ns):
            if isinstance(heard, Frame):
                try:
                    message = messages.decode(heard.plain)
                except Malformed:
                    continue
                out += self._take(message, now_ns)
        return out + self.expire(now_ns)

    def _take(self, message: Message, now_ns: int) -> bytes:
        match message:
            case messages.Ask():
                return self._say_hello(now_ns)
            case messages.Welcome():
                return self._welcomed(message, now_ns)
            case messages.SchemaGet() if message.index < len(self._entries):
                entry = self._entries[message.index]
                schema = messages.Schema(checksum(self._entries), message.index, len(self._entries), entry)
                return wrap(encode(schema))
            case messages.Ack():
                return self._acknowledged(message, now_ns)
            case messages.Cmd():
                return self._commanded(message, now_ns)
            case messages.ClockGet():
                if message.known:
                    behind_ms = (self.clock_ms(now_ns) - message.board_ms) % WRAP
                    self.wall_ns = (message.unix_ms + behind_ms) * limits.MILLISECOND_NS
                clock_ms = self.clock_ms(now_ns)
                return wrap(encode(messages.Clock(self._tag, message.token, clock_ms, clock_ms)))
            case Image():
                self._imaged(message)
                return wrap(encode(self._image_state))
            case messages.Ping(answer=0):
                return wrap(encode(messages.Ping(message.token, 1)))
        return b""

    @property
    def _tag(self) -> int:
        return tag_of(self.ring.epoch, self._boot)

    def _say_hello(self, now_ns: int) -> bytes:
        self._hello_due_ns, self._hello_said_ns = now_ns + limits.SECOND_NS, now_ns
        caps = Caps.COMMANDS | Caps.IMAGES | Caps.WALL_TIME | (Caps.RING_SURVIVES if self.survives else 0)
        ring = self.ring
        hello = messages.Hello(
            self.uid, ring.epoch, ring.first, self.fresh, self._boot, self.reason,
            min(self.most, limits.WINDOW_MAX), self.max_frame, caps, checksum(self._entries), self.firmware,
            self.most if self.most > limits.WINDOW_MAX else 0,
        )  # fmt: skip
        return wrap(encode(hello))

    def _foreign(self, now_ns: int) -> bytes:
        """The host does not know how it is: say who is here, at most once a second."""
        return self._say_hello(now_ns) if now_ns - self._hello_said_ns >= limits.SECOND_NS else b""

    def _welcomed(self, welcome: messages.Welcome, now_ns: int) -> bytes:
        if welcome.tag != self._tag:
            return self._foreign(now_ns)
        self._host_frame = welcome.max_frame
        self.window = min(self.most, max(welcome.window, limits.WINDOW_MAX))
        if self.session != welcome.session:
            self.session, self._sent = welcome.session, 0
            self._held.clear()
            self._again_for.clear()
        # What was made since the start is nobody's before the first WELCOME, whatever its numbers.
        durable = ahead(self.ring.next if self.settled else self.fresh, self.ring.first)
        moved = ahead(welcome.next, self.ring.first)
        self._free(min(moved, durable), now_ns)
        if moved > durable:  # the ring went back in time; the numbers must not
            self.ring.first = self.fresh = welcome.next
        self.settled = True
        return b""

    def _acknowledged(self, ack: messages.Ack, now_ns: int) -> bytes:
        ring = self.ring
        if ack.tag != self._tag:
            return self._foreign(now_ns)
        freed = distance(ack.next, ring.first)
        if freed < 0:  # the host waits for what is gone: another one had it
            return self._foreign(now_ns)
        if self.session is None or not 0 <= freed <= self._sent:
            return b""
        self._free(freed, now_ns)
        bits = [bit for bit in range(self._sent) if ack.held >> bit & 1]
        self._held |= {(ring.first + bit) % WRAP for bit in bits}
        out, highest = b"", max(bits, default=0)
        last = (ring.first + highest) % WRAP
        for bit in range(highest):
            seq = (ring.first + bit) % WRAP
            if seq not in self._held and ahead(last, self._again_for.get(seq, seq)) > 0:
                self._again_for[seq] = last
                out += self._data(seq)
        return out

    def _free(self, count: int, now_ns: int) -> None:
        count = min(count, len(self.ring.frames))
        if count <= 0:
            return
        for _ in range(count):
            self.ring.frames.popleft()
            self._held.discard(self.ring.first)
            self._again_for.pop(self.ring.first, None)
            self.ring.first = (self.ring.first + 1) % WRAP
        self._sent = max(0, self._sent - count)
        self._repeating.again(now_ns)
        self._repeating.said(now_ns)

    def _data(self, seq: int) -> bytes:
        board_ms, readings = self.ring.frames[ahead(seq, self.ring.first)]
        return wrap(encode(Data(self._tag, seq & 0xFFFF, board_ms, readings)))

    def _commanded(self, cmd: messages.Cmd, now_ns: int) -> bytes:
        if cmd.session != self.session:
            return self._foreign(now_ns)
        if self._last_command != (cmd.session, cmd.id):
            self._last_command = (cmd.session, cmd.id)
            status, result = self.command(cmd.name, cmd.argument)
            self._last_reply = wrap(encode(messages.Reply(cmd.session, cmd.id, status, result)))
        return self._last_reply

    def _imaged(self, image: Image) -> None:
        state = self._image_state
        match image.op:
            case ImageOp.BEGIN:
                size, sha = int.from_bytes(image.rest[:4], "little"), image.rest[4:36]
                if self._image_begun is None or self._image_begun[0] != image.image:
                    version, _ = take_text(image.rest, 36)
                    self._image_begun, self.image = (image.image, size, sha, version), b""
                state = ImageState(ImageStatus.RECEIVING, image.image, len(self.image))
            case ImageOp.CHUNK if self._image_begun and self._image_begun[0] == image.image:
                if int.from_bytes(image.rest[:4], "little") == len(self.image):
                    self.image += image.rest[4:]
                state = ImageState(ImageStatus.RECEIVING, image.image, len(self.image))
            case ImageOp.FINISH if self._image_begun and self._image_begun[0] == image.image:
                _, size, sha, _version = self._image_begun
                right = len(self.image) == size and hashlib.sha256(self.image).digest() == sha
                status = ImageStatus.COMPLETE if right else ImageStatus.WRONG_HASH
                state = ImageState(status, image.image, len(self.image))
            case ImageOp.ABORT if self._image_begun and self._image_begun[0] == image.image:
                self._image_begun, self.image = None, b""
                state = ImageState(ImageStatus.NONE, image.image, 0)
        self._image_state = state

    def boot_image(self, now_ns: int) -> None:
        """Restart into an image that is complete."""
        if self._image_state.state == ImageStatus.COMPLETE and self._image_begun is not None:
            self.firmware = self._image_begun[3]
        self.reset(now_ns, 5)
