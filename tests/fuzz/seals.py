"""The store's checksums and formats in Python: damage that carries a good checksum reaches the code behind the check.

Specification: shared/store/journal.pyx, block.pyx, disk.pyx, log.pyx; of an encrypted store vault.pyx.
"""

import struct
from collections.abc import Sequence

import zstandard
from nacl.bindings import crypto_aead_chacha20poly1305_ietf_encrypt as shut
from nacl.encoding import RawEncoder
from nacl.hash import blake2b

MASK = (1 << 64) - 1
MAGIC = 0x314C4850
FRAME, BLOCK_HEAD = 48, 48
HEAD_SEED, CHECK_SEED = 0x626C6B31, 0x70686C6F
SEALS = {"meta": 0x6D657461, "subjects": 0x7375626A, "dead": 0x64656164, "pairs": 0x70616972}
ZSTD = 1

Stored = tuple[int, int, bytes, bytes, bytes]  # sequence, time, subject, header, payload


def hash_bytes(data: bytes, seed: int) -> int:
    h = (seed ^ (len(data) * 0x9E3779B97F4A7C15)) & MASK
    for at in range(0, len(data), 8):
        h = ((h ^ int.from_bytes(data[at : at + 8], "little")) * 0xFF51AFD7ED558CCD) & MASK
        h ^= h >> 32
    return ((h * 0xC4CEB9FE1A85EC53) & MASK) >> 32


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def zigzag(value: int) -> int:
    return ((value << 1) ^ (value >> 63)) & MASK


def record_check(seq: int, ts: int, subject: bytes, header: bytes, payload: bytes) -> int:
    body = header + payload
    sizes = len(header) << 32 | len(body)
    text = hash_bytes(subject, CHECK_SEED) << 32 | hash_bytes(body, CHECK_SEED)
    return hash_bytes(struct.pack("<QqQQ", seq, ts, sizes, text), CHECK_SEED)


def sealed(database: str, key: bytes, value: bytes) -> bytes:
    return value + struct.pack("<I", hash_bytes(value, hash_bytes(key, SEALS[database])))


def frame_sealed(frame: bytes) -> bytes:
    """A frame of the journal with the checksum that it should have."""
    head, payload = frame[: FRAME - 8], frame[FRAME:]
    low = hash_bytes(payload, hash_bytes(head, MAGIC))
    return head + struct.pack("<II", low, hash_bytes(head, low)) + payload


def frame(generation: int, batch: int, base_ts: int, payload: bytes) -> bytes:
    head = struct.pack("<IIQQq8x", MAGIC, len(payload), generation, batch & MASK, base_ts)
    return frame_sealed(head + bytes(8) + payload)


def block_sealed(block: bytes, *, squeeze: bool = False) -> bytes:
    """A block with the checksum that its head should have; compressed, if it is not."""
    if len(block) < BLOCK_HEAD:
        return block
    head, rest = bytearray(block[: BLOCK_HEAD - 4]), block[BLOCK_HEAD:]
    if squeeze and not head[1] & ZSTD:
        head[1] |= ZSTD
        head[40:44] = struct.pack("<I", len(block))
        rest = zstandard.ZstdCompressor(level=1).compress(rest)
    return bytes(head) + struct.pack("<I", hash_bytes(bytes(head), HEAD_SEED)) + rest


def block(messages: Sequence[Stored]) -> bytes:
    """Messages in the order of their sequences, as block.pyx packs them; subjects are not shared."""
    first, last, base = messages[0][0], messages[-1][0], messages[0][1]
    offsets, data = [], bytearray(BLOCK_HEAD)
    for seq, ts, subject, header, payload in messages:
        offsets.append(len(data) & 0xFFFF)
        data += struct.pack("<I", record_check(seq, ts, subject, header, payload))
        data += varint(zigzag(ts - base)) + b"\0" + varint(len(subject)) + subject + b"\0"
        data += varint(len(header)) + varint(len(header) + len(payload)) + header + payload
    data += struct.pack(f"<{len(offsets)}H", *offsets)
    if last - first + 1 != len(messages):
        data += struct.pack(f"<{len(offsets)}I", *((m[0] - first) & 0xFFFFFFFF for m in messages))
    latest = max(m[1] for m in messages)
    data[:BLOCK_HEAD] = struct.pack("<BB2xIQQqqII", 1, 0, len(messages), first, last, base, latest, 0, 0)
    return block_sealed(bytes(data))


# --- the same of an encrypted store ----------------------------------------------------------------

DATA_KEY = bytes(range(32))
RUN = b"fuzzed run"
VALUES, FRAMES = 1, 2
CHUNK, TAG = 1024, 16
BLOCKS = 0x626C636B


def _shut(label: int, number: int, context: bytes, data: bytes) -> bytes:
    key = blake2b(bytes([label]) + RUN, 32, key=DATA_KEY, encoder=RawEncoder)
    return shut(data, context, number.to_bytes(6, "little") + bytes(6), key)


def nonce(number: int) -> bytes:
    return RUN + number.to_bytes(6, "little")


def value_shut(database: str, key: bytes, value: bytes, number: int) -> bytes:
    """An entry of any database but ``blocks``; of ``pairs`` the value begins with the key's length and the key."""
    context = struct.pack("<I", SEALS[database]) + key
    return nonce(number) + _shut(VALUES, number, context, value)


def block_shut(key: bytes, block: bytes, tail: int, number: int) -> bytes:
    """A block under its key of 12 bytes, whose last ``tail`` bytes are its offsets, or whatever is there."""
    tail = min(tail, max(len(block) - BLOCK_HEAD, 0))
    middle = block[BLOCK_HEAD : len(block) - tail]
    parts = [block[:BLOCK_HEAD] + (block[-tail:] if tail else b"")]
    parts += [middle[at : at + CHUNK] for at in range(0, len(middle), CHUNK)]
    out = nonce(number) + struct.pack("<I", tail)
    for index, part in enumerate(parts):
        context = struct.pack("<I", BLOCKS) + key + struct.pack("<IIQ", index, tail, len(block))
        out += _shut(VALUES, number + index, context, part)
    return out


def tail_of(block: bytes) -> int:
    """Of a sound block."""
    count, first, last = struct.unpack_from("<4xIQQ", block)
    return int(count * ((0 if block[1] & ZSTD else 2) + (4 if last - first + 1 != count else 0)))


def frame_shut(generation: int, batch: int, base_ts: int, payload: bytes, number: int) -> bytes:
    """A frame of the journal."""
    whole = payload + struct.pack("<q", base_ts)
    its = nonce(number)
    head = struct.pack("<IIQQ", 0x324C4850, len(whole) + TAG, generation, batch & MASK)
    durable = bytes(8)
    return head + its[:8] + durable + its[8:] + _shut(FRAMES, number, head + durable, whole)
