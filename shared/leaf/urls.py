"""URLs of hubs: ``nats-leaf://``, ``nats://``, ``tls://`` with optional ``user:password@`` or ``token@``, and
``unix://`` with a path.

Two URLs are the same hub when host and port are: what a hub tells about its peers carries no credentials.
"""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from phloem.shared.errors import LinkError

LEAF_PORT = 7422
_SCHEMES = ("nats-leaf", "nats", "leaf", "tls", "unix")


class HubURL(NamedTuple):
    """Where a hub listens and who to be there."""

    scheme: str
    host: str  # without brackets; the path for ``unix``
    port: int
    user: str | None = None
    password: str | None = None

    @property
    def tls(self) -> bool:
        """Whether the URL itself asks for TLS."""
        return self.scheme == "tls"

    @property
    def address(self) -> str:
        """``host:port`` as logs show it; never the credentials."""
        if self.scheme == "unix":
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def same_hub(self, other: "HubURL") -> bool:
        """Whether both lead to the same place."""
        return (self.host.lower(), self.port) == (other.host.lower(), other.port)


def parse_url(text: str) -> HubURL:
    """A URL, or ``host:port`` as INFO's ``leafnode_urls`` has it; the port is 7422 if none is given.

    Raises:
        LinkError: It is no URL of a hub.
    """
    try:
        parts = urlsplit(text if "://" in text else f"nats-leaf://{text}")
        port = LEAF_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise LinkError(f"invalid leafnode URL: {error}") from error
    if parts.scheme not in _SCHEMES:
        raise LinkError(f"leafnode URL has the scheme {parts.scheme!r}, not one of {', '.join(_SCHEMES)}")
    host = parts.path if parts.scheme == "unix" else parts.hostname
    if not host:
        raise LinkError("leafnode URL has no host")
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return HubURL(parts.scheme, host, 0 if parts.scheme == "unix" else port, user, password)
