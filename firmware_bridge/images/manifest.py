"""An object of the bucket as an image for a board: what its metadata says, and whether it is signed.

An image for a type of board is the object ``TYPE``, one for a single board ``TYPE/UID``, which comes first. Version and
signature are in its headers. The newest object of that name is what the board has to run.
"""

import base64
import binascii
import re
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from phloem.firmware_bridge.images import limits
from phloem.firmware_bridge.images.record import Target
from phloem.firmware_bridge.images.signature import is_signed, statement

VERSION, SIGNATURE = "Phloem-Version", "Phloem-Signature"
BOARD_TYPE = re.compile(r"[A-Za-z0-9_=.-]{1,64}")
_VERSION = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")  # EdgeLink has 255 bytes for it
_DIGEST = "SHA-256="


class ObjectMeta(msgspec.Struct):
    """What of an object's metadata is looked at."""

    name: str
    nuid: str = ""
    size: int = 0
    chunks: int = 0
    digest: str = ""
    deleted: bool = False
    headers: dict[str, list[str]] = {}
    options: dict[str, object] = {}


def object_name(board: str, uid: str) -> str:
    """Under which an image lies; ``uid`` empty: for all of the type."""
    return f"{board}/{uid}" if uid else board


def parse(payload: bytes) -> ObjectMeta | None:
    """The metadata of an object that is there; None if it is deleted, or none."""
    try:
        meta = msgspec.json.decode(payload, type=ObjectMeta)
    except msgspec.DecodeError:
        return None
    return None if meta.deleted or not meta.nuid else meta


def target_of(meta: ObjectMeta, board: str, uid: str, keys: Sequence[Ed25519PublicKey]) -> Target:
    """The image that an object is; ``refused`` says why it must not be used."""
    version = _header(meta, VERSION)
    digest = _digest(meta.digest)
    ident = f"{meta.nuid}.{_header(meta, SIGNATURE)[:16]}"
    target = Target(ident, version, meta.size, digest.hex())
    why = ""
    if not _VERSION.fullmatch(version):
        why = "it has no version"
    elif len(digest) != 32 or "link" in meta.options:
        why = "it has no SHA-256"
    elif not 0 < meta.size <= limits.IMAGE_BYTES_MAX:
        why = f"its size is not between 1 and {limits.IMAGE_BYTES_MAX} bytes"
    elif not _signed(meta, statement(board, uid, version, meta.size, digest.hex()), keys):
        why = "no key that is configured has signed it for this board"
    return msgspec.structs.replace(target, refused=why)


def _signed(meta: ObjectMeta, text: bytes, keys: Sequence[Ed25519PublicKey]) -> bool:
    try:
        signature = base64.b64decode(_header(meta, SIGNATURE), validate=True)
    except (binascii.Error, ValueError):
        return False
    return is_signed(text, signature, keys)


def _header(meta: ObjectMeta, name: str) -> str:
    values = meta.headers.get(name) or [""]
    return values[0]


def _digest(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text.removeprefix(_DIGEST)) if text.startswith(_DIGEST) else b""
    except (binascii.Error, ValueError):
        return b""
