"""Parcels as they came, and their columns. What a device sends is bounded before it is expanded.

Dictionaries are named by their hash and kept for all devices. Each device answers for those that it has sent: of more
than ``FORWARD_DICTIONARIES`` its oldest goes, and whoever still uses that one is asked for it with the next session.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
import zstandard

from phloem.shared.forward.messages import WITH_DICTIONARY, WITH_HISTORY, ZSTD, Parcel, ident_of
from phloem.shared.forward.receiver import Broken
from phloem.shared.limits import FORWARD_COLUMNS_BYTES, FORWARD_DICTIONARIES

if TYPE_CHECKING:
    from phloem.shared.store.store import Store

KEY = b"fd/"  # by number: devices of one kind may share one
OF_DEVICE = b"fi/"  # by account and device: the numbers of those that it has sent, the oldest first
FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS
READY = 64  # dictionaries that are prepared at a time


class Dictionaries:
    """Dictionaries of all devices, in the store."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._plain = zstandard.ZstdDecompressor(format=FORMAT)
        self._ready = lru_cache(READY)(self._prepared)

    def has(self, ident: int) -> bool:
        """Whether it is here."""
        return self._store.get(KEY + ident.to_bytes(8)) is not None

    def add(self, ident: int, data: bytes, owner: str) -> None:
        """Keep one; ``owner``: account and device. Raises Broken."""
        if ident != ident_of(data):
            raise Broken("a dictionary of another number")
        _decompressor(data)
        key = OF_DEVICE + owner.encode()
        kept = self._store.get(key)
        idents = [one for one in msgspec.msgpack.decode(kept, type=list[int]) if one != ident] if kept else []
        for old in idents[: max(len(idents) + 1 - FORWARD_DICTIONARIES, 0)]:
            self._store.delete(KEY + old.to_bytes(8))
        self._store.put(key, msgspec.msgpack.encode([*idents, ident][-FORWARD_DICTIONARIES:]))
        if not self.has(ident):
            self._store.put(KEY + ident.to_bytes(8), data)

    def _prepared(self, ident: int) -> zstandard.ZstdDecompressor:
        data = self._store.get(KEY + ident.to_bytes(8))
        if data is None:
            raise Broken("a dictionary that is not here")
        return _decompressor(data)

    def expand(self, parcel: Parcel, dictionary: int, before: bytes) -> bytes:
        """The parcel's columns. Raises Broken."""
        if not parcel.flags & ZSTD:
            return parcel.columns
        try:
            size = zstandard.get_frame_parameters(parcel.columns, FORMAT).content_size
        except zstandard.ZstdError as error:
            raise Broken(f"a parcel that cannot be expanded: {error}") from error
        if not 0 < size <= FORWARD_COLUMNS_BYTES:
            raise Broken(f"a parcel of {size} bytes")
        if parcel.flags & WITH_HISTORY:
            past = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            expander = zstandard.ZstdDecompressor(dict_data=past, format=FORMAT)
        elif parcel.flags & WITH_DICTIONARY:
            expander = self._ready(dictionary)
        else:
            expander = self._plain
        try:
            return expander.decompress(parcel.columns)
        except zstandard.ZstdError as error:
            raise Broken(f"a parcel that cannot be expanded: {error}") from error


def _decompressor(dictionary: bytes) -> zstandard.ZstdDecompressor:
    """Raises Broken: what is no dictionary is noticed here."""
    try:
        made = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
        return zstandard.ZstdDecompressor(dict_data=made, format=FORMAT)
    except (zstandard.ZstdError, ValueError) as error:
        raise Broken(f"no dictionary: {error}") from error
