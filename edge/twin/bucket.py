"""A bucket on this device: made if it is not there, read as it lies in the store.

``desired`` belongs to the hub. Its stream has no subjects, so that no program can write to it, and is written to from
inside, as a source's stream is.
"""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from phloem.edge.line import Line, Refused
from phloem.shared.jetstream.headers import field_of
from phloem.shared.jetstream.sourcing import identity_of
from phloem.shared.server.jetstream.prepared import Prepared
from phloem.shared.store.log import Damaged
from phloem.shared.twin.follow import Local, Place
from phloem.shared.twin.names import DELETE, OPERATION, PLACE, bucket_config, prefix_of, stream_of

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream

log = logging.getLogger("phloem.twin")

NAME_IN_USE = 10058
MARKER = b"Nats-Marker-Reason"  # of a server that has removed a value by itself


class Value(NamedTuple):
    """A key's last value; ``gone``: it has been deleted."""

    key: str
    seq: int
    body: bytes
    gone: bool
    place: Place | None


class Bucket:
    """One of the two, by the name that clients use."""

    def __init__(self, line: Line, account: str, name: str, *, owned: bool) -> None:
        self._line, self._account, self.name = line, account, name
        self._owned = owned
        self.prefix = prefix_of(name)

    async def make(self) -> None:
        """What is there already stays as it is.

        Raises:
            NoAnswer, Refused: JetStream does not let us.
        """
        config = bucket_config(self.name, owned=self._owned)
        try:
            await self._line.ask(f"$JS.API.STREAM.CREATE.{config['name']}", config)
        except Refused as problem:
            if problem.code != NAME_IN_USE:
                raise
            log.info("Bucket %s is there with other settings, which stay", self.name)

    @property
    def stream(self) -> "Stream":
        """The stream while the server runs. Raises KeyError when it was deleted."""
        jetstream = self._line.server.jetstream
        assert jetstream is not None
        return jetstream.accounts[self._account].streams[stream_of(self.name)]

    @property
    def identity(self) -> str:
        """What tells this bucket from one of an earlier life of the device."""
        return identity_of(self.stream.record.created_ns).decode()

    def values(self) -> Iterator[Value]:
        """The last of each key, the oldest first; what is damaged is left out."""
        stored = self.stream.log
        for seq in stored.last_of_subjects():
            found = self._read(seq)
            if found is not None:
                yield found

    def value(self, key: str) -> Value | None:
        """The last value of a key."""
        _, _, seq = self.stream.log.subject(f"{self.prefix}{key}".encode())
        return self._read(seq) if seq else None

    def _read(self, seq: int) -> Value | None:
        try:
            message = self.stream.log.read(seq)
        except Damaged:
            return None
        if message is None:
            return None
        key = message.subject.decode(errors="replace").removeprefix(self.prefix)
        place = _place(field_of(message.header, PLACE)) if message.header else None
        return Value(key, seq, message.payload, is_gone(message.header), place)

    def copy(self, key: str, body: bytes, place: Place | None, *, gone: bool) -> None:
        """Write a value of the hub's. Raises ApiError when there is no room."""
        lines = [OPERATION + b": " + DELETE] if gone else []
        if place is not None:
            lines.append(PLACE + b": %d %d" % place)
        header = b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" if lines else b""
        subject, publish, config = f"{self.prefix}{key}".encode(), self.stream.publish, self.stream.config
        publish.check_room(config, subject, header, body, b"")
        self._line.server.do(lambda: publish.put(Prepared(subject, header, body, {}, 0, b"")))

    async def put(self, key: str, body: bytes, *, gone: bool = False) -> None:
        """Write a value of the device's own; it is on the disk when this returns.

        Raises:
            NoAnswer, Refused: It is not stored.
        """
        header = b"NATS/1.0\r\n%b: %b\r\n\r\n" % (OPERATION, DELETE) if gone else b""
        await self._line.ask(f"{self.prefix}{key}", body, header=header)


def is_gone(header: bytes) -> bool:
    """Whether this header says that a key was deleted."""
    return bool(header) and bool(
        field_of(header, OPERATION) in (b"DEL", b"PURGE") or field_of(header, MARKER)
    )


def locals_of(values: Iterator[Value]) -> dict[str, Local]:
    """What ``Follow`` begins with."""
    return {value.key: Local(value.place, value.gone) for value in values}


def _place(text: bytes) -> Place | None:
    seq, _, ts = text.partition(b" ")
    return Place(int(seq), int(ts)) if seq.isdigit() and ts.isdigit() else None


def sequence_of(answer: dict[str, Any]) -> int:
    """The sequence in an acknowledgement; 0 for one that has none."""
    seq = answer.get("seq")
    return seq if isinstance(seq, int) else 0
