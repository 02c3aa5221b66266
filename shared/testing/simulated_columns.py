"""Parcels of a simulation: what compression would take away is there as padding, and each says what it was compressed
with, so that expanding it with anything else is an error here and not another message."""

import zlib
from collections.abc import Iterable

import msgspec

from phloem.shared.forward.messages import WITH_DICTIONARY, WITH_HISTORY

PADDING = bytes(48)


def pack(messages: Iterable[tuple[int, int, int]]) -> bytes:
    """Columns of (sequence, identity, size)."""
    listed = list(messages)
    return msgspec.msgpack.encode((listed, bytes(sum(size for _, _, size in listed)))) + PADDING


def unpack(columns: bytes) -> list[tuple[int, int, int]]:
    """What was packed."""
    listed, _ = msgspec.msgpack.decode(
        columns[: -len(PADDING)], type=tuple[list[tuple[int, int, int]], bytes]
    )
    return listed


def press(columns: bytes, flags: int, dictionary: int, before: bytes) -> bytes:
    """Compressed, as the flags say."""
    return _mark(flags, dictionary, before) + columns[: -len(PADDING)]


def expand(pressed: bytes, flags: int, dictionary: int, before: bytes) -> bytes:
    """The columns."""
    assert pressed[:4] == _mark(flags, dictionary, before), (
        "expanded with something else: garbage would be stored"
    )
    return pressed[4:] + PADDING


def _mark(flags: int, dictionary: int, before: bytes) -> bytes:
    known = before if flags & WITH_HISTORY else dictionary.to_bytes(8) if flags & WITH_DICTIONARY else b""
    return zlib.crc32(known).to_bytes(4)
