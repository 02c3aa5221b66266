"""Who may connect and what they may do, from a file: permissions and the rules between users.

The texts are nats-server's; users in front of a terminal search for them.
"""

import re
from collections.abc import Iterable

import msgspec

from phloem.shared import limits
from phloem.shared.errors import ConfigError, NKeyError
from phloem.shared.security.nkeys import Prefix, decode_seed, is_public, wipe
from phloem.shared.server.conf.parser import Value
from phloem.shared.server.declare import Declared
from phloem.shared.server.durations import parse_duration
from phloem.shared.server.load_values import Reading, describe, last, string, wrong_type
from phloem.shared.server.options import Options
from phloem.shared.server.options_auth import (
    Account,
    Authorization,
    Permissions,
    ResponsePermission,
    SubjectPermission,
    User,
)
from phloem.shared.server.options_leafnodes import LeafAuthorization, Remote
from phloem.shared.wire.subjects import is_valid

BCRYPT = re.compile(r"\$2[abxy]\$\d{2}\$.*", re.DOTALL)


def subjects(reading: Reading, key: str, value: Value, _option: Declared) -> tuple[str, ...]:
    """Subjects without queue groups."""
    return _subjects(reading, key, value, queues=False)


def subject_permission(
    reading: Reading, key: str, value: Value, option: Declared
) -> SubjectPermission | None:
    """One direction of a permission block. An empty map is no restriction."""
    queues = option.field == "subscribe"
    if not isinstance(value.data, dict):
        return SubjectPermission(allow=_subjects(reading, key, value, queues=queues))
    if not value.data:
        return None
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    for name, item in value.data.items():
        if name.lower() == "allow":
            allow = _subjects(reading, name, item, queues=queues)
        elif name.lower() == "deny":
            deny = _subjects(reading, name, item, queues=queues)
        elif not item.used:
            raise item.error(
                f'Unknown field name "{name}" parsing subject permissions, '
                "only 'allow' or 'deny' are permitted"
            )
    return SubjectPermission(allow=allow, deny=deny)


def responses(reading: Reading, key: str, value: Value, _option: Declared) -> ResponsePermission | None:
    """``true`` is the defaults, ``false`` nothing; 0 in the map is the default, too."""
    if isinstance(value.data, bool):
        return ResponsePermission() if value.data else None
    if not isinstance(value.data, dict):
        raise value.error("error parsing response permissions, expected a boolean or a map")
    max_msgs, ttl_ns = 0, 0
    for name, item in value.data.items():
        if name.lower() in ("max", "max_msgs", "max_messages", "max_responses"):
            if not isinstance(item.data, int) or isinstance(item.data, bool):
                raise wrong_type(name, item, "integer")
            max_msgs = item.data
        elif name.lower() in ("expires", "expiration", "ttl"):
            if not isinstance(item.data, str):
                raise item.error("error parsing expires, not a duration string")
            try:
                ttl_ns = parse_duration(item.data)
            except ValueError as error:
                raise item.error(f"error parsing expires: {error}") from None
        elif not item.used:
            raise item.error(f'Unknown field "{name}" parsing permissions')
    return ResponsePermission(
        max_msgs=max_msgs or limits.ALLOW_RESPONSES_MAX, ttl_ns=ttl_ns or limits.ALLOW_RESPONSES_TTL_NS
    )


def finish_permissions(permissions: Permissions) -> Permissions:
    """With ``allow_responses``, publishing needs an explicit allow for everything else."""
    if permissions.allow_responses is None:
        return permissions
    publish = permissions.publish or SubjectPermission()
    if publish.allow is not None:
        return permissions
    return msgspec.structs.replace(permissions, publish=msgspec.structs.replace(publish, allow=()))


def check_user(value: Value, user: User) -> None:
    """Either a name or an nkey.

    Raises:
        ConfigError: Neither, both, or the nkey is none.
    """
    where = last(value)
    if not user.nkey and not user.user:
        raise where.error("User entry requires a user")
    if user.nkey and not is_public(user.nkey, Prefix.USER):
        raise where.error("Not a valid public nkey for a user")
    if user.nkey and (user.user or user.password):
        raise where.error("Nkey users do not take usernames or passwords")


def check_nkey(value: Value, struct: type[msgspec.Struct], nkey: str) -> None:
    """Keys of accounts and links. Whether a seed is right is said without repeating it.

    Raises:
        ConfigError: It is no key of the kind that belongs there.
    """
    if struct is Account and not is_public(nkey, Prefix.ACCOUNT):
        raise value.error(f'Not a valid public nkey for an account: "{nkey}"')
    if struct is LeafAuthorization and not is_public(nkey, Prefix.USER):
        raise value.error("Not a valid public nkey for leafnode authorization")
    if struct is Remote:
        try:
            prefix, raw = decode_seed(nkey)
        except NKeyError:
            raise value.error("Remote leafnode nkey is not a valid seed") from None
        wipe(raw)
        if prefix is not Prefix.USER:
            raise value.error("Remote leafnode nkey is not a valid seed")


def check_remote(value: Value, remote: Remote) -> None:
    """Rules between the fields of a remote.

    Raises:
        ConfigError: It has two ways to log in.
    """
    if remote.credentials and remote.nkey:
        raise last(value).error("Remote leafnode can not have both creds and nkey defined")


def finish_authorization(value: Value, authorization: Authorization) -> Authorization:
    """Check the block's own rules and give users without permissions the default ones."""
    has_users = _has(value, "users")
    if (authorization.user or authorization.password) and authorization.token:
        raise value.error("Cannot have a user/pass and token")
    if has_users and authorization.user:
        raise value.error("Can not have a single user/pass and a users array")
    if has_users and authorization.token:
        raise value.error("Can not have a token and a users array")
    if duplicate := _duplicate(user.user for user in authorization.users if not user.nkey):
        raise value.error(f'Duplicate user "{duplicate}" detected')
    if duplicate := _duplicate(user.nkey for user in authorization.users if user.nkey):
        raise value.error(f'Duplicate nkey "{duplicate}" detected')
    users = with_default_permissions(authorization.users, authorization.default_permissions)
    return msgspec.structs.replace(authorization, users=users)


def with_default_permissions(users: tuple[User, ...], default: Permissions | None) -> tuple[User, ...]:
    """The same users; those without permissions have the default ones."""
    return tuple(
        user if user.permissions is not None else msgspec.structs.replace(user, permissions=default)
        for user in users
    )


def finish_leaf_authorization(value: Value, authorization: LeafAuthorization) -> LeafAuthorization:
    """Check the block's own rules."""
    if authorization.users and authorization.user:
        raise value.error("can not have a single user/pass and a users array")
    if authorization.users and authorization.nkey:
        raise value.error("can not have a single nkey and a users array")
    if duplicate := _duplicate(user.user for user in authorization.users):
        raise value.error(f'duplicate user "{duplicate}" detected in leafnode authorization')
    return authorization


def has_plaintext_secret(options: Options) -> bool:
    """Whether any password or token is written as it is instead of as a bcrypt hash."""
    leaf = options.leafnodes.authorization
    secrets = [options.authorization.password, options.authorization.token, leaf.password]
    secrets += [user.password for user in options.users]
    secrets += [user.password for user in leaf.users]
    return any(secret and not BCRYPT.fullmatch(secret) for secret in secrets)


def _subjects(reading: Reading, key: str, value: Value, *, queues: bool) -> tuple[str, ...]:
    if not isinstance(value.data, str | list):
        text = (
            f"Expected subject permissions to be a subject, or array of subjects, got {describe(value.data)}"
        )
        raise value.error(text)
    items = value.data if isinstance(value.data, list) else [value]
    if not all(isinstance(item.data, str) for item in items):
        raise value.error("Subject in permissions array cannot be cast to string")
    found = tuple(string(reading, key, item) for item in items)
    for subject in found:
        _check_subject(value, subject, queues=queues)
    return found


def _check_subject(value: Value, entry: str, *, queues: bool) -> None:
    if is_valid(entry):
        return
    parts = entry.split()
    if not queues or len(parts) != 2:
        # nats-server gives this one without a position
        raise ConfigError(f'subject "{entry}" is not a valid subject')
    if not is_valid(parts[0]):
        raise value.error(f'subject "{parts[0]}" is not a valid subject')
    if not is_valid(parts[1]):
        raise value.error(f'queue "{parts[1]}" is not a valid queue')


def _has(value: Value, key: str) -> bool:
    return isinstance(value.data, dict) and any(name.lower() == key for name in value.data)


def _duplicate(names: Iterable[str]) -> str:
    """The first name that is there twice, or nothing."""
    seen = set[str]()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
