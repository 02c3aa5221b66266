"""Who a client certificate says its holder is (security_ops 2.5), in the words of nats-server.

``names`` lists what a certificate is looked up under, in order: e-mail addresses, DNS names, URIs; then its subject as
a distinguished name, compared by its parts; then as text, with the domain components behind it, then without.
``subject_text`` is how Go writes a subject, in logs and in /connz. Pure. RFC 4514, RFC 5280.
"""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name, NameAttribute

_DC = "0.9.2342.19200300.100.1.25"
_TYPES = {  # what Go has a short name for; the order in which it puts them into a sequence
    "2.5.4.6": "C",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.17": "POSTALCODE",
    "2.5.4.3": "CN",
    "2.5.4.5": "SERIALNUMBER",
}
_ONCE = ("2.5.4.3", "2.5.4.5")  # of several, the last one counts
_ESCAPED = ' "#+,;<=>\\'
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*")

Rdn = frozenset[tuple[str, str]]
"""Attributes of one relative name: type in capitals, value."""


class Match(NamedTuple):
    """The user that a certificate belongs to, and by what."""

    user: str
    how: str  # for the log


def match(certificate: "Certificate", users: Iterable[str], *, by_name_only: bool = False) -> Match | None:
    """The first of ``users`` whom the certificate names; ``by_name_only``: distinguished names are texts, too."""
    known = list(users)
    exact: Callable[[str], bool] = set(known).__contains__
    for how, name in _alternative_names(certificate):
        if exact(name):
            return Match(name, f'Using {how} found in cert for auth ["{name}"]')
    text = _sequence_text(certificate.subject)
    dn = None if by_name_only else _subject_dn(certificate.subject)
    if dn is not None:
        user = _by_dn(dn, known)
        if user is not None:
            return Match(user, f'Using DistinguishedNameMatch for auth ["{user}"]')
    domain = ",".join(f"DC={a.value!s}" for a in certificate.subject if a.oid.dotted_string == _DC)
    if domain and exact(f"{text},{domain}"):
        return Match(f"{text},{domain}", f'Using RDNSequence for auth ["{text},{domain}"]')
    return Match(text, f'Using certificate subject for auth ["{text}"]') if exact(text) else None


def subject_text(subject: "Name") -> str:
    """A subject as Go's ``pkix.Name.String`` writes it."""
    others = [a for a in subject if a.oid.dotted_string not in _TYPES]
    parts = [_written([a]) for a in others]
    text = _sequence_text(subject)
    return ",".join(filter(None, [text, *reversed(parts)]))  # what Go has no name for comes last


def _alternative_names(certificate: "Certificate") -> list[tuple[str, str]]:
    from cryptography import x509  # noqa: PLC0415  (a server without TLS does without it)

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    kinds = (
        ("email", x509.RFC822Name),
        ("SAN", x509.DNSName),
        ("URI", x509.UniformResourceIdentifier),
    )
    return [(how, str(name)) for how, kind in kinds for name in found.get_values_for_type(kind)]


# --- Go's way of writing a name -------------------------------------------------------------------


def _sequence_text(subject: "Name") -> str:
    """``Subject.ToRDNSequence().String()``: known attributes by kind, the last kind first."""
    groups = []
    for oid in _TYPES:
        found = [a for a in subject if a.oid.dotted_string == oid]
        if found:
            groups.append(_written(found[-1:] if oid in _ONCE else found))
    return ",".join(reversed(groups))


def _written(attributes: "list[NameAttribute[Any]]") -> str:
    return "+".join(map(_written_one, attributes))


def _written_one(attribute: "NameAttribute[Any]") -> str:
    oid, value = attribute.oid.dotted_string, attribute.value
    name = _TYPES.get(oid)
    if name is None:
        data = value if isinstance(value, bytes) else value.encode()
        printable = isinstance(value, str) and _PRINTABLE.fullmatch(value)
        return f"{oid}=#{_der(0x13 if printable else 0x0C, data).hex()}"
    return f"{name}={_escaped(str(value))}"


def _escaped(value: str) -> str:
    text = re.sub(r'([,+"\\<>;])', r"\\\1", value)
    text = re.sub(r"^([ #])", r"\\\1", text)
    return text[:-1] + r"\ " if len(value) > 1 and value.endswith(" ") else text


def _der(tag: int, data: bytes) -> bytes:
    if len(data) < 128:
        return bytes((tag, len(data))) + data
    length = len(data).to_bytes((len(data).bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + data


# --- distinguished names --------------------------------------------------------------------------


def _subject_dn(subject: "Name") -> list[Rdn] | None:
    """The relative names, last first; ``None`` if one has a type without a short name."""
    names = {**_TYPES, _DC: "DC"}
    found = []
    for rdn in reversed(list(subject.rdns)):
        if any(a.oid.dotted_string not in names or isinstance(a.value, bytes) for a in rdn):
            return None
        found.append(frozenset((names[a.oid.dotted_string], str(a.value)) for a in rdn))
    return found


def _by_dn(dn: list[Rdn], users: list[str]) -> str | None:
    """The user whose name is this DN; failing that, one with the same parts in another order."""
    parsed = [(user, found) for user in users if (found := parse_dn(user)) is not None]
    same = next((user for user, other in parsed if other == dn), None)
    if same is not None:
        return same
    return next(
        (user for user, other in parsed if sorted(map(sorted, other)) == sorted(map(sorted, dn))), None
    )


def parse_dn(text: str) -> list[Rdn] | None:
    """The relative names of a DN as RFC 4514 writes it; ``None`` if it is none."""
    names: list[Rdn] = []
    current: list[tuple[str, str]] = []
    kind, value, spaces = "", bytearray(), 0

    def taken() -> str:
        nonlocal spaces
        found = bytes(value[: len(value) - spaces]).decode("utf-8", "replace")
        value.clear()
        spaces = 0
        return found

    rest = iter(range(len(data := text.encode("utf-8", "surrogateescape"))))
    for at in rest:
        char = chr(data[at])
        if char == "\\":
            spaces = 0
            escaped = data[at + 1 : at + 2].decode("latin-1")
            if escaped and escaped in _ESCAPED:
                value += escaped.encode()
            else:
                try:
                    value += bytes.fromhex(data[at + 1 : at + 3].decode("ascii"))
                except (ValueError, UnicodeDecodeError):
                    return None
                next(rest, None)
            next(rest, None)
        elif char == "=":
            kind = taken()
            if data[at + 1 : at + 2] == b"#":
                return None
        elif char in ",+":
            if not kind:
                return None
            current.append((kind.upper(), taken()))
            kind = ""
            if char == ",":
                names.append(frozenset(current))
                current = []
        elif char != " " or value:
            spaces = spaces + 1 if char == " " else 0
            value.append(data[at])
    if value:
        if not kind:
            return None
        current.append((kind.upper(), taken()))
        names.append(frozenset(current))
    return names
