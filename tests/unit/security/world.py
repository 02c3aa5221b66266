"""An operator with two accounts, one of them with signing keys and a scope, and users in all conditions.

``CASES`` is what tries to come in; nats-server and ours have to agree on every one, and on why not.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from phloem.shared.security.claims import (
    OPEN_LIMITS,
    OPEN_USER,
    Account,
    AccountClaims,
    Operator,
    OperatorClaims,
    Permission,
    ResponsePermission,
    TimeRange,
    User,
    UserClaims,
    UserPermissionLimits,
    UserScope,
)
from phloem.shared.security.nkeys import KeyPair, Prefix
from phloem.shared.security.tokens import encode, encode_base64url
from tests.unit.security.keyring import (
    ACCOUNT,
    OPERATOR,
    OPERATOR_SIGNER,
    OTHER,
    SCOPED,
    SIGNER,
    USER,
)

YEAR_S = 365 * 86_400
REVOKED = KeyPair(Prefix.USER, b"r" * 32)
STRANGER = KeyPair(Prefix.ACCOUNT, b"z" * 32)
BROKEN = KeyPair(Prefix.ACCOUNT, b"m" * 32)  # signing key whose template nobody satisfies
BEARERS = KeyPair(Prefix.ACCOUNT, b"q" * 32)  # signing key whose users need no signature
FUTURE = KeyPair(Prefix.ACCOUNT, b"f" * 32)  # signing key whose users may only use a websocket

OPEN = {name: getattr(OPEN_USER, name) for name in UserPermissionLimits.__struct_fields__}


def operator() -> OperatorClaims:
    """Not strict; its own key and a signing key count."""
    return OperatorClaims(sub=OPERATOR.public_key, nats=Operator(signing_keys=(OPERATOR_SIGNER.public_key,)))


def account(now_s: int) -> AccountClaims:
    """The account most users are of."""
    template = msgspec.structs.replace(
        OPEN_USER,
        pub=Permission(allow=("d.{{name()}}.>",)),
        sub=Permission(allow=("t.{{tag(team)}}",), deny=("x",)),
        resp=ResponsePermission(max=2),
        subs=5,
    )
    scopes = {
        SCOPED: UserScope(key=SCOPED.public_key, role="device", template=template),
        BROKEN: UserScope(
            key=BROKEN.public_key,
            template=msgspec.structs.replace(OPEN_USER, pub=Permission(deny=("{{tag(none)}}",))),
        ),
        BEARERS: UserScope(
            key=BEARERS.public_key, template=msgspec.structs.replace(OPEN_USER, bearer_token=True)
        ),
        FUTURE: UserScope(
            key=FUTURE.public_key,
            template=msgspec.structs.replace(OPEN_USER, allowed_connection_types=("WEBSOCKET",)),
        ),
    }
    return AccountClaims(
        sub=ACCOUNT.public_key,
        name="A",
        nats=Account(
            limits=OPEN_LIMITS,
            signing_keys={SIGNER.public_key: None} | {pair.public_key: s for pair, s in scopes.items()},
            revocations={REVOKED.public_key: now_s + YEAR_S},
            default_permissions=msgspec.structs.replace(
                Account().default_permissions, sub=Permission(allow=("default.>",))
            ),
        ),
    )


def strict_account() -> AccountClaims:
    """One whose users need a signature, and of which everything older than the future is revoked."""
    return AccountClaims(
        sub=OTHER.public_key,
        name="B",
        nats=Account(limits=msgspec.structs.replace(OPEN_LIMITS, disallow_bearer=True)),
    )


class Case(NamedTuple):
    """Somebody who tries: claims, who signs them, and how the nonce is signed."""

    name: str
    claims: Callable[[int], UserClaims]
    signer: KeyPair = ACCOUNT
    key: KeyPair = USER
    sig: Callable[[KeyPair, bytes], str] = lambda pair, nonce: encode_base64url(pair.sign(nonce))
    token: Callable[[str], str] = lambda token: token

    def presented(self, now_s: int) -> str:
        """The JWT of CONNECT."""
        return self.token(encode(self.claims(now_s), self.signer, now_s))


def user(issuer_account: str = "", key: KeyPair = USER, **body: Any) -> Callable[[int], UserClaims]:
    """A user without limits, but for ``body``."""
    claims = UserClaims(
        sub=key.public_key, name="dev1", nats=User(**{**OPEN, "issuer_account": issuer_account, **body})
    )
    return lambda _now_s: claims


def scoped(**body: Any) -> Callable[[int], UserClaims]:
    """A user of a scope."""
    claims = UserClaims(
        sub=USER.public_key, name="dev1", nats=User(issuer_account=ACCOUNT.public_key, **body)
    )
    return lambda _now_s: claims


def at(**offsets: int) -> Callable[[int], UserClaims]:
    """A user with times that are so many seconds from now."""
    return lambda now_s: msgspec.structs.replace(
        user()(now_s), **{name: now_s + offset for name, offset in offsets.items()}
    )


def standard_base64(pair: KeyPair, nonce: bytes) -> str:
    """With padding and + and /."""
    text = encode_base64url(pair.sign(nonce)).replace("-", "+").replace("_", "/")
    return text + "=" * (-len(text) % 4)


A = ACCOUNT.public_key
ALWAYS = (TimeRange(start="00:00:00", end="23:59:59"), TimeRange(start="12:00:00", end="11:59:59"))

CASES = [
    Case("plain", user()),
    Case("by a signing key", user(A), SIGNER),
    Case("by a signing key without issuer_account", user(), SIGNER),
    Case("by a stranger", user(A), STRANGER),
    Case("by another account", user(A), OTHER),
    Case("issuer_account is the issuer", user(A)),
    Case("of the other account", user(), OTHER),
    Case("scoped", scoped(tags=("team:blue", "team:red")), SCOPED),
    Case("scoped without the tag", scoped(), SCOPED),
    Case("scoped with limits of its own", scoped(subs=-1), SCOPED),
    Case("scoped with an empty list of its own", scoped(src=()), SCOPED),
    Case("scoped with a permission", scoped(pub=Permission(allow=("x",))), SCOPED),
    Case("scope that makes no subject", scoped(), BROKEN),
    Case("scope of bearers", scoped(), BEARERS, sig=lambda _p, _n: ""),
    Case("scope of websockets", scoped(), FUTURE),
    Case("expired", at(exp=-10)),
    Case("expires soon", at(exp=3600)),
    Case("not yet", at(nbf=3600)),
    Case("since a while", at(nbf=-10)),
    Case("revoked", user(key=REVOKED), key=REVOKED),
    Case("revoked bearer", user(key=REVOKED, bearer_token=True), key=REVOKED),
    Case("no signature", user(), sig=lambda _p, _n: ""),
    Case("signature by another key", user(), key=REVOKED),
    Case("signature of something else", user(), sig=lambda p, _n: encode_base64url(p.sign(b"x"))),
    Case("signature in plain base64", user(), sig=standard_base64),
    Case("signature that is no base64", user(), sig=lambda _p, _n: "!"),
    Case("signature that is short", user(), sig=lambda _p, _n: "AAAA"),
    Case("bearer", user(bearer_token=True), sig=lambda _p, _n: ""),
    Case("bearer where it is not allowed", user(bearer_token=True), OTHER, sig=lambda _p, _n: ""),
    Case("standard connections", user(allowed_connection_types=("standard", "X"))),
    Case("other connections", user(allowed_connection_types=("WEBSOCKET", "LEAFNODE"))),
    Case("unknown connections", user(allowed_connection_types=("X", "Y"))),
    Case("from here", user(src=("10.0.0.0/8", "127.0.0.0/8"))),
    Case("from elsewhere", user(src=("10.0.0.0/8",))),
    Case("from nonsense", user(src=("x",))),
    Case("always", user(times=ALWAYS)),
    Case("never", user(times=(TimeRange(start="12:00:00", end="12:00:00"),))),
    Case(
        "never in Berlin",
        user(times=(TimeRange(start="1:00:00", end="01:00:00"),), times_location="Europe/Berlin"),
    ),
    Case("times that are none", user(times=(TimeRange(start="x", end="y"),))),
    Case("nowhere", user(times_location="Nowhere")),
    Case("proxy required", user(proxy_required=True)),
    Case("permission with a queue to publish", user(pub=Permission(allow=("a b",)))),
    Case("no token", user(), token=lambda _token: ""),
    Case("not a token", user(), token=lambda _token: "eyJ.eyJ.x"),
    Case("changed token", user(), token=lambda token: token[:-10] + "AAAAAAAAAA"),
    Case("token with a chunk more", user(), token=lambda token: token + ".x"),
]
