"""What is inside NATS's JWTs, version 2 (security_ops 2.10; jwt 2.8.2 in Go). Names are those of the JSON.

Structs only: ``tokens`` reads and writes them, ``validation`` says whether they make sense. Zero is Go's zero: in
limits it means none, and -1 no limit. Times are seconds since 1970 UTC, durations nanoseconds.
"""

from typing import Annotated, Any, ClassVar

import msgspec

from phloem.shared.errors import InvalidJWT
from phloem.shared.security.go_values import (
    Document,
    Int,
    Int64,
    Special,
    Uint,
    Uint8,
    read,
    read_str,
    to_plain,
    wrong_type,
)
from phloem.shared.security.nkeys import Prefix

NO_LIMIT = -1
VERSION = 2
ANY = "*"  # any account, or in revocations every key

STREAM, SERVICE = "stream", "service"

Strings = tuple[str, ...]
SomeStrings = tuple[str, ...] | None  # where Go's nil and its empty list are not the same


def _read_export_type(value: Any, path: str) -> str:
    if read_str(value, path) not in (STREAM, SERVICE):
        raise InvalidJWT(f'unknown export type "{value[:32]}"')
    return str(value)


def _read_scope_kind(value: Any, path: str) -> str:
    if read_str(value, path) != "user_scope":
        raise InvalidJWT(f'unknown scope type "{value[:32]}"')
    return str(value)


def _read_sampling(value: Any, path: str) -> int:
    """A percentage; 0 is by header."""
    if isinstance(value, str) and value.lower() == "headers":
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(value, path, "int")
    return value


def _read_networks(value: Any, path: str) -> Strings:
    """A list as it is, or a text with commas, whose parts are trimmed, in lower case and unique."""
    if isinstance(value, list):
        return tuple(read_str(item, path) if item is not None else "" for item in value)
    parts = (part.strip() for part in read_str(value, path).lower().split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def _read_signing_keys(value: Any, path: str) -> "dict[str, UserScope | None]":
    """Keys, or scopes with their key; other elements are passed over."""
    if not isinstance(value, list):
        raise wrong_type(value, path, "[]interface {}")
    keys: dict[str, UserScope | None] = {}
    for item in value:
        if isinstance(item, str):
            keys[item] = None
        elif isinstance(item, dict):
            if item.get("kind") != "user_scope":
                raise InvalidJWT("unknown signing key scope %!q(<nil>)")
            scope = read(item, UserScope, path.partition(".")[2] + ".", UserScope(template=OPEN_USER))
            keys[scope.key] = scope
    return keys


def _write_signing_keys(keys: "dict[str, UserScope | None]") -> list[Any]:
    return [to_plain(scope) if (scope := keys[key]) is not None else key for key in sorted(keys)]


ExportType = Annotated[str, Special(_read_export_type, str)]
ScopeKind = Annotated[str, Special(_read_scope_kind, str)]
Sampling = Annotated[int, Special(_read_sampling, lambda rate: rate or "headers")]
Networks = Annotated[SomeStrings, Special(_read_networks, list)]
SigningKeys = Annotated["dict[str, UserScope | None]", Special(_read_signing_keys, _write_signing_keys)]


class Permission(Document, frozen=True, kw_only=True):
    """Subjects, each perhaps followed by a space and a queue group. ``allow`` of ``None`` is everything."""

    allow: SomeStrings = None
    deny: SomeStrings = None


class ResponsePermission(Document, frozen=True, kw_only=True):
    """How many replies, and for how long; zeros mean the server's defaults."""

    ALWAYS: ClassVar[frozenset[str]] = frozenset({"max", "ttl"})

    max: Int = 0
    ttl: Int64 = 0


class Permissions(Document, frozen=True, kw_only=True):
    """Of a user, or an account's default."""

    pub: Permission = Permission()
    sub: Permission = Permission()
    resp: ResponsePermission | None = None


class TimeRange(Document, frozen=True, kw_only=True):
    """``HH:MM:SS`` each."""

    start: str = ""
    end: str = ""


class UserPermissionLimits(Permissions, frozen=True, kw_only=True):
    """What a user may do; also the template of a scope."""

    src: Networks = None
    times: tuple[TimeRange, ...] | None = None
    times_location: str = ""
    subs: Int64 = 0
    data: Int64 = 0
    payload: Int64 = 0
    bearer_token: bool = False
    proxy_required: bool = False
    allowed_connection_types: SomeStrings = None


class User(UserPermissionLimits, frozen=True, kw_only=True):
    """Body of a user JWT. ``issuer_account`` is set when a signing key issued it."""

    issuer_account: str = ""
    tags: Strings = ()
    type: str = ""
    version: Int = 0


OPEN_USER = UserPermissionLimits(subs=NO_LIMIT, data=NO_LIMIT, payload=NO_LIMIT)  # a new scope's template


class UserScope(Document, frozen=True, kw_only=True):
    """A signing key whose users all get ``template``."""

    ALWAYS: ClassVar[frozenset[str]] = frozenset({"kind", "key", "role", "template", "description"})

    kind: ScopeKind = "user_scope"
    key: str = ""
    role: str = ""
    template: UserPermissionLimits = UserPermissionLimits()
    description: str = ""


class JetStreamLimits(Document, frozen=True, kw_only=True):
    """Of an account, or of one of its tiers."""

    mem_storage: Int64 = 0
    disk_storage: Int64 = 0
    streams: Int64 = 0
    consumer: Int64 = 0
    max_ack_pending: Int64 = 0
    mem_max_stream_bytes: Int64 = 0
    disk_max_stream_bytes: Int64 = 0
    max_bytes_required: bool = False


class OperatorLimits(Document, frozen=True, kw_only=True):
    """What the operator grants an account."""

    subs: Int64 = 0
    data: Int64 = 0
    payload: Int64 = 0
    imports: Int64 = 0
    exports: Int64 = 0
    wildcards: bool = False
    disallow_bearer: bool = False
    conn: Int64 = 0
    leaf: Int64 = 0
    mem_storage: Int64 = 0
    disk_storage: Int64 = 0
    streams: Int64 = 0
    consumer: Int64 = 0
    max_ack_pending: Int64 = 0
    mem_max_stream_bytes: Int64 = 0
    disk_max_stream_bytes: Int64 = 0
    max_bytes_required: bool = False
    tiered_limits: dict[str, JetStreamLimits] = msgspec.field(default_factory=dict)

    @property
    def jetstream(self) -> JetStreamLimits:
        """Those that are not tiered."""
        return JetStreamLimits(**{name: getattr(self, name) for name in JetStreamLimits.__struct_fields__})

    @property
    def jetstream_enabled(self) -> bool:
        """Whether any storage is granted."""
        tiers = self.tiered_limits.values() if self.tiered_limits else (self.jetstream,)
        return any(tier.mem_storage != 0 or tier.disk_storage != 0 for tier in tiers)


OPEN_LIMITS = OperatorLimits(  # a new account's: everything but JetStream
    subs=NO_LIMIT,
    data=NO_LIMIT,
    payload=NO_LIMIT,
    imports=NO_LIMIT,
    exports=NO_LIMIT,
    wildcards=True,
    conn=NO_LIMIT,
    leaf=NO_LIMIT,
)


class ServiceLatency(Document, frozen=True, kw_only=True):
    """``sampling``: percent, 0 by header."""

    ALWAYS: ClassVar[frozenset[str]] = frozenset({"sampling", "results"})

    sampling: Sampling = 0
    results: str = ""


class Export(Document, frozen=True, kw_only=True):
    """A stream or service that other accounts may import; with ``token_req`` if they have an activation."""

    name: str = ""
    subject: str = ""
    type: ExportType = ""
    token_req: bool = False
    revocations: dict[str, Int64] = msgspec.field(default_factory=dict)
    response_type: str = ""
    response_threshold: Int64 = 0
    service_latency: ServiceLatency | None = None
    account_token_position: Uint = 0
    advertise: bool = False
    allow_trace: bool = False
    description: str = ""
    info_url: str = ""


class Import(Document, frozen=True, kw_only=True):
    """``subject`` is the exporter's for a stream and with ``local_subject``; ``token`` an activation."""

    SECRET: ClassVar[frozenset[str]] = frozenset({"token"})

    name: str = ""
    subject: str = ""
    account: str = ""
    token: str = ""
    to: str = ""
    local_subject: str = ""
    type: ExportType = ""
    share: bool = False
    allow_trace: bool = False


class WeightedMapping(Document, frozen=True, kw_only=True):
    """Where a mapped subject goes; weight 0 is 100 percent."""

    ALWAYS: ClassVar[frozenset[str]] = frozenset({"subject"})

    subject: str = ""
    weight: Uint8 = 0
    cluster: str = ""


class ExternalAuthorization(Document, frozen=True, kw_only=True):
    """Auth callout of an account; on if there are ``auth_users``."""

    auth_users: Strings = ()
    allowed_accounts: Strings = ()
    xkey: str = ""


class MsgTrace(Document, frozen=True, kw_only=True):
    """Where traces go, and how many of a hundred; 0 is all."""

    dest: str = ""
    sampling: Int = 0


class Account(Document, frozen=True, kw_only=True):
    """Body of an account JWT."""

    imports: tuple[Import | None, ...] = ()
    exports: tuple[Export | None, ...] = ()
    limits: OperatorLimits = OperatorLimits()
    signing_keys: SigningKeys = msgspec.field(default_factory=dict)
    revocations: dict[str, Int64] = msgspec.field(default_factory=dict)
    default_permissions: Permissions = Permissions()
    mappings: dict[str, tuple[WeightedMapping, ...]] = msgspec.field(default_factory=dict)
    authorization: ExternalAuthorization = ExternalAuthorization()
    trace: MsgTrace | None = None
    cluster_traffic: str = ""
    description: str = ""
    info_url: str = ""
    tags: Strings = ()
    type: str = ""
    version: Int = 0


class Operator(Document, frozen=True, kw_only=True):
    """Body of an operator JWT."""

    signing_keys: Strings = ()
    account_server_url: str = ""
    operator_service_urls: Strings = ()
    system_account: str = ""
    assert_server_version: str = ""
    strict_signing_key_usage: bool = False
    tags: Strings = ()
    type: str = ""
    version: Int = 0


class Activation(Document, frozen=True, kw_only=True):
    """Body of an activation JWT: leave to import ``subject``."""

    subject: str = ""
    kind: ExportType = ""
    issuer_account: str = ""
    tags: Strings = ()
    type: str = ""
    version: Int = 0


class Claims(Document, frozen=True, kw_only=True):
    """What all JWTs have. ``iss`` signed it, ``sub`` it is about."""

    TYPE: ClassVar[str] = ""
    ISSUERS: ClassVar[tuple[Prefix, ...]] = ()  # kinds of keys that may sign it; none: any
    SUBJECT: ClassVar[tuple[Prefix, str] | None] = (
        None  # kind of ``sub`` when it is written, and Go's complaint
    )

    aud: str = ""
    exp: Int64 = 0
    jti: str = ""
    iat: Int64 = 0
    iss: str = ""
    name: str = ""
    nbf: Int64 = 0
    sub: str = ""


class OperatorClaims(Claims, frozen=True, kw_only=True):
    """An operator: the root of trust."""

    TYPE: ClassVar[str] = "operator"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.OPERATOR,)
    SUBJECT: ClassVar[tuple[Prefix, str] | None] = (
        Prefix.OPERATOR,
        "expected subject to be an operator public key",
    )

    nats: Operator = Operator()


class AccountClaims(Claims, frozen=True, kw_only=True):
    """An account. Issued by an operator, or by itself until an operator does."""

    TYPE: ClassVar[str] = "account"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.ACCOUNT, Prefix.OPERATOR)
    SUBJECT: ClassVar[tuple[Prefix, str] | None] = (
        Prefix.ACCOUNT,
        "expected subject to be account public key",
    )

    nats: Account = Account()


class UserClaims(Claims, frozen=True, kw_only=True):
    """A user."""

    TYPE: ClassVar[str] = "user"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.ACCOUNT,)
    SUBJECT: ClassVar[tuple[Prefix, str] | None] = (Prefix.USER, "expected subject to be user public key")

    nats: User = User()


class ActivationClaims(Claims, frozen=True, kw_only=True):
    """Leave for the account ``sub`` to import."""

    TYPE: ClassVar[str] = "activation"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.ACCOUNT, Prefix.OPERATOR)
    SUBJECT: ClassVar[tuple[Prefix, str] | None] = (Prefix.ACCOUNT, "expected subject to be an account")

    nats: Activation = Activation()


class GenericClaims(Claims, frozen=True, kw_only=True):
    """Anything else, such as a request to delete accounts."""

    nats: dict[str, Any] = msgspec.field(default_factory=dict)
