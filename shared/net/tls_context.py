"""OpenSSL contexts from files: certificates, keys, roots, and what may be negotiated.

pyOpenSSL makes contexts and shakes hands; the kernel gets its SSL objects afterwards (``kernel/tls.pyx``). Names of
cipher suites and curves are Go's, as nats-server's configuration has them, and so are the texts of errors. Nothing is
imported before the first certificate is read: a server without TLS pays nothing.

What differs from OpenSSL's defaults: no renegotiation; no tickets, because NATS clients do not resume and a ticket
would outlive a reload; buffers given back while a connection is idle; AES-128 first on processors that have AES
instructions, ChaCha20 on those that have not, as Go does; an intermediate certificate may be a root.
"""

import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from phloem.shared.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from OpenSSL.SSL import Connection, Context

TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
SUITES = {  # Go's names and OpenSSL's, in the order of preference with AES instructions
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
INSECURE_SUITES = {  # only with allow_insecure_cipher_suites
    "TLS_RSA_WITH_RC4_128_SHA": "RC4-SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA": "DES-CBC3-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA": "ECDHE-ECDSA-RC4-SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA": "ECDHE-RSA-RC4-SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA": "ECDHE-RSA-DES-CBC3-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
}
CURVES = {
    "X25519MLKEM768": "X25519MLKEM768",
    "SecP384r1MLKEM1024": "SecP384r1MLKEM1024",
    "SecP256r1MLKEM768": "SecP256r1MLKEM768",
    "X25519": "X25519",
    "CurveP256": "P-256",
    "CurveP384": "P-384",
    "CurveP521": "P-521",
}
_GO_NAMES = {theirs: ours for ours, theirs in (SUITES | INSECURE_SUITES).items()}
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_PRIORITIZE_CHACHA = 1 << 21  # SSL_OP_PRIORITIZE_CHACHA, which pyOpenSSL has no name for
_CPUINFO = Path("/proc/cpuinfo")


class Pair(NamedTuple):
    """A certificate with those that lead to its root, and its key."""

    chain: "tuple[Certificate, ...]"
    key: Any


class Terms(NamedTuple):
    """What a context is made from. ``roots`` of ``None`` are the system's."""

    pairs: tuple[Pair, ...] = ()
    roots: "tuple[Certificate, ...] | None" = None
    verify: bool = True  # of a server: a client has to show a certificate
    suites: tuple[str, ...] = ()  # Go's names; () for all that are secure
    curves: tuple[str, ...] = ()
    min_version: str = "1.2"


def openssl() -> Any:
    """The binding that pyOpenSSL calls, for what it has no method for: ``lib`` and ``ffi``."""
    from cryptography.hazmat.bindings._rust import _openssl  # noqa: PLC0415  (only with TLS)

    return _openssl


def load_pair(cert_file: str, key_file: str) -> Pair:
    """Raises ConfigError with the text of Go's ``tls.LoadX509KeyPair``."""
    from cryptography import x509  # noqa: PLC0415  (only with TLS)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key  # noqa: PLC0415

    chain = []
    for _, block in _blocks(_read(cert_file), ("CERTIFICATE",), "certificate"):
        try:
            chain.append(x509.load_pem_x509_certificate(block))
        except ValueError as error:
            raise ConfigError(f"x509: malformed certificate: {error}") from None
    block = _blocks(_read(key_file), ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"), "key")[0][1]
    try:
        key = load_pem_private_key(block, None)
    except (ValueError, TypeError):
        raise ConfigError("tls: failed to parse private key") from None

    def public(holder: Any) -> bytes:
        return bytes(holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    if public(chain[0]) != public(key):
        raise ConfigError("tls: private key does not match public key")
    return Pair(tuple(chain), key)


def load_roots(ca_file: str) -> "tuple[Certificate, ...]":
    """Every certificate in the file. Raises ConfigError in Go's words."""
    from cryptography import x509  # noqa: PLC0415  (only with TLS)

    roots = []
    for kind, block in _found(_read(ca_file)):
        if kind != "CERTIFICATE":
            continue
        try:
            roots.append(x509.load_pem_x509_certificate(block))
        except ValueError:
            continue  # Go takes what it can read
    if not roots:
        raise ConfigError("failed to parse root ca certificate")
    return tuple(roots)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"open {path}: {(error.strerror or str(error)).lower()}") from None


def _found(data: bytes) -> list[tuple[str, bytes]]:
    return [(found[1].decode(), found[0]) for found in _PEM_BLOCK.finditer(data)]


def _blocks(data: bytes, kinds: Sequence[str], what: str) -> list[tuple[str, bytes]]:
    found = _found(data)
    if not found:
        raise ConfigError(f"tls: failed to find any PEM data in {what} input")
    wanted = [block for block in found if block[0] in kinds]
    if wanted:
        return wanted
    skipped = "[" + " ".join(kind for kind, _ in found) + "]"
    if len(found) == 1 and what == "certificate" and found[0][0].endswith("PRIVATE KEY"):
        raise ConfigError(
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
            "PEM inputs may have been switched"
        )
    if len(found) == 1 and what == "key" and found[0][0] == "CERTIFICATE":
        raise ConfigError("tls: found a certificate rather than a key in the PEM for the private key")
    if what == "certificate":
        raise ConfigError(
            'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the '
            f"following types: {skipped}"
        )
    raise ConfigError(
        'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of '
        f"the following types: {skipped}"
    )


def server_context(terms: Terms) -> "Context":
    """A context for those who come. With several certificates the name that a client asks for chooses; the first one
    is for clients that ask for none of them.

    Raises:
        ConfigError: OpenSSL does not take a key, a suite or a curve.
    """
    contexts = [_context(terms, pair, server=True) for pair in terms.pairs]
    if len(contexts) > 1:
        names = [_names(pair.chain[0]) for pair in terms.pairs]

        def choose(connection: "Connection") -> None:
            asked = (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")
            chosen = next(
                (c for c, known in zip(contexts, names, strict=True) if _covers(known, asked)), None
            )
            if chosen is not None and chosen is not contexts[0]:
                connection.set_context(chosen)

        contexts[0].set_tlsext_servername_callback(choose)
    return contexts[0]


def client_context(terms: Terms) -> "Context":
    """A context for dialling; the first certificate is shown to whoever asks. Raises ConfigError as above."""
    return _context(terms, terms.pairs[0] if terms.pairs else None, server=False)


def _context(terms: Terms, pair: Pair | None, *, server: bool) -> "Context":
    from OpenSSL import SSL  # noqa: PLC0415  (a server without TLS does without 7 MB)

    context = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION if terms.min_version == "1.3" else SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(openssl().lib.SSL_MODE_RELEASE_BUFFERS)  # pyOpenSSL has no name for it
    if server:
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_options(_PRIORITIZE_CHACHA)  # for a client without AES instructions
    try:
        _negotiable(context, terms)
        if pair is not None:
            context.use_certificate(pair.chain[0])
            for certificate in pair.chain[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(pair.key)
            context.check_privatekey()
    except SSL.Error as error:
        reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
        raise ConfigError(f"tls: {reasons[-1][-1] if reasons else error}") from None
    if not server or terms.verify:
        _trust(context, terms, server=server)
    return context


def _negotiable(context: "Context", terms: Terms) -> None:
    from OpenSSL import SSL  # noqa: PLC0415  (imported already)

    suites = terms.suites or tuple(SUITES)
    modern = list(TLS13_SUITES)  # as with Go, these are not chosen by configuration
    if not has_aes():
        modern.sort(key=lambda name: "CHACHA20" not in name)
        suites = (
            tuple(sorted(suites, key=lambda name: "CHACHA20" not in name)) if not terms.suites else suites
        )
    older = [(SUITES | INSECURE_SUITES)[name] for name in suites if name not in TLS13_SUITES]
    context.set_tls13_ciphersuites(":".join(modern).encode())
    if older:
        context.set_cipher_list(":".join(older).encode())
    else:
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
    if terms.curves:
        groups = ":".join(CURVES[name] for name in terms.curves).encode()
        if not openssl().lib.SSL_CTX_set1_curves_list(context._context, groups):
            openssl().lib.ERR_clear_error()
            raise ConfigError(f"tls: none of the curves can be used: {', '.join(terms.curves)}")


def _trust(context: "Context", terms: Terms, *, server: bool) -> None:
    from OpenSSL import crypto  # noqa: PLC0415  (imported already)

    store = context.get_cert_store()
    assert store is not None
    if terms.roots is None:
        context.set_default_verify_paths()
    else:
        for root in terms.roots:
            store.add_cert(crypto.X509.from_cryptography(root))
        if server:
            for root in terms.roots:
                context.add_client_ca(root)  # their names help a client to choose a certificate
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    if server:
        context.set_session_id(b"phloem")


@functools.cache
def has_aes() -> bool:
    """Whether the processor has AES instructions."""
    try:
        lines = _CPUINFO.read_text(errors="replace").lower().splitlines()
    except OSError:
        return True
    flags = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "features"))]
    return not flags or "aes" in flags[0]


def suite_name(openssl_name: str) -> str:
    """Go's name of a cipher suite."""
    return _GO_NAMES.get(openssl_name, openssl_name)


def _names(certificate: "Certificate") -> list[str]:
    from cryptography import x509  # noqa: PLC0415  (only with TLS)

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    except (x509.ExtensionNotFound, ValueError):
        return []


def _covers(names: Iterable[str], asked: str) -> bool:
    """Whether a certificate with these names is for ``asked``; ``*`` stands for one label, the first."""
    rest = asked.partition(".")[2]
    return any(name == asked or (bool(rest) and name == f"*.{rest}") for name in names)
