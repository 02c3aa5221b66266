"""What the two ends of store-and-forward say to each other: one message of NATS each, on two subjects for each device.

``$PHL.UP.<device>`` goes to the hub, ``$PHL.DOWN.<device>`` to the device, so that permissions tell devices apart. The
first byte is the kind; behind it is MessagePack, but for a parcel, whose messages are columns that compiled code writes
and reads (``engine/parcel.pyx``).

A *session* begins with HELLO and ends with the link, or with another HELLO. In a session whatever is to be counted
exactly once has a number: parcels, gaps and dictionaries count up from 1, and the hub takes them in this order only.
ACK names the last of them that is on the hub's disk with everything before it.
"""

import hashlib
from typing import NamedTuple

import msgspec

from phloem.shared import limits
from phloem.shared.errors import PhloemError

VERSION = (
    2  # each end says its own; 2: headers of parcels may be columns, and the hub has said that it knows that
)
HELLO, WELCOME, PARCEL, GAP, DICTIONARY, STATUS, CLOCKS = b"H", b"W", b"P", b"G", b"D", b"S", b"C"
ACK, AGAIN, PAUSE = b"A", b"N", b"R"

# flags of a parcel
SOON = 1  # the sender waits for the acknowledgement
HISTORICAL = 2  # stored before there was a way to send it at once
ZSTD = 4  # the columns are compressed
WITH_DICTIONARY = 8  # with the dictionary of the stream
WITH_HISTORY = 16  # with what came before on the stream (``history``)

HISTORY_BYTES = 4096
NUMBER_MAX = (1 << 64) - 1


def history(before: bytes, columns: bytes, flags: int) -> bytes:
    """The end of what a stream's parcels had in this session: both ends keep it, and small parcels are compressed with
    it, so that a reading costs what is new in it. A parcel that does without begins it anew."""
    if flags & WITH_HISTORY and len(columns) < HISTORY_BYTES:
        return (before + columns)[-HISTORY_BYTES:]
    return columns[-HISTORY_BYTES:]


class Malformed(PhloemError):
    """What came is not a message of this protocol."""


class _Wire(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=False):
    """An array on the wire: a later version may append fields."""


class Epoch(_Wire, array_like=True, frozen=True):
    """A time in which a store gave out sequences without a break: from one opening to the next.

    ``ident`` is random, so a store that was copied, or set back to a backup, has other epochs from there on. Times of
    its messages are the clock's of then: ``wall - monotonic`` was ``ahead_ns`` in this boot; what it should have been
    is ``true_ahead_ns``, known to within ``error_ns`` (-1: not known).
    """

    ident: int
    first_seq: int
    boot: int = 0
    ahead_ns: int = 0
    true_ahead_ns: int = 0
    error_ns: int = -1


class Offer(_Wire, array_like=True, frozen=True):
    """One stream of the device: where it stands. ``number`` names it in this session."""

    number: int
    name: str  # of the entry in ``forward``; subjects and stream of the hub come from it
    to: str  # stream of the hub; empty: as the hub has it
    store: int  # identity of the stream's store, random and never given twice
    epochs: tuple[Epoch, ...]  # by first_seq; the last is the current one
    first_seq: int  # of what can still be sent
    last_seq: int
    confirmed: int  # what the hub has acknowledged to this store, as the edge remembers
    dictionary: int = 0  # hash of the one that small parcels use; 0: none
    began: int = 1  # the store's first sequence that was ever to be sent; epochs of long ago may be forgotten


class Hello(_Wire, array_like=True, frozen=True):
    """The device is there."""

    version: int
    device: str
    session: int
    boot: int
    wall_ns: int
    streams: tuple[Offer, ...]


class Place(_Wire, array_like=True, frozen=True):
    """Where a stream goes on. ``refused`` says why it does not; ``noticed`` what the hub found out about it."""

    number: int
    resume: int = 0
    refused: str = ""
    noticed: tuple[str, ...] = ()
    has_dictionary: bool = False


class Welcome(_Wire, array_like=True, frozen=True):
    """The hub's answer to HELLO, with its own time."""

    version: int
    session: int
    wall_ns: int
    hub: str
    places: tuple[Place, ...]


class Gap(_Wire, array_like=True, frozen=True):
    """Sequences that will never come, in their turn. ``count``: how many messages there were (-1: unknown)."""

    session: int
    order: int
    number: int
    first: int
    last: int
    count: int
    reason: str


class Dictionary(_Wire, array_like=True, frozen=True):
    """What small parcels of a stream are compressed with from here on. It has a number in the session, as parcels have:
    with another dictionary a parcel may expand to something that nobody sent."""

    session: int
    order: int
    number: int
    ident: int
    data: bytes


class Status(_Wire, array_like=True, frozen=True):
    """What the ledger shows of a device and is no message: JSON-like, by name."""

    session: int
    figures: dict[str, object]


class Clocks(_Wire, array_like=True, frozen=True):
    """What has become known about the clock of a stream's epochs."""

    session: int
    number: int
    epochs: tuple[Epoch, ...]


class Pause(_Wire, array_like=True, frozen=True):
    """The hub cannot take this stream now (its disk is full, say); everything from ``order`` on was dropped."""

    session: int
    number: int
    order: int
    why: str
    retry_s: int


class Ack(_Wire, array_like=True, frozen=True):
    """On the hub's disk: everything up to ``order``, but for what ``paused`` says was dropped of some streams. It is
    said here again because a Pause may get lost, and what was dropped would count as stored."""

    session: int
    order: int
    wall_ns: int
    paused: tuple[Pause, ...] = ()


class Again(_Wire, array_like=True, frozen=True):
    """The hub does not know the session, or something is missing: say HELLO again."""

    session: int
    why: str


class Parcel(NamedTuple):
    """Messages of one stream, in one epoch. ``columns`` are as on the wire, compressed where the flags say so."""

    flags: int
    session: int
    order: int
    number: int
    epoch: int  # which of the offer's epochs: 0 is the first
    from_seq: int
    next_seq: int  # everything from ``from_seq`` to before it is in here, or there never was anything
    columns: bytes


Message = Hello | Welcome | Gap | Dictionary | Status | Clocks | Ack | Again | Pause

_KINDS: dict[bytes, type[Message]] = {
    HELLO: Hello,
    WELCOME: Welcome,
    GAP: Gap,
    DICTIONARY: Dictionary,
    STATUS: Status,
    CLOCKS: Clocks,
    ACK: Ack,
    AGAIN: Again,
    PAUSE: Pause,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_DECODERS = {name: msgspec.msgpack.Decoder(kind) for name, kind in _KINDS.items()}
_ENCODER = msgspec.msgpack.Encoder()


def ident_of(dictionary: bytes) -> int:
    """What names a dictionary on the wire; never 0. The hub works it out as well: devices may share one, and none may
    give another one's number to something else."""
    return int.from_bytes(hashlib.blake2b(dictionary, digest_size=8).digest()) >> 1 | 1


def up_subject(device: str) -> bytes:
    """From a device to its hub."""
    return f"$PHL.UP.{device}".encode()


def down_subject(device: str) -> bytes:
    """From the hub to a device."""
    return f"$PHL.DOWN.{device}".encode()


def encode(message: Message) -> bytes:
    """As it goes over the wire."""
    return _NAMES[type(message)] + _ENCODER.encode(message)


def decode(data: bytes) -> Message | Parcel:
    """Raises Malformed: also for what is no UTF-8, which msgspec has no error of its own for."""
    kind = data[:1]
    if kind == PARCEL:
        return _parcel(data)
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise Malformed(f"unknown kind {kind!r}")
    if len(data) > limits.FORWARD_CONTROL_BYTES:
        raise Malformed(f"{len(data)} bytes are more than any message of kind {kind!r} has")
    try:
        return decoder.decode(memoryview(data)[1:])
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error


def encode_parcel(parcel: Parcel) -> bytes:
    """As it goes over the wire: kind, flags, numbers as varints, columns."""
    head = bytearray(PARCEL)
    head.append(parcel.flags)
    for number in parcel[1:-2]:
        _put_varint(head, number)
    _put_varint(head, parcel.next_seq - parcel.from_seq)
    return bytes(head) + parcel.columns


def _parcel(data: bytes) -> Parcel:
    if len(data) < 2:
        raise Malformed("a parcel without flags")
    at, numbers = 2, []
    for _ in range(6):
        if at < len(data) and data[at] < 0x80:  # most are small
            numbers.append(data[at])
            at += 1
            continue
        number, at = _get_varint(data, at)
        numbers.append(number)
    session, order, number, epoch, first, covered = numbers
    if not 1 <= first <= limits.SEQUENCE_MAX or covered > limits.SEQUENCE_MAX - first:
        raise Malformed(f"a parcel of sequences from {first}, {covered} of them")
    return Parcel(data[1], session, order, number, epoch, first, first + covered, data[at:])


def _put_varint(to: bytearray, number: int) -> None:
    while number > 0x7F:
        to.append(number & 0x7F | 0x80)
        number >>= 7
    to.append(number)


def _get_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number > NUMBER_MAX:  # what goes back in an answer has to have room there
                break
            return number, at
        shift += 7
    raise Malformed("a number without an end, or too large")
