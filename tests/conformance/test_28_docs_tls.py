"""The examples of NATS's documentation, as they stand there: TLS, client certificates, and who one is by them.

Chapters "Enabling TLS" and "TLS Authentication" of "Securing NATS", and the TLS examples of "Leaf Nodes". Certificates
are made for the run; their files are called what the examples call them.
"""

import asyncio
import ssl

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.documented_certificates import Certificates
from tests.support.logins import greeted, let_in, send_connect, turned_away
from tests.support.rawclient import ACCEPTED, RawClient

SIMPLE = """
tls: {
  cert_file: "./server-cert.pem"
  key_file: "./server-key.pem"
}
"""
HANDSHAKE_FIRST = """
tls: {
  cert_file: "./server-cert.pem"
  key_file: "./server-key.pem"
  handshake_first: true
}
"""
AUTO = """
tls: {
  cert_file: "./server-cert.pem"
  key_file: "./server-key.pem"
  handshake_first: auto
}
"""
DURATION = """
tls {
    cert_file: "./server-cert.pem"
    key_file: "./server-key.pem"

    handshake_first: "300ms"
}
"""
TIMEOUT = """
tls: {
  cert_file: "./server-cert.pem"
  key_file: "./server-key.pem"
  # clients will fail to connect (value is too low)
  timeout: 0.0001
}
"""
RATE = """
tls: {
  cert_file: "./server-cert.pem"
  key_file: "./server-key.pem"
  connection_rate_limit: 1000
}
"""
VERIFY = """
tls {
  cert_file: "server-cert.pem"
  key_file:  "server-key.pem"
  ca_file:   "rootCA.pem"
  verify:    true
}
"""
VERIFY_AND_MAP = """
tls {
  cert_file: "server-cert.pem"
  key_file:  "server-key.pem"
  ca_file:   "rootCA.pem"
  # Require a client certificate and map user id from certificate
  verify_and_map: true
}
"""
BY_EMAIL = """
authorization {
  users = [
    {user: "email@localhost"}
  ]
}
"""
BY_SUBJECT = """
authorization {
  users = [
    {user: "OU=testuser@MacBook-Pro.local (Test User),O=mkcert development certificate"}
  ]
}
"""
TLS_FLAGS = ["--tls", "--tlscert=./server-cert.pem", "--tlskey=./server-key.pem"]
VERIFY_FLAGS = [
    "--tlsverify",
    "--tlscert=server-cert.pem",
    "--tlskey=server-key.pem",
    "--tlscacert=rootCA.pem",
]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def shut_out(server: Broker, tls: ssl.SSLContext) -> None:
    """The handshake fails, or the server ends it as soon as it has seen the certificate (TLS 1.3)."""
    async with await greeted(server) as client:
        try:
            await client.start_tls(tls)
        except (ssl.SSLError, ConnectionError):
            return
        send_connect(client)
        await client.expect_close()


async def first(server: Broker, tls: ssl.SSLContext) -> RawClient:
    """A client that begins with the handshake."""
    client = await server.connect()
    await client.start_tls(tls)
    await client.expect_info()
    return client


async def test_tls_simple(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(SIMPLE, certificates.files)
    async with await greeted(server) as plain:
        assert plain.info["tls_required"] is True
        assert "tls_verify" not in plain.info
    async with await let_in(server, tls=certificates.client()) as client:
        client.send("SUB docs.tls 1\r\nPUB docs.tls 2\r\nhi\r\n")
        await client.expect("MSG docs.tls 1 2\r\nhi\r\n")
        big = b"x" * 200_000
        client.send(b"PUB docs.tls %d\r\n%s\r\n" % (len(big), big))
        await client.expect(b"MSG docs.tls 1 %d\r\n%s\r\n" % (len(big), big))


async def test_tls_without_tls(broker: Brokers, certificates: Certificates) -> None:
    """What is not a handshake ends the connection without a word."""
    async with await greeted(broker.shared(SIMPLE, certificates.files)) as client:
        send_connect(client)
        await client.expect_close()


async def test_tls_a_client_that_does_not_trust_the_server(
    broker: Brokers, certificates: Certificates
) -> None:
    server = broker.shared(SIMPLE, certificates.files)
    async with await greeted(server) as client:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await client.start_tls(ssl.create_default_context())
    (await let_in(server, tls=certificates.client())).close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_versions(broker: Brokers, certificates: Certificates, version: ssl.TLSVersion) -> None:
    context = certificates.client()
    context.minimum_version = context.maximum_version = version
    (await let_in(broker.shared(SIMPLE, certificates.files), tls=context)).close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_tls_old_versions(broker: Brokers, certificates: Certificates) -> None:
    context = certificates.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    await shut_out(broker.shared(SIMPLE, certificates.files), context)


async def test_tls_flags(broker: Brokers, certificates: Certificates) -> None:
    server = broker.own("", certificates.files, TLS_FLAGS)
    (await let_in(server, tls=certificates.client())).close()
    verifying = broker.own("", certificates.files, VERIFY_FLAGS)
    (await let_in(verifying, tls=certificates.client("client"))).close()
    await shut_out(verifying, certificates.client())


async def test_tls_handshake_first(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(HANDSHAKE_FIRST, certificates.files)
    async with await first(server, certificates.client()) as client:
        send_connect(client)
        await client.expect(ACCEPTED)
    async with await server.connect() as waiting:
        waiting.send("CONNECT {}\r\n")
        await waiting.expect_close()


@pytest.mark.parametrize("config", [AUTO, DURATION], ids=["auto", "300ms"])
async def test_tls_handshake_first_or_later(broker: Brokers, certificates: Certificates, config: str) -> None:
    server = broker.shared(config, certificates.files)
    async with await first(server, certificates.client()) as client:
        send_connect(client)
        await client.expect(ACCEPTED)
    started = asyncio.get_running_loop().time()
    (await let_in(server, tls=certificates.client())).close()
    if config is DURATION:
        assert asyncio.get_running_loop().time() - started >= 0.3


async def test_tls_timeout(broker: Brokers, certificates: Certificates) -> None:
    """Nobody makes a handshake in a tenth of a millisecond."""
    server = broker.shared(TIMEOUT, certificates.files)
    async with await greeted(server) as client:
        await client.expect_close()


async def test_tls_timeout_after_the_beginning(broker: Brokers, certificates: Certificates) -> None:
    """A handshake that stands still ends as well, and holds nobody up."""
    server = broker.shared(SIMPLE.replace("}", "  timeout: 0.5\n}"), certificates.files)
    slow = await greeted(server)
    slow.send(bytes([22, 3, 1, 2, 0, 1]))
    (await let_in(server, tls=certificates.client())).close()
    await slow.expect_close()
    slow.close()


async def test_tls_rate_limit(broker: Brokers, certificates: Certificates) -> None:
    (await let_in(broker.shared(RATE, certificates.files), tls=certificates.client())).close()
    few = broker.own(RATE.replace("1000", "1"), certificates.files)
    (await let_in(few, tls=certificates.client())).close()
    async with await greeted(few) as client:
        await client.expect("-ERR 'Connection throttling is active. Please try again later.'\r\n")
        await client.expect_close()


async def test_tls_verify(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(VERIFY, certificates.files)
    async with await greeted(server) as plain:
        assert plain.info["tls_verify"] is True
    for name in ("client", "subject", "other"):
        (await let_in(server, tls=certificates.client(name))).close()
    await shut_out(server, certificates.client())
    await shut_out(server, certificates.client("stranger"))


async def test_tls_map_by_email(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(VERIFY_AND_MAP + BY_EMAIL, certificates.files)
    (await let_in(server, tls=certificates.client("client"))).close()
    (await let_in(server, tls=certificates.client("client"), user="somebody")).close()
    await turned_away(server, tls=certificates.client("client"), **{"user": "somebody", "pass": "x"})
    await turned_away(server, tls=certificates.client("other"), user="email@localhost")
    await turned_away(server, tls=certificates.client("subject"))
    await shut_out(server, certificates.client("stranger"))
    await shut_out(server, certificates.client())


async def test_tls_map_by_subject(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(VERIFY_AND_MAP + BY_SUBJECT, certificates.files)
    (await let_in(server, tls=certificates.client("subject"))).close()
    await turned_away(server, tls=certificates.client("client"))


async def test_tls_password_less_users_need_a_certificate(
    broker: Brokers, certificates: Certificates
) -> None:
    """``verify`` alone does not map."""
    server = broker.shared(VERIFY + BY_EMAIL, certificates.files)
    await turned_away(server, tls=certificates.client("client"))


async def test_tls_authorization_beside_tls(broker: Brokers, certificates: Certificates) -> None:
    server = broker.shared(SIMPLE + "authorization { token: s3cr3t }", certificates.files)
    (await let_in(server, tls=certificates.client(), auth_token="s3cr3t")).close()
    await turned_away(server, tls=certificates.client(), auth_token="x")
    async with await greeted(server) as client:
        assert client.info["auth_required"] is True


@pytest.mark.parametrize("name", ["stranger", "expired", "future", "usage", "tampered"])
@pytest.mark.parametrize("config", [VERIFY, VERIFY_AND_MAP + BY_EMAIL], ids=["verify", "map"])
async def test_tls_certificates_that_do_not_count(
    broker: Brokers, certificates: Certificates, config: str, name: str
) -> None:
    await shut_out(broker.shared(config, certificates.files), certificates.client(name))
