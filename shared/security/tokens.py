"""JWTs as NATS has them: decoding with the signature checked, and signing (security_ops 2.10.1; jwt 2.8.2 in Go).

``base64url(header).base64url(claims).base64url(signature)``. Version 2 signs header and claims, version 1 the claims
alone. The signature is that of the key in ``iss``; whether ``iss`` is somebody to trust is asked in ``trust``. Which
version it is the claims say, not the header, as in nats-server.
"""

import base64
import binascii
import re
from typing import Any, TypeVar

import msgspec

from phloem.shared import limits
from phloem.shared.errors import InvalidJWT, NKeyError
from phloem.shared.security.callout_claims import AuthorizationRequestClaims, AuthorizationResponseClaims
from phloem.shared.security.claims import (
    VERSION,
    AccountClaims,
    ActivationClaims,
    Claims,
    GenericClaims,
    JetStreamLimits,
    OperatorClaims,
    UserClaims,
)
from phloem.shared.security.claims_v1 import migrated
from phloem.shared.security.go_values import Document, Int, parse, read, to_json, to_plain
from phloem.shared.security.nkeys import KeyPair, is_public, verify, verify_nothing

C = TypeVar("C", bound=Claims)

ALGORITHM, OLD_ALGORITHM = "ed25519-nkey", "ed25519"
PREFIX = "eyJ"  # how every JWT begins: base64 of {"

_KINDS: dict[str, type[Claims]] = {
    kind.TYPE: kind
    for kind in (
        OperatorClaims,
        AccountClaims,
        UserClaims,
        ActivationClaims,
        AuthorizationRequestClaims,
        AuthorizationResponseClaims,
    )
}
_CALLOUT = (AuthorizationRequestClaims, AuthorizationResponseClaims)
_NOT_BASE64URL = re.compile(rb"[^A-Za-z0-9_\-\r\n]")


class _Header(Document, frozen=True, kw_only=True):
    typ: str = ""
    alg: str = ""


class _Body(Document, frozen=True, kw_only=True):
    type: str = ""
    version: Int = 0


class _Identifier(Document, frozen=True, kw_only=True):
    type: str = ""
    nats: dict[str, Any] = msgspec.field(default_factory=dict)


def decode(token: str) -> Claims:
    """The claims of a token that was signed by the key it names as its issuer.

    Raises:
        InvalidJWT: It is too large, malformed, of a newer version, not signed by ``iss``, or ``iss`` is a key of a
            kind that may not sign such claims.
    """
    try:
        header, payload, signature = _chunks(token)
        _algorithm(header)
        version, claims = _load(parse(decode_base64url(payload), "identifier"))
        proof = decode_base64url(signature)
    except InvalidJWT:
        verify_nothing()  # one verification, whatever is wrong
        raise
    if version <= 1:
        _check_signature(claims, payload, proof, "V1")
    else:
        _check_signature(claims, f"{header}.{payload}", proof, "V2")
    if claims.ISSUERS and not is_public(claims.iss, *claims.ISSUERS):
        raise InvalidJWT(_wrong_prefix(claims))
    return claims


def decode_as(token: str, kind: type[C]) -> C:
    """The same, if it is a ``kind``.

    Raises:
        InvalidJWT: As in ``decode``, or it is something else.
    """
    claims = decode(token)
    if not isinstance(claims, kind):
        words = "an authorization request" if kind in _CALLOUT else kind.TYPE
        raise InvalidJWT(f"not {words} claim")
    return claims


def decode_generic(token: str) -> GenericClaims:
    """A token of any kind with its body as it is. The header says which version it is.

    Raises:
        InvalidJWT: It is too large, malformed or not signed by ``iss``.
    """
    header, payload, signature = _chunks(token)
    algorithm = _algorithm(header)
    document = parse(decode_base64url(payload), "GenericClaims")
    claims = read(document, GenericClaims)
    proof = decode_base64url(signature)
    if algorithm != OLD_ALGORITHM:
        _check_signature(claims, f"{header}.{payload}", proof, "V2")
        return claims
    _check_signature(claims, payload, proof, "V1")
    moved = {key: document[key] for key in ("type", "tags") if document.get(key)}
    return msgspec.structs.replace(claims, nats=claims.nats | moved)


def encode(claims: Claims, signer: KeyPair, now_s: int) -> str:
    """The token of ``claims``, issued now by ``signer``: ``iss``, ``iat``, ``jti``, type and version are filled in.

    Raises:
        InvalidJWT: ``sub`` or ``signer`` is a key of a kind that cannot be, or ``sub`` is missing.
    """
    if not claims.sub:
        raise InvalidJWT("subject is not set")
    if claims.SUBJECT is not None and not is_public(claims.sub, claims.SUBJECT[0]):
        raise InvalidJWT(claims.SUBJECT[1])
    if claims.ISSUERS and signer.prefix not in claims.ISSUERS:
        raise InvalidJWT(_wrong_prefix(claims))
    issued = msgspec.structs.replace(_complete(claims), iss=signer.public_key, iat=now_s, jti="")
    issued = msgspec.structs.replace(issued, jti=_identity(issued))
    header = to_json({"typ": "JWT", "alg": ALGORITHM})
    signed = f"{encode_base64url(header)}.{encode_base64url(to_json(to_plain(issued)))}"
    return f"{signed}.{encode_base64url(signer.sign(signed.encode()))}"


def encode_base64url(data: bytes) -> str:
    """Without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """Without padding; line ends are passed over, and unused bits at the end may be anything, as in Go.

    Raises:
        InvalidJWT: Another character, or one that is left over.
    """
    given = text.encode("utf-8", "replace")
    if wrong := _NOT_BASE64URL.search(given):
        raise InvalidJWT(f"illegal base64 data at input byte {wrong.start()}")
    plain = given.replace(b"\n", b"").replace(b"\r", b"")
    if len(plain) % 4 == 1:
        raise InvalidJWT(f"illegal base64 data at input byte {len(given) - 1}")
    try:
        return base64.urlsafe_b64decode(plain + b"=" * (-len(plain) % 4))
    except binascii.Error as error:
        raise AssertionError("checked above") from error


def _chunks(token: str) -> tuple[str, str, str]:
    if len(token) > limits.JWT_BYTES:
        size = f"token size {len(token)} exceeds maximum of {limits.JWT_BYTES} bytes"
        raise InvalidJWT(f"{size}: token too large")
    chunks = token.split(".", 3)
    if len(chunks) != 3:
        raise InvalidJWT("expected 3 chunks")
    return chunks[0], chunks[1], chunks[2]


def _algorithm(chunk: str) -> str:
    """What the header names. Raises InvalidJWT if it is not ours."""
    header = read(parse(decode_base64url(chunk), "Header"), _Header)
    if header.typ.upper() != "JWT":
        raise InvalidJWT(f'not supported type "{header.typ[: limits.JWT_QUOTED]}"')
    if header.alg.lower() not in (ALGORITHM, OLD_ALGORITHM):
        raise InvalidJWT(f'unexpected "{header.alg[: limits.JWT_QUOTED]}" algorithm')
    return header.alg


def _load(document: dict[str, Any]) -> tuple[int, Claims]:
    """Version and claims; the version is -1 for claims of no known kind."""
    identifier = read(document, _Identifier)
    body = read(identifier.nats, _Body, "nats.")
    name = identifier.type or body.type
    version = 1 if identifier.type else body.version
    if version > VERSION:
        raise InvalidJWT("JWT was generated by a newer version ")
    if name in ("cluster", "server"):
        raise InvalidJWT(f"{name.title()}Claims are not supported")
    kind = _KINDS.get(name)
    if kind is None:
        return -1, read(document, GenericClaims)
    if kind in _CALLOUT:
        return version, read(document, kind)
    if version == 1:
        return 1, migrated(document, kind)
    if version != VERSION:
        raise InvalidJWT(f"library supports version {VERSION} or less - received {version}")
    claims = read(document, kind)
    return version, _tiers_count(claims) if isinstance(claims, AccountClaims) else claims


def _tiers_count(claims: AccountClaims) -> AccountClaims:
    """With tiers, limits without a tier do not count."""
    granted = claims.nats.limits
    if not granted.tiered_limits:
        return claims
    none = {name: getattr(JetStreamLimits(), name) for name in JetStreamLimits.__struct_fields__}
    return msgspec.structs.replace(
        claims, nats=msgspec.structs.replace(claims.nats, limits=msgspec.structs.replace(granted, **none))
    )


def _check_signature(claims: Claims, signed: str, proof: bytes, version: str) -> None:
    try:
        verify(claims.iss, signed.encode("utf-8", "replace"), proof)
    except NKeyError:
        raise InvalidJWT(f"claim failed {version} signature verification") from None


def _wrong_prefix(claims: Claims) -> str:
    return f"unable to validate expected prefixes - [{' '.join(str(prefix) for prefix in claims.ISSUERS)}]"


def _complete(claims: C) -> C:
    """With type and version; imports and exports in the order of their subjects."""
    if isinstance(claims, GenericClaims):
        return msgspec.structs.replace(claims, nats=claims.nats | {"version": VERSION})
    body = getattr(claims, "nats")  # noqa: B009  (every kind has one, of its own type)
    fields: dict[str, Any] = {"type": claims.TYPE, "version": VERSION}
    if isinstance(claims, AccountClaims):
        for name in ("imports", "exports"):
            fields[name] = tuple(sorted(getattr(body, name), key=lambda item: item.subject if item else ""))
    return msgspec.structs.replace(claims, nats=msgspec.structs.replace(body, **fields))


def _sha512_256(data: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA512_256, Hash  # noqa: PLC0415  (whoever signs has it)

    digest = Hash(SHA512_256())
    digest.update(data)
    return digest.finalize()


def _identity(claims: Claims) -> str:
    """``jti``: a hash over the standard claims."""
    standard = {key: value for key, value in to_plain(claims).items() if key in Claims.__struct_fields__}
    digest = _sha512_256(to_json(standard))
    return base64.b32encode(digest).rstrip(b"=").decode()


__all__ = [
    "ALGORITHM",
    "PREFIX",
    "decode",
    "decode_as",
    "decode_base64url",
    "decode_generic",
    "encode",
    "encode_base64url",
]
