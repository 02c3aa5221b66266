"""Inputs for the targets about the store: damaged journals, damaged pages, hostile values. See ``folder``."""

import struct
from random import Random

from tests.fuzz import seals
from tests.fuzz.folder import DATABASES, SHAPES
from tests.fuzz.steps import Step, Steps

SUBJECTS = (b"a.1", b"b", b"a.1.2", b"", b"\0", b"long." + b"y" * 600, b"z" * 70_000)
KEYS = (b"\x01state\0\0\0\x08", b"\x01notes\0\0\0\x09", b"\x01state", b"s/A/S1", b"", b"k" * 600, b"k")
NUMBERS = (0, 1, 2, 127, 128, 255, 65_535, 65_536, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32)
HUGE = ((1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
PAGE_FIELDS = (0, 8, 10, 12, 13, 14, 15, 16, 18, 20, 40, 48, 50, 64, 88, 96, 128, 136, 144)


def any_number(r: Random) -> int:
    """Mostly small; now and then at an edge."""
    dice = r.random()
    if dice < 0.6:
        return r.randrange(1, 8)
    if dice < 0.85:
        return r.randrange(1, 600)
    return r.choice(NUMBERS) if dice < 0.95 else r.choice(HUGE)


def _sizes(r: Random, size: int) -> int:
    return size if r.random() < 0.93 else r.choice((0, size + 1, max(size - 1, 0), *NUMBERS, *HUGE))


def record(r: Random) -> bytes:
    """A record of the journal, nearly right."""
    kind = r.choice((1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 6, 7)) if r.random() < 0.97 else r.randrange(256)
    put, n = seals.varint, any_number
    ident = r.choice((1, 1, 2, 3, 7)) if r.random() < 0.97 else n(r)
    if kind == 1:
        subject, header = (
            r.choice(SUBJECTS[:6] if r.random() < 0.97 else SUBJECTS),
            r.choice((b"", b"NATS/1.0\r\n\r\n")),
        )
        payload, seq, ts = r.randbytes(r.choice((0, 3, 40, 900))), n(r), r.randrange(2_000)
        sizes = (_sizes(r, len(subject)), _sizes(r, len(header)), _sizes(r, len(header + payload)))
        head = put(ident) + put(seq) + put(ts) + b"".join(put(size) for size in sizes)
        check = struct.pack("<I", seals.record_check(seq, ts, subject, header, payload))
        return b"\1" + head + check + subject + header + payload
    if kind in (5, 6):
        key, value = (r.choice(KEYS) if kind == 6 else b""), r.randbytes(r.choice((0, 1, 20, 300)))
        sizes = (
            (_sizes(r, len(key)), _sizes(r, len(value) + 1))
            if kind == 6
            else (r.choice((8, 9)), _sizes(r, len(value)))
        )
        return bytes([kind]) + put(sizes[0]) + put(sizes[1]) + key + value
    return bytes([kind]) + put(ident) + (b"" if kind == 7 else put(n(r))) + (put(n(r)) if kind == 2 else b"")


def damage(r: Random, files: int) -> Step:
    """Something that happens to a file without anybody's intent."""
    who, dice = r.randrange(files), r.random()
    if dice < 0.5:
        return Step("flip", who, r.getrandbits(32))
    if dice < 0.65:
        return Step("cut", who, r.getrandbits(24))
    if dice < 0.85:
        return Step("copy", who, r.getrandbits(31))
    return Step(
        "put",
        who,
        r.getrandbits(24),
        r.choice((bytes(512), b"\xff" * 64, b"PHL1", b"PHL2", r.randbytes(8), bytes(4096))),
    )


def journal(r: Random) -> Steps:
    """Damaged bytes of a real journal, or batches that no store has written."""
    steps = [Step("use", 0, r.choice((1, 1, 2, 3, 5, 6)))]
    if r.random() < 0.5:
        for _ in range(r.randint(1, 6)):
            records = b"".join(record(r) for _ in range(r.randint(1, 12)))
            steps.append(
                Step(
                    "frame",
                    r.choice((0, 0, 0, 1, 2)),
                    r.choice((1, 1, 1, 0, 2)) | r.randrange(2_000) << 2,
                    records,
                )
            )
        if r.random() < 0.7:
            return tuple(steps)
    steps += [damage(r, 3)._replace(who=r.choice((1, 1, 1, 2))) for _ in range(r.choice((1, 1, 2, 10)))]
    if r.random() < 0.4:
        steps += [Step("reseal", r.choice((1, 2)), r.randrange(40)) for _ in range(4)]
    return tuple(steps)


def pages(r: Random) -> Steps:
    """Damaged pages of data.mdb."""
    steps = [Step("use", 0, r.choice((0, 0, 2, 3, 4, 6)))]
    for _ in range(r.choice((1, 1, 2, 5, 40))):
        if r.random() < 0.4:
            at = r.choice(PAGE_FIELDS) if r.random() < 0.7 else r.randrange(4096)
            width = r.choice((1, 2, 4, 8))
            data = (
                r.choice((*NUMBERS, *HUGE, r.getrandbits(12), r.getrandbits(64))) & ((1 << 8 * width) - 1)
            ).to_bytes(width, "little")
            steps.append(Step("page", 0, r.randrange(1 << 10) << 16 | at, data))
        else:
            steps.append(damage(r, 1))
    return tuple(steps)


def _messages(r: Random, first: int) -> list[seals.Stored]:
    found, seq = [], first
    for _ in range(r.randint(1, 12)):
        subject, header = r.choice(SUBJECTS[:6]), r.choice((b"", b"NATS/1.0\r\n\r\n"))
        found.append((seq, r.randrange(3_000), subject, header, r.randbytes(r.choice((0, 5, 300)))))
        seq += 1 if r.random() < 0.8 else r.choice((2, 9, 700, 1 << 33))
    return found


def _spoiled(r: Random, value: bytes, edges: int) -> bytes:
    """A few fields near one of the ends are wrong: that is where numbers are."""
    out = bytearray(value)
    for _ in range(r.choice((0, 1, 1, 2, 4))):
        at = (
            r.randrange(min(edges, len(out)) or 1)
            if r.random() < 0.6
            else max(len(out) - 1 - r.randrange(40), 0)
        )
        width = r.choice((1, 1, 2, 4, 8))
        out[at : at + width] = (
            r.choice((*NUMBERS, *HUGE, r.getrandbits(9))) & ((1 << 8 * width) - 1)
        ).to_bytes(width, "little")
    return bytes(out[: r.randrange(len(out) + 1)]) if r.random() < 0.1 else bytes(out)


def entry(r: Random) -> Step:
    """An entry of LMDB, nearly right, mostly with a good checksum."""
    name = r.choice((*DATABASES, "blocks", "blocks", "subjects"))
    ident, bits = r.choice((1, 1, 2, 7)), 1 if r.random() < 0.95 else 0
    key, value = b"", b""
    if name == "blocks":
        messages = _messages(r, r.choice((1, 1, 200, any_number(r) & (1 << 60) - 1)))
        value = _spoiled(r, seals.block(messages), 120)
        last = messages[-1][0] if r.random() < 0.9 else any_number(r)
        key, bits = struct.pack(">IQ", ident, last), r.choice((2, 2, 2, 6, 0))
    elif name == "subjects":
        subject = r.choice(SUBJECTS[:6])
        numbers = [any_number(r) for _ in range(3)]
        key = struct.pack(">I", ident) + subject[:480] + (r.randbytes(16) if len(subject) > 480 else b"")
        value = b"".join(seals.varint(number) for number in numbers) + (
            subject if len(subject) > 480 else b""
        )
    elif name == "dead":
        key = struct.pack(">IQ", ident, r.choice((3, any_number(r))))
        value = struct.pack("<I", any_number(r) & 0xFFFFFFFF) + r.randbytes(r.randrange(4))
    elif name == "meta":
        key = r.choice((b"generation", b"log:" + struct.pack("<I", ident), b"log:"))
        value = (
            struct.pack("<6Q", *(any_number(r) for _ in range(6)))
            if key != b"generation"
            else struct.pack("<Q", any_number(r))
        )
    else:
        key, value = (
            r.choice(KEYS),
            r.choice(
                (
                    b"",
                    b'{"ident": 1}',
                    b'{"ident": "x"}',
                    b"[1]",
                    struct.pack(">I", any_number(r) & 0xFFFFFFFF),
                )
            ),
        )
    value = _spoiled(r, value, 60) if name != "blocks" and r.random() < 0.3 else value
    return Step("entry", DATABASES.index(name), bits, struct.pack("<H", len(key) % 512) + key[:511] + value)


def values(r: Random) -> Steps:
    """Values in LMDB that no store has written."""
    steps = [Step("use", 0, r.randrange(SHAPES))]
    steps += [entry(r) for _ in range(r.randint(1, 12))]
    if r.random() < 0.05:
        size = r.choice((1 << 20, 130 << 20, 200 << 20))
        steps.append(Step("bomb", r.randrange(2), size | r.choice((0, 0, 1000, 1 << 20, 0xFFFFFFFF)) << 32))
    return tuple(steps)
