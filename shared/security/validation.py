"""Whether claims make sense: the checks of NATS's JWT library with its texts (jwt 2.8.2 in Go: ``Validate``).

What is wrong is gathered, not raised: some of it only warns, and what has to do with time is told apart, because
whoever stores a JWT does not mind an expired one.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from phloem.shared import limits
from phloem.shared.security.account_rules import check_account
from phloem.shared.security.callout_claims import AuthorizationRequestClaims, AuthorizationResponseClaims
from phloem.shared.security.claims import (
    SERVICE,
    STREAM,
    AccountClaims,
    ActivationClaims,
    Claims,
    Operator,
    OperatorClaims,
    UserClaims,
    UserPermissionLimits,
)
from phloem.shared.security.issues import Issues, quoted
from phloem.shared.security.nkeys import Prefix, is_public
from phloem.shared.security.permission_rules import check_permissions
from phloem.shared.security.restrictions import network, seconds_of_day, zone
from phloem.shared.security.subjects import check_subject

SERVICE_SCHEMES = ("nats", "tls", "ws", "wss")


def validate(claims: Claims, now_s: int) -> Issues:
    """All that is wrong with ``claims`` at ``now_s`` (seconds since 1970 UTC)."""
    issues = Issues()
    check, time_first = _CHECKS.get(type(claims), (None, True))
    if time_first:
        check_times(claims, now_s, issues)
    if check is not None:
        check(claims, issues)
    if not time_first:
        check_times(claims, now_s, issues)
    return issues


def check_times(claims: Claims, now_s: int, issues: Issues) -> None:
    """Expired, or not valid yet. In the second of ``exp`` it still is valid."""
    if 0 < claims.exp < now_s:
        issues.time("claim is expired")
    if claims.nbf > 0 and claims.nbf > now_s:
        issues.time("claim is not yet valid")


def check_activation(claims: ActivationClaims, issues: Issues) -> None:
    """All but its times."""
    body = claims.nats
    if body.kind not in (STREAM, SERVICE):
        issues.error(f"invalid import type: {quoted(body.kind or 'unknown')}")
    check_subject(body.subject, issues)
    _check_issuer_account(body.issuer_account, "account_id is not an account public key", issues)


def server_version(text: str) -> tuple[int, int, int]:
    """``assert_server_version`` as numbers; zeros for nothing. Raises ValueError with the library's text."""
    if not text:
        return 0, 0, 0
    parts = text.split(".")
    if len(parts) != 3:
        raise ValueError("asserted server version must be of the form <major>.<minor>.<update>")
    numbers = []
    for part in parts:
        digits = part[1:] if part[:1] in ("+", "-") else part
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise ValueError(f"asserted server version cant parse {part[: limits.JWT_QUOTED]} to int")
        numbers.append(int(part))
    if min(numbers) < 0:
        raise ValueError(f"asserted server version can'b contain negative values: {text}")
    return numbers[0], numbers[1], numbers[2]


def _check_operator(claims: OperatorClaims, issues: Issues) -> None:
    body = claims.nats
    _check_account_server(body, issues)
    for url in body.operator_service_urls:
        if url:
            _check_service(url, issues)
    for key in body.signing_keys:
        if not is_public(key, Prefix.OPERATOR):
            issues.error(f"{key[: limits.JWT_QUOTED]} is not an operator public key")
    if body.system_account and not is_public(body.system_account, Prefix.ACCOUNT):
        issues.error(f"{body.system_account[: limits.JWT_QUOTED]} is not an account public key")
    try:
        server_version(body.assert_server_version)
    except ValueError as error:
        issues.error(f"assert server version error: {error}")


def _check_account_server(body: Operator, issues: Issues) -> None:
    url = body.account_server_url
    if not url:
        return
    try:
        scheme, _user, _path = _parts(url)
    except ValueError as error:
        issues.error(f"error parsing account server url: {error}")
        return
    if not scheme:
        issues.error(f"account server url {quoted(url)} requires a protocol")


def _check_service(url: str, issues: Issues) -> None:
    try:
        scheme, user, path = _parts(url)
    except ValueError as error:
        issues.error(f"error parsing operator service url {quoted(url)}: {error}")
        return
    shown = f"operator service url {quoted(url)}"
    if user:
        issues.error(f"{shown} - credentials are not supported")
    elif path:
        issues.error(f"{shown} - paths are not supported")
    elif scheme.lower() not in SERVICE_SCHEMES:
        issues.error(f"{shown} - protocol not supported (only 'nats', 'tls', 'ws', 'wss' only)")


def _parts(url: str) -> tuple[str, bool, str]:
    """Scheme, whether a user is named, and path. Raises ValueError in the words of Go's net/url."""
    if any(character < " " or character == "\x7f" for character in url):
        raise ValueError(f"parse {quoted(url)}: net/url: invalid control character in URL")
    if url.startswith(":"):
        raise ValueError(f"parse {quoted(url)}: missing protocol scheme")
    try:
        parts = urlsplit(url)
        port = parts.netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    except ValueError:
        raise ValueError(f"parse {quoted(url)}: missing ']' in host") from None
    if port and not (port.isascii() and port.isdigit()):
        raise ValueError(f"parse {quoted(url)}: invalid port {quoted(':' + port)} after host")
    opaque = bool(parts.scheme) and not parts.netloc and not parts.path.startswith("/")
    return parts.scheme, "@" in parts.netloc, "" if opaque else parts.path


def _check_user(claims: UserClaims, issues: Issues) -> None:
    check_permissions(claims.nats, issues)
    _check_limits(claims.nats, issues)
    _check_issuer_account(claims.nats.issuer_account, "account_id is not an account public key", issues)


def _check_limits(body: UserPermissionLimits, issues: Issues) -> None:
    for text in body.src or ():
        if network(text) is None:
            issues.error(f"invalid cidr {quoted(text)} in user src limits")
    for span in body.times or ():
        for name, text in (("start", span.start), ("end", span.end)):
            if not text:
                issues.error(f"time ranges {name} must contain a{'n' if name == 'end' else ''} {name}")
            elif seconds_of_day(text) is None:
                issues.error(f"{name} in time range is invalid {quoted(text)}")
    if body.times_location and zone(body.times_location) is None:
        name = body.times_location[: limits.JWT_QUOTED]
        issues.error(f"could not parse iana time zone by name: unknown time zone {name}")


def _check_request(claims: AuthorizationRequestClaims, issues: Issues) -> None:
    key = claims.nats.user_nkey
    if not key:
        issues.error("User nkey is required")
    elif not is_public(key, Prefix.USER):
        issues.error(f"User nkey {quoted(key)} is not a valid user public key")


def _check_response(claims: AuthorizationResponseClaims, issues: Issues) -> None:
    body = claims.nats
    if not is_public(claims.sub, Prefix.USER):
        issues.error("Subject must be a user public key")
    if not is_public(claims.aud, Prefix.SERVER):
        issues.error("Audience must be a server public key")
    if not body.error and not body.jwt:
        issues.error("Error or Jwt is required")
    if body.error and body.jwt:
        issues.error("Only Error or Jwt can be set")
    _check_issuer_account(body.issuer_account, "issuer_account is not an account public key", issues)


def _check_issuer_account(key: str, problem: str, issues: Issues) -> None:
    if key and not is_public(key, Prefix.ACCOUNT):
        issues.error(problem)


def _check_account(claims: AccountClaims, issues: Issues) -> None:
    check_account(claims, check_activation, issues)


_CHECKS: dict[type[Claims], tuple[Callable[[Any, Issues], None] | None, bool]] = {  # whether times come first
    OperatorClaims: (_check_operator, True),
    AccountClaims: (_check_account, True),
    UserClaims: (_check_user, True),
    ActivationClaims: (check_activation, True),
    AuthorizationRequestClaims: (_check_request, False),
    AuthorizationResponseClaims: (_check_response, False),
}
