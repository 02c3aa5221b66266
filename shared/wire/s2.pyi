"""The typed contract of s2.pyx: S2 and Snappy streams, piece by piece."""

from phloem.shared.errors import PhloemError

class CorruptStream(PhloemError):
    """What was read is no S2 stream; the text is that of Go's reader."""

class Decoder:
    """``feed`` some of the stream, then ask for ``block`` until it has none."""

    def feed(self, data: bytes) -> None: ...
    def block(self) -> bytes:
        """The next plain bytes, at most 4 MiB; empty: more has to be fed. Raises CorruptStream, once; nothing comes
        after that."""
    @property
    def between_chunks(self) -> bool:
        """Whether the stream may end here."""

class Encoder:
    """What is fed comes back as chunks, whenever there is enough for a block."""

    def feed(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes:
        """What is left, as a chunk; of an empty stream its identifier."""
