"""Who a certificate says it is: names in nats-server's order, and subjects as Go writes them."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from phloem.shared.security.certificate_identity import match, parse_dn, subject_text
from tests.support.certificates import Certificates, name

ATTRIBUTE = x509.NameAttribute
OTHER = ObjectIdentifier("1.2.3.4")
UNIT, COMMON = NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COMMON_NAME


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(Path(tmp_path_factory.mktemp("certificates")))


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (name(C="US", O="Acme", OU="Eng", CN="bob"), "CN=bob,OU=Eng,O=Acme,C=US"),
        (name(CN="bob", OU="Eng", O="Acme", C="US"), "CN=bob,OU=Eng,O=Acme,C=US"),
        (name(CN='a,b+c"d\\e<f>g;h'), r"CN=a\,b\+c\"d\\e\<f\>g\;h"),
        (name(CN=" #x "), r"CN=\ #x\ "),
        (name(CN="#x"), r"CN=\#x"),
        (
            x509.Name(
                [
                    ATTRIBUTE(UNIT, "A"),
                    ATTRIBUTE(UNIT, "B"),
                ]
            ),
            "OU=A+OU=B",
        ),
        (
            x509.Name([ATTRIBUTE(COMMON, "first"), ATTRIBUTE(COMMON, "last")]),
            "CN=last",
        ),
        (name(DC="example", CN="x"), "CN=x,0.9.2342.19200300.100.1.25=#13076578616d706c65"),
        (
            x509.Name([ATTRIBUTE(OTHER, "é"), ATTRIBUTE(COMMON, "x")]),
            "CN=x,1.2.3.4=#0c02c3a9",
        ),
    ],
)
def test_subject_text(subject: x509.Name, text: str) -> None:
    assert subject_text(subject) == text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("CN=bob,O=Acme", [[("CN", "bob")], [("O", "Acme")]]),
        (" cn = bob , o= Acme ", [[("CN", "bob")], [("O", "Acme")]]),
        ("CN=a+OU=b,C=US", [[("CN", "a"), ("OU", "b")], [("C", "US")]]),
        (r"CN=a\,b\20", [[("CN", "a,b ")]]),
        (r"CN=\c3\a9", [[("CN", "é")]]),
        ("", []),
        ("bob", None),
        ("bob,CN=x", None),
        ("CN=#0403", None),
        ("CN=x\\", [[("CN", "x")]]),  # as nats-server has it
        (r"CN=\2", None),
        (r"CN=\zz", None),
    ],
)
def test_distinguished_names(text: str, names: list[list[tuple[str, str]]] | None) -> None:
    found = parse_dn(text)
    assert found == (None if names is None else [frozenset(rdn) for rdn in names])


def test_domain_components_come_last(certificates: Certificates) -> None:
    made = certificates.make("dc", subject=name(DC="example", CN="bob", O="Acme"))
    assert match(made.certificate, ["CN=bob,O=Acme"]).user == "CN=bob,O=Acme"  # type: ignore[union-attr]
    both = match(made.certificate, ["CN=bob,O=Acme,DC=example", "CN=bob,O=Acme"])
    assert both is not None
    assert both.user == "CN=bob,O=Acme,DC=example"


def test_texts_only(certificates: Certificates) -> None:
    """The users of leafnodes are compared as texts: an order of one's own does not match."""
    made = certificates.make("texts", subject=name(CN="bob", O="Acme"))
    assert match(made.certificate, ["O=Acme,CN=bob"]) is not None
    assert match(made.certificate, ["O=Acme,CN=bob"], by_name_only=True) is None
    assert match(made.certificate, ["CN=bob,O=Acme"], by_name_only=True) is not None


def test_nobody(certificates: Certificates) -> None:
    assert match(certificates.client.certificate, ["device", "CN=device", ""]) is None
