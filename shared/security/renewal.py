"""What new claims of an account mean for those who are connected (nats-server's ``updateAccountClaims``).

A user stays with new limits and, if his permissions are the account's, with new permissions; or he goes, because he
was revoked, is a bearer where that is no longer allowed, or the signing key that vouches for him is gone or changed.
How many connections an account may have is counted by whoever knows them, the latest go first.
"""

from typing import NamedTuple

from phloem.shared.security.admission import Admitted, least, user_rules
from phloem.shared.security.trust import Account, is_revoked

USER_EXPIRED = "User Authentication Expired"
USER_REVOKED = "User Authentication Revoked"
ACCOUNT_EXPIRED = "Account Authentication Expired"
TOO_MANY_CONNECTIONS = "maximum account active connections exceeded"
VIOLATION = "Authorization Violation"


class Leaves(NamedTuple):
    """Who has to go. ``wire_text`` is for ``-ERR``, empty: closed without a word; ``reason`` as in /connz."""

    wire_text: str
    reason: str


def renew(
    admitted: Admitted, before: Account, after: Account, *, by_callout: bool = False
) -> Admitted | Leaves:
    """What somebody who was admitted under ``before`` is under ``after``.

    ``by_callout``: an auth callout let him in, so that his own limits never counted.
    """
    user, granted = admitted.user, after.claims.nats
    if user.nats.bearer_token and granted.limits.disallow_bearer and not by_callout:
        return Leaves(VIOLATION, "Authentication Failure")
    if granted.revocations:
        # nats-server takes a JWT without a time of issue for revoked as soon as anybody is
        unknown = user.iat == 0 and not by_callout
        if unknown or (user.iat != 0 and is_revoked(granted.revocations, user.sub, user.iat)):
            return Leaves(USER_REVOKED, "Credentials Revoked")
    if admitted.signing_key and _changed(admitted.signing_key, before, after):
        return Leaves("", "Authentication Failure")
    own = () if by_callout else (user.nats,)
    return admitted._replace(
        rules=user_rules(granted.default_permissions) if admitted.default_rules else admitted.rules,
        max_payload=least(granted.limits.payload, *(limits.payload for limits in own)),
        max_subscriptions=least(granted.limits.subs, *(limits.subs for limits in own)),
    )


def _changed(key: str, before: Account, after: Account) -> bool:
    return key not in after.signers or after.signers[key] != before.signers.get(key)
