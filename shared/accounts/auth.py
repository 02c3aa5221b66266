"""Who may connect: credentials in, a user out. Pure: reads no clock, no socket, and does not hash.

The order of decisions is nats-server's (security_ops 2.1): users by name, then the token, then the only user;
``no_auth_user`` stands in for a client that shows no credentials at all. Checking a bcrypt secret takes a tenth
of a second of processor time on purpose, so the caller does it where it holds up nobody: ``find`` names the
secret to compare with, ``matches`` compares.

An unknown user costs the same comparison as a known one, against a secret that nothing matches.
"""

import hmac
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypedDict

GLOBAL_ACCOUNT = "$G"
SYSTEM_ACCOUNT = "$SYS"

STANDARD = "STANDARD"
LEAFNODE = "LEAFNODE"
IN_PROCESS = "IN_PROCESS"

_BCRYPT = re.compile(r"^\$2[abxy]\$\d{2}\$.*")
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
    def allowed_connection_types(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def account(self) -> str: ...  # noqa: D102


class Credentials(NamedTuple):
    """What a CONNECT shows."""

    user: str = ""
    password: str = ""
    token: str = ""
    certified: bool = False  # the user was found by a certificate

    @property
    def any(self) -> bool:
        """Whether anything is shown at all."""
        return bool(self.user or self.password or self.token)


class Identity(NamedTuple):
    """Who a connection is: name for logs and monitoring, account, permissions (``None``: all).

    ``secret`` is the configured one that was matched, so that a reload can tell whether it is still valid.
    """

    name: str = ""
    account: str = GLOBAL_ACCOUNT
    permissions: Rules | None = None
    secret: str = ""


class Candidate(NamedTuple):
    """Who a connection is if ``given`` matches ``secret``; ``identity`` of ``None`` never is."""

    identity: Identity | None
    secret: str
    given: str

    @property
    def slow(self) -> bool:
        """Whether ``matches`` takes long enough to belong on another thread."""
        return bool(_BCRYPT.match(self.secret))

    def matches(self) -> bool:
        """Whether the secret is right; takes as long for a wrong one."""
        return secret_matches(self.secret, self.given) and self.identity is not None


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
    ) -> None:
        """``user``/``password`` or ``token`` are the single secret; ``permissions`` are its holder's.

        ``anonymous``: who shows nothing is let into ``$G``, although INFO asks for credentials. ``by_certificate``:
        connection types whose users a certificate may name; a user without a password who may come that way may not
        come by name.
        """
        self._users = {entry.user: entry for entry in users}
        self._single = (user, password) if user or password else None
        self._token = token
        self._no_auth_user = no_auth_user
        self._permissions = permissions
        self._anonymous = anonymous
        self._by_certificate = frozenset(by_certificate)
        self._decoy = next((u.password for u in self._users.values() if _BCRYPT.match(u.password)), "")

    @property
    def required(self) -> bool:
        """Whether CONNECT has to show something; what ``auth_required`` in INFO says."""
        return self.configured and not self._no_auth_user

    @property
    def configured(self) -> bool:
        """Whether any credentials exist."""
        return bool(self._users or self._single or self._token)

    @property
    def has_users(self) -> bool:
        """Whether there are users by name."""
        return bool(self._users)

    def names(self, connection_type: str) -> list[str]:
        """The users that may connect in this way."""
        return [name for name, entry in self._users.items() if _may_connect(entry, connection_type)]

    def _needs_certificate(self, entry: ConfiguredUser) -> bool:
        return (
            not entry.password
            and entry.user != self._no_auth_user
            and any(_may_connect(entry, kind) for kind in self._by_certificate)
        )

    def find(self, shown: Credentials, connection_type: str) -> Candidate | Identity:
        """Who ``shown`` claims to be: an Identity at once, or a Candidate whose secret has to match."""
        if not self.configured:
            return Identity(permissions=self._permissions)
        if not shown.any and (stand_in := self.stand_in(connection_type)) is not None:
            return stand_in
        if self._users:
            entry = self._users.get(shown.user)
            if entry is None:
                return Candidate(None, self._decoy or "\0", shown.password)
            identity = Identity(entry.user, entry.account, entry.permissions, entry.password)
            allowed = _may_connect(entry, connection_type)
            if not shown.certified and self._needs_certificate(entry):
                allowed = False
            return Candidate(identity if allowed else None, entry.password, shown.password)
        if self._token:
            identity = Identity("[REDACTED]", permissions=self._permissions, secret=self._token)
            return Candidate(identity, self._token, shown.token)
        name, password = self._single or ("", "")
        identity = Identity(name, permissions=self._permissions, secret=password)
        right = hmac.compare_digest(name.encode(), shown.user.encode())
        return Candidate(identity if right else None, password, shown.password)

    def stand_in(self, connection_type: str) -> Identity | None:
        """Who someone is that shows no credentials where they are configured; ``None``: nobody."""
        if self._anonymous:
            return Identity()
        entry = self._users.get(self._no_auth_user) if self._no_auth_user else None
        if entry is None or not _may_connect(entry, connection_type):
            return None
        return Identity(entry.user, entry.account, entry.permissions)

    def renew(self, identity: Identity) -> Identity | None:
        """What an ``identity`` of an earlier configuration is now; ``None``: log in again.

        That is so when its credentials are no longer good, or lead to another account.
        """
        if not self.configured:
            return Identity(permissions=self._permissions)
        if self._anonymous and identity == Identity():
            return identity
        entry = self._users.get(identity.name)
        if entry is not None:
            no_secret = identity.name == self._no_auth_user and not identity.secret
            good = (no_secret or entry.password == identity.secret) and entry.account == identity.account
            return identity._replace(permissions=entry.permissions) if good else None
        single = self._single or ("[REDACTED]", self._token)
        good = not self._users and bool(identity.secret) and single == (identity.name, identity.secret)
        return identity._replace(permissions=self._permissions) if good else None


def _may_connect(entry: ConfiguredUser, connection_type: str) -> bool:
    kinds = entry.allowed_connection_types
    return not kinds or connection_type in {kind.upper() for kind in kinds}
