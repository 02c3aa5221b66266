"""Credentials as text: a user's JWT and seed in one file, or a seed alone (security_ops 2.10.7).

Read as tolerantly as NATS's own clients do (nkeys 0.4.16: ``ParseDecoratedJWT``, ``ParseDecoratedNKey``): between
two lines that begin and end with three dashes or more, the first text is the JWT, the second the seed; a text without
such lines is a JWT as it is, and a seed is any line that begins like one. Written as ``nsc`` writes them.
"""

import re

from phloem.shared.errors import InvalidJWT, NKeyError
from phloem.shared.security.claims import UserClaims
from phloem.shared.security.nkeys import KeyPair, Prefix, decode, wipe
from phloem.shared.security.tokens import decode as decode_token
from phloem.shared.security.tokens import decode_as

NO_SEED = "nkeys: no nkey seed found"
NOT_A_SEED = "nkeys: doesn't contain a seed nkey"
NOT_A_USER_SEED = "nkeys: doesn't contain an user seed nkey"

_SECTION = re.compile(rb"-{3,}[^\n]*-{3,}\r?\n([\w\-.=]+)\r?\n-{3,}[^\n]*-{3,}(?:\r?\n|\Z)", re.ASCII)
_SEEDS = (b"SO", b"SA", b"SU")
_KINDS = {Prefix.USER: "USER", Prefix.ACCOUNT: "ACCOUNT", Prefix.OPERATOR: "OPERATOR"}

_JWT = "-----BEGIN NATS {kind} JWT-----\n{token}\n------END NATS {kind} JWT------\n\n"
_SEED_HEAD = b"""************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.
NKEYs are sensitive and should be treated as secrets.

-----BEGIN %s NKEY SEED-----
"""
_SEED_FOOT = b"""
------END %s NKEY SEED------

*************************************************************
"""


def token_in(content: bytes | bytearray) -> str:
    """The JWT in a file: the first text between dashes, or all of it."""
    found = _SECTION.search(content)
    text = bytes(found[1]) if found else bytes(content)
    return text.decode("utf-8", "replace").strip()


def key_in(content: bytes | bytearray) -> KeyPair:
    """The key whose seed is in a file; the caller wipes key and content.

    Raises:
        NKeyError: There is none, or it is malformed.
    """
    sections = list(_SECTION.finditer(content))
    if len(sections) > 1:
        return _pair(bytearray(sections[1][1]))
    for line in bytearray(content).split(b"\n"):
        if line.strip().startswith(_SEEDS):
            return _pair(line)
    raise NKeyError(NO_SEED)


def user_key_in(content: bytes | bytearray) -> KeyPair:
    """The same, if it is a user's. Raises NKeyError."""
    pair = key_in(content)
    if pair.prefix is not Prefix.USER:
        pair.wipe()
        raise NKeyError(NOT_A_USER_SEED)
    return pair


def credentials_in(content: bytes | bytearray) -> tuple[str, KeyPair]:
    """JWT and key for a leaf link: both between dashes, nothing else will do. The caller wipes key and content.

    Raises:
        InvalidJWT: One is missing.
        NKeyError: The seed is malformed.
    """
    sections = list(_SECTION.finditer(content))
    if len(sections) < 2:
        raise InvalidJWT("Credentials file malformed")
    secret = bytearray(sections[1][1])
    try:
        return bytes(sections[0][1]).decode(), KeyPair.from_seed(secret)
    finally:
        wipe(secret)


def decorated_token(token: str) -> bytes:
    """A JWT of any kind between dashes. Raises InvalidJWT."""
    return _JWT.format(kind=decode_token(token).TYPE.upper(), token=token).encode()


def decorated_seed(pair: KeyPair) -> bytearray:
    """A seed between dashes, with the warning around it; the caller wipes it.

    Raises:
        NKeyError: It is not the key of a user, account or operator, or was wiped.
    """
    kind = _KINDS.get(pair.prefix)
    if kind is None:
        raise NKeyError("seed is not an operator, account or user seed")
    seed = pair.seed()
    try:
        return bytearray(_SEED_HEAD % kind.encode()) + seed + _SEED_FOOT % kind.encode()
    finally:
        wipe(seed)


def credentials(token: str, pair: KeyPair) -> bytearray:
    """The creds file of a user; the caller wipes it.

    Raises:
        InvalidJWT: ``token`` is no user's, or another user's than ``pair``.
        NKeyError: ``pair`` is no user's or was wiped.
    """
    claims = decode_as(token, UserClaims)
    if pair.prefix is not Prefix.USER:
        raise NKeyError("nkey seed is not an user seed")
    if decode(claims.sub) != decode(pair.public_key):
        raise InvalidJWT("nkey seed does not match the jwt subject")
    seed = decorated_seed(pair)
    try:
        return bytearray(decorated_token(token)) + seed
    finally:
        wipe(seed)


def _pair(seed: bytearray) -> KeyPair:
    """nkeys takes a line as it is: what is before or behind the seed makes it malformed, but for a line end."""
    try:
        if not seed.startswith(_SEEDS):
            raise NKeyError(NOT_A_SEED)
        return KeyPair.from_seed(seed)
    finally:
        wipe(seed)
