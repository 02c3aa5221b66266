"""Whether a user JWT lets its holder in, and what he may do then (security_ops 2.10.4).

The order of checks and the words for the log are nats-server's; the peer hears ``Authorization Violation`` whatever
it was. Looking up the account may take a while, so it is between two calls: ``present``, then ``admit``.

Each login verifies two signatures, refused or not: ``present`` that of the JWT, ``admit`` that of the nonce. Whoever
refuses in between verifies that one as well, with ``signature_refusal``, or ``nkeys.verify_nothing`` without claims.
"""

import base64
import binascii
from collections.abc import Container, Sequence
from datetime import UTC, tzinfo
from typing import NamedTuple

import msgspec

from phloem.shared import limits
from phloem.shared.errors import CredentialsRefused, InvalidJWT, NKeyError
from phloem.shared.limits import SECOND_NS
from phloem.shared.security import restrictions
from phloem.shared.security.claims import (
    NO_LIMIT,
    Permission,
    Permissions,
    UserClaims,
    UserPermissionLimits,
)
from phloem.shared.security.nkeys import decode, verify, verify_nothing
from phloem.shared.security.templates import expand
from phloem.shared.security.tokens import decode_as, decode_base64url
from phloem.shared.security.trust import Account, Trust, is_revoked
from phloem.shared.security.validation import validate

_INT32 = (1 << 31) - 1


class Peer(NamedTuple):
    """What is known of who connects. ``host``: an address as text; ``type``: STANDARD, LEAFNODE and so on.

    ``signature`` is that of CONNECT, ``nonce`` the one of INFO; ``proxied``: a trusted proxy vouches for it.
    """

    type: str
    host: str
    nonce: bytes
    signature: str = ""
    proxied: bool = False


class SubjectRules(NamedTuple):
    """Allow and deny of one direction; ``allow`` of ``None`` is everything."""

    allow: Sequence[str] | None = None
    deny: Sequence[str] = ()


class ResponseRules(NamedTuple):
    """Replies to requests; negative: no limit."""

    max_msgs: int
    ttl_ns: int


class UserRules(NamedTuple):
    """Permissions, as the authenticator and the kernel take them."""

    publish: SubjectRules | None = None
    subscribe: SubjectRules | None = None
    allow_responses: ResponseRules | None = None


class Admitted(NamedTuple):
    """Who was let in.

    ``rules`` of ``None``: everything; ``default_rules``: they are the account's, and follow it. ``signing_key`` is
    set when one was used: the user goes when it goes or its scope changes. ``max_payload`` and ``max_subscriptions``
    are those of user and account, -1 without limit. ``expires_ns``: how long yet; ``None``: no end.
    """

    user: UserClaims
    account: str
    rules: UserRules | None
    default_rules: bool
    signing_key: str
    connection_types: frozenset[str]
    max_payload: int
    max_subscriptions: int
    expires_ns: int | None


def present(token: str, peer: Peer, now_ns: int, sentinel: str = "") -> UserClaims:
    """The claims of a user JWT from CONNECT, if it is good by itself; of ``sentinel`` if it is none at all.

    Raises:
        CredentialsRefused: It is not.
    """
    try:
        claims = decode_as(token, UserClaims)
    except InvalidJWT:
        if not sentinel:
            raise CredentialsRefused("Authentication requires a user JWT") from None
        try:
            claims = decode_as(sentinel, UserClaims)
        except InvalidJWT as error:
            raise CredentialsRefused(f"User JWT not valid: {error}") from None
    if claims.nats.proxy_required and not peer.proxied:
        raise CredentialsRefused("proxy connection required")
    issues = validate(claims, now_ns // SECOND_NS)
    if issues.blocking(times=True):
        raise CredentialsRefused(f"User JWT no longer valid: {issues}")
    return claims


def account_of(claims: UserClaims, pinned: Container[str] | None = None) -> str:
    """The public key of the account to look up. A signing key without ``issuer_account`` is taken for an account.

    Raises:
        CredentialsRefused: There are ``pinned`` accounts, and it is none of them.
    """
    name = claims.nats.issuer_account or claims.iss
    if pinned is not None and name not in pinned:
        raise CredentialsRefused(f"Account {name} not listed as operator pinned account")
    return name


def admit(
    claims: UserClaims, account: Account, trust: Trust, peer: Peer, now_ns: int, local: tzinfo = UTC
) -> Admitted:
    """What a presented user is in the account that ``account_of`` named.

    ``local``: the server's time zone, for users with times of the day and without a location.

    Raises:
        CredentialsRefused: Not to be let in.
    """
    unsigned = signature_refusal(claims, peer)  # now: no refusal is sooner than that of a wrong signature
    if account.claims.iss not in trust.keys:
        raise CredentialsRefused("Account JWT not signed by trusted operator")
    claims = scoped(claims, account)
    body = claims.nats
    if 0 < account.claims.exp <= now_ns // SECOND_NS:
        raise CredentialsRefused("Account JWT has expired")
    if body.bearer_token and account.claims.nats.limits.disallow_bearer:
        raise CredentialsRefused("Account does not allow bearer tokens")
    types, complaint = restrictions.connection_types(body.allowed_connection_types or ())
    if complaint and not types:
        raise CredentialsRefused(complaint)
    if types and peer.type not in types:
        raise CredentialsRefused("Connection type not allowed")
    if not body.bearer_token and unsigned is not None:
        raise unsigned
    if is_revoked(account.claims.nats.revocations, claims.sub, claims.iat):
        raise CredentialsRefused("User authentication revoked")
    if not restrictions.from_network(body.src, peer.host):
        raise CredentialsRefused(f"Bad src Ip {peer.host}")
    window = restrictions.within_times(body.times, body.times_location, now_ns, local)
    if not window.open:
        raise CredentialsRefused("Outside connect times")
    return admitted(claims, account, types, window.for_ns, now_ns)


def scoped(claims: UserClaims, account: Account) -> UserClaims:
    """``claims`` with what the scope of its signing key gives, if it has one.

    Raises:
        CredentialsRefused: The issuer does not sign for ``account``, or the user has permissions of his own.
    """
    if claims.iss not in account.signers:
        raise CredentialsRefused("User JWT issuer is not known")
    scope = account.signers[claims.iss]
    if scope is None:
        return claims
    if claims.iss != scope.key:
        raise CredentialsRefused("User JWT is not valid: issuer not the scoped signer")
    if has_permissions(claims):
        text = "scoped users require no permissions or limits set"
        raise CredentialsRefused(f"User JWT is not valid: {text}")
    try:
        granted = expand(scope.template, claims, account.claims)
    except CredentialsRefused as refused:
        raise CredentialsRefused(f"User JWT generated invalid permissions: {refused.reason}") from None
    return _with(claims, granted)


def has_permissions(claims: UserClaims) -> bool:
    """Whether it sets any permission or limit, be it an empty list."""
    return _own(claims) != UserPermissionLimits()


def check_signature(public: str, nonce: bytes, signature: str) -> None:
    """Whether CONNECT's ``sig`` is that of ``nonce`` by ``public``: base64url without padding, or plain base64.

    One verification, whatever is wrong.

    Raises:
        CredentialsRefused: It is missing or wrong.
    """
    try:
        raw = _signature(signature)
        _signs(public)
    except CredentialsRefused:
        verify_nothing()
        raise
    try:
        verify(public, nonce, raw)
    except NKeyError:
        raise CredentialsRefused("Signature not verified") from None


def signature_refusal(claims: UserClaims, peer: Peer) -> CredentialsRefused | None:
    """What is wrong with the signature of who shows ``claims``; ``None``: nothing."""
    try:
        check_signature(claims.sub, peer.nonce, peer.signature)
    except CredentialsRefused as refused:
        return refused
    return None


def admitted(
    claims: UserClaims, account: Account, types: frozenset[str], window_ns: int, now_ns: int
) -> Admitted:
    """What a user is that was let in. ``window_ns``: what is left of the time of the day, 0 without."""
    rules = user_rules(claims.nats)
    default_rules = rules is None
    body, granted = claims.nats, account.claims.nats
    return Admitted(
        user=claims,
        account=account.name,
        rules=user_rules(granted.default_permissions) if default_rules else rules,
        default_rules=default_rules,
        signing_key=claims.iss if body.issuer_account else "",
        connection_types=types,
        max_payload=least(body.payload, granted.limits.payload),
        max_subscriptions=least(body.subs, granted.limits.subs),
        expires_ns=_expires(claims.exp, window_ns, now_ns),
    )


def user_rules(permissions: Permissions) -> UserRules | None:
    """Permissions of claims; ``None``: they say nothing. With ``resp``, publishing needs an explicit ``allow``."""
    publish, subscribe = _subject_rules(permissions.pub), _subject_rules(permissions.sub)
    if publish is None and subscribe is None and permissions.resp is None:
        return None
    if permissions.resp is None:
        return UserRules(publish, subscribe)
    publish = publish or SubjectRules()
    if publish.allow is None:
        publish = publish._replace(allow=())
    responses = ResponseRules(
        permissions.resp.max or limits.ALLOW_RESPONSES_MAX,
        permissions.resp.ttl or limits.ALLOW_RESPONSES_TTL_NS,
    )
    return UserRules(publish, subscribe, responses)


def least(*granted: int) -> int:
    """The smallest of some limits, of which -1 is none; as wide as nats-server keeps them."""
    wanted = [max(-_INT32 - 1, min(_INT32, limit)) for limit in granted if limit != NO_LIMIT]
    return min(wanted, default=NO_LIMIT)


def _subject_rules(permission: Permission) -> SubjectRules | None:
    if not permission.allow and not permission.deny:
        return None
    return SubjectRules(permission.allow, permission.deny or ())


def _own(claims: UserClaims) -> UserPermissionLimits:
    names = UserPermissionLimits.__struct_fields__
    return UserPermissionLimits(**{name: getattr(claims.nats, name) for name in names})


def _with(claims: UserClaims, granted: UserPermissionLimits) -> UserClaims:
    names = UserPermissionLimits.__struct_fields__
    body = msgspec.structs.replace(claims.nats, **{name: getattr(granted, name) for name in names})
    return msgspec.structs.replace(claims, nats=body)


def _signs(public: str) -> None:
    try:
        decode(public)
    except NKeyError as error:
        raise CredentialsRefused(f"User nkey not valid: {error}") from None


def _signature(text: str) -> bytes:
    if not text:
        raise CredentialsRefused("Signature missing")
    try:
        return decode_base64url(text)
    except InvalidJWT:
        pass
    try:
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        raise CredentialsRefused("Signature not valid base64") from None


def _expires(exp_s: int, window_ns: int, now_ns: int) -> int | None:
    """Until ``exp`` or the end of the time of the day, whichever is first."""
    if exp_s == 0:
        return window_ns or None
    left_ns = max(0, exp_s - now_ns // SECOND_NS) * SECOND_NS
    return window_ns if 0 < window_ns < left_ns else left_ns
