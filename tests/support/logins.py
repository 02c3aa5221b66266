"""Logging in by hand: what CONNECT says, signatures, and what becomes of it."""

import json
import ssl

from phloem.shared.security.nkeys import KeyPair
from phloem.shared.security.tokens import encode_base64url
from tests.support.brokers import Broker
from tests.support.rawclient import ACCEPTED, RawClient


async def greeted(broker: Broker, tls: ssl.SSLContext | None = None) -> RawClient:
    """A client that has read INFO, and speaks TLS if there is a context for it."""
    client = await broker.connect()
    await client.expect_info()
    if tls is not None:
        assert client.info.get("tls_required") or client.info.get("tls_available")
        await client.start_tls(tls)
    return client


def send_connect(client: RawClient, key: KeyPair | None = None, **fields: object) -> None:
    """CONNECT and PING; with a key its signature of the server's nonce."""
    if key is not None:
        fields = {"sig": encode_base64url(key.sign(client.info["nonce"].encode())), **fields}
    said = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, **fields}
    client.send(f"CONNECT {json.dumps(said)}\r\nPING\r\n")


async def let_in(
    broker: Broker, key: KeyPair | None = None, tls: ssl.SSLContext | None = None, **fields: object
) -> RawClient:
    """A client that was accepted."""
    client = await greeted(broker, tls)
    send_connect(client, key, **fields)
    await client.expect(ACCEPTED)
    return client


async def turned_away(
    broker: Broker,
    key: KeyPair | None = None,
    tls: ssl.SSLContext | None = None,
    error: str = "Authorization Violation",
    **fields: object,
) -> None:
    """Whoever says this gets ``error`` and nothing else."""
    async with await greeted(broker, tls) as client:
        send_connect(client, key, **fields)
        await client.expect(f"-ERR '{error}'\r\n")
        await client.expect_close()


async def synced(*clients: RawClient) -> None:
    """All that these sent has been handled, and nothing came of it for them."""
    for client in clients:
        await client.expect_silence_until_pong()
