"""Reloading the configuration: all of it or nothing (security_ops 1.6).

What can change while the server runs says so in its declaration (``reload=True``). If anything else differs, or
the file is wrong, nothing changes and the log says why.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.shared.errors import ConfigError
from phloem.shared.kernel import Reason
from phloem.shared.server import log as logs
from phloem.shared.server.declare import declared
from phloem.shared.server.files import write_pid_file
from phloem.shared.server.load import validate
from phloem.shared.server.options import Options
from phloem.shared.server.tls import Contexts, check_reload, recheck_pinned

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.server")

SECRETS = {"tls", "authorization", "accounts", "leafnodes"}  # not shown by value
LOGGING = {"debug", "trace", "logtime", "logtime_utc", "log_file", "phloem"}


def reload(server: "Server", source: Callable[[], Options]) -> bool:
    """Read the configuration again and apply what changed; whether it was applied."""
    try:
        new = source()
        validate(new)
        changed = differences(server.options, new)
        contexts = server.tls.prepare(new)
        had_tls = server.options.tls is not None
        _apply(server, new, changed, contexts)
    except (ConfigError, OSError) as error:
        log.error("Failed to reload server configuration: %s", error)
        return False
    if new.tls is not None or had_tls:
        log.info("Reloaded: tls = %s", "enabled" if new.tls is not None else "disabled")
    for name in changed:
        if name == "tls":
            continue
        log.info("Reloaded: %s%s", name, "" if name in SECRETS else f" = {getattr(new, name)}")
    log.info("Reloaded server configuration (%s)", new.config_digest)
    return True


def differences(old: Options, new: Options) -> list[str]:
    """Names of the options that differ.

    Raises:
        ConfigError: One of them cannot change while the server runs.
    """
    changed = []
    for option in declared(Options):
        before, after = getattr(old, option.field), getattr(new, option.field)
        if before == after:
            continue
        if not option.opt.reload and not (option.field == "leafnodes" and _only_live(before, after)):
            shown = "" if option.field in SECRETS else f": old={before!r}, new={after!r}"
            raise ConfigError(f"config reload not supported for {option.field}{shown}")
        if option.field == "tls" and before and after:
            check_reload(before, after)
        changed.append(option.field)
    return changed


def _only_live(before: Any, after: Any) -> bool:
    """Whether two blocks differ only in options that can change."""
    live = {
        option.field: getattr(after, option.field) for option in declared(type(after)) if option.opt.reload
    }
    return bool(msgspec.structs.replace(before, **live) == after)


def _apply(server: "Server", new: Options, changed: list[str], contexts: Contexts) -> None:
    old = server.options
    if LOGGING & set(changed):
        logs.configure(new)
    if new.pid_file and new.pid_file != old.pid_file:
        write_pid_file(new.pid_file)
    server.options = new
    server.config_load_wall_ns = server.clock.wall_ns()
    server.apply_limits()
    server.tls.use(contexts)
    server.clients.relimit()
    server.leafs.relimit()
    if {"authorization", "accounts"} & set(changed):
        server.use_authorization(new)
        if server.jetstream is not None:
            server.jetstream.reload_accounts()
    if {"tls", "leafnodes"} & set(changed):
        recheck_pinned(server, old)
    if "leafnodes" in changed:
        server.leafs.reload(old.leafnodes)
    if "client_advertise" in changed:
        server.clients.push_info()
    if "max_connections" in changed and new.max_connections > 0:
        _shrink(server, new.max_connections)
    server.schedule()


def _shrink(server: "Server", most: int) -> None:
    """Close as many randomly chosen clients as are over the new limit."""
    over = len(server.clients.open) - most
    if over <= 0:
        return
    for client in server.rng.sample(list(server.clients.open.values()), over):
        client.conn.close(Reason.MAX_CONNECTIONS, b"maximum connections exceeded")
    log.info("Closed %d connections to fall within max_connections", over)
