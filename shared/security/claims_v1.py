"""JWTs of version 1, as they were until 2020: read into the structs of version 2 as NATS's own library migrates them.

In version 1 ``type``, ``tags`` and ``issuer_account`` are beside ``nats``, an activation's kind is called ``type``,
and limits that a user does not name are no limits.
"""

from typing import Any, TypeVar

import msgspec

from phloem.shared.errors import InvalidJWT
from phloem.shared.security.claims import (
    OPEN_USER,
    Account,
    AccountClaims,
    Activation,
    ActivationClaims,
    Claims,
    Operator,
    OperatorClaims,
    User,
    UserClaims,
    UserPermissionLimits,
)
from phloem.shared.security.go_values import Document, read, wrong_type

C = TypeVar("C", bound=Claims)

_LIMITS = ("subs", "data", "payload", "imports", "exports", "wildcards", "disallow_bearer", "conn", "leaf")
_USER = ("pub", "sub", "resp", "src", "times", "times_location", "subs", "data", "payload", "bearer_token")
_BODIES: dict[type[Claims], tuple[Document, tuple[str, ...]]] = {  # what is there at first, what is read
    OperatorClaims: (
        Operator(),
        ("signing_keys", "account_server_url", "operator_service_urls", "system_account"),
    ),
    AccountClaims: (Account(), ("imports", "exports", "limits", "signing_keys", "revocations")),
    UserClaims: (
        User(**{name: getattr(OPEN_USER, name) for name in UserPermissionLimits.__struct_fields__}),
        _USER,
    ),
    ActivationClaims: (Activation(), ("subject", "type")),
}


class _Moved(Document, frozen=True, kw_only=True):
    """What is beside ``nats`` in version 1."""

    type: str = ""
    tags: tuple[str, ...] = ()
    issuer_account: str = ""


def migrated(document: dict[str, Any], kind: type[C]) -> C:
    """A document of version 1 as a ``kind``; its body keeps the version.

    Raises:
        InvalidJWT: A value of the wrong type.
    """
    before, names = _BODIES[kind]
    plain = {key.lower(): value for key, value in document.items()}
    body = plain.pop("nats", None)
    if not isinstance(body, dict | None):
        raise wrong_type(body, f"v1{kind.__name__}.nats", f"jwt.v1{type(before).__name__}")
    found = _named(body or {}, names)
    if kind is AccountClaims:
        _account(found)
    if kind is ActivationClaims:
        found = {"kind" if key == "type" else key: value for key, value in found.items()}
    moved = read(plain, _Moved)
    fields: dict[str, Any] = {"type": moved.type, "tags": moved.tags, "version": 1}
    if kind in (UserClaims, ActivationClaims):
        fields["issuer_account"] = moved.issuer_account
    nats = msgspec.structs.replace(read(found, type(before), "nats.", before), **fields)
    return msgspec.structs.replace(read(plain, kind), nats=nats)


def _named(body: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key.lower(): value for key, value in body.items() if key.lower() in names}


def _account(found: dict[str, Any]) -> None:
    """There were no scopes and no JetStream."""
    keys = found.get("signing_keys")
    if isinstance(keys, list) and not all(isinstance(key, str) for key in keys):
        raise InvalidJWT("json: cannot unmarshal object into Go struct field signing_keys of type string")
    if isinstance(found.get("limits"), dict):
        found["limits"] = _named(found["limits"], _LIMITS)
