"""S2 as an end of a leaf link that a test plays speaks it (wire.md 2.8): written in Python, by nobody under test."""

from tests.fuzz.snappy import S2, SNAPPY, crc, unpacked

CHUNK = 65_000


class S2Layer:
    """Both directions of a link: what comes is unpacked, what goes out is framed and not compressed."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self.kinds = set[int]()  # of the chunks that came

    def received(self, data: bytes) -> bytes:
        """Plain bytes of what is whole; AssertionError for what is no S2 stream."""
        self._rest += data
        plain = bytearray()
        while len(self._rest) >= 4:
            kind, size = self._rest[0], int.from_bytes(self._rest[1:4], "little")
            if len(self._rest) < 4 + size:
                break
            body, self._rest = self._rest[4 : 4 + size], self._rest[4 + size :]
            self.kinds.add(kind)
            if kind == 0xFF:
                assert body in (S2[4:], SNAPPY[4:])
                continue
            assert kind in (0, 1), kind
            piece = unpacked(body[4:]) if kind == 0 else body[4:]
            assert piece is not None
            assert crc(piece) == int.from_bytes(body[:4], "little")
            plain += piece
        return bytes(plain)

    def sealed(self, data: bytes) -> bytes:
        """Chunks of ``data``; the identifier goes before the first ones."""
        out = b"" if self._begun else S2
        self._begun = True
        for at in range(0, len(data), CHUNK):
            piece = data[at : at + CHUNK]
            out += b"\x01" + (len(piece) + 4).to_bytes(3, "little") + crc(piece).to_bytes(4, "little") + piece
        return out
