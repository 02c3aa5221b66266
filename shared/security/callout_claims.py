"""What a server asks an auth callout, and what it is answered (security_ops 2.9). Names are those of the JSON."""

from typing import ClassVar

from phloem.shared.security.claims import Claims, Strings
from phloem.shared.security.go_values import Document, Int, Uint
from phloem.shared.security.nkeys import Prefix


class ServerID(Document, frozen=True, kw_only=True):
    """Who asks. ``xkey``: the key to seal the answer for."""

    ALWAYS: ClassVar[frozenset[str]] = frozenset({"name", "host", "id"})

    name: str = ""
    host: str = ""
    id: str = ""
    version: str = ""
    cluster: str = ""
    tags: Strings = ()
    xkey: str = ""


class ClientInformation(Document, frozen=True, kw_only=True):
    """Who wants to come in, as the server sees it. ``nonce`` only beside a signature."""

    SECRET: ClassVar[frozenset[str]] = frozenset({"user"})  # a token is a user, too

    host: str = ""
    id: Uint = 0
    user: str = ""
    name: str = ""
    tags: Strings = ()
    name_tag: str = ""
    kind: str = ""
    type: str = ""
    mqtt_id: str = ""
    nonce: str = ""


class ConnectOptions(Document, frozen=True, kw_only=True):
    """What its CONNECT said."""

    ALWAYS: ClassVar[frozenset[str]] = frozenset({"protocol"})
    SECRET: ClassVar[frozenset[str]] = frozenset({"jwt", "sig", "auth_token", "pass_"})

    jwt: str = ""
    nkey: str = ""
    sig: str = ""
    auth_token: str = ""
    user: str = ""
    pass_: str = ""
    name: str = ""
    lang: str = ""
    version: str = ""
    protocol: Int = 0


class ClientTLS(Document, frozen=True, kw_only=True):
    """Certificates as PEM: chains if they were verified, else the certificates alone."""

    version: str = ""
    cipher: str = ""
    certs: Strings = ()
    verified_chains: tuple[Strings, ...] = ()


class AuthorizationRequest(Document, frozen=True, kw_only=True):
    """Body of a request. ``user_nkey`` is made for it and has to be the subject of the answer."""

    server_id: ServerID = ServerID()
    user_nkey: str = ""
    client_info: ClientInformation = ClientInformation()
    connect_opts: ConnectOptions = ConnectOptions()
    client_tls: ClientTLS | None = None
    request_nonce: str = ""
    tags: Strings = ()
    type: str = ""
    version: Int = 0


class AuthorizationResponse(Document, frozen=True, kw_only=True):
    """Body of an answer: a user JWT or an error."""

    SECRET: ClassVar[frozenset[str]] = frozenset({"jwt"})

    jwt: str = ""
    error: str = ""
    issuer_account: str = ""
    tags: Strings = ()
    type: str = ""
    version: Int = 0


class AuthorizationRequestClaims(Claims, frozen=True, kw_only=True):
    """Signed by the server."""

    TYPE: ClassVar[str] = "authorization_request"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.SERVER,)

    nats: AuthorizationRequest = AuthorizationRequest()


class AuthorizationResponseClaims(Claims, frozen=True, kw_only=True):
    """Signed by the account of the callout's service."""

    TYPE: ClassVar[str] = "authorization_response"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.ACCOUNT,)

    nats: AuthorizationResponse = AuthorizationResponse()
