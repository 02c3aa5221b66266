"""Header blocks: the server's own fields in them, and how fields are taken out and put in.

Names are case-sensitive; the first of several fields counts; spaces before a value do not belong to it.
"""

EMPTY = b"NATS/1.0\r\n\r\n"
OURS = b"Nats-"
NAMES = {
    b"Nats-Msg-Id",
    b"Nats-Expected-Stream",
    b"Nats-Expected-Last-Sequence",
    b"Nats-Expected-Last-Subject-Sequence",
    b"Nats-Expected-Last-Subject-Sequence-Subject",
    b"Nats-Expected-Last-Msg-Id",
    b"Nats-Rollup",
    b"Nats-TTL",
    b"Nats-Incr",
    b"Nats-Stream-Source",
    b"Nats-Batch-Id",
    b"Nats-Batch-Sequence",
    b"Nats-Batch-Commit",
    b"Nats-Required-Api-Level",
    b"Nats-Schedule",
    b"Nats-Schedule-Target",
    b"Nats-Schedule-Source",
    b"Nats-Schedule-TTL",
    b"Nats-Schedule-Rollup",
    b"Nats-Schedule-Time-Zone",
    b"Nats-Schedule-Next",
    b"Nats-Scheduler",
}
AS_IF_NOT_THERE = {b"Nats-TTL", b"Nats-Incr", b"Nats-Expected-Stream"}  # without a value
Wishes = dict[bytes, bytes]


def wishes_of(header: bytes) -> Wishes:
    """The server's own headers that are in a block."""
    found: Wishes = {}
    for line in header.split(b"\r\n")[1:]:
        if not line.startswith(OURS):
            continue
        name, colon, value = line.partition(b":")
        if colon and name in NAMES and name not in found:
            found[name] = value.lstrip(b" ")
    for name in AS_IF_NOT_THERE & found.keys():
        if not found[name]:
            del found[name]
    return found


def field_of(header: bytes, name: bytes) -> bytes:
    """One field; empty: it is not there."""
    at = header.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    return header[at + len(name) + 3 : header.find(b"\r\n", at + 2)].lstrip(b" ")


def without(header: bytes, beginnings: tuple[bytes, ...]) -> bytes:
    """A block without the lines that begin so; empty when nothing is left."""
    if b"\r\nNats-" not in header:
        return header
    first, *lines = header.split(b"\r\n")
    kept = [line for line in lines if not line.startswith(beginnings)]
    block = b"\r\n".join((first, *kept))
    return b"" if block == EMPTY else block


def with_field(header: bytes, field: bytes) -> bytes:
    """A block with one more line at its end."""
    return b"%b%b\r\n\r\n" % (header[:-2] if header else EMPTY[:-2], field)
