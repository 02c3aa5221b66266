"""Accounts of a configuration: their blocks, and the rules between them, users and leaf links.

The texts are nats-server's (security_ops 9), and so is where they point: mistakes that concern the users of an
account are told at its ``users``.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.accounts.definition import Definition
from phloem.shared.accounts.resolving import resolve
from phloem.shared.errors import ConfigError
from phloem.shared.server.conf import Value
from phloem.shared.server.definitions import definition
from phloem.shared.server.load_auth import with_default_permissions
from phloem.shared.server.load_values import Reading, string
from phloem.shared.server.options_auth import Account, Authorization
from phloem.shared.wire.subjects import is_literal


def named(reading: Reading, key: str, value: Value) -> tuple[Account, ...]:
    """Accounts without users, from an array of their names.

    Raises:
        ConfigError: A name is reserved or there twice.
    """
    assert isinstance(value.data, list)
    names = list[str]()
    for item in value.data:
        name = string(reading, key, item)
        _check_name(name, item)
        if name in names:
            raise item.error(f"Duplicate Account Entry: {name}")
        names.append(name)
    return tuple(Account(name=name) for name in names)


def blocks(reading: Reading, entries: Mapping[str, Value]) -> Iterator[tuple[str, Value, dict[str, Value]]]:
    """Name, value and entries of each account's block. Values for ``$name`` may stand beside them."""
    for name, value in entries.items():
        if value.used:
            continue
        try:
            if not isinstance(value.data, dict):
                raise value.error("Expected map entries for accounts")
            _check_name(name, value)
        except ConfigError as error:
            reading.errors.append(error)
        else:
            yield name, value, value.data


def finish(account: Account) -> Account:
    """The account with users that know it and have its default permissions."""
    users = tuple(
        msgspec.structs.replace(user, account=account.name)
        for user in with_default_permissions(account.users, account.default_permissions)
    )
    return msgspec.structs.replace(account, users=users)


def mistakes(top: Mapping[str, Value], fields: Mapping[str, Any]) -> Iterator[ConfigError]:
    """What is wrong between blocks: user names are unique in the whole server, single logins stand alone."""
    authorization: Authorization = fields.get("authorization", Authorization())
    yield from _callout_mistakes(authorization, defined(fields))
    names = {user.user or user.nkey for user in authorization.users}
    for account in fields.get("accounts", ()):
        if not account.users:
            continue
        users = _users_value(top, account.name)
        if authorization.user:
            yield users.error("Can not have a single user/pass and accounts")
        elif authorization.token:
            yield users.error("Can not have a token and accounts")
        for user in account.users:
            name, what = (user.nkey, "nkey") if user.nkey else (user.user, "user")
            if name in names:
                yield users.error(f'Duplicate {what} "{name}" detected')
            names.add(name)


def mistakes_between(top: Mapping[str, Value], fields: Mapping[str, Any]) -> Iterator[ConfigError]:
    """What is wrong with what accounts export and import; to be asked when nothing else is."""
    accounts: Sequence[Account] = fields.get("accounts", ())
    if not any(account.exports or account.imports for account in accounts):
        return
    where = _entry(top, "accounts")
    if fields.get("no_system_account"):
        for account in accounts:
            for export in account.exports:
                if export.service and export.latency is not None:
                    head = f'Error adding service latency sampling for "{export.service}"'
                    yield where.error(f"{head}: system account not setup")
    for account in accounts:
        for entry in account.imports:
            if entry.stream is not None and not is_literal(entry.prefix):
                text = "stream import prefix can not contain wildcard tokens"
                yield where.error(f'Error adding stream import "{entry.stream.subject}": {text}')
                return
    definitions = {account.name: definition(account) for account in accounts}
    if "mappings" in fields:
        definitions.setdefault(GLOBAL_ACCOUNT, Definition(GLOBAL_ACCOUNT))
    for problem in resolve(definitions).problems:
        yield where.error(problem.text)


def defined(fields: Mapping[str, Any]) -> frozenset[str]:
    """Accounts that others may be told of: those with a block, and ``$G`` if it has mappings."""
    names = {account.name for account in fields.get("accounts", ())}
    return frozenset(names | {GLOBAL_ACCOUNT} if "mappings" in fields else names)


def _callout_mistakes(authorization: Authorization, accounts: frozenset[str]) -> Iterator[ConfigError]:
    callout = authorization.auth_callout
    for name in callout.allowed_accounts if callout is not None else ():
        if name not in accounts:
            yield ConfigError(f'auth_callout allowed account "{name}" not found in configured accounts')


def _users_value(top: Mapping[str, Value], account: str) -> Value:
    """Where the users of an account are written."""
    return _entry(_block(_entry(_block(_entry(top, "accounts")), account, exact=True)), "users")


def _entry(entries: Mapping[str, Value], wanted: str, *, exact: bool = False) -> Value:
    return next(value for key, value in entries.items() if (key if exact else key.lower()) == wanted)


def _block(value: Value) -> dict[str, Value]:
    return value.data if isinstance(value.data, dict) else {}


def _check_name(name: str, value: Value) -> None:
    if name == GLOBAL_ACCOUNT:
        raise value.error(f'"{name}" is a Reserved Account')
