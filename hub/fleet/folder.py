"""The folder of a deployment, which ``phloem init`` makes and the other commands keep.

    deployment.json       which keys there are, under which names the hub is dialled
    devices.txt           the register of devices
    account.jwt           the account of devices and programs, with its revocations; system.jwt
    admin.creds           logs in as a program that may do everything; system.creds: everything in the system account
    keys/                 what enroll and revoke sign with
    offline/              what nobody needs day by day: identities and the authority's key; to be moved away
    hub/                  what the hub needs, and nothing else: its configuration, certificate, operator.jwt, jwt/

Every file has mode 0600, every folder 0700. One process at a time works in it (``locked``); a file is replaced as a
whole, after it is on the disk. ``account.jwt`` is the truth about revocations; the copy in ``hub/jwt`` is what a hub
that runs there reads when it starts.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from phloem.hub.fleet.register import Device, parse, render
from phloem.shared.errors import ConfigError, InvalidJWT, NKeyError
from phloem.shared.security.claims import AccountClaims
from phloem.shared.security.creds import key_in
from phloem.shared.security.nkeys import KeyPair, wipe
from phloem.shared.security.tokens import decode_as
from phloem.shared.server.secret_files import read_secret, write_secret

FOLDER_MODE = 0o700
VERSION = 1

DEPLOYMENT, REGISTER, LOCK = "deployment.json", "devices.txt", ".lock"
ACCOUNT_TOKEN, SYSTEM_TOKEN = "account.jwt", "system.jwt"
ADMIN_CREDS, SYSTEM_CREDS = "admin.creds", "system.creds"
PENDING = "not-pushed"  # there while the hub has not confirmed account.jwt

OPERATOR_KEY, ACCOUNT_KEY, SYSTEM_KEY = "offline/operator.nk", "offline/account.nk", "offline/system.nk"
ADMIN_SIGNER, SYSTEM_SIGNER = "offline/admin-signing.nk", "offline/system-signing.nk"
AUTHORITY_KEY = "offline/ca.key"
OPERATOR_SIGNER, DEVICE_SIGNER = "keys/operator-signing.nk", "keys/device-signing.nk"

HUB = "hub"
HUB_CONFIG, HUB_CERTIFICATE, HUB_KEY, HUB_TOKENS = "hub/hub.conf", "hub/hub.pem", "hub/hub.key", "hub/jwt"
OPERATOR_TOKEN, AUTHORITY = "hub/operator.jwt", "ca.pem"

SECRETS = (  # wherever they are
    *(ADMIN_CREDS, SYSTEM_CREDS, HUB_KEY, AUTHORITY_KEY, OPERATOR_SIGNER, DEVICE_SIGNER),
    *(OPERATOR_KEY, ACCOUNT_KEY, SYSTEM_KEY, ADMIN_SIGNER, SYSTEM_SIGNER),
)


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a deployment and no secret: public keys, names and ports of the hub."""

    operator: str
    operator_signer: str
    system: str
    account: str
    device_signer: str
    admins: dict[str, str]  # by the name of an account, the key of its administrator
    hubs: tuple[str, ...]  # names and addresses, the first one first
    port: int
    leaf_port: int
    version: int = VERSION


class Folder:
    """An open deployment. Made by ``locked``."""

    def __init__(self, path: Path, deployment: Deployment) -> None:
        self.path = path
        self.deployment = deployment

    def devices(self) -> tuple[Device, ...]:
        """The register. Raises ConfigError if it cannot be read."""
        path = self.path / REGISTER
        return parse(_text(path), str(path))

    def save_devices(self, devices: tuple[Device, ...]) -> None:
        """Write the register."""
        self.write(REGISTER, render(devices).encode())

    def save_deployment(self, deployment: Deployment) -> None:
        """Write what is known of it."""
        self.deployment = deployment
        self.write(DEPLOYMENT, deployment_text(deployment))

    def account(self, name: str = "") -> AccountClaims:
        """The account of devices, or of this ``name``. Raises ConfigError if it is not the operator's."""
        name = name or self.deployment.account
        path = self.path / self._files[name]
        try:
            claims = decode_as(_text(path).strip(), AccountClaims)
        except InvalidJWT as error:
            raise ConfigError(f"{path}: {error}") from None
        if claims.iss != self.deployment.operator_signer or claims.sub != name:
            raise ConfigError(f"{path}: not the account of this folder, signed by its operator")
        return claims

    def save_account(self, name: str, token: str) -> None:
        """Write an account, and where a hub that runs from this folder finds it; to be pushed from now on."""
        self.write(PENDING, b"the accounts are newer than what the hub has; phloem push tells it\n")
        self.write(self._files[name], token.encode())
        if (self.path / HUB_TOKENS).is_dir():
            self.write(f"{HUB_TOKENS}/{name}.jwt", token.encode())

    def tokens(self) -> dict[str, str]:
        """The JWTs of all accounts by name, as they should be at the hub."""
        return {name: _text(self.path / file).strip() for name, file in self._files.items()}

    @property
    def _files(self) -> dict[str, str]:
        return {self.deployment.account: ACCOUNT_TOKEN, self.deployment.system: SYSTEM_TOKEN}

    @property
    def pending(self) -> bool:
        """Whether the hub has not confirmed the account as it is here."""
        return (self.path / PENDING).exists()

    def pushed(self) -> None:
        """The hub has confirmed it."""
        (self.path / PENDING).unlink(missing_ok=True)

    def write(self, file: str, content: bytes | bytearray) -> None:
        """Write or replace one file."""
        write_secret(self.path / file, content, replace=True)

    def key(self, file: str, public_key: str) -> KeyPair:
        """A key of the folder; the caller wipes it.

        Raises:
            ConfigError: It is not there, or another one.
        """
        path = self.path / file
        try:
            content = read_secret(path)
        except FileNotFoundError:
            raise ConfigError(f"{path} is not there: this command signs with it") from None
        try:
            pair = key_in(content)
        except NKeyError as error:
            raise ConfigError(f"{path}: {error}") from None
        finally:
            wipe(content)
        if pair.public_key != public_key:
            pair.wipe()
            raise ConfigError(f"{path} is not the key that {DEPLOYMENT} names")
        return pair


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Folder]:
    """The deployment in a folder, for this process alone; waits for others.

    Raises:
        ConfigError: There is none.
    """
    if not (path / DEPLOYMENT).exists():
        unfinished = path.is_dir() and any(path.iterdir())
        raise ConfigError(
            f"{path}: no deployment ({DEPLOYMENT} is missing)"
            + (", or phloem init was interrupted" * unfinished)
        )
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # until the descriptor is closed, however the process ends
        yield Folder(path, _deployment(path / DEPLOYMENT))
    finally:
        os.close(descriptor)


def deployment_text(deployment: Deployment) -> bytes:
    """``deployment.json``."""
    return msgspec.json.format(msgspec.json.encode(deployment)) + b"\n"


def _deployment(path: Path) -> Deployment:
    try:
        found = msgspec.json.decode(_text(path), type=Deployment)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    if found.version > VERSION:
        raise ConfigError(f"{path}: made by a newer phloem")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text") from None
