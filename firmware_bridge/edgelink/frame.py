"""Frames on the wire, and the text and noise between them. Pure; times are handed in.

``00 COBS(body) 00``, and a body is head, payload and CRC-32. What is between two zeros and no frame is text for
people if all of it is printable, else noise.

* The second byte of a frame is its head, 0x10 to 0x1F, which no text has but for an escape of a terminal: so a line
  of text is known as soon as it ends, without waiting for a zero that a board that only prints never sends.
* What comes out depends on the bytes and not on how they were cut into reads.
"""

import codecs
import zlib
from typing import NamedTuple, TypeAlias

from cobs import cobs  # type: ignore[import-untyped]

from phloem.firmware_bridge.edgelink import limits

_BODY_LEAST = 1 + limits.CRC_BYTES
_HEADS = range(0x10, 0x20)
_RESIDUE = zlib.crc32(zlib.crc32(b"").to_bytes(limits.CRC_BYTES, "little"))
_PRINTS_TOO = "\t\r\n\x1b"  # beside what is printable; 1b begins the colours of a log


class Frame(NamedTuple):
    """A frame whose checksum was right: head and payload."""

    plain: bytes


class Text(NamedTuple):
    """A line for people, without its end."""

    line: str


Heard: TypeAlias = Frame | Text


def wrap(plain: bytes) -> bytes:
    """The frame, zeros included, of a head and its payload."""
    body: bytes = cobs.encode(plain + zlib.crc32(plain).to_bytes(limits.CRC_BYTES, "little"))
    return b"\0" + body + b"\0"


def unwrap(piece: bytes) -> bytes | None:
    """Head and payload of what stood between two zeros; None if it is no frame."""
    try:
        body: bytes = cobs.decode(piece)
    except cobs.DecodeError:
        return None
    # The checksum of all of a body that ends in its own is always this number.
    if len(body) < _BODY_LEAST or zlib.crc32(body) != _RESIDUE:
        return None
    return body[: -limits.CRC_BYTES]


class FrameReader:
    """One direction of one line. ``noise_bytes`` and ``noises`` count what was neither frame nor text, ``frames``
    what was a frame. At most one frame of ``max_frame`` bytes is kept."""

    def __init__(self, max_frame: int = limits.FRAME_MOST) -> None:
        self._max_frame = max_frame
        self._wire_most = max_frame + max_frame // 254 + 1
        self._buffer = bytearray()
        self._skipping = False
        self._due_ns: int | None = None
        self.frames = self.noises = self.noise_bytes = 0

    @property
    def due_ns(self) -> int | None:
        """When ``expire`` wants to be called if no byte comes before."""
        return self._due_ns

    def feed(self, data: bytes, now_ns: int) -> list[Heard]:
        """What became whole with these bytes, in order."""
        heard: list[Heard] = []
        first, *whole = data.split(b"\0")
        self._more(first, heard)
        if whole:
            last = whole.pop()
            self._end(heard)
            for part in whole:  # between two zeros in one read: a frame, most of the time, or nothing
                if part and not self._whole(part, heard):
                    self._more(part, heard)
                    self._end(heard)
            self._more(last, heard)
        self._due_ns = now_ns + limits.TEXT_IDLE_NS if len(self._buffer) > 1 else None
        return heard

    def expire(self, now_ns: int) -> list[Heard]:
        """A line that was not finished, after a silence."""
        heard: list[Heard] = []
        if self._due_ns is not None and now_ns >= self._due_ns:
            self._due_ns = None
            text, used = _text(self._buffer)
            if used == len(self._buffer):
                _lines(text, heard)
                self._buffer.clear()
        return heard

    def reset(self) -> None:
        """Forget what is not whole, for a line that begins anew."""
        self._buffer.clear()
        self._skipping, self._due_ns = False, None

    def _whole(self, piece: bytes, heard: list[Heard]) -> bool:
        """Take what stood between two zeros if it is a frame. Text is none, also what ``_more`` would find of it."""
        if len(piece) < _BODY_LEAST or piece[1] not in _HEADS or len(piece) > self._wire_most:
            return False
        plain = unwrap(piece)
        if plain is None or len(plain) + limits.CRC_BYTES > self._max_frame:
            return False
        self.frames += 1
        heard.append(Frame(plain))
        return True

    def _more(self, part: bytes, heard: list[Heard]) -> None:
        if self._skipping:
            self.noise_bytes += len(part)
            return
        buffer = self._buffer
        searched = len(buffer)
        buffer += part
        while buffer:
            at = -1
            if len(buffer) > 1 and buffer[1] not in _HEADS:
                # The first byte alone does not tell a line end from the code that a frame begins with.
                at = buffer.find(b"\n", 0 if searched < 2 else searched, self._wire_most + 1)
            if at >= 0:
                text, used = _text(buffer[:at])
                if used == at:
                    _lines(text, heard)
                    del buffer[: at + 1]
                    searched = 0
                    continue
            if len(buffer) <= self._wire_most:
                return
            self._overflow(heard)
            searched = 0

    def _overflow(self, heard: list[Heard]) -> None:
        """More than any frame has: a line without an end, or noise up to the next zero."""
        text, used = _text(self._buffer[: self._wire_most + 1])
        if used > self._wire_most - 3:  # a character may be cut in two
            _lines(text, heard)
            del self._buffer[:used]
        else:
            self._skipping = True
            self.noises += 1
            self.noise_bytes += len(self._buffer)
            self._buffer.clear()

    def _end(self, heard: list[Heard]) -> None:
        if not self._buffer and not self._skipping:
            return
        piece = bytes(self._buffer)
        self._buffer.clear()
        if self._skipping or not piece:
            self._skipping = False
            return
        plain = unwrap(piece)
        if plain is not None and len(plain) + limits.CRC_BYTES <= self._max_frame:
            self.frames += 1
            heard.append(Frame(plain))
            return
        text, used = _text(piece)
        if used == len(piece):
            _lines(text, heard)
        else:
            self.noises += 1
            self.noise_bytes += len(piece)


def _text(data: bytes | bytearray) -> tuple[str, int]:
    """``data`` as text, and how many of its bytes that is: 0 if it is no text, less than all if a character is cut."""
    try:
        text, used = codecs.utf_8_decode(bytes(data), "strict", False)
    except UnicodeDecodeError:
        return "", 0
    if text.isprintable() or all(char.isprintable() or char in _PRINTS_TOO for char in text):
        return text, used
    return "", 0


def _lines(text: str, heard: list[Heard]) -> None:
    for line in text.split("\n"):
        if bare := line.strip("\r"):
            heard.append(Text(bare))
