"""Compressing parcels with zstandard: with the end of what came before, with a trained dictionary, or alone.

A dictionary is trained once there are enough messages to learn from, kept in the store, and sent to a hub that does
not have it. It serves the first parcel of a session; behind it the stream's own history serves better.
"""

from typing import TYPE_CHECKING

import zstandard

from phloem.shared.forward.messages import WITH_DICTIONARY, WITH_HISTORY, ident_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phloem.shared.store.store import Store

KEY = b"fd/"
LEVEL, LEVEL_SMALL = 3, 9
DICTIONARY_BYTES = 8 << 10
SAMPLES_MIN = 200


class Dictionaries:
    """Trained dictionaries of this device's streams, and the compressors that use them."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._plain = _compressor(LEVEL)
        self._trained: dict[str, tuple[int, bytes, zstandard.ZstdCompressor]] = {}
        for key, data in store.scan(KEY):
            self._use(key[len(KEY) :].decode(), data)

    def _use(self, stream: str, data: bytes) -> None:
        made = _compressor(LEVEL_SMALL, zstandard.ZstdCompressionDict(data))
        self._trained[stream] = (ident_of(data), data, made)

    def ident(self, stream: str) -> int:
        """As in ``Squeeze``."""
        return self._trained[stream][0] if stream in self._trained else 0

    def dictionary(self, stream: str) -> bytes:
        """As in ``Squeeze``."""
        return self._trained[stream][1]

    def press(self, columns: bytes, stream: str, flags: int, before: bytes) -> bytes:
        """As in ``Squeeze``."""
        if flags & WITH_HISTORY:
            past = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            return _compressor(LEVEL_SMALL, past).compress(columns)
        if flags & WITH_DICTIONARY:
            return self._trained[stream][2].compress(columns)
        return self._plain.compress(columns)

    def train(self, stream: str, samples: "Sequence[bytes]") -> bool:
        """Learn from small parcels; whether that was possible. Takes some 10 ms; the result is durable with the next
        batch."""
        try:
            learned = zstandard.train_dictionary(DICTIONARY_BYTES, list(samples), level=LEVEL_SMALL)
        except zstandard.ZstdError:  # too few, or nothing in common
            return False
        data = learned.as_bytes()
        self._store.put(KEY + stream.encode(), data)
        self._use(stream, data)
        return True


def _compressor(level: int, past: zstandard.ZstdCompressionDict | None = None) -> zstandard.ZstdCompressor:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_checksum=False, write_dict_id=False
    )
    return zstandard.ZstdCompressor(dict_data=past, compression_params=parameters)
