"""A stream of a hub that only knows JetStream: what is asked about it, and what the answers say of a device in it.

The messages of a device are those on ``fleet.<entry>.<device>.>``. Each has a line ``Phloem-Origin: STORE.EPOCH SEQ
TIME CLOCK``, so the last of them tells what the hub has, like the record that our own hub keeps. A gap is a message as
well, on ``fleet.<entry>.<device>._gap``, whose SEQ is the last that is missing.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec

from phloem.shared.errors import PhloemError
from phloem.shared.forward.identity import Received, Record
from phloem.shared.forward.messages import Epoch
from phloem.shared.limits import SEQUENCE_MAX
from phloem.shared.wire.names import text_of

ORIGIN = b"Phloem-Origin: "
GAP_TOKEN = "_gap"
Seq = Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)]  # of the hub's; it goes into the device's notes
Time = Annotated[str, msgspec.Meta(max_length=64)]
DIGITS_MAX = 19

# err_code of JetStream's answers
STREAM_NOT_FOUND = 10059
STREAM_NAME_IN_USE = 10058
NO_MESSAGE = 10037
WRONG_SEQUENCE = (10071, 10164)  # the second one: another message with an expectation is under way
EXPECTED_ANOTHER_STREAM = 10060
TOO_LARGE = (10054, 10097)
BATCH_OFF, BATCH_INCOMPLETE, BATCH_TOO_LARGE, BATCHES_TOO_MANY = 10174, 10176, 10199, 10210


class NotUnderstood(PhloemError):
    """An answer that is none of JetStream's."""


class ApiError(msgspec.Struct, frozen=True):
    """``error`` in an answer."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class Config(msgspec.Struct, frozen=True):
    """What matters here of a stream's configuration."""

    subjects: tuple[str, ...] = ()
    num_replicas: int = 1
    max_msg_size: int = -1
    duplicate_window: int = 0  # ns
    allow_atomic: bool = False
    no_ack: bool = False
    sealed: bool = False
    mirror: dict[str, Any] | None = None
    subject_transform: dict[str, Any] | None = None


class State(msgspec.Struct, frozen=True):
    """The hub's own sequences."""

    first_seq: Seq = 0
    last_seq: Seq = 0


class Info(msgspec.Struct, frozen=True):
    """Answer to STREAM.INFO and STREAM.CREATE."""

    error: ApiError | None = None
    config: Config = Config()
    state: State = State()
    created: Time = ""
    ts: str = ""


class _Stored(msgspec.Struct, frozen=True):
    subject: str = ""
    seq: Seq = 0
    hdrs: str = ""
    time: str = ""


class _Got(msgspec.Struct, frozen=True):
    error: ApiError | None = None
    message: _Stored | None = None


class PubAck(msgspec.Struct, frozen=True):
    """Answer to a message, or to the last one of a batch."""

    error: ApiError | None = None
    stream: str = ""
    seq: Seq = 0
    duplicate: bool = False
    count: int = 0


class At(NamedTuple):
    """A message of the device in the hub's stream. ``store`` is empty if somebody else has published it."""

    hub_seq: int
    store: str
    epoch: str
    seq: int
    time: str


class Note(msgspec.Struct, array_like=True):
    """What a device remembers of a hub's stream, for when the hub has deleted all of the device's messages."""

    stream: str
    created: str  # of the hub's stream
    hub_seq: int  # of the last message that was acknowledged
    store: int
    seq: int  # the same message on the device


_INFO = msgspec.json.Decoder(Info)
_GOT = msgspec.json.Decoder(_Got)
_ACK = msgspec.json.Decoder(PubAck)


def info_of(data: bytes) -> Info:
    """Raises NotUnderstood."""
    try:
        return _INFO.decode(data)
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(str(error)) from error


def ack_of(data: bytes) -> PubAck:
    """Raises NotUnderstood."""
    try:
        return _ACK.decode(data)
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(str(error)) from error


def message_of(data: bytes) -> At | ApiError:
    """Answer to STREAM.MSG.GET. Raises NotUnderstood."""
    try:
        got = _GOT.decode(data)
        if got.error is not None:
            return got.error
        if got.message is None:
            raise NotUnderstood("an answer without a message")
        header = base64.b64decode(got.message.hdrs)
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(str(error)) from error
    store, epoch, seq = origin_of(header)
    return At(got.message.seq, store, epoch, seq, got.message.time)


def origin_of(header: bytes) -> tuple[str, str, int]:
    """Store, epoch and sequence; ("", "", 0): there are none. The last such line counts: a message may have come to
    the device from another one."""
    at = header.rfind(b"\r\n" + ORIGIN)
    words = header[at + 2 + len(ORIGIN) :].split(b"\r\n", 1)[0].split(b" ") if at >= 0 else []
    store, _, epoch = words[0].decode(errors="replace").partition(".") if words else ("", "", "")
    if len(words) < 2 or not epoch or not words[1].isdigit() or len(words[1]) > DIGITS_MAX:
        return "", "", 0
    seq = int(words[1])
    return (store, epoch, seq) if seq <= SEQUENCE_MAX else ("", "", 0)


def identity_text(ident: int) -> str:
    """As a store or an epoch is called in headers."""
    return text_of(ident.to_bytes(8), 11)


def origin_text(store: int, epoch: Epoch) -> bytes:
    """What all messages of an epoch have in common."""
    return f"{identity_text(store)}.{identity_text(epoch.ident)}".encode()


def record_of(store: int, epochs: Sequence[Epoch], last: At, known: At | None) -> Record:
    """What our hub would have written down. ``last``: the newest message; ``known``: the newest of an epoch that the
    device remembers, perhaps the same."""
    if last.store != identity_text(store):
        return Record(0, [])
    idents = {identity_text(epoch.ident): epoch for epoch in epochs}
    received = []
    if known is not None and known.epoch in idents:
        epoch = idents[known.epoch]
        received.append(Received(epoch.ident, epoch.first_seq, known.seq))
    if last.epoch not in idents:
        received.append(Received(0, 0, last.seq))  # an epoch that the device has never heard of
    return Record(store, received)


class Search:
    """Finds the first of a device's messages that is of a kind, in a stream in which all before it are not: some 30
    questions at most, each for the first message of the device from a place on."""

    def __init__(self, first: int, last: At, is_of_kind: Callable[[At], bool]) -> None:
        """``first``: where the hub's stream begins; ``last``, the newest message, is of that kind."""
        self._low, self._high = first, last.hub_seq
        self._is_of_kind = is_of_kind
        self.found = last  # the first of its kind as far as is known
        self.before: At | None = None  # the last that is not

    @property
    def question(self) -> int:
        """A place in the stream; 0: nothing is left to ask."""
        return (self._low + self._high) // 2 if self._low < self._high else 0

    def answered(self, at: At) -> None:
        """What is there. It should be at the place or behind it; whatever it is, the next question is another one."""
        if self._is_of_kind(at):
            self._high = self.question
            if at.hub_seq < self.found.hub_seq:
                self.found = at
        else:
            self._low = max(at.hub_seq, self.question) + 1
            if self.before is None or at.hub_seq > self.before.hub_seq:
                self.before = at
