"""Which options may change while a server runs, and the words for those that may not: nats-server's (security_ops 1.6).

A declaration says ``reload=True`` where a change takes effect. Some options may change in one direction only, or in
some parts; that is here. Secrets are not shown.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from phloem.shared import limits
from phloem.shared.errors import ConfigError
from phloem.shared.server.declare import declared
from phloem.shared.server.durations import format_duration
from phloem.shared.server.options import Options
from phloem.shared.server.options_jetstream import JetStream
from phloem.shared.server.options_leafnodes import LeafNodes
from phloem.shared.server.options_phloem import PhloemOptions

NAMES = {  # where nats-server's word is not ours in its spelling
    "http_port": "HTTPPort",
    "http_host": "HTTPHost",
    "http_base_path": "HTTPBasePath",
    "max_subscriptions": "MaxSubs",
    "log_max_num": "LogMaxFiles",
    "operators": "TrustedOperators",
    "default_js_domain": "JsAccDefaultDomain",
}
LEAF_NAMES = {
    "reconnect_ns": "ReconnectInterval",
    "isolate": "IsolateLeafnodeInterest",
    "user": "Username",
    "timeout_ns": "AuthTimeout",
}
JETSTREAM_NAMES = {
    "sync_interval_ns": "SyncInterval",
    "domain": "JetStreamDomain",
    "prev_key": "JetStreamOldKey",
}
SECRET = {"operators", "password", "users", "key", "prev_key"}
UNSUPPORTED = "config reload not supported for"


def differences(old: Options, new: Options) -> list[str]:
    """Names of the top-level options that differ.

    Raises:
        ConfigError: One of them cannot change while the server runs.
    """
    changed = []
    for option in declared(Options):
        before, after = getattr(old, option.field), getattr(new, option.field)
        if before == after:
            continue
        _check(option.field, old, new, may_change=option.opt.reload)
        changed.append(option.field)
    return changed


def _check(field: str, old: Options, new: Options, *, may_change: bool) -> None:
    before, after = getattr(old, field), getattr(new, field)
    match field:
        case "authorization" if before.auth_callout != after.auth_callout:
            raise _refusal("AuthCallout", before.auth_callout, after.auth_callout)
        case "tls" if before is not None and after is not None:
            if before.connection_rate_limit != after.connection_rate_limit:
                raise _refusal("TLSRateLimit", before.connection_rate_limit, after.connection_rate_limit)
        case "no_auth_user":
            _check_no_auth_user(before, after, new)
        case "resolver":
            _check_resolver(before, after)
        case "leafnodes":
            _check_leafnodes(before, after)
        case "jetstream":
            _check_jetstream(before, after)
        case "phloem":
            _check_phloem(before, after)
        case "system_account" if old.no_system_account != new.no_system_account:
            return  # a consequence; that is refused
        case _ if not may_change:
            raise _refusal(NAMES.get(field, _camel(field)), before, after, secret=field in SECRET)


def _check_no_auth_user(before: str, after: str, new: Options) -> None:
    """It may go, together with the user whom it names."""
    gone = bool(before) and not after and before not in {user.user for user in new.users}
    if not gone:
        raise _refusal("NoAuthUser", before, after)


def _check_resolver(before: Any, after: Any) -> None:
    """There may be another one, but not one at once or none any more."""
    if before is None or after is None:
        raise ConfigError("config reload does not support moving to or from an account resolver")


def _check_phloem(before: PhloemOptions, after: PhloemOptions) -> None:
    """phloem's own, so in its own words."""
    for option in declared(PhloemOptions):
        one, other = getattr(before, option.field), getattr(after, option.field)
        if one != other and not option.opt.reload:
            what = f"phloem {{ {option.field} }}"
            raise ConfigError(f'{UNSUPPORTED} {what}: old="{one}", new="{other}"; restart to change it')


def _check_leafnodes(before: LeafNodes, after: LeafNodes) -> None:
    for option in declared(LeafNodes):
        one, other = getattr(before, option.field), getattr(after, option.field)
        if one == other or option.opt.reload:
            continue
        if option.field == "authorization":
            name, one, other = next(_changes(one, other))
        else:
            name = option.field
        raise ConfigError(f"{UNSUPPORTED} LeafNode: {_field(name, one, other)}")


def _changes(before: msgspec.Struct, after: msgspec.Struct) -> Any:
    """Fields of two blocks that differ, with what they were and are."""
    for name in before.__struct_fields__:
        if getattr(before, name) != getattr(after, name):
            yield name, getattr(before, name), getattr(after, name)


def _field(name: str, before: Any, after: Any) -> str:
    shown = LEAF_NAMES.get(name, _camel(name))
    if name in SECRET:
        return f'field "{shown}"'
    if name == "timeout_ns":  # nats-server has seconds there
        was, will_be = ((value or limits.AUTH_TIMEOUT_NS) / limits.SECOND_NS for value in (before, after))
        return f'field "{shown}": old={was:g}, new={will_be:g}'
    return f'field "{shown}": old={_show(name, before)}, new={_show(name, after)}'


def _check_jetstream(before: JetStream | None, after: JetStream | None) -> None:
    """It may be switched on and off; while it is on, bounds may grow and limits change."""
    if before is None or after is None or not before.on or not after.on:
        return
    if before.store_dir != after.store_dir:
        raise ConfigError(f"{UNSUPPORTED} jetstream storage {'directory' if after.store_dir else 'dir'}")
    bounds = [
        (getattr(before, name), getattr(after, name)) for name in ("max_memory_store", "max_file_store")
    ]
    for one, other in bounds:
        if one < 0 <= other:
            raise ConfigError(f"{UNSUPPORTED} jetstream dynamic max memory and store")
        if 0 <= other < one:
            raise ConfigError(f"{UNSUPPORTED} decreasing jetstream max memory and store")
    if any(other < 0 <= one for one, other in bounds):
        raise ConfigError(f"{UNSUPPORTED} jetstream max memory and max store")
    for option in declared(JetStream):
        one, other = getattr(before, option.field), getattr(after, option.field)
        if one == other or option.opt.reload:
            continue
        if option.field == "strict":
            raise _refusal("NoJetStreamStrict", not one, not other)
        name = JETSTREAM_NAMES.get(option.field, "JetStream" + _camel(option.field))
        raise _refusal(name, one, other, secret=option.field in SECRET, field=option.field)


def _refusal(name: str, before: Any, after: Any, *, secret: bool = False, field: str = "") -> ConfigError:
    if secret:
        return ConfigError(f"{UNSUPPORTED} {name}")
    shown = f"old={_show(field or name, before)}, new={_show(field or name, after)}"
    return ConfigError(f"{UNSUPPORTED} {name}: {shown}")


def _camel(field: str) -> str:
    return "".join(part.title() for part in field.removesuffix("_ns").split("_"))


def _show(name: str, value: Any) -> str:
    """A value as Go prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case int() if name.endswith("_ns") or name in ("LameDuckDuration", "LameDuckGracePeriod"):
            return format_duration(value)
        case tuple():
            return "[" + " ".join(map(str, value)) + "]"
        case Mapping():
            return "map[" + " ".join(f"{key}:{value[key]}" for key in sorted(value)) + "]"
        case msgspec.Struct():
            return "&{" + " ".join(_show("", getattr(value, f)) for f in value.__struct_fields__) + "}"
        case _:
            return str(value)
