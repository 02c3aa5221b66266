"""The block ``tls``: what nats-server says of the same files, flags, and what follows from a block."""

import ssl
from pathlib import Path

import msgspec
import pytest

from phloem.shared.errors import ConfigError
from phloem.shared.server.load import load, load_mapping, merge
from phloem.shared.server.load_tls import https_context, override, usage
from phloem.shared.server.options import Options
from phloem.shared.server.options_tls import TLS
from phloem.shared.server.validation import start_warnings, validate
from tests.support.certificates import Certificates
from tests.unit.server.test_differential import judged, our_verdict

BLOCKS = [
    "tls {{ {} }}",
    "leafnodes {{ port: -1, tls {{ {} }} }}",
    'leafnodes {{ remotes: [ {{ url: "tls://h", tls {{ {} }} }} ] }}',
]
PAIR = 'cert_file: "@/server.pem", key_file: "@/server-key.pem"'
OTHER = 'cert_file: "@/client.pem", key_file: "@/client-key.pem"'
SAME = [  # @ is the folder of the certificates
    "",
    'cert_file: "@/server.pem", key_file: "@/server-key.pem"',
    'cert_file: "@/server.pem", key_file: "@/server-key.pem", ca_file: "@/ca.pem", verify: true, timeout: 1.5',
    'cert_file: "@/server.pem", key_file: "@/server-key.pem", handshake_first: auto',
    'cert_file: "@/server.pem", key_file: "@/server-key.pem", first: "200ms", timeout: "3s"',
    'cert_file: "@/server.pem", key_file: "@/server-key.pem", immediate: off, min_version: "1.3"',
    f"certs: [ {{ {PAIR} }}, {{ {OTHER} }} ]",
    'cipher_suites: ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], curve_preferences: ["X25519", "CurveP256"]',
    'cipher_suites: ["TLS_RSA_WITH_AES_128_CBC_SHA"], allow_insecure_cipher_suites: true',
    f'pinned_certs: ["{"aB" * 32}"], connection_rate_limit: 5',
    "insecure: true, verify_cert_and_check_known_urls: false, ocsp_peer: false",
]
WRONG = [
    'cert_file: "@/server.pem"',
    'key_file: "@/server-key.pem"',
    'cert_file: "@/none.pem", key_file: "@/server-key.pem"',
    'cert_file: "@/server.pem", key_file: "@/none.pem"',
    'cert_file: "@/server.pem", key_file: "@/client-key.pem"',
    'cert_file: "@/server-key.pem", key_file: "@/server-key.pem"',
    'cert_file: "@/server.pem", key_file: "@/server.pem"',
    'cert_file: "@/text", key_file: "@/server-key.pem"',
    'cert_file: "@/server.pem", key_file: "@/text"',
    'ca_file: "@/none.pem"',
    'ca_file: "@/text"',
    'ca_file: "@/server-key.pem"',
    "cert_file: 5",
    "key_file: true",
    "ca_file: []",
    "verify: 1",
    "verify_and_map: 1",
    "insecure: x",
    "verify_cert_and_check_known_urls: 5",
    "verify_cert_and_check_known_urls: true",
    "allow_insecure_cipher_suites: 1",
    "cipher_suites: []",
    'cipher_suites: ["NOPE"]',
    'cipher_suites: ["TLS_RSA_WITH_AES_128_CBC_SHA"]',
    "curve_preferences: []",
    'curve_preferences: ["NOPE"]',
    "timeout: true",
    'timeout: "x"',
    "connection_rate_limit: 1.5",
    "pinned_certs: x",
    "pinned_certs: [ abc ]",
    "handshake_first: 5",
    "handshake_first: perhaps",
    'min_version: "1.1"',
    'min_version: "1.4"',
    "certs: x",
    "certs: [ x ]",
    'certs: [ { cert_file: "@/server.pem" } ]',
    "certs: [ { cert_file: 5 } ]",
    "certs: [ { nope: x } ]",
    'certs: [ { cert_file: "@/none", key_file: "@/none" } ]',
    f"{PAIR}, certs: [ {{ {PAIR} }} ]",
    "nope: 1",
    "cert_store: WindowsCurrentUser",
]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    (made.folder / "text").write_text("no certificate")
    return made


def texts(certificates: Certificates, bodies: list[str], blocks: list[str]) -> list[str]:
    return [block.format(body.replace("@", str(certificates.folder))) for body in bodies for block in blocks]


def test_accepted_alike(tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text, name, verdict in judged(tmp_path, texts(certificates, SAME, BLOCKS)):
        ours, said = our_verdict(name)
        assert ours is not None, (text, verdict, said)
        assert ours in verdict, (text, verdict)


def test_refused_with_the_same_words(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text, name, verdict in judged(tmp_path, texts(certificates, WRONG, BLOCKS[:1])):
        ours, said = our_verdict(name)
        assert ours is None, (text, verdict)
        assert said == verdict, text


def options(certificates: Certificates, **more: object) -> Options:
    made = certificates.server
    block = {"cert_file": str(made.cert_file), "key_file": str(made.key_file)}
    return merge(load_mapping({"tls": block, **more}), {})


def test_auth_timeout_follows(certificates: Certificates) -> None:
    assert Options().auth_timeout_ns == 2_000_000_000
    assert options(certificates).auth_timeout_ns == 3_000_000_000
    assert options(certificates, authorization={"timeout": 2}).auth_timeout_ns == 2_000_000_000


def test_what_cannot_start(certificates: Certificates) -> None:
    with pytest.raises(ConfigError, match=r"can't specify both HTTP \(1\) and HTTPs \(2\) ports"):
        validate(options(certificates, http_port=1, https_port=2))
    with pytest.raises(ConfigError, match="TLS cert and key required for HTTPS"):
        validate(merge(load_mapping({"https_port": 2}), {}))
    with pytest.raises(ConfigError, match="certificate must be present and valid"):
        validate(merge(load_mapping({"tls": {}}), {}))


def test_flags(certificates: Certificates) -> None:
    made = certificates.server
    files = {"tlscert": str(made.cert_file), "tlskey": str(made.key_file)}
    plain = Options()
    assert override(plain, {}) is plain
    block = override(
        plain, {"tls": True, **files, "tlsverify": True, "tlscacert": str(certificates.ca_file)}
    ).tls
    assert block is not None
    assert block.verify
    assert block.ca_file
    assert override(options(certificates), {"tls": False, **files}).tls is None
    with pytest.raises(ConfigError, match="no such file or directory"):
        override(plain, {**files, "tlscert": "/nonexistent"})


def test_new_files_are_new_options(certificates: Certificates, tmp_path: Path) -> None:
    """A reload sees that a certificate is another one although its path is the same."""
    mine = Certificates(tmp_path / "mine")
    file = tmp_path / "server.conf"
    file.write_text(f"tls {{ {mine.server.block} }}")
    before = load(file).fields["tls"]
    assert load(file).fields["tls"] == before
    mine.make("server")
    assert load(file).fields["tls"] != before


def test_warning_about_insecure() -> None:
    remote = {"url": "tls://h", "tls": {"insecure": True}}
    found = start_warnings(merge(load_mapping({"leafnodes": {"remotes": [remote]}}), {}))
    assert any("DO NOT USE IN PRODUCTION" in warning for warning in found)


@pytest.mark.parametrize(
    ("block", "oldest"),
    [
        (TLS(), ssl.TLSVersion.TLSv1_2),
        (TLS(min_version="1.3"), ssl.TLSVersion.TLSv1_3),
        (TLS(cipher_suites=("TLS_AES_128_GCM_SHA256",)), ssl.TLSVersion.TLSv1_3),
        (TLS(cipher_suites=("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",)), ssl.TLSVersion.TLSv1_2),
    ],
)
def test_context_for_web_servers(block: TLS, oldest: ssl.TLSVersion) -> None:
    context = https_context(block)
    assert context.minimum_version == oldest
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    older = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]
    if "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" in block.cipher_suites:
        assert older == ["ECDHE-RSA-AES128-GCM-SHA256"]
    context = https_context(msgspec.structs.replace(block, insecure=True))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


@pytest.mark.parametrize("entry", [{"curve_preferences": ["X25519"]}, {"pinned_certs": ["ab" * 32]}])
def test_what_a_resolver_cannot_have(entry: dict[str, list[str]]) -> None:
    with pytest.raises(ConfigError, match=f"resolver_tls: {next(iter(entry))} are not supported"):
        validate(merge(load_mapping({"resolver_tls": entry}), {}))


def test_usage_names_suites_and_curves() -> None:
    assert "    TLS_AES_128_GCM_SHA256\n" in usage()
    assert "    X25519MLKEM768\n" in usage()
