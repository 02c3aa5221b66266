"""Whose word counts, from a file: operators, resolvers and what is in them, auth callout; with nats-server's texts."""

import contextlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from phloem.shared.errors import ConfigError, InvalidJWT
from phloem.shared.security.nkeys import Prefix, is_public
from phloem.shared.server.conf.parser import Value
from phloem.shared.server.declare import Declared
from phloem.shared.server.durations import parse_duration
from phloem.shared.server.load_values import Reading, go_type, last, string
from phloem.shared.server.options_trust import CACHE, FULL, MEMORY, URL, AuthCallout, Operator, Resolver

JWT_START = "eyJ"
WRONG_RESOLVER = (
    'error parsing account resolver, should be MEM or  URL("url") or a map containing dir and type '
    "state=[FULL|CACHE])"
)
RESOLVER_TYPES = {"full": FULL, "cache": CACHE, "mem": MEMORY, "memory": MEMORY}
_MEMORY = re.compile(r"(MEM|MEMORY)\s*", re.IGNORECASE)
_URL = re.compile(r'URL(?:\("?([^\s")]*)"?\s*\))?\s*', re.IGNORECASE)
_OWNER_MAY_WRITE = 0o200


# --- operators ------------------------------------------------------------------------------------


def operators(reading: Reading, _key: str, value: Value, _option: Declared) -> tuple[Operator, ...]:
    """Each is the path of a file with a JWT, or the JWT itself."""
    items = value.data if isinstance(value.data, list) else [value]
    found = list[Operator]()
    for item in items:
        if not isinstance(item.data, str):
            raise value.error(f"error parsing operators: unsupported type {go_type(item.data)}")
        try:
            found.append(read_operator(item.data))
        except (ConfigError, InvalidJWT) as error:
            reading.errors.append(value.error(f"error parsing operator JWT: {error}"))
    return tuple(found)


def read_operator(written: str) -> Operator:
    """The operator of a file or a text.

    Raises:
        ConfigError: There is no such file.
        InvalidJWT: What it has is no operator's JWT.
    """
    from phloem.shared.security.claims import OperatorClaims  # noqa: PLC0415  (not needed without operators)
    from phloem.shared.security.creds import token_in  # noqa: PLC0415
    from phloem.shared.security.tokens import decode_as  # noqa: PLC0415

    try:
        content = Path(written).read_bytes()
    except (OSError, ValueError) as error:
        if not written.startswith(JWT_START):
            reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else error
            raise ConfigError(f"open {written}: {reason}") from None
        content = written.encode()
    token = token_in(content)
    return Operator(token, decode_as(token, OperatorClaims))


def consequences(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that follow from others: a single operator names system account and resolver if the file does not."""
    found = dict[str, Any]()
    named: tuple[Operator, ...] = fields.get("operators", ())
    if len(named) == 1:
        body = named[0].claims.nats
        if not fields.get("system_account") and body.system_account:
            found["system_account"] = body.system_account
        if fields.get("resolver") is None and body.account_server_url:
            with contextlib.suppress(ConfigError):
                found["resolver"] = url_resolver(None, body.account_server_url + "/accounts")
    if (
        fields.get("no_system_account")
        and not fields.get("system_account")
        and not found.get("system_account")
    ):
        found["system_account"] = ""
    return found


def check_trusted_keys(value: Value, keys: tuple[str, ...]) -> None:
    """Each has to be an operator's.

    Raises:
        ConfigError: For the first that is not.
    """
    for key in keys:
        if not is_public(key, Prefix.OPERATOR):
            raise last(value).error(f'trust key "{key}" required to be a valid public operator nkey')


# --- resolvers ------------------------------------------------------------------------------------


def resolver(reading: Reading, key: str, value: Value, _option: Declared) -> Resolver | None:
    """``MEMORY`` or ``URL(...)``; ``None`` for a block, which is read as every block is."""
    if not isinstance(value.data, str):
        raise value.error(f"error parsing operator resolver, wrong type {go_type(value.data)}")
    text = string(reading, key, value)
    if _MEMORY.search(text):
        return Resolver()
    found = _URL.search(text)
    if found is None:
        raise value.error(WRONG_RESOLVER)
    return url_resolver(value, found[1] or "")


def url_resolver(value: Value | None, url: str) -> Resolver:
    """The resolver that asks a web server.

    Raises:
        ConfigError: It is no URL.
    """
    try:
        if url.strip().startswith(":"):
            raise ValueError("missing protocol scheme")
        urlsplit(url.strip()).port  # noqa: B018  (reading it checks it)
    except ValueError:
        text = f'error parsing account resolver url ["{url.strip()}"]'
        raise (value.error(text) if value else ConfigError(text)) from None
    return Resolver(kind=URL, url=url if url.endswith("/") else url + "/")


def resolver_type(_reading: Reading, key: str, value: Value, _option: Declared) -> str:
    """full, cache or memory."""
    kind = RESOLVER_TYPES.get(value.data.lower()) if isinstance(value.data, str) else None
    if kind is None:
        raise value.error(WRONG_RESOLVER)
    return kind


def duration_text(_reading: Reading, _key: str, value: Value, _option: Declared) -> int:
    """A duration as a string."""
    if not isinstance(value.data, str):
        raise value.error(f"interface conversion: interface {{}} is {go_type(value.data)}, not string")
    try:
        return parse_duration(value.data)
    except ValueError as error:
        raise value.error(str(error)) from None


def finish_resolver(value: Value, found: Resolver) -> Resolver:
    """Check what goes with which kind."""
    given = {key.lower() for key in value.data} if isinstance(value.data, dict) else set[str]()
    if "type" not in given:
        raise value.error(WRONG_RESOLVER)
    if found.kind == MEMORY:
        return Resolver()
    _check_folder(value, found.dir)
    if found.kind == CACHE:
        if "interval" in given and found.interval_ns:
            raise value.error("CACHE does not accept sync")
        if found.allow_delete:
            raise value.error("CACHE does not accept allow_delete")
        if "hard_delete" in given:
            raise value.error("CACHE does not accept hard_delete")
    else:
        if found.ttl_ns:
            raise value.error("FULL does not accept ttl")
        if "hard_delete" in given and not found.allow_delete:
            raise value.error("hard_delete has no effect without delete")
    return msgspec.structs.replace(found, hard_delete=found.hard_delete and found.allow_delete)


def _check_folder(value: Value, folder: str) -> None:
    if not folder:
        raise value.error("dir has no value and needs to point to a directory")
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return  # made when the server starts
    if not stat.S_ISDIR(mode) or not mode & _OWNER_MAY_WRITE:
        raise value.error("dir needs to point to an accessible directory")


def preload(reading: Reading, _key: str, value: Value, _option: Declared) -> dict[str, str]:
    """JWTs by public key. Whether they are valid now is seen when they are used."""
    from phloem.shared.security.claims import AccountClaims  # noqa: PLC0415  (not needed without a resolver)
    from phloem.shared.security.tokens import decode_as  # noqa: PLC0415

    if not isinstance(value.data, dict):
        raise value.error("preload should be a map of account_public_key:account_jwt")
    found = dict[str, str]()
    for key, item in value.data.items():
        if not isinstance(item.data, str):
            reading.errors.append(item.error("preload map value should be a string JWT"))
            continue
        try:
            decode_as(item.data, AccountClaims)
        except InvalidJWT:
            reading.errors.append(item.error("invalid account JWT"))
        else:
            found[key] = item.data
    return found


# --- callout and proxies --------------------------------------------------------------------------


def check_callout_key(value: Value, field: str, result: str) -> None:
    """Keys in the callout's block.

    Raises:
        ConfigError: It is none of the kind.
    """
    if field == "issuer" and not is_public(result, Prefix.ACCOUNT):
        raise value.error(f'Expected callout user to be a valid public account nkey, got "{result}"')
    if field == "xkey" and not is_public(result, Prefix.CURVE):
        raise value.error(f'Expected callout xkey to be a valid public xkey, got "{result}"')


def finish_callout(value: Value, callout: AuthCallout) -> AuthCallout:
    """Check that all is there that it needs."""
    if not callout.issuer:
        raise last(value).error("Authorization callouts require an issuer to be specified")
    if not callout.auth_users:
        raise last(value).error("Authorization callouts require authorized users to be specified")
    return callout


def check_proxy_key(value: Value, key: str) -> None:
    """Any public key but one that signs for nobody.

    Raises:
        ConfigError: It is none.
    """
    if not is_public(key):
        raise value.error(f'invalid proxy key "{key}"')
