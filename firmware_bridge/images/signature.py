"""What an image's signature is of, and whose it is. Ed25519 over a text that names everything that matters:

    phloem-firmware-1
    board pump-v2
    uid 00c0ffee
    version 1.4.2
    size 48212
    sha256 9f86d0…

``uid`` is empty for all boards of the type. Each line ends with LF. The key's owner vouches for the image *and* for the
boards that it is for: an image of another board does not pass because somebody can write into the bucket.
"""

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from phloem.shared.errors import ConfigError

_KEY_BYTES = 32


def statement(board: str, uid: str, version: str, size: int, sha256: str) -> bytes:
    """The text that is signed; ``uid`` and ``sha256`` in lower-case hexadecimal."""
    return (
        f"phloem-firmware-1\nboard {board}\nuid {uid}\nversion {version}\nsize {size}\nsha256 {sha256}\n"
    ).encode()


def is_signed(text: bytes, signature: bytes, keys: Iterable[Ed25519PublicKey]) -> bool:
    """Whether one of ``keys`` has signed ``text``."""
    for key in keys:
        try:
            key.verify(signature, text)
        except InvalidSignature:
            continue
        return True
    return False


def public_key(text: str) -> Ed25519PublicKey:
    """A key as it is configured: 32 bytes in base64, or the path of a PEM file.

    Raises:
        ConfigError: It is none.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) == _KEY_BYTES:
        return Ed25519PublicKey.from_public_bytes(raw)
    try:
        key = load_pem_public_key(Path(text).read_bytes())
    except OSError as error:
        raise ConfigError(f"key {text!r} is not 32 bytes in base64, and no file: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"key {text}: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"key {text} is not an Ed25519 key")
    return key


def private_key(path: Path) -> Ed25519PrivateKey:
    """The key of a PEM file, as ``openssl genpkey -algorithm ed25519`` makes it.

    Raises:
        ConfigError: There is none, or it is of another kind or has a password.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is not an Ed25519 key")
    return key
