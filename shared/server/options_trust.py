"""Options of whose word counts: operators, resolvers, auth callout, proxies. Declared as in ``options.py``."""

from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import msgspec

from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.server.declare import Kind, Opt

if TYPE_CHECKING:
    from phloem.shared.security.claims import OperatorClaims

MEMORY, URL, FULL, CACHE = "memory", "url", "full", "cache"


class Operator(NamedTuple):
    """Who vouches for accounts: the JWT as it was written, and what is in it."""

    token: str
    claims: "OperatorClaims"


class Resolver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where accounts' JWTs come from."""

    kind: Annotated[
        str,
        Kind.RESOLVER_TYPE,
        Opt("full: keep all, the same on every server; cache: keep those in use; memory.", key="type"),
    ] = MEMORY
    url: str = ""  # of ``URL(...)``, with a "/" at the end
    dir: Annotated[str, Opt("Folder of the JWTs.", example='"/var/lib/phloem/jwt"')] = ""
    allow_delete: Annotated[bool, Opt("Accounts may be deleted. full only.")] = False
    hard_delete: Annotated[bool, Opt("Deleted ones are not kept under another name. full only.")] = False
    limit: Annotated[int, Opt("JWTs to keep; 0 for 1,000 in a cache, else for any number.")] = 0
    ttl_ns: Annotated[
        int, Kind.DURATION_TEXT, Opt("How long one is kept; 0 for ever. cache only.", example='"1h"')
    ] = 0
    interval_ns: Annotated[
        int,
        Kind.DURATION_TEXT,
        Opt("Time between comparing with other servers. full only.", empty_is_default=True),
    ] = limits.RESOLVER_INTERVAL_NS
    timeout_ns: Annotated[
        int, Kind.DURATION_TEXT, Opt("Time for another server to answer.", empty_is_default=True)
    ] = limits.RESOLVER_TIMEOUT_NS


class AuthCallout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service decides who may connect."""

    EXPECTED: ClassVar[str] = "Expected authorization callout to be a map/struct"
    UNKNOWN: ClassVar[str] = "parsing authorization callout"

    issuer: Annotated[str, Opt("Public account key that signs its answers.")] = ""
    account: Annotated[str, Opt("Account in which the service is.", aliases="acc", empty_is_default=True)] = (
        GLOBAL_ACCOUNT
    )
    auth_users: Annotated[
        tuple[str, ...],
        Kind.ARRAY,
        Opt("Users, also by nkey, about whom it is not asked.", aliases="users"),
    ] = ()
    xkey: Annotated[
        str,
        Opt("Public curve key of the service; requests are encrypted for it.", aliases="key"),
    ] = ""
    allowed_accounts: Annotated[
        tuple[str, ...], Kind.ARRAY, Opt("Accounts that it decides about; without it all.")
    ] = ()


class Proxy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A proxy in front of clients, which signs that they came through it."""

    ARRAY: ClassVar[str] = "expected proxies' trusted field to be an array"
    ITEM: ClassVar[str] = "expected proxies' trusted entry to be a map/struct"

    key: Annotated[str, Opt("Its public nkey.", aliases="public_key", reload=True)] = ""


class Proxies(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Proxies in front of clients."""

    EXPECTED: ClassVar[str] = "expected proxies to be a map/struct"

    trusted: Annotated[tuple[Proxy, ...], Opt("Those whose signature counts.", reload=True)] = ()
