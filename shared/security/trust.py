"""Whose word counts: operators vouch for accounts, accounts and their signing keys for users and activations.

As nats-server decides it (security_ops 2.10.4; ``verifyAccountClaims``, ``updateAccountClaims``, ``checkActivation``).
Pure: accounts are handed in, by whoever asks a resolver for them.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from phloem.shared.errors import ConfigError, InvalidJWT
from phloem.shared.security.account_rules import check_import
from phloem.shared.security.claims import (
    ANY,
    AccountClaims,
    ActivationClaims,
    Claims,
    Import,
    OperatorClaims,
    UserScope,
)
from phloem.shared.security.issues import Issues, quoted
from phloem.shared.security.nkeys import Prefix, is_public
from phloem.shared.security.tokens import decode_as
from phloem.shared.security.validation import check_activation, server_version, validate

ACCOUNT_REFUSED = "account validation failed"


class Trust(NamedTuple):
    """Operators' keys that may sign accounts; with a ``strict`` one, an account's own key signs nothing."""

    keys: frozenset[str] = frozenset()
    strict: frozenset[str] = frozenset()

    @classmethod
    def of(cls, operators: Iterable[OperatorClaims], trusted_keys: Iterable[str] = ()) -> "Trust":
        """From operators, or from ``trusted_keys`` without their JWTs.

        Raises:
            ConfigError: A key is no operator's.
        """
        keys, strict = list(trusted_keys), set[str]()
        for operator in operators:
            if not operator.nats.strict_signing_key_usage:
                keys.append(operator.sub)
            else:
                strict |= set(operator.nats.signing_keys)
            keys += operator.nats.signing_keys
        for key in keys:
            if not is_public(key, Prefix.OPERATOR):
                raise ConfigError(
                    f"trusted Keys {quoted(key)} are required to be a valid public operator nkey"
                )
        return cls(frozenset(keys), frozenset(strict))


class Account(NamedTuple):
    """An account as far as signatures go. ``signers``: keys that may sign for it, with their scopes."""

    claims: AccountClaims
    signers: Mapping[str, UserScope | None]

    @property
    def name(self) -> str:
        """Its public key."""
        return self.claims.sub


def account(claims: AccountClaims, trust: Trust) -> Account:
    """With its signing keys, and with its own unless the operator is strict."""
    signers = dict(claims.nats.signing_keys)
    if claims.iss not in trust.strict:
        signers[claims.sub] = None
    return Account(claims, signers)


def verify_account(token: str, trust: Trust, now_s: int, name: str = "") -> AccountClaims:
    """The claims of an account that a trusted operator signed; ``name``: which it has to be.

    Raises:
        InvalidJWT: It cannot be read, nobody trusted signed it, it makes no sense, or is not valid now.
    """
    claims = decode_as(token, AccountClaims)
    if claims.iss not in trust.keys or validate(claims, now_s).blocking(times=True):
        raise InvalidJWT(ACCOUNT_REFUSED)
    if name and claims.sub != name:
        raise InvalidJWT(ACCOUNT_REFUSED)
    return claims


def did_sign(operator: OperatorClaims, claims: Claims) -> bool:
    """Whether ``operator`` vouches for ``claims``; a strict one's own key only for itself."""
    if claims.iss == operator.sub:
        return not operator.nats.strict_signing_key_usage or claims.sub == operator.sub
    return claims.iss in operator.nats.signing_keys


def is_revoked(revocations: Mapping[str, int], key: str, issued_s: int) -> bool:
    """Whether what was issued to ``key`` at ``issued_s`` is taken back: by name or, with ``*``, for all."""
    return any(revocations.get(name, issued_s - 1) >= issued_s for name in (key, ANY))


def activates(
    exporter: Account, importer: str, entry: Import, now_s: int, revocations: Mapping[str, int] | None
) -> ActivationClaims | None:
    """The activation that lets the account ``importer`` have ``entry`` of ``exporter``; ``None``: there is none.

    ``revocations``: those of the export; ``None`` when it is not known which one it is. The answer may change at
    ``exp`` of the activation, and when the exporter's claims change.
    """
    if not entry.token:
        return None
    issues = Issues()
    check_import(entry, importer, check_activation, issues)
    if issues.blocking(times=True):
        return None
    try:
        token = decode_as(entry.token, ActivationClaims)
    except InvalidJWT:
        return None
    if not _issued_by(exporter, token) or validate(token, now_s).blocking(times=True):
        return None
    if token.exp != 0 and token.exp <= now_s:
        return None
    if revocations and is_revoked(revocations, token.sub, token.iat):
        return None
    return token


def _issued_by(exporter: Account, token: ActivationClaims) -> bool:
    """``issuer_account`` names whose signing key issued it; without, its issuer was compared with the import."""
    issuer_account = token.nats.issuer_account
    return not issuer_account or (issuer_account == exporter.name and token.iss in exporter.signers)


def check_server_version(operator: OperatorClaims, version: str) -> None:
    """Whether a server of ``version`` is new enough for an operator.

    Raises:
        ConfigError: With nats-server's text.
    """
    wanted_text = operator.nats.assert_server_version
    try:
        wanted = server_version(wanted_text)
    except ValueError as error:
        text = f"operator {operator.sub} expects version {wanted_text} got error instead: {error}"
        raise ConfigError(text) from None
    ours = server_version(version.partition("-")[0])
    for part, asked, is_now in zip(("major", "minor", "update"), wanted, ours, strict=True):
        if asked > is_now:
            text = f"expected {part} version {asked} > server {part} version {is_now}"
            raise ConfigError(f"operator {operator.sub} {text}")
        if asked < is_now:
            return
