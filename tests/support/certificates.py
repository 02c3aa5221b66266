"""Certificates made when a test session begins: an authority, servers, clients, and some that nobody should trust.

ECDSA on P-256 throughout, because making and using such keys takes a millisecond.
"""

import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
LOCAL: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
)


class Made(NamedTuple):
    """A certificate and its key, in memory and in files."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_file: Path
    key_file: Path

    @property
    def block(self) -> str:
        """The two lines of a ``tls`` block."""
        return f'cert_file: "{self.cert_file}"\n  key_file: "{self.key_file}"'

    @property
    def pin(self) -> str:
        """SHA-256 of the public key, as ``pinned_certs`` has it."""
        key = self.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(key).hexdigest()

    @property
    def digest(self) -> str:
        """SHA-256 of the certificate."""
        return hashlib.sha256(self.certificate.public_bytes(Encoding.DER)).hexdigest()


def name(**parts: str) -> x509.Name:
    """A subject from ``CN=...``, ``OU=...`` and so on, in the order given."""
    kinds = {
        "CN": NameOID.COMMON_NAME,
        "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
        "O": NameOID.ORGANIZATION_NAME,
        "C": NameOID.COUNTRY_NAME,
        "L": NameOID.LOCALITY_NAME,
        "DC": NameOID.DOMAIN_COMPONENT,
        "SN": NameOID.SURNAME,
    }
    return x509.Name([x509.NameAttribute(kinds[kind], value) for kind, value in parts.items()])


class Certificates:
    """An authority with a folder for what it makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = self._authority("ca")
        self.stranger = self._authority("stranger")
        self.server = self.make("server", names=LOCAL)
        self.client = self.make("client", subject=name(CN="device", OU="Fields", O="Farm"))

    @property
    def ca_file(self) -> Path:
        return self.ca.cert_file

    def _authority(self, stem: str) -> Made:
        return self.make(stem, subject=name(CN=f"Test {stem}"), authority=True)

    def context(self, client: Made | None = None, *, trusts: Path | None = None) -> ssl.SSLContext:
        """A client's context: it trusts the authority, and shows ``client``."""
        context = ssl.create_default_context(cafile=str(trusts or self.ca_file))
        if client is not None:
            context.load_cert_chain(client.cert_file, client.key_file)
        return context

    def make(
        self,
        stem: str,
        *,
        subject: x509.Name | None = None,
        names: Sequence[x509.GeneralName] = (),
        issuer: Made | None = None,
        authority: bool = False,
        days: tuple[int, int] = (-1, 365),
        use: x509.ObjectIdentifier | None = None,
    ) -> Made:
        """A new certificate of the authority (or of ``issuer``), good from and until so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = name(CN=stem) if subject is None else subject
        signer = issuer or (None if authority else self.ca)
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer.certificate.subject if signer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + days[0] * DAY)
            .not_valid_after(now + days[1] * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        builder = strict(builder, signer.key if signer else None, authority=authority)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
        uses = [use] if use else [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        if not authority:
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        certificate = builder.sign(signer.key if signer else key, hashes.SHA256())
        made = Made(certificate, key, self.folder / f"{stem}.pem", self.folder / f"{stem}-key.pem")
        made.cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        made.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made


def strict(
    builder: x509.CertificateBuilder, signer: ec.EllipticCurvePrivateKey | None, *, authority: bool
) -> x509.CertificateBuilder:
    """With what Python 3.13's default context wants of a certificate; ``signer``: None signs itself."""
    if signer is not None:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if authority:
        uses = (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
        )
        usage = x509.KeyUsage(
            **dict.fromkeys(uses, False),
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
    return builder
