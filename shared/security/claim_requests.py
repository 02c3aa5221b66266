"""Requests about claims to a resolver that stores them: ``$SYS.REQ.CLAIMS.UPDATE``, ``.DELETE`` and the like.

Whether to do what is asked, in nats-server's order and with its words (security_ops 2.10.6). Who may ask at all is
decided by the account: only the system account has these subjects. Whether the issuer is trusted is not asked here,
as in nats-server: it is when the account is used.
"""

from collections.abc import Container

from phloem.shared.errors import InvalidJWT, PhloemError
from phloem.shared.security.claims import AccountClaims, OperatorClaims
from phloem.shared.security.nkeys import Prefix, is_public
from phloem.shared.security.tokens import decode_as, decode_generic
from phloem.shared.security.validation import validate

UPDATE_FAILED = "jwt update resulted in error"
UPDATED = "jwt updated"


class ClaimsRefused(PhloemError):
    """The answer's error: ``account`` as nats-server names it, ``description`` with what was asked and why not."""

    def __init__(self, account: str, asked: str, why: str) -> None:
        self.account, self.description = account, f"{asked} - {why}"
        super().__init__(self.description)


def operator_keys(operator: OperatorClaims) -> frozenset[str]:
    """Keys that may ask to delete; a strict operator's own key may not."""
    own = () if operator.nats.strict_signing_key_usage else (operator.sub,)
    return frozenset((*own, *operator.nats.signing_keys))


def to_store(token: str, operator: OperatorClaims, now_s: int, name: str = "") -> AccountClaims:
    """The claims of an account to keep. ``name``: the account that the subject of the request names.

    Raises:
        ClaimsRefused: Not to be kept. An expired one is.
    """
    try:
        claims = decode_as(token, AccountClaims)
    except InvalidJWT as error:
        raise ClaimsRefused("n/a", UPDATE_FAILED, str(error)) from None
    if not name:
        _check_issuer(claims, operator, claims.sub)
    _check_sense(claims, now_s, "jwt validation failed")
    if name:
        if claims.sub != name:
            raise ClaimsRefused(name, UPDATE_FAILED, "subject does not match jwt content")
        _check_issuer(claims, operator, name)
    return claims


def to_cache(
    token: str, operator: OperatorClaims, now_s: int, in_use: Container[str], name: str = ""
) -> AccountClaims | None:
    """The same for a resolver that keeps the accounts ``in_use`` alone; ``None``: it is none of them.

    Raises:
        ClaimsRefused: Not to be kept.
    """
    failed = "jwt update cache resulted in error"
    try:
        claims = decode_as(token, AccountClaims)
    except InvalidJWT as error:
        raise ClaimsRefused(name or "n/a", failed, str(error)) from None
    if name and claims.sub != name:
        raise ClaimsRefused(name, failed, "subject does not match jwt content")
    _check_issuer(claims, operator, claims.sub, failed)
    if claims.sub not in in_use:
        return None
    _check_sense(claims, now_s, "jwt update cache validation failed")
    return claims


def to_delete(token: str, keys: Container[str], system_account: str, *, allowed: bool) -> tuple[str, ...]:
    """The accounts that a generic token asks to delete. ``keys``: ``operator_keys``.

    Raises:
        ClaimsRefused: The token is not self-signed by an operator's key, or not one of these accounts goes.
    """
    try:
        claims = decode_generic(token)
    except InvalidJWT as error:
        raise ClaimsRefused("", "delete accounts request by  failed", str(error)) from None
    asked = f"delete accounts request by {claims.sub} failed"
    if not allowed:
        raise ClaimsRefused("", asked, "delete must be enabled in server config")
    if claims.sub != claims.iss:
        raise ClaimsRefused("", asked, "not self signed")
    if claims.iss not in keys:
        raise ClaimsRefused("", asked, "not trusted")
    accounts = claims.nats.get("accounts")
    if not isinstance(accounts, list):
        raise ClaimsRefused("", asked, "malformed request")
    for account in accounts:
        if not isinstance(account, str) or not is_public(account, Prefix.ACCOUNT):
            raise ClaimsRefused("", asked, "malformed request")
        if account == system_account:
            raise ClaimsRefused("", asked, "not allowed to delete system account")
    return tuple(accounts)


def _check_sense(claims: AccountClaims, now_s: int, asked: str) -> None:
    if wrong := [issue.description for issue in validate(claims, now_s) if issue.blocking]:
        raise ClaimsRefused(claims.sub, asked, f"validation errors: [{' '.join(wrong)}]")


def _check_issuer(
    claims: AccountClaims, operator: OperatorClaims, account: str, asked: str = UPDATE_FAILED
) -> None:
    if operator.nats.strict_signing_key_usage and claims.iss == operator.sub:
        raise ClaimsRefused(account, asked, "operator requires issuer to be a signing key")
