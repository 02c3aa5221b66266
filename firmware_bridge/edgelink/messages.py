"""What is inside a frame: the fifteen types, from bytes and to bytes. Pure.

* Numbers are little-endian; ``str`` is a length byte and as many bytes. There are no optional fields in the middle.
* A payload that is longer than its type says is taken and the rest ignored, so that fields can be added at the end;
  one that is shorter, or says what it must not, is ``Malformed``.
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, ClassVar, Final, TypeAlias

import msgspec

from phloem.firmware_bridge.edgelink import limits

VERSION = 1


class Malformed(ValueError):
    """A payload that its type does not allow; the text says what is wrong with it."""


class Caps(IntEnum):
    """Bits of HELLO's ``caps``."""

    COMMANDS = 1
    IMAGES = 2
    RING_SURVIVES = 4
    WALL_TIME = 8


class Status(IntEnum):
    """What a REPLY says of its command."""

    DONE = 0
    UNKNOWN = 1
    FAILED = 2
    BUSY = 3
    REFUSED = 4


class ImageOp(IntEnum):
    """What an IMAGE asks for."""

    BEGIN = 0
    CHUNK = 1
    FINISH = 2
    ABORT = 3


class ImageStatus(IntEnum):
    """What an IMAGE_STATE says."""

    NONE = 0
    RECEIVING = 1
    COMPLETE = 2
    WRONG_HASH = 3
    NO_ROOM = 4
    REFUSED = 5


_BITS_BYTES = limits.WINDOW_MOST // 8

# What a field is on the wire: the code of a number for struct, or one of these.
_BYTES: Final = "bytes"  # a length byte, then bytes that are not text
_TEXT: Final = "text"  # a length byte, then UTF-8
_REST: Final = "rest"  # everything that is left
_MORE: Final = "more"  # a byte at the end, left out if it is 0
_BITS: Final = "bits"  # as many bytes as have a bit, the lowest first; one at least, eight at most


class _Message(msgspec.Struct, frozen=True):
    """The base. ``TYPE`` is the number in the head, ``WIRE`` says what each field is, in order."""

    TYPE: ClassVar[int]
    WIRE: ClassVar[tuple[str, ...]]

    def payload(self) -> bytes:
        """The bytes behind the head.

        Raises:
            ValueError: A field does not fit into its place.
        """
        fields = msgspec.structs.astuple(self)
        return b"".join(_packed(kind, value) for kind, value in zip(self.WIRE, fields, strict=True))

    def check(self) -> None:
        """Raise Malformed if a field says what it must not."""


class Hello(_Message, frozen=True):
    """A board says who it is. Frames from ``fresh`` on were made since it started, by the clock that it has now.
    ``most``: the window with a host that takes more than ``window``; 0: it has no longer one."""

    TYPE: ClassVar[int] = 1
    WIRE: ClassVar[tuple[str, ...]] = (_BYTES, "I", "I", "I", "H", "B", "B", "H", "H", "I", _TEXT, _MORE)
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

    def check(self) -> None:
        """Bounds of the identity, the window and the frame."""
        if not 1 <= len(self.uid) <= limits.UID_BYTES_MAX:
            raise Malformed("uid must have 1 to 16 bytes")
        if not 1 <= self.window <= limits.WINDOW_MAX:
            raise Malformed("window must be 1 to 8")
        if not limits.FRAME_LEAST <= self.max_frame <= limits.FRAME_MOST:
            raise Malformed("max_frame must be 32 to 1024")


class Welcome(_Message, frozen=True):
    """The host takes a board; ``next`` is the first frame that it does not have. ``window``: the frames that it takes
    at once of a board that said ``most``; 0: not more than every host does."""

    TYPE: ClassVar[int] = 2
    WIRE: ClassVar[tuple[str, ...]] = ("I", "H", "I", "H", _MORE)
    session: int
    tag: int
    next: int
    max_frame: int
    window: int = 0

    def check(self) -> None:
        """Bounds of the frame."""
        if not limits.FRAME_LEAST <= self.max_frame <= limits.FRAME_MOST:
            raise Malformed("max_frame must be 32 to 1024")


class Ask(_Message, frozen=True):
    """The host asks who is there."""

    TYPE: ClassVar[int] = 3
    WIRE: ClassVar[tuple[str, ...]] = ("I",)
    session: int


class SchemaGet(_Message, frozen=True):
    """The host asks for one entry of the schema."""

    TYPE: ClassVar[int] = 4
    WIRE: ClassVar[tuple[str, ...]] = ("B",)
    index: int


class Schema(_Message, frozen=True):
    """One entry of a schema. ``entry`` is the payload from ``channel`` on; ``schema.py`` reads it."""

    TYPE: ClassVar[int] = 5
    WIRE: ClassVar[tuple[str, ...]] = ("I", "B", "B", _REST)
    schema: int
    index: int
    count: int
    entry: bytes

    def check(self) -> None:
        """An index is below the count."""
        if self.index >= self.count:
            raise Malformed("index must be below count")


class Data(_Message, frozen=True):
    """A sequenced frame; what its readings are follows from the schema."""

    TYPE: ClassVar[int] = 6
    WIRE: ClassVar[tuple[str, ...]] = ("H", "H", "I", _REST)
    tag: int
    seq: int
    board_ms: int
    readings: bytes


class Ack(_Message, frozen=True):
    """Everything before ``next`` is durable; bit i of ``held``: frame ``next`` + i is here."""

    TYPE: ClassVar[int] = 7
    WIRE: ClassVar[tuple[str, ...]] = ("H", "H", _BITS)
    tag: int
    next: int
    held: int


class Cmd(_Message, frozen=True):
    """A command to a board; ``within_ms`` 0: until the host gives up."""

    TYPE: ClassVar[int] = 8
    WIRE: ClassVar[tuple[str, ...]] = ("I", "H", "H", _TEXT, _REST)
    session: int
    id: int
    within_ms: int
    name: str
    argument: bytes


class Reply(_Message, frozen=True):
    """What became of a command."""

    TYPE: ClassVar[int] = 9
    WIRE: ClassVar[tuple[str, ...]] = ("I", "H", "B", _REST)
    session: int
    id: int
    status: int
    result: bytes


class ClockGet(_Message, frozen=True):
    """The host asks for the board's clock, and with ``known`` 1 tells it the time at ``board_ms``."""

    TYPE: ClassVar[int] = 10
    WIRE: ClassVar[tuple[str, ...]] = ("H", "B", "I", "Q")
    token: int
    known: int
    board_ms: int
    unix_ms: int


class Clock(_Message, frozen=True):
    """The board's clock when the question came and when this answer left."""

    TYPE: ClassVar[int] = 11
    WIRE: ClassVar[tuple[str, ...]] = ("H", "H", "I", "I")
    tag: int
    token: int
    got_ms: int
    sent_ms: int


class Log(_Message, frozen=True):
    """A line for people; ``text`` may be cut in the middle of a character."""

    TYPE: ClassVar[int] = 12
    WIRE: ClassVar[tuple[str, ...]] = ("B", "I", _REST)
    level: int
    board_ms: int
    text: bytes


class Image(_Message, frozen=True):
    """A step of a firmware image; ``rest`` is what ``op`` needs behind ``image``."""

    TYPE: ClassVar[int] = 13
    WIRE: ClassVar[tuple[str, ...]] = ("B", "I", _REST)
    op: int
    image: int
    rest: bytes


class ImageState(_Message, frozen=True):
    """How far a board is with an image."""

    TYPE: ClassVar[int] = 14
    WIRE: ClassVar[tuple[str, ...]] = ("B", "I", "I")
    state: int
    image: int
    offset: int


class Ping(_Message, frozen=True):
    """Is somebody there; ``answer`` 1: here."""

    TYPE: ClassVar[int] = 15
    WIRE: ClassVar[tuple[str, ...]] = ("H", "B")
    token: int
    answer: int


Message: TypeAlias = (
    Hello
    | Welcome
    | Ask
    | SchemaGet
    | Schema
    | Data
    | Ack
    | Cmd
    | Reply
    | ClockGet
    | Clock
    | Log
    | Image
    | ImageState
    | Ping
)

TYPES: Final[dict[int, type[_Message]]] = {kind.TYPE: kind for kind in _Message.__subclasses__()}


_DATA: Final = struct.Struct("<BHHI")
_DATA_HEAD: Final = VERSION << 4 | Data.TYPE
_ACK: Final = struct.Struct("<BHH")


def encode(message: Message) -> bytes:
    """Head and payload of ``message``; ``frame.wrap`` puts a frame around it.

    Raises:
        ValueError: A field does not fit into its place.
    """
    if isinstance(message, Ack):  # as below, of what goes in thousands
        return _ACK.pack(VERSION << 4 | Ack.TYPE, message.tag, message.next) + _packed(_BITS, message.held)
    return bytes([VERSION << 4 | message.TYPE]) + message.payload()


def decode(plain: bytes) -> Message:
    """The message that head and payload, without the checksum, are.

    Raises:
        Malformed: They are none of this version.
    """
    if not plain or plain[0] >> 4 != VERSION:
        raise Malformed("another version")
    kind = TYPES.get(plain[0] & 15)
    if kind is None:
        raise Malformed("no such type")
    values, at = [], 1
    for wire in kind.WIRE:
        value, at = _TAKE.get(wire, _take_number)(plain, at, wire)
        values.append(value)
    message = kind(*values)
    message.check()
    return message  # type: ignore[return-value]


def split_data(plain: bytes) -> tuple[int, int, int, bytes] | None:
    """What ``Data`` has, if this is one: of what comes in thousands no object is made."""
    if plain[0] != _DATA_HEAD or len(plain) < _DATA.size:
        return None
    _, tag, seq, board_ms = _DATA.unpack_from(plain)
    return tag, seq, board_ms, plain[_DATA.size :]


def begin_rest(size: int, sha256: bytes, version: str) -> bytes:
    """What follows ``image`` in an IMAGE with ``op`` BEGIN."""
    return _packed("I", size) + sha256 + _packed(_TEXT, version)


def chunk_rest(offset: int, data: bytes) -> bytes:
    """What follows ``image`` in an IMAGE with ``op`` CHUNK."""
    return _packed("I", offset) + data


def take_text(data: bytes, at: int) -> tuple[str, int]:
    """A ``str`` of ``data`` and where it ends.

    Raises:
        Malformed: It is cut off, or no UTF-8.
    """
    return _take_text(data, at, _TEXT)


def _packed(kind: str, value: Any) -> bytes:
    if kind == _REST:
        return bytes(value)
    if kind in (_BYTES, _TEXT):
        data = value.encode() if kind == _TEXT else value
        if len(data) > 255:
            raise ValueError("more than 255 bytes do not fit behind a length byte")
        return bytes([len(data)]) + bytes(data)
    if kind == _BITS:
        return int(value).to_bytes(max(1, (value.bit_length() + 7) // 8), "little")
    if kind == _MORE:
        return _packed("B", value) if value else b""
    try:
        return bytes(struct.pack("<" + kind, value))
    except struct.error as error:
        raise ValueError(str(error)) from None


def _take_number(data: bytes, at: int, kind: str) -> tuple[int, int]:
    end = at + struct.calcsize("<" + kind)
    if end > len(data):
        raise Malformed("too short")
    return struct.unpack("<" + kind, data[at:end])[0], end


def _take_bytes(data: bytes, at: int, _kind: str) -> tuple[bytes, int]:
    length, at = _take_number(data, at, "B")
    if at + length > len(data):
        raise Malformed("too short")
    return data[at : at + length], at + length


def _take_text(data: bytes, at: int, kind: str) -> tuple[str, int]:
    value, at = _take_bytes(data, at, kind)
    try:
        return value.decode(), at
    except UnicodeDecodeError:
        raise Malformed("text is not UTF-8") from None


def _take_bits(data: bytes, at: int, _kind: str) -> tuple[int, int]:
    end = min(len(data), at + _BITS_BYTES)
    if end == at:
        raise Malformed("too short")
    return int.from_bytes(data[at:end], "little"), end


def _take_more(data: bytes, at: int, _kind: str) -> tuple[int, int]:
    return (data[at], at + 1) if at < len(data) else (0, at)


def _take_rest(data: bytes, at: int, _kind: str) -> tuple[bytes, int]:
    return data[at:], len(data)


_TAKE: Final[dict[str, Callable[[bytes, int, str], tuple[Any, int]]]] = {
    _BYTES: _take_bytes,
    _TEXT: _take_text,
    _REST: _take_rest,
    _BITS: _take_bits,
    _MORE: _take_more,
}
