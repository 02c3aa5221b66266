"""``phloem init --renew-admin``: new credentials for those who may do everything, and the old ones revoked.

The order is such that an interruption does not leave anybody in: the old keys are revoked before new ones are made,
and a new key is noted before it is written where somebody can read it.
"""

import msgspec

from phloem.hub.fleet import folder as files
from phloem.hub.fleet.creation import ADMIN, new_key, write_credentials
from phloem.hub.fleet.enrolment import sign
from phloem.hub.fleet.folder import Folder
from phloem.shared.errors import ConfigError
from phloem.shared.security.issue import revoke as with_revocation
from phloem.shared.security.nkeys import Prefix


def renew_administrators(folder: Folder, now_s: int) -> None:
    """New ``admin.creds`` and ``system.creds``. The hub has not heard of it yet; the new ones can tell it.

    Raises:
        ConfigError: A key to sign with is missing; nothing was changed.
    """
    deployment = folder.deployment
    parts = (
        (deployment.account, files.ADMIN_SIGNER, files.ADMIN_CREDS),
        (deployment.system, files.SYSTEM_SIGNER, files.SYSTEM_CREDS),
    )
    for name, signer_file, _creds in parts:
        folder.key(signer_file, _signer_of(folder, name)).wipe()  # both or none
    for name, signer_file, creds in parts:
        account = folder.account(name)
        sign(folder, with_revocation(account, folder.deployment.admins[name], max(now_s, account.iat)), now_s)
        with folder.key(signer_file, _signer_of(folder, name)) as signer, new_key(Prefix.USER) as user:
            admins = {**folder.deployment.admins, name: user.public_key}
            folder.save_deployment(msgspec.structs.replace(folder.deployment, admins=admins))
            write_credentials(folder.path / creds, name, user, signer, now_s)


def _signer_of(folder: Folder, name: str) -> str:
    """The key that signs administrators of an account."""
    for key, scope in folder.account(name).nats.signing_keys.items():
        if scope is not None and scope.role == ADMIN:
            return key
    raise ConfigError("the account has no key that signs administrators")
