"""Numbers that wrap: a frame's lower half, and the tag of a start. Pure."""

_HALF, _WORD = 1 << 15, 1 << 16
WRAP = 1 << 32


def tag_of(epoch: int, boot: int) -> int:
    """What WELCOME, DATA and ACK say of a start of a ring: both halves of the epoch and the boot, XORed."""
    return (epoch ^ epoch >> 16 ^ boot) & 0xFFFF


def nearest(low: int, expected: int) -> int:
    """The number with the lower half ``low`` that is nearest to ``expected``, modulo 2^32."""
    return (expected + distance(low, expected)) % WRAP


def distance(low: int, expected: int) -> int:
    """How far ``low``, a lower half, is from ``expected``: -32,768 to 32,767."""
    return (low - expected + _HALF) % _WORD - _HALF


def ahead(number: int, of: int) -> int:
    """How far ``number`` is ahead of ``of``, modulo 2^32: below 0 if it is behind."""
    return (number - of + (WRAP >> 1)) % WRAP - (WRAP >> 1)
