"""Certificates for tests: an authority, a server's, and clients' that differ in who they say they are.

They are made once for each run and are good for an hour. The files are called what NATS's documentation calls them.
"""

import datetime
import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.certificates import strict

Key = ec.EllipticCurvePrivateKey
Name = Sequence[tuple[x509.ObjectIdentifier, str]]
NOW = datetime.datetime.now(datetime.UTC)
LOCAL: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
)
MAPPED: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("::1")),
    x509.RFC822Name("email@localhost"),
)
# what the documentation's example certificate says of its owner, in its order
MKCERT: Name = (
    (NameOID.ORGANIZATION_NAME, "mkcert development certificate"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "testuser@MacBook-Pro.local (Test User)"),
)


def _pem_key(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _tampered(certificate: bytes) -> bytes:
    """The certificate with another bit in its signature, or rather in the last number of it."""
    der = bytearray(x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return ssl.DER_cert_to_PEM_cert(bytes(der)).encode()


class Authority:
    """Signs certificates; ``pem`` is its own."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        made = strict(builder, None, authority=True).sign(self._key, hashes.SHA256())
        self.pem = made.public_bytes(Encoding.PEM)

    def issue(
        self,
        name: Name,
        also: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        valid: tuple[float, float] = (-1, 1),
    ) -> tuple[bytes, bytes]:
        """A certificate and its key, as PEM; ``valid`` in hours from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in name])
        builder = (
            self._builder(subject, key, valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if also:
            builder = builder.add_extension(x509.SubjectAlternativeName(also), critical=False)
        made = strict(builder, self._key, authority=False).sign(self._key, hashes.SHA256())
        return made.public_bytes(Encoding.PEM), _pem_key(key)

    def _builder(
        self, subject: x509.Name, key: Key, valid: tuple[float, float] = (-1, 1)
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + datetime.timedelta(hours=valid[0]))
            .not_valid_after(NOW + datetime.timedelta(hours=valid[1]))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )


def _files() -> dict[str, bytes]:
    authority, stranger = Authority("phloem tests"), Authority("somebody else")
    cn = NameOID.COMMON_NAME
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    made = {
        "server": authority.issue([(cn, "localhost")], LOCAL, server),
        "client": authority.issue([(cn, "client")], MAPPED, client),
        "subject": authority.issue(MKCERT, (), client),
        "other": authority.issue([(cn, "nobody we know")], (), client),
        "stranger": stranger.issue([(cn, "client")], MAPPED, client),
        "expired": authority.issue([(cn, "client")], MAPPED, client, (-2, -1)),
        "future": authority.issue([(cn, "client")], MAPPED, client, (1, 2)),
        "usage": authority.issue([(cn, "client")], MAPPED, server),
    }
    certificate, key = made["client"]
    made["tampered"] = _tampered(certificate), key
    found = {"rootCA.pem": authority.pem}
    for name, (certificate, key) in made.items():
        found[f"{name}-cert.pem"], found[f"{name}-key.pem"] = certificate, key
    return found


class Certificates:
    """``files``: what lies beside a server's configuration; ``folder`` has them for clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: Mapping[str, bytes] = _files()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)

    def client(self, name: str = "") -> ssl.SSLContext:
        """What a client uses that trusts the authority and shows the certificate ``name``, if any."""
        context = ssl.create_default_context(cafile=str(self.folder / "rootCA.pem"))
        if name:
            context.load_cert_chain(self.folder / f"{name}-cert.pem", self.folder / f"{name}-key.pem")
        return context
