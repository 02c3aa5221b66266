"""Letters and digits out of random bytes, as NATS's own names have them."""

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def text_of(randomness: bytes, length: int) -> str:
    """``length`` letters and digits out of at least as many random bytes."""
    return "".join(DIGITS[byte % 62] for byte in randomness[:length])
