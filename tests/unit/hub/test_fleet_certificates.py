"""Certificates of a deployment: what a client that checks everything accepts, and what it does not."""

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from phloem.hub.fleet.certificates import (
    AUTHORITY_DAYS,
    SERVER_DAYS,
    Issued,
    new_authority,
    new_server,
    valid_until_s,
)
from phloem.shared.errors import ConfigError

NOW_S = 1_800_000_000
DAY_S = 86_400


@pytest.fixture(scope="module")
def authority() -> Issued:
    return new_authority("works authority", NOW_S)


def check(authority: bytes, server: bytes, name: str, at_s: int = NOW_S) -> None:
    """As a client does that follows the rules of the web."""
    subject = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    store = Store([x509.load_pem_x509_certificate(authority)])
    verifier = PolicyBuilder().store(store).time(datetime.fromtimestamp(at_s, UTC))
    verifier.build_server_verifier(subject).verify(x509.load_pem_x509_certificate(server), [])


@pytest.mark.parametrize("name", ["hub.example.com", "hub_1", "192.0.2.7"])
def test_a_server_is_who_it_says(authority: Issued, name: str) -> None:
    server = new_server(
        ["hub.example.com", "hub_1", "192.0.2.7"], authority.certificate, authority.key, NOW_S
    )
    if name == "hub_1":  # no name for the rules of the web, but one that people give their machines
        found = x509.load_pem_x509_certificate(server.certificate)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert name in names.get_values_for_type(x509.DNSName)
        return
    check(authority.certificate, server.certificate, name)
    with pytest.raises(VerificationError):
        check(authority.certificate, server.certificate, "192.0.2.8" if name[0].isdigit() else "example.com")


def test_another_authority_is_not_believed(authority: Issued) -> None:
    other = new_authority("works authority", NOW_S)
    server = new_server(["hub.example.com"], other.certificate, other.key, NOW_S)
    with pytest.raises(VerificationError):
        check(authority.certificate, server.certificate, "hub.example.com")


def test_how_long_it_is_valid(authority: Issued) -> None:
    """From long ago on, for devices whose clock has not been set yet."""
    server = new_server(["hub.example.com"], authority.certificate, authority.key, NOW_S)
    until_s = NOW_S + SERVER_DAYS * DAY_S
    assert valid_until_s(server.certificate) == until_s
    assert valid_until_s(authority.certificate) == NOW_S + AUTHORITY_DAYS * DAY_S
    for at_s in (DAY_S, NOW_S, until_s):
        check(authority.certificate, server.certificate, "hub.example.com", at_s)
    with pytest.raises(VerificationError):
        check(authority.certificate, server.certificate, "hub.example.com", until_s + 1)


def test_a_server_is_no_authority(authority: Issued) -> None:
    server = new_server(["hub.example.com"], authority.certificate, authority.key, NOW_S)
    forged = new_server(["hub.example.com"], server.certificate, server.key, NOW_S)
    with pytest.raises(VerificationError):
        check(authority.certificate, forged.certificate, "hub.example.com")
    with pytest.raises(VerificationError):
        check(server.certificate, forged.certificate, "hub.example.com")


@pytest.mark.parametrize(
    "name",
    ["", "a b", "hub:7422", "tls://hub", "-hub", "hub..example", "*.example.com", "hub\n", "hüb", "x" * 254],
)
def test_what_is_no_name(authority: Issued, name: str) -> None:
    with pytest.raises(ConfigError, match="neither a host name nor an address"):
        new_server([name], authority.certificate, authority.key, NOW_S)


def test_the_key_has_to_be_the_authoritys(authority: Issued) -> None:
    with pytest.raises(ConfigError, match="another authority"):
        new_server(["hub"], authority.certificate, new_authority("x", NOW_S).key, NOW_S)
    for nonsense in (b"", b"x", authority.certificate):
        with pytest.raises(ConfigError, match="not a private key") as told:
            new_server(["hub"], authority.certificate, nonsense, NOW_S)
        assert "BEGIN" not in str(told.value)
