"""A configuration that the hub has set, laid over the device's own.

The hub's text is in the grammar of configuration files (JSON is, too). Each top-level option in it takes the place of
the device's own as a whole; what it does not name stays the device's own. It is in a file of the device, so that it
holds from the start on, also without a link.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from phloem.shared.errors import ConfigError
from phloem.shared.server.conf.parser import Value, parse_foreign
from phloem.shared.server.declare import declared
from phloem.shared.server.load import read
from phloem.shared.server.options import Options
from phloem.shared.server.options_phloem import Twin
from phloem.shared.server.secret_files import write_secret
from phloem.shared.store.folder import make_folder
from phloem.shared.twin.trial import Kept

FILE, FROM = "remote_config.json", "the hub's configuration"
FILE_BYTES = 2 << 20
LOCAL_OF_PORTS = (
    "process",
    "export",
    "images",
)  # of a serial block; each has to be in twin.config_keys by itself
# what may be a secret, or says where one is
SECRETS = frozenset(
    [
        "user",
        "username",
        "password",
        "pass",
        "passwd",
        "password_file",
        "token",
        "nkey",
        "jwt",
        "seed",
        "secret",
        "credentials",
        "creds",
        "key",
        "private_key",
        "users",
        "key_file",
        "cert_file",
        "ca_file",
        "authorization",
        "store_key_file",
    ]
)


def kept_path(options: Options) -> Path | None:
    """Where it is kept: beside the streams; without streams nowhere."""
    store = options.jetstream
    if options.twin is None or store is None or not store.on or not store.store_dir:
        return None
    return Path(store.store_dir) / "twin" / FILE


def read_kept(path: Path) -> Kept:
    """What is kept; nothing, if the file is not there or cannot be read: then the device's own holds."""
    try:
        with open(path, "rb") as stream:
            return msgspec.json.decode(stream.read(FILE_BYTES), type=Kept)
    except (OSError, msgspec.DecodeError):
        return Kept()


def write_kept(path: Path, kept: Kept) -> None:
    """On the disk when this returns. Raises OSError."""
    make_folder(str(path.parent))
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)  # of a process that was killed
    write_secret(path, msgspec.json.encode(kept), replace=True)


def with_kept(options: Options) -> Options:
    """``options`` with what the hub has set and what has proved itself. Doing it twice is harmless."""
    path = kept_path(options)
    if path is None or options.local is not None:
        return options
    good = read_kept(path).good
    try:
        return lay_over(options, good) if good else options
    except ConfigError:  # of another version of phloem, or not allowed any more; the twin reports it
        return options


def lay_over(local: Options, text: str) -> Options:
    """The device's own options with a text of the hub.

    Raises:
        ConfigError: It is wrong, or sets what the hub may not set.
    """
    assert local.twin is not None
    top = parse_foreign(text, FROM)
    _check(top, local.twin)
    loaded = read(top)
    for text in (*loaded.warnings, *loaded.notices):  # nobody reads this device's log
        raise ConfigError(text)
    return msgspec.structs.replace(
        local, **loaded.fields, explicit=local.explicit | frozenset(loaded.fields), local=local
    )


def _check(top: dict[str, Value], twin: Twin) -> None:
    options = {key: option.field for option in declared(Options) for key in option.keys}
    allowed = {options.get(key.lower(), key.lower()) for key in twin.config_keys}
    for key, value in top.items():
        if key.lower() not in options:
            raise value.error(f'unknown field "{key}"')
        if options[key.lower()] not in allowed:
            raise value.error(f'"{key}" may not be set by the hub (twin.config_keys)')
        if options[key.lower()] == "serial":
            _check_ports(value, allowed)
    if not twin.config_credentials:
        for key, value in _entries(top):
            if key.lower() in SECRETS:
                raise value.error(f'"{key}" may not be set by the hub (twin.config_credentials)')
            if isinstance(value.data, str) and "://" in value.data and "@" in value.data:
                raise value.error(f'"{key}" has credentials in a URL (twin.config_credentials)')


def _check_ports(ports: Value, allowed: set[str]) -> None:
    """Which functions run here, and who else may use a device, is more than what a sensor measures."""
    for block in ports.data.values() if isinstance(ports.data, dict) else ():
        for key, value in block.data.items() if isinstance(block.data, dict) else ():
            if key.lower() in LOCAL_OF_PORTS and f"serial.{key.lower()}" not in allowed:
                raise value.error(f'"serial.{key}" may not be set by the hub (twin.config_keys)')


def _entries(top: dict[str, Value]) -> Iterator[tuple[str, Value]]:
    """Every key at any depth; what is in an array has the array's."""
    waiting = list(top.items())
    while waiting:
        key, value = waiting.pop()
        yield key, value
        if isinstance(value.data, dict):
            waiting += value.data.items()
        elif isinstance(value.data, list):
            waiting += [(key, item) for item in value.data]
