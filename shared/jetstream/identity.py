"""Names and hashes: nuids of 22 characters, short names, the hash that names an account or an origin."""

import hashlib

from phloem.shared.wire.names import DIGITS, text_of

__all__ = ["DIGITS", "short_hash", "text_of"]


def short_hash(text: str) -> str:
    """Eight letters and digits that stand for a text."""
    return text_of(hashlib.sha256(text.encode()).digest(), 8)
