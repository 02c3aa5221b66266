"""TLS for clients (security_ops.md 2.5, 3; wire.md 1.10): who shakes hands when, who is let in, who it is, the log.

A connection that the server ends without a word ends with EOF or a reset, as the operating system likes; both are
"closed" here. In TLS 1.3 a client is done before the server has looked at its certificate: what the server says of it
arrives with the first read.
"""

import asyncio
import json
import re
import signal
import ssl
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.brokers import Broker, Brokers
from tests.support.certificates import Certificates, Made, name
from tests.support.rawclient import RawClient
from tests.support.rawleaf import RawLeaf

PLAIN = '{"verbose":false,"pedantic":false}'
WAIT_S = 10.0
AnyClient = TypeVar("AnyClient", bound=RawClient)


def tls(certificates: Certificates, more: str = "", server: Made | None = None) -> str:
    """A ``tls`` block with the session's server certificate."""
    block = (server or certificates.server).block
    return f'debug: true\ntls {{\n  {block}\n  ca_file: "{certificates.ca_file}"\n  {more}\n}}'


def as_user(user: str = "", password: str = "") -> str:
    fields: dict[str, object] = {"verbose": False, "pedantic": False}
    fields |= ({"user": user} if user else {}) | ({"pass": password} if password else {})
    return json.dumps(fields)


async def secure(broker: Broker, context: ssl.SSLContext, connect: str = PLAIN) -> RawClient:
    """INFO in plain, TLS, CONNECT over it."""
    client = await broker.connect()
    await client.expect_info()
    await client.start_tls(context)
    client.send(f"CONNECT {connect}\r\nPING\r\n")
    return client


async def secured_first(kind: type[AnyClient], port: int, context: ssl.SSLContext) -> AnyClient:
    """A connection that shakes hands before a byte was read."""
    client = await kind.connect("127.0.0.1", port)
    await client.start_tls(context)
    return client


async def closed(client: RawClient) -> None:
    """The server ends the connection, without a word."""
    await client.expect_close()


async def logged(broker: Broker, pattern: str) -> re.Match[str]:
    return await asyncio.to_thread(broker.process.wait_for_log, pattern, WAIT_S)


# --- the order of things --------------------------------------------------------------------------


async def test_info_then_tls_then_connect(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(tls(certificates))
    client = await server.connect()
    info = await client.expect_info()
    assert info["tls_required"] is True
    assert "tls_verify" not in info
    assert "tls_available" not in info
    await client.start_tls(certificates.context())
    client.send(f"CONNECT {PLAIN}\r\nPING\r\n")
    await client.expect("PONG\r\n")  # no second INFO
    client.send("SUB a 1\r\nPUB a 5\r\nhello\r\n")
    await client.expect("MSG a 1 5\r\nhello\r\n")
    client.close()


async def test_log_of_a_handshake(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(tls(certificates))
    client = await secure(server, certificates.context())
    await client.expect("PONG\r\n")
    await logged(server, r"\[INF\] TLS required for client connections")
    await logged(server, r"cid:\d+ - Starting TLS client connection handshake")
    await logged(server, r"cid:\d+ - TLS handshake complete")
    await logged(server, r"cid:\d+ - TLS version 1\.3, cipher suite TLS_AES_128_GCM_SHA256")
    client.close()


async def test_plain_connect_is_closed(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(tls(certificates))
    client = await server.connect()
    await client.expect_info()
    client.send(f"CONNECT {PLAIN}\r\nPING\r\n")
    await closed(client)
    await logged(
        server,
        r"\[DBG\] \S+ - cid:\d+ - TLS handshake error: tls: first record does not look like a TLS handshake",
    )


async def test_silence_is_closed_after_the_timeout(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(tls(certificates, "timeout: 0.2"))
    client = await server.connect()
    await client.expect_info()
    await closed(client)


async def test_a_peer_that_leaves(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(tls(certificates))
    client = await server.connect()
    await client.expect_info()
    client.close()
    await logged(server, r"\[ERR\] \S+ - cid:\d+ - TLS handshake error: EOF")


async def test_large_messages_both_ways(broker: Brokers, certificates: Certificates) -> None:
    client = await secure(broker.shared(tls(certificates)), certificates.context())
    await client.expect("PONG\r\n")
    body = bytes(range(256)) * 3_000
    client.send("SUB big 1\r\n")
    for _ in range(4):
        client.send(b"PUB big %d\r\n%b\r\n" % (len(body), body))
    for _ in range(4):
        await client.expect(b"MSG big 1 %d\r\n%b\r\n" % (len(body), body))
    client.close()


async def test_auth_timeout_is_a_second_more(broker: Brokers, certificates: Certificates) -> None:
    users = "authorization { user: a, password: b }\nhttp: 127.0.0.1:-1\n"
    server = broker.shared(users + tls(certificates, "timeout: 0.5"))
    client = await server.connect()
    await client.expect_info()
    await client.start_tls(certificates.context())
    await client.expect("-ERR 'Authentication Timeout'\r\n")
    assert (await monitored(server, "varz"))["auth_timeout"] == 1.5


# --- handshake first ------------------------------------------------------------------------------


async def test_first_sends_nothing_before(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(tls(certificates, "handshake_first: true"))
    client = await secured_first(RawClient, server.process.port(), certificates.context())
    assert (await client.expect_info())["tls_required"] is True
    client.send(f"CONNECT {PLAIN}\r\nPING\r\n")
    await client.expect("PONG\r\n")
    await logged(server, 'Clients that are not using "TLS Handshake First" option will fail to connect')
    client.close()


async def test_first_closes_who_waits_for_info(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(tls(certificates, "handshake_first: true, timeout: 0.2"))
    client = await server.connect()
    await closed(client)


@pytest.mark.parametrize("word", ["auto", '"300ms"'])
async def test_auto_serves_both(broker: Brokers, certificates: Certificates, word: str) -> None:
    server = broker.shared(tls(certificates, f"handshake_first: {word}"))
    first = await secured_first(RawClient, server.process.port(), certificates.context())
    await first.expect_info()
    second = await secure(server, certificates.context())
    await second.expect("PONG\r\n")
    first.send("PING\r\n")
    await first.expect("PONG\r\n")
    first.close()
    second.close()


@pytest.mark.parametrize("more", ["", "handshake_first: auto"])
async def test_allow_non_tls(broker: Brokers, certificates: Certificates, more: str) -> None:
    server = broker.shared("allow_non_tls: true\n" + tls(certificates, more))
    plain = await server.connect()
    info = await plain.expect_info()
    assert info["tls_available"] is True
    assert "tls_required" not in info
    plain.send(f"CONNECT {PLAIN}\r\nPING\r\n")
    await plain.expect("PONG\r\n")
    other = await secure(server, certificates.context())
    await other.expect("PONG\r\n")
    plain.send("SUB x 1\r\nPING\r\n")
    await plain.expect("PONG\r\n")
    other.send("PUB x 2\r\nhi\r\n")
    await plain.expect("MSG x 1 2\r\nhi\r\n")
    await logged(server, "TLS available for client connections")
    plain.close()
    other.close()


# --- certificates ---------------------------------------------------------------------------------


async def test_verify_takes_a_good_certificate(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(tls(certificates, "verify: true"))
    client = await server.connect()
    assert (await client.expect_info())["tls_verify"] is True
    await client.start_tls(certificates.context(certificates.client))
    client.send(f"CONNECT {PLAIN}\r\nPING\r\n")
    await client.expect("PONG\r\n")
    client.close()


async def refused(broker: Broker, context: ssl.SSLContext, pattern: str) -> None:
    """The handshake comes to nothing, on whichever side it is noticed, and the log says why."""
    client = await broker.connect()
    await client.expect_info()
    try:
        await client.start_tls(context)
        client.send(f"CONNECT {PLAIN}\r\nPING\r\n")
        await closed(client)
    except OSError:  # ssl.SSLError is one
        pass
    finally:
        client.close()
    await logged(broker, rf"\[ERR\] \S+ - cid:\d+ - TLS handshake error: {pattern}")


async def test_verify_refuses_none(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(tls(certificates, "verify: true"))
    await refused(server, certificates.context(), "tls: client didn't provide a certificate")


async def test_verify_refuses_a_stranger(broker: Brokers, certificates: Certificates) -> None:
    stranger = certificates.make(
        "by-stranger", subject=name(CN="evil", O="Elsewhere"), issuer=certificates.stranger
    )
    words = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    server = broker.own(tls(certificates, "verify: true"))
    await refused(
        server, certificates.context(stranger), rf"{words} \(CN=evil,O=Elsewhere SHA-256: {stranger.digest}\)"
    )


async def test_verify_refuses_one_that_has_expired(broker: Brokers, certificates: Certificates) -> None:
    old = certificates.make("expired", days=(-10, -1))
    words = (
        "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time "
    )
    server = broker.own(tls(certificates, "verify: true"))
    await refused(server, certificates.context(old), words + r"\S+ is after \S+ \(CN=expired SHA-256: ")


async def test_verify_refuses_a_servers_certificate(broker: Brokers, certificates: Certificates) -> None:
    other = certificates.make("no-client", use=x509.oid.ExtendedKeyUsageOID.SERVER_AUTH)
    words = "tls: failed to verify certificate: x509: certificate specifies an incompatible key usage"
    server = broker.own(tls(certificates, "verify: true"))
    await refused(server, certificates.context(other), words)


async def test_a_client_that_does_not_trust_us(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(tls(certificates))
    context = certificates.context(trusts=certificates.stranger.cert_file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in 1.3 OpenSSL's alert is under a key that Go is past
    await refused(server, context, "remote error: tls: (unknown certificate authority|bad certificate)")


async def test_pinned(broker: Brokers, certificates: Certificates) -> None:
    other = certificates.make("unpinned")
    server = broker.own(
        tls(certificates, f'verify: true, pinned_certs: ["{certificates.client.pin.upper()}"]')
    )
    client = await secure(server, certificates.context(certificates.client))
    await client.expect("PONG\r\n")
    client.close()
    await refused(server, certificates.context(other), "certificate not pinned")


async def test_old_version_is_refused(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(tls(certificates, 'min_version: "1.3"'))
    context = certificates.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    await refused(server, context, "tls: client offered only unsupported versions")


async def test_suites_and_curves(broker: Brokers, certificates: Certificates) -> None:
    suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    server = broker.own(tls(certificates, f'cipher_suites: ["{suite}"], curve_preferences: ["CurveP384"]'))
    context = certificates.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    client = await secure(server, context)
    await client.expect("PONG\r\n")
    await logged(server, rf"TLS version 1\.2, cipher suite {suite}")
    client.close()
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    await refused(server, context, "tls: no cipher suite supported by both client and server")


async def test_certificate_by_name(broker: Brokers, certificates: Certificates) -> None:
    one = certificates.make("sni-one", names=[x509.DNSName("one.example")])
    two = certificates.make("sni-two", names=[x509.DNSName("*.two.example")])
    pairs = ", ".join(f'{{ cert_file: "{m.cert_file}", key_file: "{m.key_file}" }}' for m in (one, two))
    server = broker.shared(f"debug: true\ntls {{ certs: [ {pairs} ], handshake_first: true }}")
    for asked, made in (("one.example", one), ("a.two.example", two), ("nobody.example", one)):
        context = certificates.context()
        context.check_hostname = False
        client = await RawClient.connect("127.0.0.1", server.process.port())
        session = await client.start_tls(context, asked)
        assert session.object.getpeercert(binary_form=True) == made.certificate.public_bytes(Encoding.DER)
        client.close()


async def test_rate_limit(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(tls(certificates, "connection_rate_limit: 2"))
    rejected = 0
    for _ in range(6):
        client = await server.connect()
        await client.expect_info()
        try:
            await client.start_tls(certificates.context())
        except OSError:
            rejected += 1
        client.close()
    assert rejected >= 3
    await logged(server, r"\[WRN\] Rejected \d+ connections due to TLS rate limiting")


# --- who it is ------------------------------------------------------------------------------------

MAPPED = """authorization { users: [
  { user: "mail@farm.example" }
  { user: "device.farm.example" }
  { user: "spiffe://farm/seven" }
  { user: "CN=bob,OU=Eng,O=Acme,C=US" }
  { user: "C=US,O=Acme,OU=Eng,CN=eve" }
  { user: "CN=plain", password: secret }
] }
"""


def subject_is(**parts: str) -> Callable[[Certificates, str], Made]:
    return lambda certificates, stem: certificates.make(stem, subject=name(**parts))


def names_are(*names: x509.GeneralName) -> Callable[[Certificates, str], Made]:
    return lambda certificates, stem: certificates.make(stem, subject=name(CN="nobody"), names=names)


EMAIL, DNS, URI = (
    x509.RFC822Name("mail@farm.example"),
    x509.DNSName("device.farm.example"),
    x509.UniformResourceIdentifier("spiffe://farm/seven"),
)
WHO = {
    "email": (names_are(EMAIL), "mail@farm.example"),
    "dns": (names_are(x509.DNSName("other.example"), DNS), "device.farm.example"),
    "uri": (names_are(URI), "spiffe://farm/seven"),
    "email before dns": (names_are(DNS, EMAIL), "mail@farm.example"),
    "dns before uri": (names_are(URI, DNS), "device.farm.example"),
    "subject": (subject_is(C="US", O="Acme", OU="Eng", CN="bob"), "CN=bob,OU=Eng,O=Acme,C=US"),
    "subject, the other way round": (
        subject_is(CN="bob", OU="Eng", O="Acme", C="US"),
        "CN=bob,OU=Eng,O=Acme,C=US",
    ),
    "user, the other way round": (
        subject_is(C="US", O="Acme", OU="Eng", CN="eve"),
        "C=US,O=Acme,OU=Eng,CN=eve",
    ),
    "part of a subject": (subject_is(O="Acme", CN="bob"), None),
    "nobody": (subject_is(CN="nobody"), None),
}


@pytest.mark.parametrize("case", WHO)
async def test_verify_and_map(broker: Brokers, certificates: Certificates, case: str) -> None:
    make, user = WHO[case]
    server = broker.shared(MAPPED + tls(certificates, "verify_and_map: true"))
    made = make(certificates, "map-" + re.sub(r"\W+", "-", case))
    client = await secure(server, certificates.context(made), as_user())
    if user is None:
        await client.expect("-ERR 'Authorization Violation'\r\n")
        await closed(client)
        return
    await client.expect("PONG\r\n")
    assert await authorized_user(broker, certificates, made) == user
    client.close()


async def authorized_user(brokers: Brokers, certificates: Certificates, made: Made) -> str:
    """Whom /connz sees, on a server with monitoring."""
    server = brokers.shared("http: 127.0.0.1:-1\n" + MAPPED + tls(certificates, "verify_and_map: true"))
    client = await secure(server, certificates.context(made), as_user())
    await client.expect("PONG\r\n")
    found = (await connz(server, "auth=1"))["connections"][-1]["authorized_user"]
    client.close()
    return str(found)


async def monitor_port(server: Broker) -> int:
    found = await logged(server, r"Starting https? monitor on 127\.0\.0\.1:(\d+)")
    return int(found[1])


async def monitored(server: Broker, page: str) -> dict[str, Any]:
    port = await monitor_port(server)

    def get() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}") as answer:
            return bytes(answer.read())

    return dict(json.loads(await asyncio.to_thread(get)))


async def connz(server: Broker, query: str) -> dict[str, Any]:
    return await monitored(server, f"connz?{query}")


async def test_map_needs_the_right_password_as_well(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(MAPPED + tls(certificates, "verify_and_map: true"))
    plain = certificates.make("map-password", subject=name(CN="plain"))
    for connect, answer in (
        (as_user(password="secret"), "PONG\r\n"),
        (as_user(password="wrong"), "-ERR 'Authorization Violation'\r\n"),
        (as_user(), "-ERR 'Authorization Violation'\r\n"),
    ):
        client = await secure(server, certificates.context(plain), connect)
        await client.expect(answer)
        client.close()


async def test_map_ignores_the_user_of_connect(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(MAPPED + tls(certificates, "verify_and_map: true"))
    made = certificates.make("map-ignores", subject=name(CN="nobody"), names=[EMAIL])
    client = await secure(server, certificates.context(made), as_user("zz"))
    await client.expect("PONG\r\n")
    await logged(server, r'\[WRN\] User "zz" found in connect proto, but user required from cert')
    client.close()


async def test_map_without_tls_is_refused(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared("allow_non_tls: true\n" + MAPPED + tls(certificates, "verify_and_map: true"))
    client = await server.connect()
    await client.expect_info()
    client.send(f"CONNECT {as_user('CN=bob,OU=Eng,O=Acme,C=US')}\r\nPING\r\n")
    await client.expect("-ERR 'Authorization Violation'\r\n")
    client.close()


# --- monitoring -----------------------------------------------------------------------------------


NEVER_SPOKE = {
    *("cid", "kind", "type", "ip", "port", "start", "last_activity", "rtt", "uptime", "idle", "name_tag"),
    *("pending_bytes", "in_msgs", "out_msgs", "in_bytes", "out_bytes", "subscriptions"),
}


@pytest.mark.parametrize("more", ["", "handshake_first: true", 'handshake_first: "1h"', "allow_non_tls"])
@pytest.mark.parametrize("half", [b"", b"\x16\x03\x01\x02\x00\x01"])
async def test_connz_shows_who_has_not_finished_a_handshake(
    broker: Brokers, certificates: Certificates, more: str, half: bytes
) -> None:
    """A connection counts from the first moment, also if it says nothing, or a part of a hello."""
    block = tls(certificates, "timeout: 60" + (f", {more}" if ":" in more else ""))
    server = broker.own(
        "http: 127.0.0.1:-1\n" + ("" if ":" in more or not more else f"{more}: true\n") + block
    )
    client = await server.connect()
    if "first" not in more:
        await client.expect_info()
    client.send(half)
    await logged(
        server, "Client connection created" if more or half else "Starting TLS client connection handshake"
    )
    page = await connz(server, "auth=1&subs=1")
    assert (page["num_connections"], page["total"]) == (1, 1)
    found = page["connections"][0]
    assert set(found) == NEVER_SPOKE
    assert (found["kind"], found["type"], found["in_bytes"], found["pending_bytes"]) == (
        "Client",
        "nats",
        0,
        0,
    )
    varz = await monitored(server, "varz")
    assert (varz["connections"], varz["total_connections"]) == (1, 1)
    client.close()


async def test_connz_shows_as_closed_who_left_during_a_handshake(
    broker: Brokers, certificates: Certificates
) -> None:
    server = broker.own("http: 127.0.0.1:-1\n" + tls(certificates))
    client = await server.connect()
    await client.expect_info()
    client.send(b"\x16\x03\x01\x02\x00\x01")
    client.close()
    await logged(server, "TLS handshake error: .*EOF")
    await logged(server, r"Client connection closed: TLS Handshake Failure")
    page = await connz(server, "state=any")
    assert [found["reason"] for found in page["connections"]] == ["TLS Handshake Failure"]
    assert (await monitored(server, "varz"))["connections"] == 0


async def test_leafz_does_not_show_who_has_not_finished_a_handshake(
    broker: Brokers, certificates: Certificates
) -> None:
    server = broker.own(
        "http: 127.0.0.1:-1\ndebug: true\n"
        f"leafnodes {{ port: -1, {tls(certificates, 'timeout: 60').removeprefix('debug: true')} }}"
    )
    leaf = await RawLeaf.connect("127.0.0.1", server.process.port("leafnodes"))
    await leaf.expect_info()
    await logged(server, "Starting TLS leafnode server handshake")
    assert (await connz(server, ""))["num_connections"] == 0
    assert (await monitored(server, "leafz"))["leafnodes"] == 0
    assert (await monitored(server, "varz"))["leafnodes"] == 0
    leaf.close()


async def test_connz_and_varz(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(
        "http: 127.0.0.1:-1\n" + tls(certificates, "verify: true, timeout: 3, handshake_first: auto")
    )
    client = await secured_first(RawClient, server.process.port(), certificates.context(certificates.client))
    await client.expect_info()
    client.send(f"CONNECT {PLAIN}\r\nPING\r\n")
    await client.expect("PONG\r\n")
    found = (await connz(server, ""))["connections"][0]
    assert (found["tls_version"], found["tls_cipher_suite"], found["tls_first"]) == (
        "1.3",
        "TLS_AES_128_GCM_SHA256",
        True,
    )
    assert "tls_peer_certs" not in found
    shown = (await connz(server, "auth=1"))["connections"][0]["tls_peer_certs"]
    assert isinstance(shown, list)  # its own first; this client shows the authority's as well
    assert shown[0] == {
        "subject": "CN=device,OU=Fields,O=Farm",
        "spki_sha256": certificates.client.pin,
        "cert_sha256": certificates.client.digest,
    }
    assert [found["cert_sha256"] for found in shown[1:]] == [certificates.ca.digest]
    varz = await monitored(server, "varz")
    ends = certificates.server.certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (varz["tls_required"], varz["tls_verify"], varz["tls_timeout"], varz["tls_cert_not_after"]) == (
        True,
        True,
        3,
        ends,
    )
    client.close()


async def test_https(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared("https: 127.0.0.1:-1\n" + tls(certificates, "verify: true"))
    port = await monitor_port(server)

    def get() -> bytes:
        with urllib.request.urlopen(
            f"https://localhost:{port}/varz", context=certificates.context()
        ) as answer:
            return bytes(answer.read())

    varz = json.loads(await asyncio.to_thread(get))
    assert varz["tls_required"] is True


# --- reload ---------------------------------------------------------------------------------------


async def shown_certificate(server: Broker, certificates: Certificates) -> bytes | None:
    client = await server.connect()
    await client.expect_info()
    session = await client.start_tls(certificates.context())
    client.close()
    return session.object.getpeercert(binary_form=True)


async def test_reload_takes_new_certificates(broker: Brokers, certificates: Certificates) -> None:
    extensions = certificates.server.certificate.extensions
    names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    other = certificates.make("reloaded", names=names)
    server = broker.own(tls(certificates))
    client = await secure(server, certificates.context())
    await client.expect("PONG\r\n")
    server.process.configure(tls(certificates, server=other))
    server.process.signal(signal.SIGHUP)
    await logged(server, r"\[INF\] Reloaded: tls = enabled(?s:.*)Reloaded server configuration")
    assert await shown_certificate(server, certificates) == other.certificate.public_bytes(Encoding.DER)
    client.send("PING\r\n")
    await client.expect("PONG\r\n")
    client.close()


async def test_a_bad_certificate_changes_nothing(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(tls(certificates))
    broken = certificates.folder / "broken.pem"
    broken.write_text("no certificate")
    config = tls(certificates).replace(str(certificates.server.cert_file), str(broken))
    server.process.configure(config)
    server.process.signal(signal.SIGHUP)
    await logged(
        server,
        r"\[ERR\] Failed to reload server configuration: \S+: error parsing X509 certificate/key pair: "
        r"tls: failed to find any PEM data in certificate input",
    )
    assert await shown_certificate(server, certificates) == certificates.server.certificate.public_bytes(
        Encoding.DER
    )


async def test_reload_ends_who_is_not_pinned_any_more(broker: Brokers, certificates: Certificates) -> None:
    other = certificates.make("pinned-later")
    pins = f'verify: true, pinned_certs: ["{certificates.client.pin}", "{other.pin}"]'
    server = broker.own(tls(certificates, pins))
    stays = await secure(server, certificates.context(other))
    await stays.expect("PONG\r\n")
    server.process.configure(tls(certificates, pins.replace(certificates.client.pin, "0" * 64)))
    server.process.signal(signal.SIGHUP)
    await logged(server, "Reloaded server configuration")
    stays.send("PING\r\n")
    await stays.expect("PONG\r\n")
    stays.close()


# --- leafnodes ------------------------------------------------------------------------------------

LEAFS = 'debug: true\nleafnodes {{ listen: "127.0.0.1:-1", compression: off, tls {{ {block}\n {more} }} }}'


def leafs(certificates: Certificates, more: str = "") -> str:
    block = f'{certificates.server.block}\nca_file: "{certificates.ca_file}"'
    return LEAFS.format(block=block, more=more)


async def test_leaf_info_then_tls(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(leafs(certificates))
    leaf = await RawLeaf.connect("127.0.0.1", server.process.port("leafnodes"))
    assert (await leaf.expect_info())["tls_required"] is True
    await leaf.start_tls(certificates.context())
    leaf.send("CONNECT {}\r\n")
    await leaf.expect_info()
    await leaf.sync()
    await logged(server, r"lid:\d+ - Starting TLS leafnode server handshake")
    leaf.close()


async def test_leaf_first(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(leafs(certificates, "handshake_first: true"))
    leaf = await secured_first(RawLeaf, server.process.port("leafnodes"), certificates.context())
    await leaf.handshake()
    leaf.close()


async def test_leaf_verify(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own(leafs(certificates, "verify: true"))
    leaf = await RawLeaf.connect("127.0.0.1", server.process.port("leafnodes"))
    assert (await leaf.expect_info())["tls_verify"] is True
    try:
        await leaf.start_tls(certificates.context())
        await leaf.expect_close()
    except OSError:
        pass
    words = "tls: client didn't provide a certificate"
    await logged(server, rf"\[ERR\] \S+ - lid:\d+ - TLS leafnode handshake error: {words}")
    leaf.close()


async def test_leaf_plain_is_closed(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(leafs(certificates))
    leaf = await RawLeaf.connect("127.0.0.1", server.process.port("leafnodes"))
    await leaf.expect_info()
    leaf.send("CONNECT {}\r\n")
    await leaf.expect_close()


async def test_leaf_mapped(broker: Brokers, certificates: Certificates) -> None:
    made = certificates.make("map-leaf", subject=name(CN="edge"), names=[x509.DNSName("edge.example")])
    config = leafs(certificates, "verify_and_map: true").replace(
        "tls {", 'authorization { users: [ { user: "edge.example", account: A } ] }\n tls {', 1
    )
    server = broker.shared("accounts { A { users: [ { user: a, password: x } ] } }\n" + config)
    leaf = await RawLeaf.connect("127.0.0.1", server.process.port("leafnodes"))
    await leaf.expect_info()
    await leaf.start_tls(certificates.context(made))
    leaf.send("CONNECT {}\r\n")
    assert (await leaf.expect_info())["remote_account"] == "A"
    leaf.close()
    other = await RawLeaf.connect("127.0.0.1", server.process.port("leafnodes"))
    await other.expect_info()
    await other.start_tls(certificates.context(certificates.client))
    other.send("CONNECT {}\r\n")
    await other.expect("-ERR 'Authorization Violation'\r\n")
    other.close()
