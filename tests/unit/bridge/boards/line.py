"""A serial line that damages what it carries: bits turn, bytes vanish, noise comes. Seeded."""

from random import Random


class Line:
    def __init__(self, random: Random, errors: float) -> None:
        """``errors`` is the share of bytes that something happens to."""
        self._random, self.errors = random, errors

    def carry(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if self._random.random() >= self.errors:
                out.append(byte)
                continue
            kind = self._random.randrange(4)
            if kind == 0:
                out.append(byte ^ 1 << self._random.randrange(8))
            elif kind == 1:
                out += self._random.randbytes(self._random.randrange(1, 12))
            elif kind == 2:
                out += bytes((byte, 0))
        return bytes(out)
