"""Who may connect: credentials in, a user out. Pure: reads no clock, no socket, and does not hash.

The order of decisions is nats-server's (security_ops 2.1): nkeys, then users by name, then the token, then the only
user; ``no_auth_user`` stands in for a client that shows no credentials at all. Checking a bcrypt secret takes a tenth
of a second of processor time on purpose, so the caller does it where it holds up nobody: ``find`` names the
secret to compare with, ``matches`` compares.

An unknown user costs the same comparison as a known one, against a secret that nothing matches, and an unknown nkey
the same signature.
"""

import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol, TypedDict

from phloem.shared.errors import CredentialsRefused
from phloem.shared.security.admission import Admitted, check_signature
from phloem.shared.security.issues import quoted
from phloem.shared.security.nkeys import NOBODY, Prefix, is_public

GLOBAL_ACCOUNT = "$G"
SYSTEM_ACCOUNT = "$SYS"

STANDARD = "STANDARD"
LEAFNODE = "LEAFNODE"
IN_PROCESS = "IN_PROCESS"

PROXY_REQUIRED = "proxy connection required"
PROXY_NOT_TRUSTED = "proxy is not trusted"
REDACTED = "[REDACTED]"

_BCRYPT = re.compile(r"^\$2[abxy]\$\d{2}\$.*")
_SHOWN = 64  # characters of a key that is shown; one that is a key has 56
_WHOLE_BCRYPT = re.compile(r"^\$2[abxy]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$")
_NOBODYS_HASH = "$2b${:02}$" + "." * 53
_BCRYPT_BYTES_MAX = 72  # bcrypt reads no more of a secret


class SubjectRules(Protocol):
    """Allow and deny lists of one direction; ``allow`` of ``None`` is everything."""

    @property
    def allow(self) -> Sequence[str] | None: ...  # noqa: D102
    @property
    def deny(self) -> Sequence[str]: ...  # noqa: D102


class ResponseRules(Protocol):
    """Replies that a responder may send."""

    @property
    def max_msgs(self) -> int: ...  # noqa: D102
    @property
    def ttl_ns(self) -> int: ...  # noqa: D102


class Rules(Protocol):
    """Permissions of a user."""

    @property
    def publish(self) -> SubjectRules | None: ...  # noqa: D102
    @property
    def subscribe(self) -> SubjectRules | None: ...  # noqa: D102
    @property
    def allow_responses(self) -> ResponseRules | None: ...  # noqa: D102


class ConfiguredUser(Protocol):
    """A user of the configuration."""

    @property
    def user(self) -> str: ...  # noqa: D102
    @property
    def password(self) -> str: ...  # noqa: D102
    @property
    def permissions(self) -> Rules | None: ...  # noqa: D102
    @property
    def nkey(self) -> str: ...  # noqa: D102
    @property
    def allowed_connection_types(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def proxy_required(self) -> bool: ...  # noqa: D102
    @property
    def account(self) -> str: ...  # noqa: D102


class Credentials(NamedTuple):
    """What a CONNECT shows. ``nkey`` with ``sig``, the signature of the nonce; ``jwt`` only counts among operators."""

    user: str = ""
    password: str = ""
    token: str = ""
    nkey: str = ""
    sig: str = ""
    jwt: str = ""
    proxy_sig: str = ""

    @property
    def any(self) -> bool:
        """Whether anything is shown at all."""
        return bool(self.user or self.password or self.token or self.nkey)

    @property
    def raw_user(self) -> str:
        """Whom it claims to be, as nats-server names it in lists of users."""
        return self.nkey or self.user or (REDACTED if self.token else "")

    @property
    def label(self) -> str:
        """The same for the log."""
        if self.nkey:
            return f"Nkey {quoted(self.nkey[:_SHOWN])}"
        if self.user:
            return f"User {quoted(self.user)}"
        return f'Token "{REDACTED}"' if self.token else ""


class Identity(NamedTuple):
    """Who a connection is: name for logs and monitoring, account, permissions (``None``: all).

    ``secret`` is the configured one that was matched, so that a reload can tell whether it is still valid. ``nkey``:
    the configured public key that was shown. ``admitted`` is set for whom a JWT let in, ``by_callout``: one that an
    auth callout gave; ``asks``: among the users of a callout's own account. ``proxy``: the key of the proxy that
    vouches; ``title``: what people call the account, if that is not its name.
    """

    name: str = ""
    account: str = GLOBAL_ACCOUNT
    permissions: Rules | None = None
    secret: str = ""
    nkey: str = ""
    admitted: Admitted | None = None
    by_callout: bool = False
    asks: bool = False
    proxy: str = ""
    title: str = ""

    @property
    def issuer_key(self) -> str:
        """Who vouches for somebody that has a key: a signing key, or the account."""
        signing_key = self.admitted.signing_key if self.admitted is not None else ""
        return signing_key or (self.account if self.nkey or self.admitted is not None else "")


class Candidate(NamedTuple):
    """Who a connection is if ``given`` matches ``secret``; ``identity`` of ``None`` never is, ``refusal`` says why.

    ``cost``: the highest bcrypt cost of anybody's secret, 0 without. A refusal takes as long as that, whatever the
    secret was, so that its time does not tell who is there.
    """

    identity: Identity | None
    secret: str
    given: str
    refusal: str = ""
    cost: int = 0

    @property
    def slow(self) -> bool:
        """Whether ``matches`` takes long enough to belong on another thread."""
        return bool(_BCRYPT.match(self.secret)) or (self.cost > 0 and not self._right())

    def matches(self) -> bool:
        """Whether the secret is right; what is wrong takes as long as the dearest secret."""
        if self._right():
            return True
        for cost in _lacking(_cost(self.secret), self.cost):
            secret_matches(_NOBODYS_HASH.format(cost), self.given)
        return False

    def _right(self) -> bool:
        return secret_matches(self.secret, self.given) and self.identity is not None


def _cost(secret: str) -> int:
    """Of a bcrypt hash; 0 for what is none."""
    found = _WHOLE_BCRYPT.match(secret)
    return int(found[1]) if found else 0


def _lacking(cost: int, most: int) -> Iterable[int]:
    """Costs that together with ``cost`` take as long as ``most``; each is twice the one before it."""
    return range(cost, most) if cost else (most,) if most else ()


def secret_matches(secret: str, given: str) -> bool:
    """Compares in constant time, a bcrypt hash by bcrypt."""
    if not _BCRYPT.match(secret):
        return hmac.compare_digest(secret.encode(), given.encode())
    import bcrypt  # noqa: PLC0415  (half a megabyte that servers without hashed secrets do not need)

    try:
        return bcrypt.checkpw(given.encode()[:_BCRYPT_BYTES_MAX], secret.encode())
    except ValueError:  # a hash that only looks like one
        return False


class PermissionLists(TypedDict):
    """Keyword arguments of the kernel's Permissions."""

    pub_allow: Sequence[str] | None
    pub_deny: Sequence[str]
    sub_allow: Sequence[str] | None
    sub_deny: Sequence[str]
    response_max: int
    response_ttl_ns: int


def permission_lists(rules: Rules | None) -> PermissionLists | None:
    """Keyword arguments for the kernel's Permissions; ``None`` when everything is allowed."""
    if rules is None or (rules.publish is None and rules.subscribe is None and rules.allow_responses is None):
        return None
    publish, subscribe, responses = rules.publish, rules.subscribe, rules.allow_responses
    return {
        "pub_allow": publish.allow if publish else None,
        "pub_deny": publish.deny if publish else (),
        "sub_allow": subscribe.allow if subscribe else None,
        "sub_deny": subscribe.deny if subscribe else (),
        "response_max": responses.max_msgs if responses else 0,
        "response_ttl_ns": responses.ttl_ns if responses else 0,
    }


class Authenticator:
    """The users of one configuration."""

    def __init__(
        self,
        *,
        users: Iterable[ConfiguredUser] = (),
        user: str = "",
        password: str = "",
        token: str = "",
        no_auth_user: str = "",
        permissions: Rules | None = None,
        anonymous: bool = False,
        by_certificate: Sequence[str] = (),
        proxy_required: bool = False,
    ) -> None:
        """``user``/``password`` or ``token`` are the single secret; ``permissions`` are its holder's, and
        ``proxy_required``.

        ``anonymous``: who shows nothing is let into ``$G``, although INFO asks for credentials. ``by_certificate``:
        connection types whose users a certificate may name; a user without a password who may come that way may not
        come by name.
        """
        users = tuple(users)
        self._users = {entry.user: entry for entry in users if not entry.nkey}
        self._nkeys = {entry.nkey: entry for entry in users if entry.nkey}
        self._single = (user, password) if user or password else None
        self._token = token
        self._no_auth_user = no_auth_user
        self._permissions = permissions
        self._anonymous = anonymous
        self._by_certificate = frozenset(by_certificate)
        self._proxy_required = proxy_required
        self._cost = max((_cost(entry.password) for entry in self._users.values()), default=0)

    @property
    def required(self) -> bool:
        """Whether CONNECT has to show something; what ``auth_required`` in INFO says."""
        return self.configured and not self._no_auth_user

    @property
    def configured(self) -> bool:
        """Whether any credentials exist."""
        return bool(self._users or self._nkeys or self._single or self._token)

    @property
    def has_nkeys(self) -> bool:
        """Whether anybody logs in by signing a nonce."""
        return bool(self._nkeys)

    def find(
        self,
        shown: Credentials,
        connection_type: str,
        *,
        nonce: bytes = b"",
        proxied: bool = False,
        mapped: Callable[[Iterable[str]], str | None] | None = None,
    ) -> Candidate | Identity:
        """Who ``shown`` claims to be: an Identity at once, or a Candidate whose secret has to match.

        Args:
            shown: What CONNECT shows.
            connection_type: STANDARD, LEAFNODE and so on.
            nonce: That of INFO, which an nkey has signed.
            proxied: A trusted proxy vouches for the connection.
            mapped: Which of these users the certificate of the peer names, where certificates name users.

        Raises:
            CredentialsRefused: An nkey that is not known or did not sign.
        """
        if not self.configured:
            return Identity(permissions=self._permissions)
        if mapped is None and not shown.any:
            stand_in = self.stand_in(connection_type, proxied=True)
            if stand_in is not None:
                return self._behind_proxy(stand_in, proxied)
        if self._nkeys and shown.nkey:
            return self._by_nkey(shown, connection_type, nonce, proxied)
        if self._users or self._nkeys:
            return self._by_name(shown, connection_type, proxied, mapped)
        refusal = PROXY_REQUIRED if self._proxy_required and not proxied else ""
        if self._token:
            identity = Identity(REDACTED, permissions=self._permissions, secret=self._token)
            return Candidate(None if refusal else identity, self._token, shown.token, refusal)
        name, password = self._single or ("", "")
        identity = Identity(name, permissions=self._permissions, secret=password)
        right = hmac.compare_digest(name.encode(), shown.user.encode()) and not refusal
        return Candidate(identity if right else None, password, shown.password, refusal)

    def _by_name(
        self,
        shown: Credentials,
        connection_type: str,
        proxied: bool,
        mapped: Callable[[Iterable[str]], str | None] | None,
    ) -> Candidate:
        name: str | None = shown.user
        if mapped is not None:
            name = mapped(user for user, entry in self._users.items() if _may_connect(entry, connection_type))
        entry = self._users.get(name) if name is not None else None
        if entry is None:
            refusal = "no user for the client's certificate" if name is None else ""
            return Candidate(None, "\0", shown.password, refusal, self._cost)
        identity = Identity(entry.user, entry.account, entry.permissions, entry.password)
        refusal = PROXY_REQUIRED if entry.proxy_required and not proxied else ""
        allowed = _may_connect(entry, connection_type) and not refusal
        if mapped is None and self._needs_certificate(entry):
            allowed = False
        return Candidate(identity if allowed else None, entry.password, shown.password, refusal, self._cost)

    def _needs_certificate(self, entry: ConfiguredUser) -> bool:
        return (
            not entry.password
            and entry.user != self._no_auth_user
            and any(_may_connect(entry, kind) for kind in self._by_certificate)
        )

    def _by_nkey(self, shown: Credentials, connection_type: str, nonce: bytes, proxied: bool) -> Identity:
        entry = self._nkeys.get(shown.nkey)
        if entry is None or not _may_connect(entry, connection_type):
            with suppress(CredentialsRefused):  # as long as it would take for somebody who is known
                known_kind = is_public(shown.nkey, Prefix.USER)
                check_signature(shown.nkey if known_kind else NOBODY, nonce, shown.sig)
            raise CredentialsRefused("no user with this nkey")
        unsigned = None
        try:
            check_signature(entry.nkey, nonce, shown.sig)
        except CredentialsRefused as refused:
            unsigned = refused
        identity = self._behind_proxy(_nkey_identity(entry), proxied)
        if entry.nkey != self._no_auth_user and unsigned is not None:
            raise unsigned
        return identity

    def _behind_proxy(self, identity: Identity, proxied: bool) -> Identity:
        entry = self._nkeys.get(identity.nkey) if identity.nkey else self._users.get(identity.name)
        if entry is not None and entry.proxy_required and not proxied:
            raise CredentialsRefused(PROXY_REQUIRED)
        return identity

    def stand_in(self, connection_type: str, *, proxied: bool = False) -> Identity | None:
        """Who someone is that shows no credentials where they are configured; ``None``: nobody."""
        if self._anonymous:
            return Identity()
        if not self._no_auth_user:
            return None
        entry = self._nkeys.get(self._no_auth_user) or self._users.get(self._no_auth_user)
        if (
            entry is None
            or not _may_connect(entry, connection_type)
            or (entry.proxy_required and not proxied)
        ):
            return None
        return _nkey_identity(entry) if entry.nkey else Identity(entry.user, entry.account, entry.permissions)

    def renew(self, identity: Identity, connection_type: str = "") -> Identity | None:
        """What an ``identity`` of an earlier configuration is now; ``None``: log in again.

        That is so when its credentials are no longer good, lead to another account, or do not hold for
        ``connection_type`` any more.
        """
        entry = self._entry(identity)
        if entry is not None and connection_type and not _may_connect(entry, connection_type):
            return None
        if entry is not None and entry.proxy_required and not identity.proxy:
            return None
        if not self.configured:
            return None if identity.name else Identity(permissions=self._permissions)
        if self._anonymous and identity == Identity():
            return identity
        if identity.nkey:
            good = entry is not None and entry.account == identity.account
            return identity._replace(permissions=entry.permissions) if entry and good else None
        if entry is not None:
            no_secret = identity.name == self._no_auth_user and not identity.secret
            good = (no_secret or entry.password == identity.secret) and entry.account == identity.account
            return identity._replace(permissions=entry.permissions) if good else None
        single = self._single or (REDACTED, self._token)
        good = not self._users and bool(identity.secret) and single == (identity.name, identity.secret)
        return identity._replace(permissions=self._permissions) if good else None

    def moved(self, identity: Identity) -> bool:
        """Whether somebody with a name is there no more, or in another account: he comes again as who he is then."""
        entry = self._entry(identity)
        named = bool(identity.name) and identity.name != REDACTED and identity.admitted is None
        return named and (entry is None or entry.account != identity.account)

    def _entry(self, identity: Identity) -> ConfiguredUser | None:
        """Who it is in this configuration, whatever the secret."""
        return self._nkeys.get(identity.nkey) if identity.nkey else self._users.get(identity.name)


def _nkey_identity(entry: ConfiguredUser) -> Identity:
    return Identity(entry.nkey, entry.account, entry.permissions, nkey=entry.nkey)


def _may_connect(entry: ConfiguredUser, connection_type: str) -> bool:
    kinds = entry.allowed_connection_types
    return not kinds or connection_type in {kind.upper() for kind in kinds}
