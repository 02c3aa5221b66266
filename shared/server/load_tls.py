"""The block ``tls`` of a configuration file, and the flags that stand for one (security_ops 3).

Texts are nats-server's. The files are read here, so that a mistake in them is told with its place and a reload with a
bad certificate changes nothing.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.shared import limits
from phloem.shared.errors import ConfigError
from phloem.shared.net.tls_context import (
    CURVES,
    INSECURE_SUITES,
    SUITES,
    TLS13_SUITES,
    Pair,
    Terms,
    load_pair,
    load_roots,
)
from phloem.shared.server.conf.parser import Value
from phloem.shared.server.durations import parse_duration
from phloem.shared.server.load_values import Reading, go_type
from phloem.shared.server.options import Options
from phloem.shared.server.options_tls import TLS, CertificatePair

if TYPE_CHECKING:
    import ssl

PIN = re.compile(r"[0-9a-f]{64}")
PINS = "a list of hex-encoded sha256 of DER encoded SubjectPublicKeyInfo"
INSECURE = "TLS certificate chain and hostname of solicited leafnodes will not be verified. DO NOT USE IN PRODUCTION!"
WINDOWS_ONLY = ("cert_store", "cert_match_by", "cert_match", "ca_certs_match", "cert_match_skip_invalid")
USAGE = """\
TLS configuration is specified in the tls section of a configuration file:

e.g.

    tls {
        cert_file:      "./certs/server-cert.pem"
        key_file:       "./certs/server-key.pem"
        ca_file:        "./certs/ca.pem"
        verify:         true
        verify_and_map: true

        cipher_suites: [
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
        ]
        curve_preferences: [
            "CurveP256",
            "CurveP384",
            "CurveP521"
        ]
    }

Available cipher suites include:
"""

Fields = dict[str, Any]


def usage() -> str:
    """What ``--help_tls`` prints."""
    suites = "".join(f"    {name}\n" for name in (*TLS13_SUITES, *SUITES, *INSECURE_SUITES))
    curves = "".join(f"    {name}\n" for name in CURVES)
    return f"{USAGE}{suites}\nAvailable curve preferences include:\n{curves}"


def read(reading: Reading, key: str, value: Value) -> TLS | None:
    """The block; ``None`` if it is wrong, and ``reading`` has why."""
    if not isinstance(value.data, dict):
        raise value.error(
            f"interface conversion: interface {{}} is {go_type(value.data)}, not map[string]interface {{}}"
        )
    fields: Fields = {}
    before = len(reading.errors)
    for name, item in value.data.items():
        try:
            _read_key(fields, name, item)
        except ConfigError as error:
            reading.errors.append(error)
    if len(reading.errors) > before:
        return None
    try:
        return checked(TLS(**fields))
    except ConfigError as error:
        raise value.error(error.text) from None


def checked(block: TLS) -> TLS:
    """The block with what its files say.

    Raises:
        ConfigError: Without a position.
    """
    if block.certs and block.cert_file:
        raise ConfigError("error parsing tls config, cannot combine 'cert_file' option with 'certs' option")
    insecure = [name for name in block.cipher_suites if name in INSECURE_SUITES]
    if insecure and not block.allow_insecure_cipher_suites:
        raise ConfigError(
            "insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: "
            + ", ".join(insecure)
        )
    if block.cert_file and not block.key_file:
        raise ConfigError("missing 'key_file' in TLS configuration")
    if block.key_file and not block.cert_file:
        raise ConfigError("missing 'cert_file' in TLS configuration")
    terms = material(block)
    digest = hashlib.sha256()
    for certificate in (*(c for pair in terms.pairs for c in pair.chain), *(terms.roots or ())):
        digest.update(_der(certificate))
    ends = int(terms.pairs[0].chain[0].not_valid_after_utc.timestamp()) if terms.pairs else 0
    return msgspec.structs.replace(block, digest=digest.hexdigest(), not_after_s=ends)


def material(block: TLS) -> Terms:
    """Reads the files of a block.

    Raises:
        ConfigError: In nats-server's words, without a position.
    """
    pairs = list[Pair]()
    for number, (cert_file, key_file) in enumerate(block.pairs, 1):
        try:
            pairs.append(load_pair(cert_file, key_file))
        except ConfigError as error:
            which = f" {number}/{len(block.certs)}" if block.certs else ""
            raise ConfigError(f"error parsing X509 certificate/key pair{which}: {error.text}") from None
    return Terms(
        pairs=tuple(pairs),
        roots=load_roots(block.ca_file) if block.ca_file else None,
        verify=block.verify or block.verify_and_map,
        suites=block.cipher_suites,
        curves=block.curve_preferences,
        min_version=block.min_version,
    )


def https_context(block: TLS) -> "ssl.SSLContext":
    """Python's own context for asking a web server; ``material`` has found nothing wrong with the block's files.

    Raises:
        ConfigError: OpenSSL takes something that Python's context cannot, or a file has changed meanwhile.
    """
    import ssl  # noqa: PLC0415  (a library of its own, for those who ask web servers)

    terms = material(block)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    modern = block.min_version == "1.3" or (
        block.cipher_suites and set(block.cipher_suites) <= set(TLS13_SUITES)
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if modern else ssl.TLSVersion.TLSv1_2
    if block.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    older = [
        (SUITES | INSECURE_SUITES)[name] for name in block.cipher_suites or SUITES if name not in TLS13_SUITES
    ]
    try:
        if older:
            context.set_ciphers(":".join(older))
        if terms.roots is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cadata=b"".join(map(_der, terms.roots)))
        if block.pairs:
            context.load_cert_chain(*block.pairs[0])
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"resolver_tls: {error}") from None
    return context


def override(options: Options, flags: Mapping[str, Any]) -> Options:
    """``--tls`` and its kind: as with nats-server they replace the block of the file.

    Raises:
        ConfigError: A flag is missing, or a file cannot be used.
    """
    if not flags or flags.get("tls") is False:
        return options if not flags else msgspec.structs.replace(options, tls=None)
    if not flags.get("tlscert"):
        raise ConfigError("TLS Server certificate must be present and valid")
    if not flags.get("tlskey"):
        raise ConfigError("TLS Server private key must be present and valid")
    block = TLS(
        cert_file=flags["tlscert"],
        key_file=flags["tlskey"],
        ca_file=flags.get("tlscacert", ""),
        verify=flags.get("tlsverify", False),
    )
    return msgspec.structs.replace(options, tls=checked(block))


def validate(options: Options) -> None:
    """Rules between TLS and other options.

    Raises:
        ConfigError: With nats-server's text and no position.
    """
    for name in ("curve_preferences", "pinned_certs"):  # Python's contexts cannot, and nats-server does not
        if options.resolver_tls is not None and getattr(options.resolver_tls, name):
            raise ConfigError(f"resolver_tls: {name} are not supported by phloem here")
    leaf = options.leafnodes
    for block, where in ((options.tls, "tls"), (leaf.tls if leaf.port else None, "leafnodes.tls")):
        if block is not None and not block.pairs:
            raise ConfigError(f"{where}: TLS Server certificate must be present and valid")
    if options.http_port and options.https_port:
        raise ConfigError(
            f"Can't start monitoring: can't specify both HTTP ({options.http_port}) "
            f"and HTTPs ({options.https_port}) ports"
        )
    if options.https_port and options.tls is None:
        raise ConfigError("Can't start monitoring: TLS cert and key required for HTTPS")


def warnings(options: Options) -> list[str]:
    """What a server should log as warnings when it starts with these options."""
    blocks = [options.leafnodes.tls, *(remote.tls for remote in options.leafnodes.remotes)]
    return [INSECURE] if any(block and block.insecure for block in blocks) else []


# --- keys -----------------------------------------------------------------------------------------


def _read_key(fields: Fields, key: str, value: Value) -> None:
    name = key.lower()
    if name in _FILES:
        fields[name] = _typed(value, str, f"expected '{name}' to be filename")
    elif name in _SWITCHES:
        fields[name] = _typed(value, bool, f"expected '{name}' to be a boolean")
    elif name in _READERS:
        _READERS[name](fields, key, value)
    elif name in WINDOWS_ONLY:
        raise value.error("cert_store not compatible with current operating system")
    else:
        raise value.error(f'error parsing tls config, unknown field "{key}"')


_FILES = ("cert_file", "key_file", "ca_file")
_SWITCHES = ("insecure", "verify", "verify_and_map", "allow_insecure_cipher_suites")


def _typed(value: Value, kind: type, problem: str) -> Any:
    if not isinstance(value.data, kind):
        raise value.error(f"error parsing tls config, {problem}")
    return value.data


def _known_urls(_fields: Fields, key: str, value: Value) -> None:
    if _typed(value, bool, f"expected '{key}' to be a boolean"):
        raise value.error("verify_cert_and_check_known_urls not supported in this context")


def _timeout(fields: Fields, _key: str, value: Value) -> None:
    match value.data:
        case bool():
            raise value.error("error parsing tls config, 'timeout' wrong type")
        case int() | float():
            ns = round(value.data * limits.SECOND_NS)
        case str():
            try:
                ns = parse_duration(value.data)
            except ValueError as error:
                raise value.error(f"error parsing tls config, 'timeout' {error}") from None
        case _:
            raise value.error("error parsing tls config, 'timeout' wrong type")
    if ns < 0:
        raise value.error("error parsing tls config, 'timeout' cannot be negative")
    fields["timeout_ns"] = ns or limits.TLS_TIMEOUT_NS


def _handshake_first(fields: Fields, key: str, value: Value) -> None:
    if isinstance(value.data, bool):
        fields["handshake_first"] = value.data
        return
    if not isinstance(value.data, str):
        raise value.error(f'field "{key}" should be a boolean or a string, got {go_type(value.data)}')
    word = value.data.lower()
    if word in ("true", "on", "false", "off"):
        fields["handshake_first"] = word in ("true", "on")
    elif word in ("auto", "auto_fallback"):
        fields |= {"handshake_first": True, "fallback_ns": limits.TLS_FIRST_FALLBACK_NS}
    else:
        try:
            fields |= {"handshake_first": True, "fallback_ns": max(parse_duration(value.data), 0)}
        except ValueError:
            raise value.error(f'field "{key}"\'s value "{value.data}" is invalid') from None


def _min_version(fields: Fields, _key: str, value: Value) -> None:
    problem = "error parsing tls config: "
    if not isinstance(value.data, str):
        raise value.error(f"{problem}'min_version' wrong type: {value.data}")
    if value.data in ("1.0", "1.1"):
        raise value.error(f"{problem}unsupported TLS version: TLS {value.data}")
    if value.data not in ("1.2", "1.3"):
        raise value.error(f"{problem}unknown version: {value.data}")
    fields["min_version"] = value.data


def _names(known: Mapping[str, str], what: str) -> "Callable[[Fields, str, Value], None]":
    def reader(fields: Fields, key: str, value: Value) -> None:
        if not isinstance(value.data, list):
            raise value.error(
                f"error parsing tls config, '{key}' should be an array, got {go_type(value.data)}"
            )
        if not value.data:
            raise value.error(f"error parsing tls config, '{key.lower()}' cannot be empty")
        for item in value.data:
            if item.data not in known:
                raise item.error(f"unrecognized {what} {item.data}")
        fields[key.lower()] = tuple(str(item.data) for item in value.data)

    return reader


def _rate_limit(fields: Fields, _key: str, value: Value) -> None:
    if not isinstance(value.data, int) or isinstance(value.data, bool):
        raise value.error("error parsing tls config, 'connection_rate_limit' wrong type")
    fields["connection_rate_limit"] = max(value.data, 0)


def _pinned(fields: Fields, _key: str, value: Value) -> None:
    if not isinstance(value.data, list):
        raise value.error(f"error parsing tls config, expected 'pinned_certs' to be {PINS}")
    pins = []
    for item in value.data:
        pin = str(item.data).lower()
        if not PIN.fullmatch(pin):
            looks = "hex-encoded sha256 of DER encoded SubjectPublicKeyInfo"
            raise item.error(f"error parsing tls config, 'pinned_certs' key {pin} does not look like {looks}")
        pins.append(pin)
    fields["pinned_certs"] = tuple(pins)


def _certs(fields: Fields, _key: str, value: Value) -> None:
    if not isinstance(value.data, list):
        raise value.error(f"error parsing certificates config: unsupported type {go_type({})}")  # as it says
    pairs = []
    for item in value.data:
        if not isinstance(item.data, dict):
            raise item.error(f"error parsing certificates config: unsupported type {go_type(item.data)}")
        files: dict[str, str] = {}
        for name, entry in item.data.items():
            if not isinstance(entry.data, str):
                raise entry.error(
                    f"error parsing certificates config: unsupported type {go_type(entry.data)}"
                )
            if name not in ("cert_file", "key_file"):
                raise entry.error(f'error parsing tls certs config, unknown field "{name}"')
            files[name] = entry.data
        if not (files.get("cert_file") and files.get("key_file")):
            last = list(item.data.values())[-1] if item.data else item
            raise last.error(
                "error parsing certificates config: both 'cert_file' and 'cert_key' options are required"
            )
        pairs.append(CertificatePair(**files))
    fields["certs"] = tuple(pairs)


def _ocsp_peer(_fields: Fields, key: str, value: Value) -> None:
    wanted = value.data
    if isinstance(wanted, dict):
        wanted = next((item.data for name, item in wanted.items() if name.lower() == "verify"), False)
    if wanted is not False:
        raise value.error(f'"{key}" is not supported by phloem: it does not ask OCSP responders')


_READERS: dict[str, Callable[[Fields, str, Value], None]] = {
    "verify_cert_and_check_known_urls": _known_urls,
    "timeout": _timeout,
    "handshake_first": _handshake_first,
    "first": _handshake_first,
    "immediate": _handshake_first,
    "min_version": _min_version,
    "cipher_suites": _names({name: name for name in (*TLS13_SUITES, *SUITES, *INSECURE_SUITES)}, "cipher"),
    "curve_preferences": _names(CURVES, "curve preference"),
    "connection_rate_limit": _rate_limit,
    "pinned_certs": _pinned,
    "certs": _certs,
    "certificates": _certs,
    "ocsp_peer": _ocsp_peer,
}


def _der(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415  (only with TLS)

    return bytes(certificate.public_bytes(Encoding.DER))
