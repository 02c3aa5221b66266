"""Where the keys of an encrypted store come from: the configuration (and through ``$NAME`` the environment), a file, a
credential of systemd, or for commands the environment. They are never logged.
"""

import os
from pathlib import Path

from phloem.shared.errors import ConfigError
from phloem.shared.security.nkeys import wipe
from phloem.shared.server.options import Options
from phloem.shared.server.secret_files import read_secret
from phloem.shared.store.keyring import Keys

ENVIRONMENT, ENVIRONMENT_BEFORE = "PHLOEM_STORE_KEY", "PHLOEM_STORE_PREV_KEY"
CREDENTIALS = "CREDENTIALS_DIRECTORY"  # where systemd puts them


def keys_of(options: Options) -> Keys | None:
    """What a server shall encrypt with; None: nothing. Raises ConfigError."""
    jetstream, ours = options.jetstream, options.phloem
    if jetstream is None:
        return None
    key = _one(jetstream.key, "key", ours.store_key_file, "store_key_file")
    before = _one(jetstream.prev_key, "prev_key", ours.store_prev_key_file, "store_prev_key_file")
    return Keys(key, before, jetstream.cipher) if key or before else None


def keys_of_command(key_file: str) -> Keys | None:
    """What a command uses without a configuration. Raises ConfigError."""
    key = key_in(key_file) if key_file else os.environ.get(ENVIRONMENT, "")
    before = os.environ.get(ENVIRONMENT_BEFORE, "")
    return Keys(key, before) if key or before else None


def key_in(name: str) -> str:
    """The text in a file, or in a credential of systemd, without the line's end. Raises ConfigError."""
    return secret_in(name, "the key of the store")


def secret_in(name: str, what: str) -> str:
    """The same for any secret of one line. Raises ConfigError, whose text says ``what`` it is."""
    path = Path(name)
    if "/" not in name:
        folder = os.environ.get(CREDENTIALS)
        if not folder:
            raise ConfigError(f"{name} is a credential of systemd, and ${CREDENTIALS} is not set")
        path = Path(folder) / name
    try:
        content = read_secret(path)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {path}: {error.strerror}") from error
    try:
        secret = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: a key is text") from None
    finally:
        wipe(content)
    if not secret:
        raise ConfigError(f"{path}: there is no key in it")
    return secret


def _one(text: str, name: str, file: str, file_name: str) -> str:
    if text and file:
        raise ConfigError(f"jetstream {{ {name} }} and phloem {{ {file_name} }} cannot both be set")
    return key_in(file) if file else text
