"""Public keys as text: base32 of a type byte, 32 key bytes and CRC-16 (wire 1.9)."""

import base64
import binascii

SERVER_PREFIX = 13 << 3  # gives a leading N
USER_PREFIX = 20 << 3  # gives a leading U


def encode_public(prefix: int, key: bytes) -> str:
    """56 characters for the 32 bytes of ``key``; the first character tells the kind."""
    assert len(key) == 32
    raw = bytes([prefix]) + key
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode()
