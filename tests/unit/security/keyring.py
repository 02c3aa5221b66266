"""The keys of the vectors, and the vectors."""

import functools
import json
from pathlib import Path
from typing import Any

from phloem.shared.security.nkeys import KeyPair, Prefix
from phloem.shared.security.tokens import encode_base64url

GOLDEN = Path(__file__).parent / "golden"

OPERATOR = KeyPair(Prefix.OPERATOR, b"o" * 32)
OPERATOR_SIGNER = KeyPair(Prefix.OPERATOR, b"p" * 32)
ACCOUNT = KeyPair(Prefix.ACCOUNT, b"a" * 32)
SIGNER = KeyPair(Prefix.ACCOUNT, b"k" * 32)
SCOPED = KeyPair(Prefix.ACCOUNT, b"l" * 32)
OTHER = KeyPair(Prefix.ACCOUNT, b"b" * 32)
USER = KeyPair(Prefix.USER, b"u" * 32)
SERVER = KeyPair(Prefix.SERVER, b"n" * 32)
CLUSTER = KeyPair(Prefix.CLUSTER, b"c" * 32)
CURVE = KeyPair(Prefix.CURVE, b"x" * 32)
OTHER_CURVE = KeyPair(Prefix.CURVE, b"y" * 32)

PAIRS = (OPERATOR, ACCOUNT, USER, SERVER, CLUSTER, CURVE)
BY_PUBLIC = {
    pair.public_key: pair
    for pair in (*PAIRS, OPERATOR_SIGNER, SIGNER, SCOPED, OTHER, OTHER_CURVE)
}
LETTERS = {"O": OPERATOR, "A": ACCOUNT, "B": OTHER, "K": SIGNER, "U": USER, "N": SERVER, "X": CURVE}

HEADER = '{"typ":"JWT","alg":"ed25519-nkey"}'


@functools.cache
def golden(name: str) -> Any:
    """What NATS's own libraries say (golden/vectors.go)."""
    text = (GOLDEN / f"{name}.json").read_text()
    for letter, pair in LETTERS.items():
        text = text.replace(f"@{letter}@", pair.public_key)
    return json.loads(text)


def signed(payload: str, pair: KeyPair, header: str = HEADER) -> str:
    """A token with whatever is in it."""
    whole = f"{encode_base64url(header.encode())}.{encode_base64url(payload.encode())}"
    proof = pair.sign(whole.encode()) if pair.prefix is not Prefix.CURVE else b""
    return f"{whole}.{encode_base64url(proof)}"
