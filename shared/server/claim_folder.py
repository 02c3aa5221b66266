"""A folder of accounts' JWTs, ``<account>.jwt`` each, as nats-server's resolvers keep it (security_ops 2.10.6).

A file is written whole and synced before it takes its name. What is in the folder is known by hash: the XOR over all of
them is what servers compare. Nobody but this process writes here; ``reload`` looks for what was put in by hand.
"""

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from phloem.shared import limits
from phloem.shared.errors import ConfigError, InvalidJWT
from phloem.shared.limits import SECOND_NS
from phloem.shared.security.nkeys import is_public
from phloem.shared.security.tokens import decode_generic
from phloem.shared.server.secret_files import write_secret
from phloem.shared.store.folder import sync_folder

SUFFIX, DELETED = ".jwt", ".jwt.deleted"
FULL = "jwt store is full"
FOLDER_MODE = 0o700
HASH_BYTES = 32


class Kept(NamedTuple):
    """One JWT in the folder. ``expires_ns``: when the file goes, by the wall clock; 0: never."""

    digest: bytes
    expires_ns: int


class ClaimFolder:
    """The files, and what is known of them. Raises InvalidJWT with nats-server's words, OSError for a disk's."""

    def __init__(
        self,
        folder: str,
        *,
        limit: int,
        evicts: bool,
        ttl_ns: int = 0,
        hard_delete: bool = False,
        wall_ns: Callable[[], int],
        changed: Callable[[str, str], None],
        deleted: Callable[[str], None],
    ) -> None:
        """``limit``: files, 0 for any number; beyond it the one that was not used for longest goes, if it ``evicts``.

        ``changed`` is told account and JWT, ``deleted`` the account. ``ttl_ns`` counts from the last use, 0: until the
        JWT itself expires. Raises ConfigError when the folder cannot be used.
        """
        self._folder = Path(folder).absolute()
        self._limit, self._evicts, self._ttl_ns, self._hard = limit, evicts, ttl_ns, hard_delete
        self._wall_ns, self._changed, self._deleted = wall_ns, changed, deleted
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        try:
            self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            for name, token in self._files():
                self._track(name, token)
        except OSError as error:
            raise ConfigError(f"resolver: {error}") from error

    def __len__(self) -> int:
        return len(self._kept)

    def __str__(self) -> str:
        return str(self._folder)

    @property
    def digest(self) -> bytes:
        """A hash over all of them; zeros without any."""
        total = 0
        for kept in self._kept.values():
            total ^= int.from_bytes(kept.digest)
        return total.to_bytes(HASH_BYTES)

    def load(self, name: str) -> str | None:
        """The JWT of an account."""
        if name not in self._kept:
            return None
        token = self._read(self._path(name))
        if token is not None:
            kept = self._kept[name]
            self._kept.move_to_end(name)
            if self._ttl_ns:
                self._kept[name] = kept._replace(expires_ns=self._wall_ns() + self._ttl_ns)
        return token

    def all(self) -> Iterator[tuple[str, str]]:
        """Accounts and JWTs that have not expired, by account."""
        now_s = self._wall_ns() // SECOND_NS
        for name in sorted(self._kept):
            token = self._read(self._path(name))
            if token and not 0 < _expires_s(token) < now_s:
                yield name, token

    def admit(self, name: str, token: str) -> bool:
        """Whether a JWT is to be written, for which there is room now."""
        if not is_public(name):
            raise InvalidJWT("invalid public key")
        if not token:
            raise InvalidJWT("invalid JWT")
        known = self._kept.get(name)
        if known is not None and known.digest == _digest(token):
            return False
        if known is None and 0 < self._limit <= len(self._kept):
            if not self._evicts:
                raise InvalidJWT(FULL)
            oldest = next(iter(self._kept))
            self._path(oldest).unlink(missing_ok=True)
            del self._kept[oldest]
        return True

    def write(self, name: str, token: str) -> None:
        """To the disk; nothing else here is touched, so any thread may do it."""
        write_secret(self._path(name), token.encode(), replace=True)

    def keep(self, name: str, token: str) -> None:
        """It is on the disk: it counts from now on."""
        self._track(name, token)
        self._changed(name, token)

    def is_newer(self, name: str, token: str) -> bool:
        """Whether what is there, if anything, was not issued later."""
        there = self._read(self._path(name)) if name in self._kept else None
        if there is not None:
            new = decode_generic(token)
            try:
                old = decode_generic(there)
            except InvalidJWT:
                pass  # anything is better
            else:
                if old.jti == new.jti or old.iat > new.iat:
                    return False
                if new.sub != name:
                    raise InvalidJWT("jwt subject nkey and provided nkey do not match")
                if old.sub != new.sub:
                    raise InvalidJWT("subject of existing and new jwt do not match")
        return True

    def take_away(self, name: str) -> None:
        """Its file goes to another name, unless it is to go for good; any thread may do it."""
        path = self._path(name)
        with contextlib.suppress(FileNotFoundError):
            if self._hard:
                path.unlink()
            else:
                path.rename(path.with_name(f"{name}{DELETED}"))
        sync_folder(str(self._folder))

    def delete(self, name: str) -> None:
        """Forget an account whose file is gone."""
        if self._kept.pop(name, None) is not None:
            self._deleted(name)

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def reload(self) -> None:
        """Look for files that were put in, changed or taken out by hand."""
        before, self._kept = self._kept, OrderedDict()
        for name, token in self._files():
            self._track(name, token)
            known = before.get(name)
            if self._evicts if known is None else known.digest != self._kept[name].digest:
                self._changed(name, token)

    def expire(self) -> None:
        """Remove files whose time is over; accounts that are in use are not touched."""
        now_ns = self._wall_ns()
        for name in [name for name, kept in self._kept.items() if 0 < kept.expires_ns <= now_ns]:
            self._path(name).unlink(missing_ok=True)
            del self._kept[name]

    def _track(self, name: str, token: str) -> None:
        expires_ns = self._wall_ns() + self._ttl_ns if self._ttl_ns else _expires_s(token) * SECOND_NS
        self._kept[name] = Kept(_digest(token), expires_ns)
        self._kept.move_to_end(name)

    def _files(self) -> Iterator[tuple[str, str]]:
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            token = self._read(path)
            if token is not None and is_public(path.name.removesuffix(SUFFIX)):
                yield path.name.removesuffix(SUFFIX), token

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    @staticmethod
    def _read(path: Path) -> str | None:
        try:
            with open(path, "rb") as stream:
                return stream.read(limits.JWT_BYTES + 1).decode("utf-8", "replace")
        except FileNotFoundError:
            return None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _expires_s(token: str) -> int:
    try:
        return decode_generic(token).exp
    except InvalidJWT:
        return 0
