"""What ``twin`` needs of the other options, and what it changes in them.

Requests to handlers of commands, ``cmd.>``, cross no link: else a program at the hub that listens to everything would
be a handler, and whoever may publish there could get past the ledger.
"""

import re

import msgspec

from phloem.edge.twin.overlay import with_kept
from phloem.shared.errors import ConfigError
from phloem.shared.server.options import Options
from phloem.shared.server.options_leafnodes import Remote
from phloem.shared.server.options_phloem import Twin
from phloem.shared.twin.names import LOCAL

COMMANDS = f"{LOCAL}.>"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def device_of(options: Options, twin: Twin) -> str:
    """The device's name at the hub."""
    return twin.device or options.server_name


def with_twin(options: Options) -> Options:
    """``options`` with what the hub has set, and commands kept on the device. Doing it twice is harmless.

    Raises:
        ConfigError: A twin cannot be kept.
    """
    twin = options.twin
    if twin is None:
        return options
    _check(options, twin)
    return fenced(with_kept(options))


def fenced(options: Options) -> Options:
    """Commands cross no link."""
    remotes = tuple(_fence(remote) for remote in options.leafnodes.remotes)
    return msgspec.structs.replace(
        options, leafnodes=msgspec.structs.replace(options.leafnodes, remotes=remotes)
    )


def _fence(remote: Remote) -> Remote:
    added = {
        name: (*there, COMMANDS)
        for name in ("deny_imports", "deny_exports")
        if COMMANDS not in (there := getattr(remote, name))
    }
    return msgspec.structs.replace(remote, **added)


def _check(options: Options, twin: Twin) -> None:
    store = options.jetstream
    if store is None or not store.on:
        raise ConfigError("twin needs jetstream")
    if not store.domain or store.domain == twin.hub_domain:
        raise ConfigError("twin needs a jetstream domain of this device, another one than the hub's")
    if not _NAME.fullmatch(device_of(options, twin)):
        raise ConfigError("twin needs a name: device, or server_name, of letters, digits, - and _")
    if twin.config_trial_ns <= 0 or twin.heartbeat_ns < 100_000_000:
        raise ConfigError("twin: config_trial must be above 0 and heartbeat at least 100ms")
