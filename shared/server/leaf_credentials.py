"""How a link that this server dials proves who it is: a creds file, read afresh for each attempt, or a seed.

Texts are nats-server's. What was read of a secret is overwritten as soon as the nonce is signed.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from phloem.shared.errors import ConfigError, InvalidJWT, LinkError, NKeyError
from phloem.shared.leaf.solicit import NO_PROOF, Proof
from phloem.shared.security.claims import Permission, User, UserClaims
from phloem.shared.security.creds import credentials_in
from phloem.shared.security.nkeys import KeyPair, wipe
from phloem.shared.security.tokens import decode_as, encode_base64url
from phloem.shared.server.secret_files import read_secret

if TYPE_CHECKING:
    from phloem.shared.server.options_leafnodes import Remote

log = logging.getLogger("phloem.leaf")


def prover(remote: "Remote") -> Callable[[str], Proof]:
    """What signs a hub's nonce for this remote. It raises LinkError when it cannot."""

    def prove(nonce: str) -> Proof:
        if remote.credentials:
            log.debug('Authenticating with credentials file "%s"', remote.credentials)
            token, pair = _read(remote.credentials)
            with pair:
                return Proof(jwt=token, sig=encode_base64url(pair.sign(nonce.encode())))
        if not remote.nkey:
            return NO_PROOF
        try:
            pair = KeyPair.from_seed(remote.nkey)
        except NKeyError:
            raise LinkError("Remote nkey has malformed seed") from None
        with pair:
            return Proof(nkey=pair.public_key, sig=encode_base64url(pair.sign(nonce.encode())))

    return prove


def check(remote: "Remote", account: str, *, system: bool) -> None:
    """Say now what will be wrong with a creds file; it may be mended before it is needed."""
    path = remote.credentials
    if not path:
        return
    try:
        token, pair = _read(path)
    except LinkError as error:
        if str(error) == _MALFORMED:
            log.error('LeafNode Remote Credentials file "%s" malformed', path)
        elif str(error) == _MALFORMED_SEED:
            log.error('LeafNode Remote Credentials file "%s" has malformed seed', path)
        else:
            log.error('Error reading LeafNode Remote Credentials file "%s": %s', path, error)
        return
    pair.wipe()
    try:
        claims = decode_as(token, UserClaims)
    except InvalidJWT:
        log.error('LeafNode Remote Credentials file "%s" has malformed user jwt', path)
        return
    if _restricted(claims.nats):
        whose = "System Account" if system else f"Account {account}"
        log.info('LeafNode Remote for %s uses credentials file "%s" with restricted permissions', whose, path)


_MALFORMED, _MALFORMED_SEED = "Credentials file malformed", "Credentials file has malformed seed"


def _read(path: str) -> tuple[str, KeyPair]:
    """JWT and key, which the caller wipes. Raises LinkError."""
    try:
        content = read_secret(path)
    except OSError as error:
        raise LinkError(f"open {path}: {(error.strerror or str(error)).lower()}") from None
    except ConfigError as error:
        raise LinkError(str(error)) from None
    try:
        return credentials_in(content)
    except InvalidJWT:
        raise LinkError(_MALFORMED) from None
    except NKeyError:
        raise LinkError(_MALFORMED_SEED) from None
    finally:
        wipe(content)


def _restricted(user: User) -> bool:
    return user.pub != Permission() or user.sub != Permission() or user.resp is not None
