"""Counters (reference 2.10): a body is ``{"val":"<total>"}``; a copy adds the differences of each origin.

A counter that is sourced from several streams keeps what each of them has said last in ``Nats-Counter-Sources``, so
that a value that comes again, or after a gap, is not added twice.
"""

import re

import msgspec

from phloem.shared.jetstream.errors import error
from phloem.shared.jetstream.headers import with_field, without
from phloem.shared.jetstream.sourcing import HEADER

SOURCES = b"Nats-Counter-Sources"
_LINE = re.compile(rb"\r\n(Nats-Stream-Source|Nats-Counter-Sources): *([^\r]*)")
Sources = dict[str, dict[str, str]]


def value_of(payload: bytes) -> int:
    """The total in a body. Raises ApiError 10172."""
    try:
        return int(msgspec.json.decode(payload)["val"])
    except (msgspec.DecodeError, KeyError, ValueError, TypeError):
        raise error(10172) from None


def body_of(total: int) -> bytes:
    """The body that says so."""
    return b'{"val":"%d"}' % total


def sources_of(header: bytes) -> Sources:
    """What each origin has said so far. Raises ApiError 10172."""
    for name, value in _LINE.findall(header):
        if name == SOURCES:
            try:
                return msgspec.json.decode(value, type=Sources)
            except (ValueError, RecursionError):  # no JSON, or no UTF-8
                raise error(10172) from None
    return {}


def sourced_count(
    last_header: bytes, last_payload: bytes | None, subject: bytes, header: bytes, payload: bytes
) -> tuple[bytes, bytes]:
    """Header and body of a counter's message of an origin, after the last one that is here. Raises ApiError 10172."""
    known = sources_of(last_header)
    total = value_of(last_payload) if last_payload is not None else 0
    fields = dict(_LINE.findall(header)).get(HEADER, b"").split(b" ")
    stream = fields[0].decode(errors="replace")
    origin = (fields[4] if len(fields) > 4 else subject).decode(errors="replace")
    value = value_of(payload)
    mine = known.setdefault(stream, {})
    try:
        increment = value - int(mine.get(origin, "0"))
    except ValueError:
        raise error(10172) from None
    mine[origin] = str(value)
    header = without(header, (b"Nats-Incr:", SOURCES + b":"))
    header = with_field(header, b"Nats-Incr: %d" % increment)
    header = with_field(header, SOURCES + b": " + msgspec.json.encode(known))
    return header, body_of(total + increment)


def counted(
    last_header: bytes, last_payload: bytes | None, increment: bytes, header: bytes
) -> tuple[bytes, bytes, bytes]:
    """Header, body and what the acknowledgement also says of an increment. Raises ApiError 10172."""
    total = int(increment) + (value_of(last_payload) if last_payload is not None else 0)
    known = sources_of(last_header)
    if known:
        header = with_field(without(header, (SOURCES + b":",)), SOURCES + b": " + msgspec.json.encode(known))
    return header, body_of(total), b',"val":"%d"' % total
