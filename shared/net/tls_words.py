"""Why a handshake failed, in the words of Go's crypto/tls, which nats-server's users search for.

OpenSSL's reason, the alert that came, and what verification found say the same things in other words; where they do
not tell enough, OpenSSL's own words stay.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from phloem.shared.dates import utc
from phloem.shared.errors import LinkError
from phloem.shared.security.certificate_identity import subject_text

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from phloem.shared.clock import Clock

NOT_TLS = "tls: first record does not look like a TLS handshake"
NO_CERTIFICATE = "tls: client didn't provide a certificate"
NOT_PINNED = "certificate not pinned"
TIMEOUT = "TLS handshake timeout"

_ALERTS = {
    "unexpected message": "unexpected message",
    "bad record mac": "bad record MAC",
    "record overflow": "record overflow",
    "handshake failure": "handshake failure",
    "bad certificate": "bad certificate",
    "unsupported certificate": "unsupported certificate",
    "certificate revoked": "revoked certificate",
    "certificate expired": "expired certificate",
    "certificate unknown": "unknown certificate",
    "illegal parameter": "illegal parameter",
    "unknown ca": "unknown certificate authority",
    "access denied": "access denied",
    "decode error": "error decoding message",
    "decrypt error": "error decrypting message",
    "protocol version": "protocol version not supported",
    "insufficient security": "insufficient security level",
    "internal error": "internal error",
    "inappropriate fallback": "inappropriate fallback",
    "user cancelled": "user canceled",
    "no renegotiation": "no renegotiation",
    "missing extension": "missing extension",
    "unsupported extension": "unsupported extension",
    "unrecognized name": "unrecognized name",
    "certificate required": "certificate required",
    "no application protocol": "no application protocol",
}
_REASONS = {
    "peer did not return a certificate": NO_CERTIFICATE,
    "no shared cipher": "tls: no cipher suite supported by both client and server",
    "unsupported protocol": "tls: client offered only unsupported versions",
    "no suitable key share": "tls: no key exchange supported by both client and server",
    "no shared groups": "tls: no key exchange supported by both client and server",
    "no suitable groups": "tls: no key exchange supported by both client and server",
    "no suitable signature algorithm": "tls: peer doesn't support any of the certificate's signature algorithms",
    "decryption failed or bad record mac": "local error: tls: bad record MAC",
    "wrong version number": NOT_TLS,
    "http request": NOT_TLS,
    "packet length too long": "tls: oversized record received",
    "data length too long": "tls: oversized record received",
}
# numbers of X509_V_ERR_*
_EXPIRED = (9, 10)  # CERT_NOT_YET_VALID, CERT_HAS_EXPIRED
_UNKNOWN_AUTHORITY = (2, 7, 18, 19, 20, 21, 27)  # 7: an authority of the same name, with another key
_WRONG_NAME = (62, 64)  # HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH
_WRONG_USE = (26,)  # INVALID_PURPOSE


class HandshakeFailed(LinkError):
    """A handshake that did not come to its end; ``text`` as nats-server logs it.

    ``probe``: the peer did not even try, as a load balancer's health check does not; no reason for alarm.
    """

    def __init__(
        self, text: str, *, probe: bool = False, wrong_name: bool = False, late: bool = False
    ) -> None:
        """``wrong_name``: the certificate is good, but for somebody else; ``late``: there was no time left."""
        super().__init__(text)
        self.text = text
        self.probe = probe
        self.wrong_name = wrong_name
        self.late = late


class Finding(NamedTuple):
    """What verification did not like: X509_V_ERR_*, OpenSSL's words for it, and about which certificate."""

    code: int
    words: str
    certificate: "Certificate | None"

    @property
    def is_wrong_name(self) -> bool:
        """Whether it is only the name."""
        return self.code in _WRONG_NAME


def openssl_words(errors: Sequence[Sequence[str]]) -> str:
    """What OpenSSL's error queue says: the first reason that Go has words for, or the last one as it is."""
    reasons = [entry[-1] for entry in errors if entry and entry[-1]]
    for reason in reasons:
        if reason in _REASONS:
            return _REASONS[reason]
        found = re.search(r"alert (.*)$", reason)
        if found and found[1] in _ALERTS:
            return f"remote error: tls: {_ALERTS[found[1]]}"
    return f"tls: {reasons[-1]}" if reasons else "EOF"


def verification_words(finding: Finding, wanted_name: str, clock: "Clock") -> str:
    """A certificate that was not accepted, with its subject and fingerprint."""
    text = f"tls: failed to verify certificate: x509: {_x509_words(finding, wanted_name, clock)}"
    certificate = finding.certificate
    if certificate is None:
        return text
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415  (only with TLS)

    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    return f"{text} ({subject_text(certificate.subject)} SHA-256: {digest})"


def _x509_words(finding: Finding, wanted_name: str, clock: "Clock") -> str:
    if finding.code in _UNKNOWN_AUTHORITY:
        return "certificate signed by unknown authority"
    if finding.code in _EXPIRED and finding.certificate is not None:
        return f"certificate has expired or is not yet valid: {_period_words(finding.certificate, clock)}"
    if finding.code in _WRONG_USE:
        return "certificate specifies an incompatible key usage"
    if finding.code in _WRONG_NAME and finding.certificate is not None:
        return _name_words(finding.certificate, wanted_name, is_ip=finding.code == _WRONG_NAME[1])
    return finding.words


def _period_words(certificate: "Certificate", clock: "Clock") -> str:
    now = utc(clock.wall_ns() // 1_000_000_000)
    early = now < certificate.not_valid_before_utc
    bound = certificate.not_valid_before_utc if early else certificate.not_valid_after_utc
    shown = "%Y-%m-%dT%H:%M:%SZ"
    return f"current time {now.strftime(shown)} is {'before' if early else 'after'} {bound.strftime(shown)}"


def _name_words(certificate: "Certificate", wanted: str, *, is_ip: bool) -> str:
    from cryptography import x509  # noqa: PLC0415  (only with TLS)

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        valid = names.get_values_for_type(x509.IPAddress if is_ip else x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        valid = []
    if valid:
        return f"certificate is valid for {', '.join(map(str, valid))}, not {wanted}"
    if is_ip:
        return f"cannot validate certificate for {wanted} because it doesn't contain any IP SANs"
    return f"certificate is not valid for any names, but wanted to match {wanted}"
