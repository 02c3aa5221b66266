"""The file ``keys`` of an encrypted store: its data key, wrapped by the operator's key.

The operator's key is a text that never reaches the disk. scrypt makes of it, and of random bytes, the key that wraps
the record (XChaCha20-Poly1305), so that re-keying writes this file and nothing else, and guessing a short key takes its
time. The record names two secrets: the one that the store has, and while everything is written again under another one
(``encrypt.py``) that one, too. It is written as a whole under another name first, and twice into the file, far enough
apart that one damaged page leaves the other.

    PHLKEYS1 | log2 of n, r, p of scrypt | 0 | salt 16 | nonce 24 | wrapped record 66 + 16 | first 8 of SHA-256
"""

import hashlib
import os
import secrets
import struct
from dataclasses import dataclass, field

from phloem.shared.store.contents import StoreError
from phloem.shared.store.folder import sync_folder, wipe_file
from phloem.shared.store.vault import Vault

FILE = "keys"
MAGIC = b"PHLKEYS1"
HEAD = struct.Struct("<8s4B16s24s")
RECORD = struct.Struct("<B32sB32s")
SIZE = HEAD.size + RECORD.size + 16 + 8
COPY_AT = 4096  # where the record stands once more
COST = 14  # log2 of scrypt's n: 16 MiB of memory, and a tenth of a second on a small device
COST_MAX = 20
BLOCK_SIZE, LANES = 8, 1  # scrypt's r and p
NAMES = {"": 0, "chacha": 1, "aes": 2}  # of ciphers; "": not encrypted
NOTHING = 255
TITLES = {"chacha": "ChaCha20-Poly1305", "aes": "AES-GCM"}  # as nats-server calls them


@dataclass(frozen=True)
class Keys:
    """What an operator says: the key, the one before it, the cipher. Not shown."""

    key: str = field(repr=False)
    prev_key: str = field(repr=False, default="")
    cipher: str = "chacha"


@dataclass(frozen=True)
class Secret:
    """What a store is encrypted with; ``cipher`` "": it is not."""

    cipher: str
    key: bytes = field(repr=False)

    def vault(self) -> Vault | None:
        """For one store that is opened. Raises StoreError."""
        if not self.cipher:
            return None
        try:
            return Vault(self.cipher, self.key)
        except ImportError as error:
            raise StoreError(f"encryption is not possible here: {error}") from error


PLAIN = Secret("", bytes(32))


@dataclass(frozen=True)
class Ring:
    """What the file says. ``coming``: everything is being written again with this one."""

    current: Secret
    coming: Secret | None = None
    by_previous: bool = False  # it was opened with ``prev_key``


def fresh(cipher: str) -> Secret:
    """One that nobody has."""
    return Secret(cipher, secrets.token_bytes(32))


def has_keys(folder: str) -> bool:
    """Whether a folder is of an encrypted store, or of one that is being encrypted."""
    return os.path.exists(os.path.join(folder, FILE))


def no_key(folder: str) -> str:
    """What to do without one."""
    return (
        f"{folder}: encrypted store encountered with no main key; set jetstream {{ key }} to the key that it was "
        "encrypted with. Nothing was changed"
    )


def read(folder: str, keys: Keys | None) -> Ring | None:
    """What the file says; None: there is none. Raises StoreError: no key, a wrong one, or the file is damaged."""
    path = os.path.join(folder, FILE)
    try:
        with open(path, "rb") as file:
            data = file.read(COPY_AT + SIZE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    if keys is None or not keys.key:
        raise StoreError(no_key(folder))
    copies = [copy for at in (0, COPY_AT) if _sound(copy := data[at : at + SIZE])]
    if not copies:
        raise StoreError(
            f"{path} is damaged: without it nobody can read the store; put a copy of it back. Nothing was changed"
        )
    for text in (keys.key, keys.prev_key):
        record = _unwrapped(copies[0], text) if text else None
        if record is not None:
            current, coming = _secret(*record[:2]), record[2:]
            if current is None:
                raise StoreError(f"{path} is of a later version of phloem; nothing was changed")
            return Ring(current, _secret(*coming), text != keys.key)
    raise StoreError(
        f"{folder}: unable to recover keys: jetstream {{ key }} is not the one that this store was encrypted with"
        + (", nor is prev_key" if keys.prev_key else "; after a change of keys give the old one as prev_key")
        + ". Nothing was changed"
    )


def write(folder: str, keys: Keys, ring: Ring) -> None:
    """Puts this into the file, in one step. Raises OSError; then the file is as it was."""
    coming = ring.coming
    record = RECORD.pack(
        NAMES[ring.current.cipher],
        ring.current.key,
        NAMES[coming.cipher] if coming is not None else NOTHING,
        coming.key if coming is not None else bytes(32),
    )
    copy = _wrapped(record, keys.key)
    path, new, old = (os.path.join(folder, FILE + end) for end in ("", ".new", ".old"))
    wipe_file(old)
    if os.path.exists(new):
        os.unlink(new)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, copy + bytes(COPY_AT - len(copy)) + copy)
        os.fsync(fd)
    finally:
        os.close(fd)
    _replace(path, new, old)
    sync_folder(folder)
    wipe_file(old)


def _replace(path: str, new: str, old: str) -> None:
    """What was there has another name until it is written over; where names cannot be two it is only deleted."""
    try:
        os.link(path, old)
    except OSError:
        os.replace(new, path)
        return
    os.replace(new, path)


def _sound(copy: bytes) -> bool:
    return (
        len(copy) == SIZE and copy.startswith(MAGIC) and hashlib.sha256(copy[:-8]).digest()[:8] == copy[-8:]
    )


def _secret(cipher: int, key: bytes) -> Secret | None:
    name = next((name for name, number in NAMES.items() if number == cipher), None)
    return Secret(name, key) if name is not None else None


def _stretched(text: str, salt: bytes, cost: int, block_size: int, lanes: int) -> bytes:
    memory = 130 * block_size * ((1 << cost) + lanes) + (1 << 20)
    from nacl.bindings import crypto_pwhash_scryptsalsa208sha256_ll as scrypt  # noqa: PLC0415

    return scrypt(text.encode(), salt, 1 << cost, block_size, lanes, dklen=32, maxmem=memory)


def _wrapped(record: bytes, text: str) -> bytes:
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(24)
    head = HEAD.pack(MAGIC, COST, BLOCK_SIZE, LANES, 0, salt, nonce)
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as encrypt  # noqa: PLC0415  (only whoever encrypts pays for it)

    copy = head + encrypt(record, head, nonce, _stretched(text, salt, COST, BLOCK_SIZE, LANES))
    return copy + hashlib.sha256(copy).digest()[:8]


def _unwrapped(copy: bytes, text: str) -> tuple[int, bytes, int, bytes] | None:
    _, cost, block_size, lanes, _, salt, nonce = HEAD.unpack_from(copy)
    if not 0 < cost <= COST_MAX or not 0 < block_size <= BLOCK_SIZE or not 0 < lanes <= LANES:
        return None
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as decrypt  # noqa: PLC0415
    from nacl.exceptions import CryptoError  # noqa: PLC0415

    head, wrapped = copy[: HEAD.size], copy[HEAD.size : -8]
    try:
        record = decrypt(wrapped, head, nonce, _stretched(text, salt, cost, block_size, lanes))
    except CryptoError:
        return None
    cipher, key, coming, coming_key = RECORD.unpack(record)
    return cipher, key, coming, coming_key
