"""CONNECT as a client sends it (wire 1.3)."""

import msgspec

from phloem.shared.errors import InvalidClientProtocol, NoRespondersNeedsHeaders
from phloem.shared.wire.go_json import decode


class Connect(msgspec.Struct, kw_only=True):
    """A client's CONNECT with nats-server's defaults for what is missing."""

    verbose: bool = True
    pedantic: bool = True
    echo: bool = True
    headers: bool = False
    no_responders: bool = False
    protocol: int = 0
    lang: str = ""
    version: str = ""
    name: str = ""
    user: str = ""
    password: str = msgspec.field(default="", name="pass")
    auth_token: str = ""
    nkey: str = ""
    sig: str = ""
    jwt: str = ""
    proxy_sig: str = ""
    account: str = ""
    new_account: bool = False
    tls_required: bool = False

    def check(self) -> None:
        """Rules between fields, to be checked after the credentials.

        Raises:
            InvalidClientProtocol: ``protocol`` is neither 0 nor 1.
            NoRespondersNeedsHeaders: ``no_responders`` without ``headers``.
        """
        if self.protocol not in (0, 1):
            raise InvalidClientProtocol
        if self.no_responders and not self.headers:
            raise NoRespondersNeedsHeaders


def decode_connect(body: bytes, before: Connect | None = None) -> Connect:
    """The argument of CONNECT; a second one keeps what it does not name.

    Raises:
        MalformedJSON: To be answered by closing without a word.
    """
    return decode(body, Connect, before)
