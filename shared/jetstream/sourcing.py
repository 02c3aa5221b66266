"""What a message becomes on its way from one stream to another: which are taken, with which subject and header.

A mirror keeps sequences, times and headers. A source gives a message a new sequence and writes into
``Nats-Stream-Source`` where it was: stream, sequence, filters, destinations, subject and the origin's identity
(reference 2.9). Stream, filters and destinations together are a source's *index*, by which it is recognised again.
"""

from typing import NamedTuple

from phloem.shared.jetstream.headers import field_of, with_field, without
from phloem.shared.jetstream.identity import short_hash
from phloem.shared.jetstream.stream_config import StreamSource
from phloem.shared.jetstream.times import rfc3339
from phloem.shared.wire.transform import Transform

HEADER = b"Nats-Stream-Source"
LEFT_BY_MIRROR = (b"Nats-Expected-", b"Nats-Batch-")
LEFT_BEHIND = (b"Nats-Stream-Source:", *LEFT_BY_MIRROR)  # of a source


class Place(NamedTuple):
    """Where a sourced message was."""

    source: bytes  # its index
    seq: int
    identity: bytes


def identity_of(created_ns: int) -> bytes:
    """What tells a stream from an earlier one of the same name."""
    return short_hash(rfc3339(created_ns)).encode()


def index_of(source: StreamSource) -> bytes:
    """``<stream> <filters> <destinations>``."""
    name = source.name
    if source.external is not None:
        name += ":" + short_hash(source.external.api)
    if source.consumer is not None:
        name += ":C=" + short_hash(source.consumer.name)
    transforms = source.subject_transforms
    if not transforms:
        return f"{name} {source.filter_subject or '>'} >".encode()
    filters = "\f".join(one.src or ">" for one in transforms)
    return f"{name} {filters} {chr(12).join(one.dest or '>' for one in transforms)}".encode()


def parse_place(value: bytes) -> Place | None:
    """A ``Nats-Stream-Source``; None for what is none (of nats-server 2.10 or later)."""
    fields = value.split(b" ")
    if len(fields) < 4 or not fields[1].isdigit() or len(fields[1]) > 20:
        return None
    index = b" ".join((fields[0], fields[2], fields[3]))
    return Place(index, int(fields[1]), fields[5] if len(fields) > 5 else b"")


def place_in(header: bytes) -> Place | None:
    """Where the message with this header was, if it was sourced."""
    return parse_place(field_of(header, HEADER))


class Selection:
    """What is taken from an origin, and how it is called here."""

    def __init__(self, source: StreamSource) -> None:
        self.index = index_of(source)
        transforms = source.subject_transforms or []
        self._transforms = [Transform(one.src or ">", one.dest) for one in transforms]
        filters = [one.src or ">" for one in transforms] or [source.filter_subject or ">"]
        self.filters = (
            () if ">" in filters else tuple(one.encode(errors="surrogateescape") for one in filters)
        )
        self.renames = any(one.dest for one in transforms)
        name, _, rest = self.index.partition(b" ")
        self.before_seq = HEADER + b": " + name + b" "
        self.behind_seq = b" " + rest + b" "

    def subject(self, subject: bytes) -> bytes:
        """What it is called here."""
        if not self.renames:
            return subject
        text = subject.decode(errors="surrogateescape")
        for transform in self._transforms:
            changed = transform.apply(text)
            if changed is not None:
                return changed.encode(errors="surrogateescape")
        return subject

    def header(self, header: bytes, seq: int, subject: bytes, identity: bytes) -> bytes:
        """The header of a sourced message."""
        field = b"%b%d%b%b %b" % (self.before_seq, seq, self.behind_seq, subject, identity)
        return with_field(without(header, LEFT_BEHIND) if header else b"", field)
