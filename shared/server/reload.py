"""Reloading the configuration: all of it or nothing (security_ops 1.6).

If an option differs that cannot change while the server runs (``reload_rules``), or the file is wrong, or what it asks
for cannot be opened, nothing changes and the log says why. What can fail comes first and is taken back.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from phloem.shared.errors import ConfigError
from phloem.shared.kernel import Reason
from phloem.shared.server import log as logs
from phloem.shared.server.definitions import definitions
from phloem.shared.server.durations import format_duration
from phloem.shared.server.files import write_pid_file
from phloem.shared.server.options import Options
from phloem.shared.server.reload_rules import differences
from phloem.shared.server.tls import Contexts, recheck_pinned
from phloem.shared.server.validation import validate, validate_product

if TYPE_CHECKING:
    from phloem.shared.server.resolvers import Resolver
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.server")

LOGGING = {"debug", "trace", "logtime", "logtime_utc", "log_file", "phloem"}
AUTHORIZATION = {
    *("authorization", "accounts", "no_auth_user", "mappings", "proxies", "default_sentinel"),
    *("resolver", "resolver_preload", "resolver_pinned_accounts"),
}
TOLD = {  # as nats-server calls them; no values where they may be secrets
    "authorization": "authorization users",
    "accounts": "accounts",
    "mappings": "accounts",
    "resolver": "accounts",
    "resolver_preload": "accounts",
    "resolver_tls": "accounts",
    "server_tags": "tags",
    "server_metadata": "metadata",
    "leafnodes": "leafnodes",
    "default_sentinel": "default_sentinel",
    "forward": "forward",
    "disk": "disk",
    "phloem": "phloem",
    "serial": "serial",
    "bridge_mqtt": "bridge_mqtt",
}


def reload(server: "Server", source: Callable[[], Options]) -> bool:
    """Read the configuration again and apply what changed; whether it was applied."""
    try:
        use(server, source)
    except (ConfigError, OSError):
        return False
    return True


def use(server: "Server", source: Callable[[], Options]) -> None:
    """As ``reload``, for whoever wants to know what is wrong: raises ConfigError and OSError."""
    old = server.options
    try:
        new = source()
        validate(new)
        validate_product(server, new)
        changed = differences(old, new)
        contexts = server.tls.prepare(new)
        _change(server, new, set(changed), contexts)
    except (ConfigError, OSError) as error:
        log.error("Failed to reload server configuration: %s", error)
        raise
    if old.tls is not None or new.tls is not None:
        log.info("Reloaded: tls = %s", "enabled" if new.tls is not None else "disabled")
    for text in dict.fromkeys(text for name in changed for text in _told(name, old, new)):
        log.info("Reloaded: %s", text)
    for notice in new.notices:
        log.info("%s", notice)
    log.info("Reloaded server configuration (%s)", new.config_digest)


def _told(name: str, old: Options, new: Options) -> list[str]:
    """What the log says of an option that has changed."""
    before, after = getattr(old, name), getattr(new, name)
    match name:
        case "no_fast_producer_stall":
            return [f"fast producers will {'not ' if after else ''}be stalled"]
        case "proxies":
            had, has = {proxy.key for proxy in before.trusted}, {proxy.key for proxy in after.trusted}
            changes = ((had - has, "removed"), (has - had, "added"))
            return [f"proxies trusted keys {_quoted(keys)} were {what}" for keys, what in changes if keys]
        case "tls":
            return []  # said whenever there is any
        case "jetstream":
            stays = all(block is not None and block.on for block in (before, after))
            return ["JetStream limits" if stays else "JetStream"]
        case _ if name.endswith("_ns"):
            return [f"{name.removesuffix('_ns')} = {format_duration(after)}"]
        case _ if isinstance(after, bool):
            return [f"{name} = {str(after).lower()}"]
    return [TOLD.get(name, f"{name} = {after}")]


def _quoted(keys: Iterable[str]) -> str:
    return "[" + " ".join(f'"{key}"' for key in sorted(keys)) + "]"


def _change(server: "Server", new: Options, changed: set[str], contexts: Contexts) -> None:
    """From here on the server has the options ``new``, or, when something cannot be done, still its own."""
    old = server.options
    undo = server.prepare(new)
    if LOGGING & changed:
        logs.configure(new)
    server.options = new
    before = server.tls.contexts
    server.tls.use(contexts)
    try:
        resolver = _open(server, old, changed)
    except (ConfigError, OSError):
        server.options = old
        undo()
        server.tls.use(before)
        if LOGGING & changed:
            logs.configure(old)
        raise
    if resolver is not None and server.login.trusted is not None:
        server.login.trusted.use_resolver(resolver)
    _apply(server, old, changed)


def _open(server: "Server", old: Options, changed: set[str]) -> "Resolver | None":
    """What may fail. Raises ConfigError or OSError; then nothing of it is left. Gives another resolver."""
    new, trusted = server.options, server.login.trusted
    resolver = trusted.another_resolver() if "resolver" in changed and trusted is not None else None
    if "leafnodes" in changed:
        server.leafs.reload(old.leafnodes)
    try:
        if "jetstream" in changed:
            server.use_jetstream()
    except ConfigError:
        server.options = old
        if "leafnodes" in changed:
            server.leafs.reload(new.leafnodes)
        raise
    return resolver


def _apply(server: "Server", old: Options, changed: set[str]) -> None:
    new = server.options
    if new.pid_file and new.pid_file != old.pid_file:
        try:
            write_pid_file(new.pid_file)
        except OSError as error:
            log.error("Failed to write pidfile: %s", error)
    server.config_load_wall_ns = server.clock.wall_ns()
    server.apply_limits()
    if AUTHORIZATION & changed:
        server.use_authorization(new)
        if server.jetstream is not None:
            server.jetstream.reload_accounts()
    if {"accounts", "mappings"} & changed and server.login.trusted is None:
        server.crossings.define(definitions(new))
    server.clients.relimit()
    server.leafs.relimit()
    if {"tls", "leafnodes"} & changed:
        recheck_pinned(server, old)
    if old.phloem.link != new.phloem.link:
        server.leafs.use_link(old.phloem.link)
    if "client_advertise" in changed:
        server.clients.push_info()
    if "max_connections" in changed and new.max_connections > 0:
        _shrink(server, new.max_connections)
    server.reloaded(old)
    server.schedule()


def _shrink(server: "Server", most: int) -> None:
    """Close as many randomly chosen clients as are over the new limit."""
    over = len(server.clients.open) - most
    if over <= 0:
        return
    for client in server.rng.sample(list(server.clients.open.values()), over):
        client.conn.close(Reason.MAX_CONNECTIONS, b"maximum connections exceeded")
    log.info("Closed %d connections to fall within max_connections", over)
