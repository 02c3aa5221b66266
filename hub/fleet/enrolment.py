"""``phloem enroll`` and ``phloem revoke``: what happens in the folder. Telling the hub is in push.py.

The order is such that an interruption leaves nothing open: a key is in the register before anybody gets it, and a
revocation is in the account's JWT before the register says so.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from phloem.hub.fleet import folder as files
from phloem.hub.fleet.configurations import edge_text, host_and_port
from phloem.hub.fleet.creation import new_key
from phloem.hub.fleet.folder import Folder
from phloem.hub.fleet.permissions import brought_up_to_date, why_not_a_name
from phloem.hub.fleet.register import Device, keys_of
from phloem.shared.errors import ConfigError
from phloem.shared.security.claims import AccountClaims
from phloem.shared.security.creds import credentials
from phloem.shared.security.issue import revoke as with_revocation
from phloem.shared.security.issue import scoped_user
from phloem.shared.security.nkeys import Prefix, wipe
from phloem.shared.security.tokens import encode
from phloem.shared.security.trust import is_revoked

CONFIG, AUTHORITY, CREDS = "edge.conf", "ca.pem", "device.creds"  # on the device


class Bundle(NamedTuple):
    """What a device gets: files by name. ``device.creds`` is a secret that the caller wipes.

    Without ``config``: the credentials alone, for a device that has the rest.
    """

    name: str
    creds: bytearray
    authority: bytes
    config: bytes

    def files(self) -> dict[str, bytes | bytearray]:
        """Names and contents."""
        rest = {CONFIG: self.config, AUTHORITY: self.authority} if self.config else {}
        return {**rest, CREDS: self.creds}

    def wipe(self) -> None:
        """Overwrite the secret."""
        wipe(self.creds)


def check_names(folder: Folder, names: Sequence[str], *, renew: bool) -> None:
    """Whether devices can be enrolled under ``names``.

    Raises:
        ConfigError: A name cannot be used, is there twice, or has been given a key before.
    """
    devices = folder.devices()
    known = {one.name.lower(): one.name for one in devices}
    for name in names:
        if why := why_not_a_name(name):
            raise ConfigError(f"{name!r}: {why}")
        if known.get(name.lower(), name) != name:
            raise ConfigError(f"{name} differs from {known[name.lower()]} in capital letters alone")
        if keys_of(devices, name) and not renew:
            raise ConfigError(
                f"{name} is enrolled already; --renew gives it a new key and revokes the old one"
            )
    if len({name.lower() for name in names}) < len(names):
        raise ConfigError("a name is there twice")


def enroll(
    folder: Folder, places: Mapping[str, str], expires_s: int, now_s: int, *, encrypt: bool = False
) -> list[Bundle]:
    """Give devices a key each, valid until ``expires_s`` (0: for ever); their files, which the caller wipes.

    ``places``: by name, where these files will lie on the device; ``encrypt``: what it stores is encrypted.

    Raises:
        ConfigError: A key to sign with is missing, or a place cannot be named in a configuration.
    """
    deployment = folder.deployment
    urls = [f"tls://{host_and_port(host, deployment.leaf_port)}" for host in deployment.hubs]
    authority = (folder.path / files.AUTHORITY).read_bytes()
    bundles, given = list[Bundle](), list[Device]()
    with folder.key(files.DEVICE_SIGNER, deployment.device_signer) as signer:
        for name, place in places.items():
            config = edge_text(name, place, urls, encrypt=encrypt).encode()
            with new_key(Prefix.USER) as user:
                claims = scoped_user(user.public_key, deployment.account, name, exp_s=expires_s)
                creds = credentials(encode(claims, signer, now_s), user)
            bundles.append(Bundle(name, creds, authority, config))
            given.append(Device(name, user.public_key, now_s, expires_s))
    folder.save_devices((*folder.devices(), *given))
    return bundles


def active_keys(folder: Folder, name: str, *, old_only: bool = False) -> list[Device]:
    """The keys of a device that are not revoked; ``old_only``: all but the newest.

    Raises:
        ConfigError: There is no such device.
    """
    keys = keys_of(folder.devices(), name)
    if not keys:
        raise ConfigError(f"{name}: no device of this name was enrolled")
    return [one for one in (keys[:-1] if old_only else keys) if not one.revoked_s]


def revoke(folder: Folder, keys: Sequence[Device], now_s: int) -> None:
    """Take keys back: in the account's JWT, then in the register. The hub has not heard of it yet.

    Raises:
        ConfigError: The key to sign with is missing.
    """
    gone = {one.key for one in keys}
    sign_account(folder, keys, now_s)
    devices = folder.devices()
    folder.save_devices(
        tuple(msgspec.structs.replace(one, revoked_s=now_s) if one.key in gone else one for one in devices)
    )


def sign_account(folder: Folder, keys: Sequence[Device], now_s: int, *, streams: Sequence[str] = ()) -> None:
    """Issue the account of devices anew, with ``keys`` taken back and all that the register says was, with what
    devices may do by now, and with ``streams`` of a nats-server to forward into.

    A key is taken back from its own time of issue on, if that is later: the clock may have been set back.

    Raises:
        ConfigError: The key to sign with is missing.
    """
    account = brought_up_to_date(folder.account(), streams)
    for one in (*(device for device in folder.devices() if device.revoked_s), *keys):
        at_s = max(one.revoked_s or now_s, one.enrolled_s)
        if not is_revoked(account.nats.revocations, one.key, at_s):
            account = with_revocation(account, one.key, at_s)
    sign(folder, account, now_s)


def sign(folder: Folder, account: AccountClaims, now_s: int) -> None:
    """Issue an account anew. Servers keep the one that was issued last: later than before, whatever the clock says.

    Raises:
        ConfigError: The key to sign with is missing.
    """
    with folder.key(files.OPERATOR_SIGNER, folder.deployment.operator_signer) as signer:
        folder.save_account(account.sub, encode(account, signer, max(now_s, account.iat + 1)))
