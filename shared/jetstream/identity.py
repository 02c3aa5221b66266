"""Names and hashes: nuids of 22 characters, short names, the hash that names an account or an origin."""

import hashlib

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def text_of(randomness: bytes, length: int) -> str:
    """``length`` letters and digits out of at least as many random bytes."""
    return "".join(DIGITS[byte % 62] for byte in randomness[:length])


def short_hash(text: str) -> str:
    """Eight letters and digits that stand for a text."""
    return text_of(hashlib.sha256(text.encode()).digest(), 8)
