"""Where the JWTs of accounts come from: the configuration, or a web server (security_ops 2.10.6).

A resolver that keeps them in a folder is in ``claim_folder.py``. ``fetch`` is asked for one account at a time by
``trusted_accounts``, which joins those who want the same one.
"""

import asyncio
import http.client
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from phloem.shared import limits
from phloem.shared.errors import ConfigError, InvalidJWT
from phloem.shared.security.claims import AccountClaims
from phloem.shared.security.nkeys import Prefix, is_public
from phloem.shared.security.tokens import decode_as

if TYPE_CHECKING:
    import ssl

MISSING = "account missing"
NOT_FOUND = "account jwt not found"
NO_KEY = "will only fetch valid account keys"


class Resolver(Protocol):
    """JWTs of accounts, by public key."""

    async def start(self) -> None:
        """Get ready; clients are served afterwards. Raises ConfigError."""

    async def fetch(self, name: str) -> str:
        """The JWT of an account. Raises InvalidJWT with nats-server's words for why there is none."""

    def reload(self, preload: Mapping[str, str]) -> None:
        """The configuration has these; look again at what may have been changed by hand."""

    async def stop(self) -> None:
        """No more fetching."""


def checked_preload(preload: Mapping[str, str]) -> dict[str, str]:
    """JWTs of the configuration. Raises ConfigError."""
    for name, token in preload.items():
        try:
            decode_as(token, AccountClaims)
        except InvalidJWT as error:
            raise ConfigError(f'preload account error for "{name}": {error}') from error
    return dict(preload)


def check_name(name: str) -> None:
    """Raises InvalidJWT for what is no account."""
    if not is_public(name, Prefix.ACCOUNT):
        raise InvalidJWT(NO_KEY)


class MemoryResolver:
    """What ``resolver_preload`` has and nothing else."""

    def __init__(self, preload: Mapping[str, str]) -> None:
        self._tokens = checked_preload(preload)

    async def start(self) -> None:
        """Nothing to do."""

    async def fetch(self, name: str) -> str:
        """As in ``Resolver``."""
        try:
            return self._tokens[name]
        except KeyError:
            raise InvalidJWT(MISSING) from None

    def get(self, name: str) -> str | None:
        """The JWT of an account, at once."""
        return self._tokens.get(name)

    def reload(self, preload: Mapping[str, str]) -> None:
        """These and no others."""
        self._tokens = checked_preload(preload)

    async def stop(self) -> None:
        """Nothing to do."""


class UrlResolver:
    """``GET url + account`` answers with the JWT. Read-only."""

    def __init__(
        self,
        url: str,
        *,
        context: "Callable[[], ssl.SSLContext | None]" = lambda: None,
        timeout_ns: int = limits.ACCOUNT_FETCH_TIMEOUT_NS,
    ) -> None:
        """``context``: what https is spoken with now; ``None``: the system's authorities vouch for the server."""
        self._url = url if url.endswith("/") else f"{url}/"
        self._context = context
        self._timeout_ns = timeout_ns

    async def start(self) -> None:
        """The address itself has to answer."""
        try:
            await self.fetch("")
        except InvalidJWT as error:
            raise ConfigError(str(error)) from error

    async def fetch(self, name: str) -> str:
        """As in ``Resolver``."""
        try:
            async with asyncio.timeout(self._timeout_ns / 1e9):
                return await asyncio.get_running_loop().run_in_executor(
                    None, self._get, name, self._context()
                )
        except (OSError, TimeoutError, http.client.HTTPException, ValueError) as error:
            text = str(error) or "timed out"
            raise InvalidJWT(f'could not fetch <"{self._shown(name)}">: {text}') from None

    def _get(self, name: str, context: "ssl.SSLContext | None") -> str:
        """On another thread. Raises OSError, HTTPException, ValueError."""
        parts = urlsplit(self._url + name)
        timeout_s = self._timeout_ns / 1e9
        if parts.scheme == "https":
            import ssl  # noqa: PLC0415  (a library of its own, for https alone)

            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname or "",
                parts.port,
                timeout=timeout_s,
                context=context or ssl.create_default_context(),
            )
        elif parts.scheme == "http":
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
        else:
            raise ValueError(f'unsupported protocol scheme "{parts.scheme}"')
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"Accept-Encoding": "identity"})
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise ValueError(f"{response.status} {response.reason}")
            body = response.read(limits.JWT_BYTES + 1)
            if len(body) > limits.JWT_BYTES:
                raise ValueError("answer too large for a JWT")
            return body.decode("utf-8", "replace").strip()
        finally:
            connection.close()

    def _shown(self, name: str) -> str:
        """The address without a password."""
        parts = urlsplit(self._url + name)
        if parts.password is None:
            return parts.geturl()
        return parts._replace(netloc=f"{parts.username}:xxxxx@{parts.netloc.rpartition('@')[2]}").geturl()

    def reload(self, preload: Mapping[str, str]) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do: threads end by their timeout."""
