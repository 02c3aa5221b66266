"""``phloem init``: a new deployment: operator, accounts, signing keys, credentials, certificates, configuration.

The operator is strict: its identity and those of the accounts sign nothing but themselves, so they can be locked
away. Devices are signed by a key that can give nothing but a device's rights, whoever gets hold of it.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from phloem.hub.fleet import folder as files
from phloem.hub.fleet.certificates import LOCAL, Issued, new_authority, new_server, valid_until_s
from phloem.hub.fleet.configurations import HubSettings, hub_text
from phloem.hub.fleet.folder import FOLDER_MODE, Deployment, Folder
from phloem.hub.fleet.permissions import CLIENT, LINK, ROLE, device_permissions
from phloem.hub.fleet.register import render
from phloem.shared.errors import ConfigError
from phloem.shared.security.claims import NO_LIMIT, OPEN_LIMITS, Permissions, UserScope
from phloem.shared.security.creds import credentials
from phloem.shared.security.issue import new_account, new_operator, new_scope, scoped_user
from phloem.shared.security.nkeys import KeyPair, Prefix, wipe
from phloem.shared.security.tokens import encode
from phloem.shared.server.secret_files import read_secret, write_secret

ACCOUNT_NAME, SYSTEM_NAME = "FLEET", "SYS"
ADMIN = "admin"

_WITH_JETSTREAM = msgspec.structs.replace(
    OPEN_LIMITS, mem_storage=NO_LIMIT, disk_storage=NO_LIMIT, streams=NO_LIMIT, consumer=NO_LIMIT
)


class Wishes(NamedTuple):
    """What a deployment should be.

    ``hubs``: names and addresses under which devices and programs dial the hub, the first one first; ``at``: where
    the folder ``hub`` will lie on the hub's machine; ``reply_inbox``: devices may answer below it, empty for none;
    ``streams``: of a hub that is a nats-server, into which devices may forward.
    """

    name: str
    hubs: Sequence[str]
    at: str
    port: int
    leaf_port: int
    monitor_port: int
    reply_inbox: str = ""
    streams: Sequence[str] = ()


class _Keys(NamedTuple):
    operator: KeyPair
    operator_signer: KeyPair
    system: KeyPair
    system_signer: KeyPair
    account: KeyPair
    admin_signer: KeyPair
    device_signer: KeyPair


_KINDS = (  # in the order of _Keys
    (files.OPERATOR_KEY, Prefix.OPERATOR),
    (files.OPERATOR_SIGNER, Prefix.OPERATOR),
    (files.SYSTEM_KEY, Prefix.ACCOUNT),
    (files.SYSTEM_SIGNER, Prefix.ACCOUNT),
    (files.ACCOUNT_KEY, Prefix.ACCOUNT),
    (files.ADMIN_SIGNER, Prefix.ACCOUNT),
    (files.DEVICE_SIGNER, Prefix.ACCOUNT),
)


def create(path: Path, wishes: Wishes, now_s: int) -> Deployment:
    """Make the folder ``path`` with everything in it.

    Raises:
        ConfigError: It is there already, or a name cannot be used. Nothing is left behind.
        OSError: It cannot be written.
    """
    try:
        path.mkdir(FOLDER_MODE, parents=True)
    except FileExistsError:
        raise ConfigError(f"{path} is there already, and phloem init changes nothing that is there") from None
    try:
        for folder in (path, *(path / name for name in ("keys", "offline", files.HUB, files.HUB_TOKENS))):
            folder.mkdir(FOLDER_MODE, exist_ok=True)
            folder.chmod(FOLDER_MODE)  # whatever the umask
        with _new_keys() as keys:
            deployment = _fill(path, wishes, keys, now_s)
    except BaseException:
        shutil.rmtree(path)
        raise
    return deployment


def renew_certificate(folder: Folder, hubs: Sequence[str], authority_key: Path, now_s: int) -> int:
    """Give the hub a new key and certificate, for ``hubs``; until when it is valid, in seconds since 1970 UTC.

    Raises:
        ConfigError: ``authority_key`` is not there or another authority's, or the hub's folder is not there.
    """
    if not (folder.path / files.HUB).is_dir():
        raise ConfigError(f"{folder.path / files.HUB} is not there: the certificate would have no place")
    try:
        secret = read_secret(authority_key)
    except FileNotFoundError:
        raise ConfigError(f"{authority_key} is not there: it signs certificates") from None
    try:
        authority = (folder.path / files.AUTHORITY).read_bytes()
        issued = new_server((*hubs, *LOCAL), authority, secret, now_s)
    finally:
        wipe(secret)
    return _write_server(folder.path, issued)


def new_key(prefix: Prefix) -> KeyPair:
    """A key nobody has; the caller wipes it."""
    raw = bytearray(os.urandom(32))
    try:
        return KeyPair(prefix, raw)
    finally:
        wipe(raw)


@contextmanager
def _new_keys() -> Iterator[_Keys]:
    with ExitStack() as stack:
        yield _Keys(*(stack.enter_context(new_key(prefix)) for _file, prefix in _KINDS))


def _fill(path: Path, wishes: Wishes, keys: _Keys, now_s: int) -> Deployment:
    for (file, _prefix), pair in zip(_KINDS, keys, strict=True):
        seed = pair.seed()
        write_secret(path / file, seed)
        wipe(seed)
    _write_tokens(path, wishes, keys, now_s)
    admins = {}
    for file, account, signer in (
        (files.ADMIN_CREDS, keys.account, keys.admin_signer),
        (files.SYSTEM_CREDS, keys.system, keys.system_signer),
    ):
        with new_key(Prefix.USER) as user:
            write_credentials(path / file, account.public_key, user, signer, now_s)
        admins[account.public_key] = user.public_key
    _write_certificates(path, wishes, now_s)
    settings = HubSettings(
        wishes.at, keys.system.public_key, wishes.port, wishes.leaf_port, wishes.monitor_port
    )
    write_secret(path / files.HUB_CONFIG, hub_text(settings).encode())
    write_secret(path / files.REGISTER, render(()).encode())
    deployment = Deployment(
        operator=keys.operator.public_key,
        operator_signer=keys.operator_signer.public_key,
        system=keys.system.public_key,
        account=keys.account.public_key,
        device_signer=keys.device_signer.public_key,
        admins=admins,
        hubs=tuple(wishes.hubs),
        port=wishes.port,
        leaf_port=wishes.leaf_port,
    )
    # the last one: without it, it is no deployment
    write_secret(path / files.DEPLOYMENT, files.deployment_text(deployment))
    return deployment


def _write_tokens(path: Path, wishes: Wishes, keys: _Keys, now_s: int) -> None:
    operator = new_operator(
        keys.operator.public_key, wishes.name, [keys.operator_signer.public_key], keys.system.public_key
    )
    write_secret(path / files.OPERATOR_TOKEN, encode(operator, keys.operator, now_s).encode())
    account = new_account(
        keys.account.public_key,
        ACCOUNT_NAME,
        scopes=(
            _everything(keys.admin_signer),
            device_scope(keys.device_signer, wishes.reply_inbox, wishes.streams),
        ),
        limits=_WITH_JETSTREAM,
    )
    system = new_account(keys.system.public_key, SYSTEM_NAME, scopes=(_everything(keys.system_signer),))
    for file, claims in ((files.ACCOUNT_TOKEN, account), (files.SYSTEM_TOKEN, system)):
        token = encode(claims, keys.operator_signer, now_s).encode()
        write_secret(path / file, token)
        write_secret(path / files.HUB_TOKENS / f"{claims.sub}.jwt", token)


def device_scope(signer: KeyPair, reply_inbox: str, streams: Sequence[str] = ()) -> UserScope:
    """The signing key of devices: what it signs has a device's permissions, and logs in as a link or a client."""
    scope = new_scope(
        signer.public_key, ROLE, device_permissions(reply_inbox, streams), "devices: their own subjects"
    )
    template = msgspec.structs.replace(scope.template, allowed_connection_types=(LINK, CLIENT))
    return msgspec.structs.replace(scope, template=template)


def _everything(signer: KeyPair) -> UserScope:
    return new_scope(signer.public_key, ADMIN, Permissions(), "may do everything in this account")


def write_credentials(path: Path, account: str, user: KeyPair, signer: KeyPair, now_s: int) -> None:
    """The file with which an administrator of ``account`` logs in, named like the file; it may be there already."""
    content = credentials(encode(scoped_user(user.public_key, account, path.stem), signer, now_s), user)
    write_secret(path, content, replace=True)
    wipe(content)


def _write_certificates(path: Path, wishes: Wishes, now_s: int) -> None:
    authority = new_authority(f"{wishes.name} authority", now_s)
    write_secret(path / files.AUTHORITY, authority.certificate)
    write_secret(path / files.AUTHORITY_KEY, authority.key)
    issued = new_server((*wishes.hubs, *LOCAL), authority.certificate, authority.key, now_s)
    wipe(authority.key)
    _write_server(path, issued)


def _write_server(path: Path, issued: Issued) -> int:
    """The key first: a hub that is reloaded in between refuses the pair, and keeps what it has."""
    write_secret(path / files.HUB_KEY, issued.key, replace=True)
    write_secret(path / files.HUB_CERTIFICATE, issued.certificate, replace=True)
    wipe(issued.key)
    return valid_until_s(issued.certificate)
