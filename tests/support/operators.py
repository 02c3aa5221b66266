"""An operator, its accounts and users, as ``nsc`` would make them, for configurations that name them.

All keys are made from a number, so that every run has the same ones.
"""

import itertools
import json
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from phloem.shared.security.claims import (
    OPEN_LIMITS,
    OPEN_USER,
    Account,
    AccountClaims,
    Claims,
    Operator,
    OperatorClaims,
    OperatorLimits,
    User,
    UserClaims,
    UserPermissionLimits,
)
from phloem.shared.security.creds import credentials
from phloem.shared.security.nkeys import KeyPair, Prefix
from phloem.shared.security.tokens import decode_base64url, encode, encode_base64url

_OPEN = {name: getattr(OPEN_USER, name) for name in UserPermissionLimits.__struct_fields__}
_NUMBERS = itertools.count(1)


def key(prefix: Prefix) -> KeyPair:
    """A key that no other test has.

    The number is hashed, because X25519 takes three bits out of the first byte of a secret and two out of the last:
    3 and 67 as secrets are one curve key.
    """
    return KeyPair(prefix, sha256(next(_NUMBERS).to_bytes(32)).digest())


def signature(pair: KeyPair, nonce: str) -> str:
    """CONNECT's ``sig``."""
    return encode_base64url(pair.sign(nonce.encode()))


class AccountKeys:
    """An account's key, and what its claims are made of."""

    def __init__(self, world: "OperatorWorld", name: str) -> None:
        self.world = world
        self.name = name
        self.pair = key(Prefix.ACCOUNT)
        self.public = self.pair.public_key

    def token(self, *, limits: OperatorLimits = OPEN_LIMITS, exp: int = 0, iat: int = 0, **body: Any) -> str:
        """The account's JWT by the operator."""
        claims = AccountClaims(sub=self.public, name=self.name, exp=exp, nats=Account(limits=limits, **body))
        return self.world.sign(claims, self.world.signer, iat)

    def user(
        self,
        *,
        name: str = "u",
        pair: KeyPair | None = None,
        by: KeyPair | None = None,
        exp: int = 0,
        iat: int = 0,
        scoped: bool = False,
        **body: Any,
    ) -> "UserKeys":
        """A user of this account, without limits unless ``scoped`` or ``body`` says so."""
        pair = pair or key(Prefix.USER)
        fields = body if scoped else {**_OPEN, **body}
        if by is not None:
            fields = {"issuer_account": self.public, **fields}
        claims = UserClaims(sub=pair.public_key, name=name, exp=exp, nats=User(**fields))
        return UserKeys(pair, self.world.sign(claims, by or self.pair, iat))


class UserKeys:
    """A user's key and JWT."""

    def __init__(self, pair: KeyPair, token: str) -> None:
        self.pair = pair
        self.token = token

    def connect(self, info: Mapping[str, Any], **more: Any) -> str:
        """CONNECT's argument for a server that said ``info``."""
        shown = {"jwt": self.token, "sig": signature(self.pair, str(info.get("nonce", "")))}
        return json.dumps({"verbose": False, "pedantic": False, "headers": True, **shown, **more})

    @property
    def creds(self) -> str:
        """The creds file."""
        return credentials(self.token, self.pair).decode()


class OperatorWorld:
    """An operator with a system account and an account A."""

    def __init__(self, **operator: Any) -> None:
        self.operator = key(Prefix.OPERATOR)
        self.signer = self.operator  # who signs accounts
        self.system = AccountKeys(self, "SYS")
        self.a = AccountKeys(self, "A")
        body = Operator(system_account=self.system.public, **operator)
        self.token = self.sign(
            OperatorClaims(sub=self.operator.public_key, name="O", nats=body), self.operator
        )

    def sign(self, claims: Claims, pair: KeyPair, iat: int = 0) -> str:
        return encode(claims, pair, iat or int(time.time()))

    def config(self, *accounts: str, resolver: str = "MEMORY", more: str = "") -> str:
        """A configuration that preloads these accounts' JWTs beside the system account's."""
        tokens = (self.system.token(), *accounts)
        preload = "\n".join(f"  {subject(token)}: {token}" for token in tokens)
        return f"operator: {self.token}\nresolver: {resolver}\nresolver_preload {{\n{preload}\n}}\n{more}"


def subject(token: str) -> str:
    """Whom a JWT is about."""
    return str(json.loads(decode_base64url(token.split(".")[1]))["sub"])
