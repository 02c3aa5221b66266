"""NKeys: Ed25519 and Curve25519 keys as text, signing, verifying (security_ops 2.4; nkeys 0.4.16 in Go).

A public key is base32 without padding of a prefix byte, 32 key bytes and a CRC-16, low byte first: 56 characters,
of which the first tells the kind. A seed has two prefix bytes that share the same information in such a way that
the text begins with S and the kind's letter: 58 characters.

Secrets stay in bytearrays that are overwritten when their owner lets go of them. Copies that the interpreter or
OpenSSL make meanwhile are out of reach; OpenSSL clears its own. No secret is in a repr or in the text of an error.
Ed25519 is OpenSSL's (``cryptography``), which refuses the same signatures as Go's; libsodium would refuse more.
It is imported on first use, since it takes 7 MB that a server without keys does not need. Public keys of
secret ones are libsodium's, which is small: they are the same.
"""

import binascii
import re
from contextlib import suppress
from enum import IntEnum
from types import TracebackType
from typing import NoReturn, Self

from phloem.shared import limits
from phloem.shared.errors import NKeyError

KEY_BYTES = 32
SIGNATURE_BYTES = 64

Text = str | bytes | bytearray | memoryview


class Prefix(IntEnum):
    """First byte of a key; ``str`` is nkeys' own word for it."""

    ACCOUNT = 0
    CLUSTER = 2 << 3
    SERVER = 13 << 3
    OPERATOR = 14 << 3
    PRIVATE = 15 << 3
    SEED = 18 << 3
    USER = 20 << 3
    CURVE = 23 << 3

    def __str__(self) -> str:
        return "x25519" if self is Prefix.CURVE else self.name.lower()


PUBLIC = frozenset(Prefix) - {Prefix.SEED, Prefix.PRIVATE}

INVALID_PREFIX = "nkeys: invalid prefix byte"
INVALID_PUBLIC_KEY = "nkeys: invalid public key"
INVALID_SEED_LENGTH = "nkeys: invalid seed length"
INVALID_SEED = "nkeys: invalid seed"
INVALID_ENCODING = "nkeys: invalid encoded key"
INVALID_SIGNATURE = "nkeys: signature verification failed"
INVALID_CHECKSUM = "nkeys: invalid checksum"
CANNOT_SIGN = "nkeys: can not sign, no private key available"
CURVE_CANNOT_SIGN = "nkeys: curve key is not valid for sign/verify"

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PUBLIC_TEXT = re.compile(r"[A-Z2-7]{56}")
_DIGITS = str.maketrans(_ALPHABET.decode(), "0123456789ABCDEFGHIJKLMNOPQRSTUV")  # of a number to the base 32
_VALUES = bytes(_ALPHABET.index(c) if c in _ALPHABET else 255 for c in range(256))


def encode(prefix: Prefix, key: bytes | bytearray) -> str:
    """A public key as text.

    Raises:
        NKeyError: ``prefix`` is not one of a public key, or ``key`` has not 32 bytes.
    """
    if prefix not in PUBLIC:
        raise NKeyError(INVALID_PREFIX)
    if len(key) != KEY_BYTES:
        raise NKeyError(INVALID_PUBLIC_KEY)
    return _with_checksum(bytearray([prefix]) + key).decode()


def encode_seed(prefix: Prefix, raw: bytes | bytearray | memoryview) -> bytearray:
    """The seed for 32 secret bytes as 58 characters, which the caller wipes.

    Raises:
        NKeyError: ``prefix`` is not one of a public key, or ``raw`` has not 32 bytes.
    """
    if prefix not in PUBLIC:
        raise NKeyError(INVALID_PREFIX)
    if len(raw) != KEY_BYTES:
        raise NKeyError(INVALID_SEED_LENGTH)
    plain = bytearray(2 + KEY_BYTES)
    plain[0], plain[1] = Prefix.SEED | prefix >> 5, (prefix & 31) << 3
    plain[2:] = raw
    try:
        return _with_checksum(plain)
    finally:
        wipe(plain)


def decode(text: Text) -> tuple[Prefix, bytes]:
    """Prefix and 32 bytes of a public key of any kind.

    Raises:
        NKeyError: With nkeys' text for what is wrong.
    """
    raw = _public_without_checksum(text) if isinstance(text, str) else _without_checksum(text)
    if raw[0] not in PUBLIC or len(raw) != 1 + KEY_BYTES:
        raise NKeyError(INVALID_PUBLIC_KEY)
    return Prefix(raw[0]), bytes(raw[1:])


def decode_seed(text: Text) -> tuple[Prefix, bytearray]:
    """Kind of the key and its 32 secret bytes, which the caller wipes.

    Raises:
        NKeyError: With nkeys' text for what is wrong.
    """
    raw = _without_checksum(text)
    try:
        prefix = (raw[0] & 7) << 5 | raw[1] >> 3
        if raw[0] & 248 != Prefix.SEED or prefix not in PUBLIC or len(raw) != 2 + KEY_BYTES:
            raise NKeyError(INVALID_SEED)
        return Prefix(prefix), raw[2:]
    finally:
        wipe(raw)


def is_public(text: str, *prefixes: Prefix) -> bool:
    """Whether it is a public key of one of these kinds; without ``prefixes``, of any."""
    try:
        prefix, _key = decode(text)
    except NKeyError:
        return False
    return not prefixes or prefix in prefixes


def verify(public: str, data: bytes, signature: bytes) -> None:
    """Whether ``signature`` (64 bytes) over ``data`` was made by the owner of ``public``.

    Raises:
        NKeyError: It was not, or ``public`` is no key that signs.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  (see the file's docstring)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    prefix, key = decode(public)
    if prefix is Prefix.CURVE:
        raise NKeyError(CURVE_CANNOT_SIGN)
    if len(signature) != SIGNATURE_BYTES:
        signature = bytes(SIGNATURE_BYTES)  # nobody's; it takes as long as any other
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are no point
        raise NKeyError(INVALID_SIGNATURE) from None


def verify_nothing() -> None:
    """As much work as ``verify``, for what is refused before there is anything to verify."""
    with suppress(NKeyError):
        verify(NOBODY, b"", b"")


def wipe(secret: bytearray) -> None:
    """Overwrite a secret in place."""
    secret[:] = bytes(len(secret))


class KeyPair:
    """A secret key. It is overwritten by ``wipe``, at the end of a ``with``, or when nobody refers to it."""

    __slots__ = ("_raw", "prefix", "public_key")

    def __init__(self, prefix: Prefix, raw: bytes | bytearray) -> None:
        """``raw``: 32 random bytes, which the caller wipes.

        Raises:
            NKeyError: ``prefix`` is not one of a public key, or ``raw`` has not 32 bytes.
        """
        self._raw = bytearray()
        self.prefix = prefix
        if prefix not in PUBLIC:
            raise NKeyError(INVALID_PREFIX)
        if len(raw) != KEY_BYTES:
            raise NKeyError(INVALID_SEED_LENGTH)
        self._raw = bytearray(raw)
        self.public_key = encode(prefix, _public_bytes(prefix, self._raw))

    @classmethod
    def from_seed(cls, text: Text) -> Self:
        """The key of a seed as text; the caller wipes the text if it can.

        Raises:
            NKeyError: With nkeys' text for what is wrong; never with the seed.
        """
        prefix, raw = decode_seed(text)
        try:
            return cls(prefix, raw)
        finally:
            wipe(raw)

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes.

        Raises:
            NKeyError: A curve key, or one that was wiped.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        if self.prefix is Prefix.CURVE:
            raise NKeyError(CURVE_CANNOT_SIGN)
        return Ed25519PrivateKey.from_private_bytes(self.secret()).sign(data)

    def secret(self) -> memoryview:
        """The 32 secret bytes themselves, not a copy; gone after ``wipe``.

        Raises:
            NKeyError: It was wiped.
        """
        if not self._raw:
            raise NKeyError(CANNOT_SIGN)
        return memoryview(self._raw).toreadonly()

    def seed(self) -> bytearray:
        """The seed as text, for a file; the caller wipes it.

        Raises:
            NKeyError: It was wiped.
        """
        return encode_seed(self.prefix, self.secret())

    def wipe(self) -> None:
        """Overwrite the secret; the public key stays."""
        wipe(self._raw)
        self._raw = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wipe()

    def __del__(self) -> None:
        self._raw[:] = bytes(len(self._raw))  # at the very end of a process there is no wipe any more

    def __repr__(self) -> str:
        return f"<KeyPair {self.public_key}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key is not copied or pickled")


def _public_bytes(prefix: Prefix, raw: bytearray) -> bytes:
    """By libsodium, which is small: each server makes two keys when it starts, and most never use them."""
    from nacl.bindings import crypto_scalarmult_base, crypto_sign_seed_keypair  # noqa: PLC0415

    if prefix is Prefix.CURVE:
        return crypto_scalarmult_base(bytes(raw))
    return crypto_sign_seed_keypair(bytes(raw))[0]


def _with_checksum(plain: bytearray) -> bytearray:
    """Base32 of ``plain`` and its CRC-16, written where it can be wiped."""
    whole = bytearray(len(plain) + 2)
    whole[:-2] = plain
    whole[-2:] = binascii.crc_hqx(plain, 0).to_bytes(2, "little")
    text = bytearray((len(whole) * 8 + 4) // 5)
    waiting, bits, at = 0, 0, 0
    for byte in whole:
        waiting, bits = (waiting << 8 | byte) & 0xFFF, bits + 8
        while bits >= 5:
            bits -= 5
            text[at] = _ALPHABET[waiting >> bits & 31]
            at += 1
    if bits:
        text[at] = _ALPHABET[waiting << 5 - bits & 31]
    wipe(whole)
    return text


def _public_without_checksum(text: str) -> bytes | bytearray:
    """The same as below in one step for what is no secret, since each login reads five keys."""
    if not _PUBLIC_TEXT.fullmatch(text):
        return _without_checksum(text)
    whole = int(text.translate(_DIGITS), 32).to_bytes(3 + KEY_BYTES, "big")
    if binascii.crc_hqx(whole[:-2], 0) != int.from_bytes(whole[-2:], "little"):
        raise NKeyError(INVALID_CHECKSUM)
    return whole[:-2]


def _without_checksum(text: Text) -> bytearray:
    """What the text holds, at least two bytes; read as Go's base32 does, which is not strict about its end."""
    if len(text) > limits.NKEY_TEXT:
        raise NKeyError(INVALID_ENCODING)
    given = text.encode("utf-8", "replace") if isinstance(text, str) else text
    kept = bytearray(c for c in given if c not in b"\r\n")
    whole = bytearray(len(kept) * 5 // 8)
    waiting, bits, at = 0, 0, 0
    try:
        for position, character in enumerate(kept):
            value = _VALUES[character]
            if value > 31:
                raise NKeyError(f"illegal base32 data at input byte {position}")
            waiting, bits = (waiting << 5 | value) & 0xFFF, bits + 5
            if bits >= 8:
                bits -= 8
                whole[at] = waiting >> bits & 0xFF
                at += 1
        if len(kept) % 8 in (1, 3, 6):  # no whole byte ends there: Go drops the group
            del whole[len(kept) // 8 * 5 :]
        if len(whole) < 4:
            raise NKeyError(INVALID_ENCODING)
        if binascii.crc_hqx(whole[:-2], 0) != int.from_bytes(whole[-2:], "little"):
            raise NKeyError(INVALID_CHECKSUM)
        return whole[:-2]
    finally:
        wipe(kept)
        wipe(whole)


NOBODY = encode(Prefix.USER, bytes(KEY_BYTES))  # a key that nobody has
