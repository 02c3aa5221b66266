"""Auth callouts: what is asked, and whether an answer lets somebody in (security_ops 2.9; nats-server's auth_callout).

The server publishes ``request`` on ``$SYS.REQ.USER.AUTH`` in the callout's account and waits for an answer, at most
the authentication timeout. ``answer`` reads it, and ``admit_answered`` decides, when the account that
``answered_account`` names has been looked up. Whatever is wrong, the peer hears ``Authorization Violation``.
"""

from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import NamedTuple

import msgspec

from phloem.shared.errors import CredentialsRefused, InvalidJWT, NKeyError
from phloem.shared.limits import SECOND_NS
from phloem.shared.security import restrictions
from phloem.shared.security.admission import Admitted, Peer, admitted, least, scoped
from phloem.shared.security.callout_claims import (
    AuthorizationRequest,
    AuthorizationRequestClaims,
    AuthorizationResponseClaims,
)
from phloem.shared.security.claims import ANY, ExternalAuthorization, UserClaims
from phloem.shared.security.nkeys import KeyPair
from phloem.shared.security.tokens import PREFIX, decode_as, encode
from phloem.shared.security.trust import Account
from phloem.shared.security.validation import validate
from phloem.shared.security.xkeys import seal, unseal

SUBJECT = "$SYS.REQ.USER.AUTH"
AUDIENCE = "nats-authorization-request"
XKEY_HEADER = "Nats-Server-Xkey"


class Asked(NamedTuple):
    """What an answer has to fit.

    ``account`` is the callout's: a name, or a public key in operator mode. ``user``: the key that was made for the
    request. ``server``: this server's public key. ``issuer``: who has to sign users, empty in operator mode, where
    ``signers`` may sign answers and ``callout`` says for which accounts. ``xkey`` is the service's, if requests are
    sealed; the answer may be, then.
    """

    account: str
    user: str
    server: str
    issuer: str = ""
    signers: Mapping[str, object] = {}
    callout: ExternalAuthorization = ExternalAuthorization()
    xkey: str = ""

    @property
    def operator_mode(self) -> bool:
        """Whether accounts are JWTs."""
        return not self.issuer


def request(asked: Asked, body: AuthorizationRequest, server: KeyPair, now_ns: int, timeout_ns: int) -> str:
    """The JWT that asks; ``body`` without ``user_nkey``, which ``asked`` has. Raises InvalidJWT, NKeyError."""
    claims = AuthorizationRequestClaims(
        sub=asked.issuer or asked.account,
        aud=AUDIENCE,
        exp=(now_ns + timeout_ns) // SECOND_NS,
        nats=msgspec.structs.replace(body, user_nkey=asked.user),
    )
    return encode(claims, server, now_ns // SECOND_NS)


def sealed_request(token: str, asked: Asked, curve: KeyPair, nonce: bytes) -> bytes:
    """The same for the service's eyes alone; ``curve`` is the server's, whose public key goes into the header."""
    return seal(curve, token.encode(), asked.xkey, nonce)


def answer(
    body: bytes, asked: Asked, curve: KeyPair | None, peer: Peer, now_ns: int, local: tzinfo = UTC
) -> UserClaims:
    """The user that an answer names.

    ``peer.proxied``: a trusted proxy vouches for the connection. ``curve``: the server's, if the request was sealed.
    ``local``: the server's time zone.

    Raises:
        CredentialsRefused: It lets nobody in; the reason is what nats-server logs and tells in its event.
    """
    try:
        user = _user(body, asked, curve, now_ns)
    except (InvalidJWT, NKeyError) as error:
        raise CredentialsRefused(_title(str(error))) from None
    if user.nats.proxy_required and not peer.proxied:
        raise CredentialsRefused("Proxy connection required")
    for issue in validate(user, now_ns // SECOND_NS):
        raise CredentialsRefused(f"Error validating user JWT: {issue.description}")
    if user.sub != asked.user:
        text = f'Expected authorized user of "{asked.user}" but got "{user.sub}" on account "{asked.account}"'
        raise CredentialsRefused(text)
    _window_and_types(user, asked, now_ns, local)
    return user


def answered_account(user: UserClaims, asked: Asked) -> str:
    """The account to look up: named by ``aud``, or in operator mode the one that issued the user.

    Raises:
        CredentialsRefused: The issuer may not decide for it.
    """
    if not asked.operator_mode:
        if user.nats.issuer_account:
            text = f'Error non operator mode account "{asked.account}": attempted to use issuer_account'
            raise CredentialsRefused(text)
        if user.iss != asked.issuer:
            text = f'Wrong issuer for auth callout response on account "{asked.account}"'
            raise CredentialsRefused(f'{text}, expected "{asked.issuer}" got "{user.iss}"')
        return user.aud
    name = user.nats.issuer_account or user.iss
    allowed = asked.callout.allowed_accounts
    if name != asked.account and allowed != (ANY,) and name not in allowed:
        text = f'Account "{user.iss}" not permitted as valid account option for auth callout'
        raise CredentialsRefused(f'{text} for account "{asked.account}"')
    return name


def admit_answered(
    user: UserClaims, asked: Asked, account: Account, now_ns: int, local: tzinfo = UTC
) -> Admitted:
    """What the user is in ``account``, which ``answered_account`` named.

    In configuration mode ``account`` has claims made from the configuration: its limits and default permissions.
    The user's own limits do not count, nor are his connection types compared, as in nats-server.

    Raises:
        CredentialsRefused: Not to be let in.
    """
    window, types = _window_and_types(user, asked, now_ns, local)
    if asked.operator_mode:
        try:
            user = scoped(user, account)
        except CredentialsRefused as refused:
            raise CredentialsRefused(_as_answered(refused.reason, user)) from None
    found = admitted(user, account, types, window.for_ns, now_ns)
    granted = account.claims.nats.limits
    return found._replace(max_payload=least(granted.payload), max_subscriptions=least(granted.subs))


def _window_and_types(
    user: UserClaims, asked: Asked, now_ns: int, local: tzinfo
) -> tuple[restrictions.Window, frozenset[str]]:
    window = restrictions.within_times(user.nats.times, user.nats.times_location, now_ns, local)
    if not window.open:
        text = f'Authorized user on account "{asked.account}" outside of valid connect times'
        raise CredentialsRefused(text)
    types, complaint = restrictions.connection_types(user.nats.allowed_connection_types or ())
    if complaint and not types:
        text = f'Authorized user on account "{asked.account}" using invalid connection type'
        raise CredentialsRefused(text)
    return window, types


def _user(body: bytes, asked: Asked, curve: KeyPair | None, now_ns: int) -> UserClaims:
    if not body:
        text = f'auth callout violation: "no reason supplied" on account "{asked.account}"'
        raise InvalidJWT(text)
    sealed = curve is not None and not body.startswith(PREFIX.encode())
    if curve is not None and sealed:
        try:
            body = unseal(curve, body, asked.xkey)
        except NKeyError as error:
            text = f'error decrypting auth callout response on account "{asked.account}": {error}'
            raise InvalidJWT(text) from None
    claims = decode_as(body.decode("utf-8", "replace"), AuthorizationResponseClaims)
    for issue in validate(claims, now_ns // SECOND_NS):
        raise InvalidJWT(f"authorization response had validation errors: {issue.description}")
    if claims.sub != asked.user:
        raise InvalidJWT("auth callout violation: auth callout response is not for expected user")
    if claims.aud != asked.server:
        raise InvalidJWT("auth callout violation: auth callout response is not for server")
    if claims.nats.error:
        raise InvalidJWT(f"auth callout service returned an error: {claims.nats.error}")
    if not sealed and not _signs(claims, asked):
        raise InvalidJWT("auth callout signing key is unknown")
    return decode_as(claims.nats.jwt, UserClaims)


def _signs(claims: AuthorizationResponseClaims, asked: Asked) -> bool:
    """Whether an answer that is not sealed is by somebody who may answer."""
    if not asked.operator_mode:
        return claims.iss == asked.issuer
    signer = claims.nats.issuer_account or claims.iss
    return signer == asked.account or signer in asked.signers


def _as_answered(reason: str, user: UserClaims) -> str:
    """What nats-server says of a scoped user here."""
    if reason == "User JWT issuer is not known":
        return f'User JWT issuer "{user.iss}" is not known'
    return reason


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]
