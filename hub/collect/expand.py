"""Parcels as they came, and their columns. What a device sends is bounded before it is expanded."""

from functools import lru_cache
from typing import TYPE_CHECKING

import zstandard

from phloem.shared.forward.messages import WITH_DICTIONARY, WITH_HISTORY, ZSTD, Parcel
from phloem.shared.forward.receiver import Broken
from phloem.shared.limits import FORWARD_COLUMNS_BYTES

if TYPE_CHECKING:
    from phloem.shared.store.store import Store

KEY = b"fd/"  # by number: devices of one kind may share one
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

    def add(self, ident: int, data: bytes) -> None:
        """Keep one. Raises Broken."""
        if self._store.get(KEY + ident.to_bytes(8)) is None:
            try:
                zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)
            except (zstandard.ZstdError, ValueError) as error:
                raise Broken(f"no dictionary: {error}") from error
            self._store.put(KEY + ident.to_bytes(8), data)

    def _prepared(self, ident: int) -> zstandard.ZstdDecompressor:
        data = self._store.get(KEY + ident.to_bytes(8))
        if data is None:
            raise Broken("a dictionary that is not here")
        return zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(data), format=FORMAT)

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
