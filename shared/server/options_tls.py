"""Options of TLS: the block ``tls``, for clients, for leafnodes, and of each hub that is dialled. Declared as in
``options.py``; read by ``load_tls.py``, whose texts are nats-server's."""

from typing import Annotated

import msgspec

from phloem.shared import limits
from phloem.shared.server.declare import Kind, Opt, Seconds

TLS_EXAMPLE = '{ cert_file: "/etc/phloem/server.pem", key_file: "/etc/phloem/server-key.pem" }'
REMOTE_TLS_EXAMPLE = '{ ca_file: "/etc/phloem/ca.pem" }'


class CertificatePair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of several certificates."""

    cert_file: Annotated[str, Opt("Certificate, and those that lead to its root, as PEM.")] = ""
    key_file: Annotated[str, Opt("Its key, as PEM.")] = ""


class TLS(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS of one listener, or of links to one hub. Files are read when the options are."""

    cert_file: Annotated[
        str,
        Opt(
            "Certificate, and those that lead to its root, as PEM.",
            example='"/etc/phloem/server.pem"',
            reload=True,
        ),
    ] = ""
    key_file: Annotated[str, Opt("Its key, as PEM.", example='"/etc/phloem/server-key.pem"', reload=True)] = (
        ""
    )
    certs: Annotated[
        tuple[CertificatePair, ...],
        Opt(
            "Several certificates, chosen by the name that a client asks for, instead of cert_file.",
            example='[ { cert_file: "/etc/phloem/a.pem", key_file: "/etc/phloem/a-key.pem" } ]',
            aliases="certificates",
            reload=True,
        ),
    ] = ()
    ca_file: Annotated[
        str,
        Opt(
            "Roots that vouch for the peer's certificate; the system's when empty.",
            example='"/etc/phloem/ca.pem"',
            reload=True,
        ),
    ] = ""
    verify: Annotated[bool, Opt("Who comes has to show a certificate.", reload=True)] = False
    verify_and_map: Annotated[bool, Opt("The same, and it says which user it is.", reload=True)] = False
    insecure: Annotated[
        bool, Opt("Dial whoever answers, without looking at its certificate.", reload=True)
    ] = False
    timeout_ns: Annotated[Seconds, Opt("Time for a handshake.", empty_is_default=True, reload=True)] = (
        limits.TLS_TIMEOUT_NS
    )
    handshake_first: Annotated[
        bool,
        Kind.HANDSHAKE_FIRST,
        Opt(
            "Shake hands before INFO; auto or a duration: wait that long for who does, then send INFO.",
            aliases="first immediate",
            reload=True,
        ),
    ] = False
    min_version: Annotated[str, Kind.CHOICE, Opt("Oldest version.", choices="1.2 1.3", reload=True)] = "1.2"
    cipher_suites: Annotated[
        tuple[str, ...],
        Opt(
            "Suites of TLS 1.2; all that are secure when not there.",
            example='["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]',
            reload=True,
        ),
    ] = ()
    allow_insecure_cipher_suites: Annotated[
        bool, Opt("Let cipher_suites name insecure ones.", reload=True)
    ] = False
    curve_preferences: Annotated[
        tuple[str, ...],
        Opt("Key exchanges, best first.", example='["X25519MLKEM768", "X25519", "CurveP256"]', reload=True),
    ] = ()
    pinned_certs: Annotated[
        tuple[str, ...],
        Opt(
            "SHA-256 in hex of the public keys that are let in; whoever vouches for them.",
            example='["7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069"]',
            reload=True,
        ),
    ] = ()
    connection_rate_limit: Annotated[int, Opt("Handshakes in a second; 0 for no bound.")] = 0

    # from the loader
    fallback_ns: int = 0  # with handshake_first: how long to wait for a ClientHello before INFO; 0: for ever
    digest: str = ""  # of the files' contents: new certificates are new options
    not_after_s: int = 0  # when the first certificate ends; seconds since 1970, 0: there is none

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Certificate and key files."""
        if self.cert_file:
            return ((self.cert_file, self.key_file),)
        return tuple((pair.cert_file, pair.key_file) for pair in self.certs)


def auth_timeout_ns(configured_ns: int, tls: TLS | None) -> int:
    """How long a peer may take to log in: what is configured (0: nothing is), else a second more than a handshake."""
    if configured_ns:
        return configured_ns
    return limits.AUTH_TIMEOUT_NS if tls is None else tls.timeout_ns + limits.SECOND_NS
