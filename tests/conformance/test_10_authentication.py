"""Who may connect (wire.md 1.3, 1.4, 1.9; security_ops.md 2.1, 2.2, 2.4): token, password, bcrypt, nkey."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.brokers import Brokers
from tests.support.rawclient import RawClient
from tests.support.rows import each

# bcrypt, cost 4, of "secret" and of "token"; made once, so that no test run has to
SECRET_HASH = "$2a$04$MCbyk8MEhurSYco/aKGcqOs5KCtEpnLYL0tooVyEnykcpC2NhhZqW"
TOKEN_HASH = "$2a$04$ju4A7k11G0sftk7a/RyN.uJK8l/rjvj2A5SF5VyzUCg4w/TAvsae2"


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _user_nkey(key: Ed25519PrivateKey) -> str:
    raw = bytes([20 << 3]) + key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b32encode(raw + _crc16(raw).to_bytes(2, "little")).decode().rstrip("=")


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))

ONE_USER = "authorization { user: alice, password: secret }"
ONE_HASHED = f'authorization {{ user: alice, password: "{SECRET_HASH}" }}'
TOKEN = "authorization { token: s3cret }"
TOKEN_HASHED = f'authorization {{ token: "{TOKEN_HASH}" }}'
USERS = f"""authorization {{ users: [
  {{ user: alice, password: secret }}
  {{ user: bob, password: "{SECRET_HASH}" }}
  {{ username: carol, pass: third }}
] }}"""
NO_AUTH_USER = USERS + "\nno_auth_user: alice"
NKEYS = f"authorization {{ users: [ {{ nkey: {_user_nkey(KEY)} }} ] }}"
MIXED = f"authorization {{ users: [ {{ nkey: {_user_nkey(KEY)} }}, {{ user: alice, password: secret }} ] }}"
ACCOUNTS = """accounts {
  A { users: [ { user: a1, password: x }, { user: a2, password: x } ] }
  B { users: [ { user: b, password: x } ] }
}"""

SYSTEM_ONLY = 'accounts { "$SYS" { users: [ { user: admin, password: x } ] } }'
RESTRICTED = """authorization { users: [
  { user: guest, password: x, permissions { publish: guest.say, subscribe: guest.> } }
] }
no_auth_user: guest"""
NAMES = {
    ONE_USER: "one user",
    ONE_HASHED: "one user, hashed",
    TOKEN: "token",
    TOKEN_HASHED: "token, hashed",
    USERS: "users",
    NO_AUTH_USER: "no_auth_user",
    NKEYS: "nkeys",
    MIXED: "users and nkeys",
    ACCOUNTS: "accounts",
    SYSTEM_ONLY: "system account",
}


def _name(value: str | dict[str, str]) -> str:
    return json.dumps(value) if isinstance(value, dict) else NAMES.get(value, "other")


ACCEPTED = [
    (ONE_USER, {"user": "alice", "pass": "secret"}),
    (ONE_USER, {"user": "alice", "pass": "secret", "auth_token": "ignored"}),
    (ONE_HASHED, {"user": "alice", "pass": "secret"}),
    (TOKEN, {"auth_token": "s3cret"}),
    (TOKEN_HASHED, {"auth_token": "token"}),
    (USERS, {"user": "alice", "pass": "secret"}),
    (USERS, {"user": "bob", "pass": "secret"}),
    (USERS, {"user": "carol", "pass": "third"}),
    (NO_AUTH_USER, {}),
    (NO_AUTH_USER, {"user": "bob", "pass": "secret"}),
    (MIXED, {"user": "alice", "pass": "secret"}),
    (ACCOUNTS, {"user": "b", "pass": "x"}),
    (SYSTEM_ONLY, {}),
    (SYSTEM_ONLY, {"user": "admin", "pass": "x"}),
]
REFUSED = [
    (ONE_USER, {}),
    (ONE_USER, {"user": "alice"}),
    (ONE_USER, {"user": "alice", "pass": ""}),
    (ONE_USER, {"user": "alice", "pass": "Secret"}),
    (ONE_USER, {"user": "Alice", "pass": "secret"}),
    (ONE_USER, {"user": "alice", "pass": "secret "}),
    (ONE_USER, {"auth_token": "secret"}),
    (ONE_HASHED, {"user": "alice", "pass": "wrong"}),
    (ONE_HASHED, {"user": "alice", "pass": SECRET_HASH}),
    (TOKEN, {}),
    (TOKEN, {"auth_token": "wrong"}),
    (TOKEN, {"user": "s3cret", "pass": "s3cret"}),
    (TOKEN_HASHED, {"auth_token": "wrong"}),
    (TOKEN_HASHED, {"auth_token": TOKEN_HASH}),
    (USERS, {}),
    (USERS, {"user": "nobody", "pass": "secret"}),
    (USERS, {"user": "bob", "pass": "wrong"}),
    (NO_AUTH_USER, {"user": "alice", "pass": "wrong"}),
    (NO_AUTH_USER, {"user": "nobody"}),
    (NO_AUTH_USER, {"auth_token": "x"}),
    (MIXED, {}),
    (NKEYS, {"user": "alice", "pass": "secret"}),
    (NKEYS, {"nkey": _user_nkey(KEY)}),
    (ACCOUNTS, {"user": "b", "pass": "y"}),
    (ACCOUNTS, {}),
    (SYSTEM_ONLY, {"user": "nobody"}),
    (SYSTEM_ONLY + "\nauthorization {}", {}),
]


async def connected(broker: Brokers, config: str, credentials: dict[str, str]) -> RawClient:
    client = await broker.shared(config).connect()
    await client.expect_info()
    client.send(f"CONNECT {json.dumps({'verbose': False, **credentials})}\r\n")
    return client


@each(("config", "credentials"), ACCEPTED, ids=_name)
async def test_accepted(broker: Brokers, config: str, credentials: dict[str, str]) -> None:
    async with await connected(broker, config, credentials) as client:
        client.send(b"SUB auth.ok 1\r\nPUB auth.ok 0\r\n\r\n")
        await client.expect(b"MSG auth.ok 1 0\r\n\r\n")
        await client.expect_silence_until_pong()


@each(("config", "credentials"), REFUSED, ids=_name)
async def test_refused(broker: Brokers, config: str, credentials: dict[str, str]) -> None:
    async with await connected(broker, config, credentials) as client:
        await client.expect_error("Authorization Violation", closes=True)


@pytest.mark.parametrize(
    "first", [b"PING\r\n", b"PONG\r\n", b"SUB a 1\r\n", b"UNSUB 1\r\n", b"PUB a 1\r\nx\r\n", b"+OK\r\n"]
)
async def test_connect_must_come_first(broker: Brokers, first: bytes) -> None:
    async with await broker.shared(ONE_USER).connect() as client:
        await client.expect_info()
        client.send(first)
        await client.expect_error("Authorization Violation", closes=True)


async def test_no_auth_user_may_skip_connect(broker: Brokers) -> None:
    async with await broker.shared(NO_AUTH_USER).connect() as client:
        await client.expect_info()
        client.send(b"PING\r\n")
        await client.expect(b"PONG\r\n")


async def test_no_auth_user_is_bound_without_connect(broker: Brokers) -> None:
    """Its permissions hold for whoever speaks without CONNECT."""
    async with await broker.shared(RESTRICTED).connect() as client:
        await client.expect_info()
        client.send(b"SUB guest.> 1\r\nPUB other 0\r\n\r\nPUB guest.say 0\r\n\r\n")
        await client.expect(b"+OK\r\n-ERR 'Permissions Violation for Publish to \"other\"'\r\n")
        await client.expect(b"+OK\r\nMSG guest.say 1 0\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_no_auth_user_has_to_speak_in_time(broker: Brokers) -> None:
    config = RESTRICTED.replace("authorization {", "authorization { timeout: 0.2,")
    async with await broker.shared(config).connect() as client:
        await client.expect_info()
        await client.expect_error("Authentication Timeout", closes=True)


async def test_only_the_system_account_has_users(broker: Brokers) -> None:
    """INFO asks for credentials, but who has none is let into the global account."""
    async with await broker.shared(SYSTEM_ONLY).connect() as client:
        assert (await client.expect_info())["auth_required"]
        client.send(b"SUB free 1\r\nPUB free 0\r\n\r\n")
        await client.expect(b"+OK\r\n+OK\r\nMSG free 1 0\r\n\r\n")


async def test_a_second_connect_is_checked_again(broker: Brokers) -> None:
    async with await connected(broker, ONE_USER, {"user": "alice", "pass": "secret"}) as client:
        await client.expect_silence_until_pong()
        client.send(b'CONNECT {"verbose":false,"user":"alice","pass":"wrong"}\r\n')
        await client.expect_error("Authorization Violation", closes=True)


@pytest.mark.parametrize("alphabet", ["urlsafe", "standard"])
@pytest.mark.parametrize("config", [NKEYS, MIXED], ids=["nkeys", "mixed"])
async def test_nkey(broker: Brokers, config: str, alphabet: str) -> None:
    """Signatures come as URL-safe base64 without padding, or as standard base64 with it."""
    async with await broker.shared(config).connect() as client:
        nonce = str((await client.expect_info())["nonce"])
        signature = KEY.sign(nonce.encode())
        if alphabet == "urlsafe":
            sig = base64.urlsafe_b64encode(signature).decode().rstrip("=")
        else:
            sig = base64.standard_b64encode(signature).decode()
        client.send(f'CONNECT {{"verbose":false,"nkey":"{_user_nkey(KEY)}","sig":"{sig}"}}\r\n')
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("wrong", ["key", "nonce", "not base64", "unknown nkey"])
async def test_nkey_refused(broker: Brokers, wrong: str) -> None:
    async with await broker.shared(NKEYS).connect() as client:
        nonce = str((await client.expect_info())["nonce"]).encode()
        signer = OTHER_KEY if wrong in ("key", "unknown nkey") else KEY
        sig = (
            base64.urlsafe_b64encode(signer.sign(b"another" if wrong == "nonce" else nonce))
            .decode()
            .rstrip("=")
        )
        nkey = _user_nkey(OTHER_KEY if wrong == "unknown nkey" else KEY)
        sig = "!!!" if wrong == "not base64" else sig
        client.send(f'CONNECT {{"verbose":false,"nkey":"{nkey}","sig":"{sig}"}}\r\n')
        await client.expect_error("Authorization Violation", closes=True)


async def test_accounts_are_worlds_of_their_own(broker: Brokers) -> None:
    a1, a2, b = [await connected(broker, ACCOUNTS, {"user": user, "pass": "x"}) for user in ("a1", "a2", "b")]
    async with a1, a2, b:
        for client in (a1, b):
            client.send(b"SUB > 1\r\nSUB world g 2\r\n")
            await client.expect_silence_until_pong()
        a2.send(b"PUB world 2\r\nhi\r\n")
        await a2.expect_silence_until_pong()
        await a1.expect_in_any_order(b"MSG world 1 2\r\nhi\r\n", b"MSG world 2 2\r\nhi\r\n")
        await a1.expect_silence_until_pong()
        await b.expect_silence_until_pong()
