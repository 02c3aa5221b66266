"""Certificates of a small deployment: an authority of its own, and the hub's certificate.

A certificate is valid from 1970 on: a device without a battery for its clock starts in the past, and has to reach the
hub nevertheless. A date of issue would not add anything; the end of validity counts.
"""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from phloem.shared.dates import utc
from phloem.shared.errors import ConfigError

AUTHORITY_DAYS = 20 * 365  # devices in the field carry it for as long as they live
SERVER_DAYS = 2 * 365
LOCAL = ("localhost", "127.0.0.1", "::1")  # the hub's own machine
BEGIN = datetime(1970, 1, 1, tzinfo=UTC)

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")

_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class Issued(NamedTuple):
    """A certificate and its private key, both PEM; ``key`` is a secret that the caller wipes."""

    certificate: bytes
    key: bytearray


def new_authority(name: str, now_s: int) -> Issued:
    """An authority that signs servers, and no further authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = (
        _builder(subject, subject, key.public_key(), now_s, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
    )
    return _issued(builder.sign(key, SHA256()), key)


def new_server(
    names: Sequence[str], authority: bytes, authority_key: bytes | bytearray, now_s: int
) -> Issued:
    """A certificate for a server that is dialled by any of ``names``: host names and addresses.

    Raises:
        ConfigError: The key cannot be read or is not the authority's, or a name is none.
    """
    alternatives = [_general_name(name) for name in dict.fromkeys(names)]
    root = x509.load_pem_x509_certificate(authority)
    signer = _signer(root, authority_key)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(names[0]), root.subject, key.public_key(), now_s, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    return _issued(builder.sign(signer, SHA256()), key)


def valid_until_s(certificate: bytes) -> int:
    """When a certificate ends, in seconds since 1970 UTC."""
    return int(x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp())


def _signer(root: x509.Certificate, pem: bytes | bytearray) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(bytes(pem), None)
    except (ValueError, TypeError):
        raise ConfigError("the authority's key is not a private key in PEM without a passphrase") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != root.public_key():
        raise ConfigError("that is the key of another authority")
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_s: int, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(utc(now_s) + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issued(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(certificate.public_bytes(Encoding.PEM), bytearray(pem))


def _name(common: str) -> x509.Name:
    short = common.encode()[:64].decode(errors="ignore")  # X.509 allows no more
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, short)])


def _usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in wanted for use in _USES})


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if not _HOST.fullmatch(text):
        raise ConfigError(f"{text!r} is neither a host name nor an address")
    return x509.DNSName(text)
