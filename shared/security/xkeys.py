"""Curve keys: boxes between two of them, as auth callouts use them (security_ops 2.4, 2.9; nkeys' ``xkv1``).

A sealed message is ``xkv1``, a nonce of 24 bytes, and NaCl's crypto_box: X25519, XSalsa20, Poly1305. OpenSSL has no
XSalsa20, and a cipher is not a thing to write oneself, so the box is libsodium's (PyNaCl), imported on first use:
only servers with an auth callout that names an ``xkey`` come here.
"""

from phloem.shared.errors import NKeyError
from phloem.shared.security.nkeys import KeyPair, Prefix, decode

VERSION = b"xkv1"
NONCE_BYTES = 24
_HEAD_BYTES = len(VERSION) + NONCE_BYTES
_TAG_BYTES = 16

INVALID_RECIPIENT = "nkeys: not a valid recipient public curve key"
INVALID_SENDER = "nkeys: not a valid sender public curve key"
INVALID_ENCRYPTED = "nkeys: encrypted input is not valid"
INVALID_VERSION = "nkeys: encrypted input wrong version"
COULD_NOT_DECRYPT = "nkeys: could not decrypt input"
ONLY_CURVE = "nkeys: only curve key can seal/open"


def seal(sender: KeyPair, plain: bytes, recipient: str, nonce: bytes) -> bytes:
    """``plain`` for the owner of ``recipient`` (X...) alone; ``nonce``: 24 random bytes, never the same twice.

    Raises:
        NKeyError: A key is no curve key.
    """
    from nacl.bindings import crypto_box_easy  # noqa: PLC0415  (see the file's docstring)
    from nacl.exceptions import CryptoError  # noqa: PLC0415

    assert len(nonce) == NONCE_BYTES
    secret, public = _secret(sender), _public(recipient, INVALID_RECIPIENT)
    try:
        return VERSION + nonce + crypto_box_easy(plain, nonce, public, secret)
    except CryptoError:  # a point of small order: nobody's key
        raise NKeyError(INVALID_RECIPIENT) from None


def unseal(recipient: KeyPair, sealed: bytes, sender: str) -> bytes:
    """What the owner of ``sender`` (X...) sealed for ``recipient``.

    Raises:
        NKeyError: It was sealed by or for somebody else, changed on the way, or is nothing sealed.
    """
    from nacl.bindings import crypto_box_open_easy  # noqa: PLC0415
    from nacl.exceptions import CryptoError  # noqa: PLC0415

    secret = _secret(recipient)
    if len(sealed) <= _HEAD_BYTES:
        raise NKeyError(INVALID_ENCRYPTED)
    if not sealed.startswith(VERSION):
        raise NKeyError(INVALID_VERSION)
    public = _public(sender, INVALID_SENDER)
    if len(sealed) < _HEAD_BYTES + _TAG_BYTES:
        raise NKeyError(COULD_NOT_DECRYPT)
    try:
        return crypto_box_open_easy(sealed[_HEAD_BYTES:], sealed[len(VERSION) : _HEAD_BYTES], public, secret)
    except CryptoError:
        raise NKeyError(COULD_NOT_DECRYPT) from None


def _secret(pair: KeyPair) -> bytes:
    if pair.prefix is not Prefix.CURVE:
        raise NKeyError(ONLY_CURVE)
    return bytes(pair.secret())  # libsodium's binding takes nothing that could be wiped


def _public(text: str, problem: str) -> bytes:
    try:
        prefix, key = decode(text)
    except NKeyError:
        raise NKeyError(problem) from None
    if prefix is not Prefix.CURVE:
        raise NKeyError(problem)
    return key
