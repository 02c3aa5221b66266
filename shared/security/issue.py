"""Making claims: what ``phloem init`` and ``phloem enroll`` put into JWTs, and taking back what was given.

Nothing is signed here (``tokens.encode`` does that) and no key is made (``nkeys.KeyPair``, from 32 random bytes that
are handed in).
"""

from collections.abc import Iterable, Mapping

import msgspec

from phloem.shared.errors import InvalidJWT
from phloem.shared.security.claims import (
    ANY,
    OPEN_LIMITS,
    OPEN_USER,
    Account,
    AccountClaims,
    Operator,
    OperatorClaims,
    OperatorLimits,
    Permissions,
    Strings,
    User,
    UserClaims,
    UserPermissionLimits,
    UserScope,
)
from phloem.shared.security.nkeys import Prefix, is_public


def tag_list(tags: Iterable[str]) -> Strings:
    """Tags as all tools write them: in lower case, trimmed, each once. Templates find no others."""
    trimmed = (tag.strip().lower() for tag in tags)
    return tuple(dict.fromkeys(tag for tag in trimmed if tag))


def new_operator(
    public_key: str, name: str, signing_keys: Iterable[str], system_account: str
) -> OperatorClaims:
    """An operator whose identity stays in the drawer: accounts are signed with ``signing_keys`` alone."""
    body = Operator(
        signing_keys=tuple(signing_keys), system_account=system_account, strict_signing_key_usage=True
    )
    return OperatorClaims(sub=public_key, name=name, nats=body)


def new_account(
    public_key: str,
    name: str,
    *,
    scopes: Iterable[UserScope] = (),
    signing_keys: Iterable[str] = (),
    limits: OperatorLimits = OPEN_LIMITS,
) -> AccountClaims:
    """An account without limits, but without JetStream unless ``limits`` say so."""
    keys: dict[str, UserScope | None] = dict.fromkeys(signing_keys)
    keys |= {scope.key: scope for scope in scopes}
    return AccountClaims(sub=public_key, name=name, nats=Account(limits=limits, signing_keys=keys))


def new_scope(public_key: str, role: str, permissions: Permissions, description: str = "") -> UserScope:
    """A signing key whose users all have ``permissions``, with templates, and no limits."""
    template = msgspec.structs.replace(
        OPEN_USER, pub=permissions.pub, sub=permissions.sub, resp=permissions.resp
    )
    return UserScope(key=public_key, role=role, template=template, description=description)


def new_user(public_key: str, name: str, permissions: Permissions | None = None) -> UserClaims:
    """A user without limits, to be signed by the account's own key; ``issuer_account`` is for other keys."""
    rights = OPEN_USER
    if permissions is not None:
        rights = msgspec.structs.replace(
            rights, pub=permissions.pub, sub=permissions.sub, resp=permissions.resp
        )
    fields = {field: getattr(rights, field) for field in UserPermissionLimits.__struct_fields__}
    return UserClaims(sub=public_key, name=name, nats=User(**fields))


def scoped_user(
    public_key: str, account: str, name: str = "", *, tags: Iterable[str] = (), exp_s: int = 0
) -> UserClaims:
    """A user to be signed by a scope's key, which gives him everything; named by his key without ``name``.

    Raises:
        InvalidJWT: ``account`` is no account's public key, or ``public_key`` no user's.
    """
    for key, prefix, parameter in (
        (account, Prefix.ACCOUNT, "accountId"),
        (public_key, Prefix.USER, "publicUserKey"),
    ):
        if not is_public(key, prefix):
            raise InvalidJWT(f"issueUserJWT requires an {prefix} key for the {parameter} parameter")
    body = User(issuer_account=account, tags=tag_list(tags))
    return UserClaims(sub=public_key, name=name or public_key, exp=exp_s, nats=body)


def revoke(claims: AccountClaims, key: str, at_s: int) -> AccountClaims:
    """With all taken back that was issued to ``key`` (or ``*``) up to ``at_s``. A later time that is there stays.

    What a revocation of all covers is left out, so that the JWT does not grow for ever.
    """
    revocations = dict(claims.nats.revocations)
    revocations[key] = max(at_s, revocations.get(key, at_s))
    return _with(claims, _compact(revocations))


def clear_revocation(claims: AccountClaims, key: str) -> AccountClaims:
    """Without the revocation of ``key``: what was issued before is good again."""
    return _with(claims, {name: at_s for name, at_s in claims.nats.revocations.items() if name != key})


def _compact(revocations: Mapping[str, int]) -> dict[str, int]:
    everything = revocations.get(ANY)
    if everything is None:
        return dict(revocations)
    return {key: at_s for key, at_s in revocations.items() if key == ANY or at_s > everything}


def _with(claims: AccountClaims, revocations: dict[str, int]) -> AccountClaims:
    return msgspec.structs.replace(claims, nats=msgspec.structs.replace(claims.nats, revocations=revocations))
