"""The security examples of the documentation's chapter "Leaf Nodes", as they stand there, but for ports and hosts.

Hub and leaf are both of the implementation under test; links between ours and nats-server are in ``tests/interop``.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from tests.support.brokers import Broker, Brokers
from tests.support.documented_certificates import Certificates

from phloem.shared.security.creds import credentials_in

TIMEOUT_S = 10.0
LISTEN = 'listen: "127.0.0.1:-1"\n'
HUB = """
leafnodes {
    port: 7422
}
accounts: {
    app: { 
        users: [
            {user: appuser, password: s3cr3t},
            {user: leafuser, password: s3cr3t}
           ]
    }  
}
"""  # noqa: W291
LEAF = """
listen: "127.0.0.1:4111"
leafnodes {
    remotes = [
        {
          url: "nats://leafuser:s3cr3t@localhost"
        },
    ]
}
"""
LEAF_TLS = """
listen: "127.0.0.1:4111"
leafnodes {
    remotes = [
        {
          url: "tls://leafuser:s3cr3t@localhost"
        },
    ]
}
"""
LEAF_CREDS = """
leafnodes {
    remotes = [
        {
          url: "tls://connect.ngs.global"
          credentials: "/Users/alberto/.nkeys/creds/synadia/leaftest/leaftestuser.creds"
        },
    ]
}
"""
SINGLETON = """
leafnodes {
  port: ...
  authorization {
    user: leaf
    password: secret
    account: TheAccount
  }
}
"""
SEVERAL = """
leafnodes {
  port: ...
  authorization {
    users = [
      {user: leaf1, password: secret, account: account1}
      {user: leaf2, password: secret, account: account2}
    ]
  }
}
"""
ANYBODY = """
leafnodes {
  port: ...
  authorization {
    account: TheAccount
  }
}
"""
FIRST_HUB = """
leafnodes {
  port: 7422
  tls {
    handshake_first: true
    # other TLS fields...
  }
}
"""
FIRST_LEAF = """
leafnodes {
  remotes [
    {
      urls: ["tls://example:7422"]
      tls: {
         handshake_first: true
         # other TLS fields...
      }
    }
  ]
}
"""
HUB_TLS = 'tls { cert_file: "server-cert.pem", key_file: "server-key.pem" }'
ACCOUNTS = """
accounts {
  TheAccount { users: [ { user: app, password: app } ] }
  account1 { users: [ { user: app1, password: app } ] }
  account2 { users: [ { user: app2, password: app } ] }
}
"""
NSC = Path(__file__).parent / "nsc"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def hub_text(example: str) -> str:
    """A hub's example with ports of the system's choice."""
    return LISTEN + example.replace("port: 7422", "port: -1").replace("port: ...", "port: -1")


def leaf_text(example: str, hub: Broker) -> str:
    """A leaf's example with the hub's address."""
    port = hub.process.port("leafnodes")
    text = example.replace('listen: "127.0.0.1:4111"', "").replace("@localhost", f"@localhost:{port}")
    return LISTEN + text.replace("example:7422", f"localhost:{port}").replace(
        "connect.ngs.global", f"localhost:{port}"
    )


def by_creds(name: str) -> dict[str, Any]:
    """nats-py's options for a creds file, which it reads itself only with another package."""
    token, pair = credentials_in((NSC / f"{name}.creds").read_bytes())
    return {
        "user_jwt_cb": lambda: token.encode(),
        "signature_cb": lambda nonce: base64.b64encode(pair.sign(nonce.encode())),
    }


class Clients:
    """Clients of a test, closed at its end."""

    def __init__(self) -> None:
        self._open: list[Client] = []

    async def client(self, server: Broker, **login: Any) -> Client:
        address = f"nats://127.0.0.1:{server.process.port('nats')}"
        self._open.append(await nats.connect(address, allow_reconnect=False, **login))
        return self._open[-1]

    async def serve(self, server: Broker, answer: bytes, **login: Any) -> None:
        """Somebody who answers requests on q."""

        async def asked(message: Msg) -> None:
            await message.respond(answer)

        service = await self.client(server, **login)
        await service.subscribe("q", cb=asked)
        await service.flush()

    async def answer(self, server: Broker, **login: Any) -> bytes:
        """The answer to a request on q, asked again until the other side's interest is known here."""
        asker = await self.client(server, **login)
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    return (await asker.request("q", b"", timeout=TIMEOUT_S)).data
                except NoRespondersError:
                    await asyncio.sleep(0.01)

    async def close(self) -> None:
        for connection in self._open:
            await connection.close()


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    clients = Clients()
    yield clients
    await clients.close()


async def test_tutorial(broker: Brokers, clients: Clients) -> None:
    """A request from the leaf is answered at the hub."""
    hub = broker.own(hub_text(HUB))
    leaf = broker.own(leaf_text(LEAF, hub))
    await clients.serve(hub, b"42", user="appuser", password="s3cr3t")
    assert await clients.answer(leaf) == b"42"


async def test_tutorial_with_a_wrong_password(broker: Brokers) -> None:
    hub = broker.own(hub_text(HUB))
    leaf = broker.own(leaf_text(LEAF.replace("s3cr3t", "secret"), hub))
    leaf.process.wait_for_log("Authorization Violation", TIMEOUT_S)


async def test_leaf_tls_tutorial(
    broker: Brokers, clients: Clients, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``tls://`` alone: the hub's certificate is held against the system's authorities, here the test's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.folder / "rootCA.pem"))
    example = HUB.replace("port: 7422", f"port: 7422\n    {HUB_TLS}")
    hub = broker.own(hub_text(example), certificates.files)
    leaf = broker.own(leaf_text(LEAF_TLS, hub))
    await clients.serve(hub, b"42", user="appuser", password="s3cr3t")
    assert await clients.answer(leaf) == b"42"


async def test_leaf_tls_without_trust(broker: Brokers, certificates: Certificates) -> None:
    example = HUB.replace("port: 7422", f"port: 7422\n    {HUB_TLS}")
    hub = broker.own(hub_text(example), certificates.files)
    leaf = broker.own(leaf_text(LEAF_TLS, hub))
    leaf.process.wait_for_log(r"(?i)tls.*handshake error|certificate", TIMEOUT_S)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_credentials(
    broker: Brokers, clients: Clients, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    """A leaf with a creds file at a hub with an operator: it is in the user's account, with the user's rights."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.folder / "rootCA.pem"))
    memory = (NSC / "memory.conf").read_text()
    block = f"leafnodes {{\n port: 7422\n {HUB_TLS if tls else ''}\n}}\n"
    hub = broker.own(hub_text(memory + block), certificates.files)
    text = leaf_text(LEAF_CREDS if tls else LEAF_CREDS.replace("tls://", "nats://"), hub)
    path = "/Users/alberto/.nkeys/creds/synadia/leaftest/leaftestuser.creds"
    assert path in text
    leaf = broker.own(text.replace(path, str(NSC / "operator1.creds")))
    await clients.serve(hub, b"42", **by_creds("operator1"))
    assert await clients.answer(leaf) == b"42"


async def test_credentials_that_were_revoked(broker: Brokers) -> None:
    hub = broker.own(hub_text((NSC / "memory.conf").read_text() + "leafnodes { port: 7422 }\n"))
    leaf = broker.own(
        leaf_text('leafnodes { remotes [ { url: "nats://localhost", credentials: "@CREDS@" } ] }', hub)
        .replace("localhost", f"localhost:{hub.process.port('leafnodes')}", 1)
        .replace("@CREDS@", str(NSC / "thief.creds"))
    )
    leaf.process.wait_for_log("Authorization Violation", TIMEOUT_S)


async def bound(broker: Brokers, clients: Clients, example: str, url_user: str, account: str) -> None:
    """A leaf with this login is in this account and in no other."""
    hub = broker.own(hub_text(example) + ACCOUNTS)
    port = hub.process.port("leafnodes")
    leaf = broker.own(f'{LISTEN}leafnodes {{ remotes [ {{ url: "nats://{url_user}localhost:{port}" }} ] }}')
    users = {"TheAccount": "app", "account1": "app1", "account2": "app2"}
    for name, user in users.items():
        await clients.serve(hub, name.encode(), user=user, password="app")
    assert await clients.answer(leaf) == account.encode()


async def test_one_login_for_leafs(broker: Brokers, clients: Clients) -> None:
    await bound(broker, clients, SINGLETON, "leaf:secret@", "TheAccount")


@pytest.mark.parametrize("number", [1, 2])
async def test_logins_for_accounts(broker: Brokers, clients: Clients, number: int) -> None:
    await bound(broker, clients, SEVERAL, f"leaf{number}:secret@", f"account{number}")


async def test_an_account_for_every_leaf(broker: Brokers) -> None:
    """Where nobody has to log in."""
    hub = broker.own(hub_text(ANYBODY) + "accounts { TheAccount {} }")
    async with await hub.leaf() as leaf:
        assert leaf.info["remote_account"] == "TheAccount"


@pytest.mark.parametrize(
    ("example", "url_user"),
    [
        (SINGLETON, "leaf:wrong@"),
        (SINGLETON, ""),
        (SINGLETON, "app:app@"),
        (SEVERAL, "leaf:secret@"),
        (ANYBODY, ""),
    ],
)
async def test_leafs_that_are_turned_away(broker: Brokers, example: str, url_user: str) -> None:
    hub = broker.own(hub_text(example) + ACCOUNTS)
    port = hub.process.port("leafnodes")
    leaf = broker.own(f'{LISTEN}leafnodes {{ remotes [ {{ url: "nats://{url_user}localhost:{port}" }} ] }}')
    leaf.process.wait_for_log("Authorization Violation", TIMEOUT_S)


async def test_leaf_tls_handshake_first(
    broker: Brokers, clients: Clients, certificates: Certificates
) -> None:
    files = 'cert_file: "server-cert.pem", key_file: "server-key.pem"'
    hub = broker.own(hub_text(FIRST_HUB.replace("# other TLS fields...", files)), certificates.files)
    trust = f'ca_file: "{certificates.folder}/rootCA.pem"'
    leaf = broker.own(leaf_text(FIRST_LEAF.replace("# other TLS fields...", trust), hub))
    await clients.serve(hub, b"42")
    assert await clients.answer(leaf) == b"42"


async def test_leaf_tls_handshake_first_on_one_side(broker: Brokers, certificates: Certificates) -> None:
    """The leaf waits for an INFO that does not come."""
    files = 'cert_file: "server-cert.pem", key_file: "server-key.pem"'
    hub = broker.own(hub_text(FIRST_HUB.replace("# other TLS fields...", files)), certificates.files)
    trust = f'ca_file: "{certificates.folder}/rootCA.pem"'
    example = FIRST_LEAF.replace("handshake_first: true", "").replace("# other TLS fields...", trust)
    broker.own(leaf_text(example, hub))
    hub.process.wait_for_log(r"(?i)tls.*handshake error", TIMEOUT_S)
