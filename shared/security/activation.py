"""The name of an activation: a hash over who gives it, who gets it, and the subject."""

import base64
import hashlib

from phloem.shared.errors import InvalidJWT
from phloem.shared.security.claims import ActivationClaims


def hash_id(claims: ActivationClaims) -> str:
    """Base32 of SHA-256 of issuer, importer and the subject up to its first wildcard, with dots between.

    Raises:
        InvalidJWT: One of the three is missing.
    """
    if not (claims.iss and claims.sub and claims.nats.subject):
        raise InvalidJWT("not enough data in the activaion claims to create a hash")
    named = f"{claims.iss}.{claims.sub}.{_literal(claims.nats.subject)}"
    return base64.b32encode(hashlib.sha256(named.encode("utf-8", "replace")).digest()).decode()


def _literal(subject: str) -> str:
    """Up to the first wildcard; ``_`` if it begins with one."""
    tokens = subject.split(".")
    wild = next((at for at, token in enumerate(tokens) if token in ("*", ">")), None)
    if wild is None:
        return subject
    return ".".join(tokens[:wild]) if wild else "_"
