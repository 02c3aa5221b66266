"""Where accounts' JWTs come from: folders, web servers, and requests about them (security_ops.md 2.10.6)."""

import hashlib
import itertools
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.certificates import Certificates
from tests.support.operators import AccountKeys, OperatorWorld, UserKeys, key
from tests.support.rawclient import RawClient
from tests.support.server_process import StartFailed

from phloem.shared.security.claims import OPEN_LIMITS, GenericClaims
from phloem.shared.security.nkeys import KeyPair, Prefix
from phloem.shared.security.tokens import encode

VIOLATION = "-ERR 'Authorization Violation'\r\n"

WORLD = OperatorWorld()
B = AccountKeys(WORLD, "B")
FULL = '{ type: full, dir: "@FOLDER@/jwt", allow_delete: true, interval: "1h", timeout: "1s" }'
KEEPING = '{ type: full, dir: "@FOLDER@/jwt" }'
CACHE = '{ type: cache, dir: "@FOLDER@/jwt", limit: 10, timeout: "1s" }'
UPDATE, LIST, DELETE, PACK = (f"$SYS.REQ.CLAIMS.{name}" for name in ("UPDATE", "LIST", "DELETE", "PACK"))
REPLIES = itertools.count()
ANSWER = re.compile(rb"MSG re\d+ \d+ +(\d+)\r\n")


def update(account: str) -> str:
    return f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.UPDATE"


def lookup(account: str) -> str:
    return f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP"


async def greeted(broker: Broker) -> RawClient:
    client = await broker.connect()
    await client.expect_info()
    return client


async def connected(broker: Broker, user: UserKeys) -> RawClient:
    client = await greeted(broker)
    client.send(f"CONNECT {user.connect(client.info)}\r\nPING\r\n")
    await client.expect("PONG\r\n")
    return client


async def message(client: RawClient) -> bytes:
    head = ANSWER.fullmatch(await client.expect(ANSWER))
    assert head is not None
    return (await client.expect(re.compile(rb"(?s).{%d}\r\n" % int(head[1]))))[:-2]


async def ask(client: RawClient, subject: str, body: str | bytes = b"") -> bytes:
    """One answer to a request."""
    body = body.encode() if isinstance(body, str) else body
    number = next(REPLIES)
    reply = f"re{number}"
    client.send(f"SUB {reply} {number}\r\nPUB {subject} {reply} {len(body)}\r\n".encode() + body + b"\r\n")
    return await message(client)


async def answer(client: RawClient, subject: str, body: str | bytes = b"") -> dict[str, Any]:
    """One answer, without who it is."""
    found: dict[str, Any] = json.loads(await ask(client, subject, body))
    assert found.pop("server")
    return found


def updated(account: str, message: str = "jwt updated") -> dict[str, Any]:
    return {"data": {"account": account, "code": 200, "message": message}}


def failed(account: str, description: str) -> dict[str, Any]:
    error = {"account": account, "code": 500, "description": description}
    return {"error": {key: value for key, value in error.items() if value}}


@pytest.fixture
def full(broker: Brokers) -> Broker:
    """A server that keeps all JWTs, A's among them."""
    return broker.own(WORLD.config(WORLD.a.token(), resolver=FULL))


def files(server: Broker) -> set[str]:
    return {path.name for path in (server.process.folder / "jwt").iterdir()}


async def test_preload_is_stored(full: Broker) -> None:
    assert files(full) == {f"{WORLD.a.public}.jwt", f"{WORLD.system.public}.jwt"}
    (await connected(full, WORLD.a.user())).close()


async def test_a_new_account(full: Broker) -> None:
    token = B.token()
    async with await connected(full, WORLD.system.user()) as system:
        assert await answer(system, UPDATE, token) == updated(B.public)
        assert (full.process.folder / "jwt" / f"{B.public}.jwt").read_text() == token
        async with await connected(full, B.user()):
            assert (await ask(system, lookup(B.public))).decode() == token
            listed = await answer(system, LIST)
            assert sorted(listed["data"]) == sorted([WORLD.a.public, B.public, WORLD.system.public])


async def test_lookup_of_nobody(full: Broker) -> None:
    async with await connected(full, WORLD.system.user()) as system:
        assert await ask(system, lookup(B.public)) == b""


async def test_update_by_name(full: Broker) -> None:
    async with await connected(full, WORLD.system.user()) as system:
        assert await answer(system, update(B.public), B.token()) == updated(B.public)
        old = f"$SYS.ACCOUNT.{B.public}.CLAIMS.UPDATE"
        assert await answer(system, old, B.token(exp=2_000_000_000)) == updated(B.public)
        text = "jwt update resulted in error - subject does not match jwt content"
        assert await answer(system, update(WORLD.a.public), B.token()) == failed(WORLD.a.public, text)


async def test_update_of_who_is_connected(full: Broker) -> None:
    async with (
        await connected(full, WORLD.system.user()) as system,
        await connected(full, WORLD.a.user()) as a,
    ):
        limits = msgspec.structs.replace(OPEN_LIMITS, conn=0)
        assert await answer(system, UPDATE, WORLD.a.token(limits=limits)) == updated(WORLD.a.public)
        await a.expect("-ERR 'maximum account active connections exceeded'\r\n")


async def test_update_by_a_stranger_is_kept_and_not_trusted(full: Broker) -> None:
    stranger = OperatorWorld()
    async with await connected(full, WORLD.system.user()) as system:
        assert await answer(system, UPDATE, stranger.a.token()) == updated(stranger.a.public)
        async with await greeted(full) as client:
            client.send(f"CONNECT {stranger.a.user().connect(client.info)}\r\nPING\r\n")
            await client.expect(VIOLATION)


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
async def test_update_that_is_no_token(full: Broker, token: str) -> None:
    async with await connected(full, WORLD.system.user()) as system:
        found = await answer(system, UPDATE, token)
        assert found["error"]["account"] == "n/a"
        assert found["error"]["description"].startswith("jwt update resulted in error - ")


async def test_update_that_makes_no_sense(full: Broker) -> None:
    token = WORLD.a.token(signing_keys={"x": None})
    async with await connected(full, WORLD.system.user()) as system:
        text = 'jwt validation failed - validation errors: ["x" is not a valid account signing key]'
        assert await answer(system, UPDATE, token) == failed(WORLD.a.public, text)


async def test_pack(full: Broker) -> None:
    async with await connected(full, WORLD.system.user()) as system:
        tokens = {path.stem: path.read_text() for path in (full.process.folder / "jwt").glob("*.jwt")}
        total = 0
        for token in tokens.values():
            total ^= int.from_bytes(hashlib.sha256(token.encode()).digest())
        assert await ask(system, PACK, total.to_bytes(32)) == b""
        found = [await ask(system, PACK, bytes(32)), await message(system)]
        assert {tuple(line.decode().split("|")) for line in found} == set(tokens.items())
        assert await message(system) == b""


def deletion(*accounts: str, by: KeyPair = WORLD.operator, sub: str = "") -> str:
    claims = GenericClaims(sub=sub or by.public_key, nats={"accounts": list(accounts)})
    return encode(claims, by, int(time.time()))


async def test_delete(full: Broker) -> None:
    async with (
        await connected(full, WORLD.system.user()) as system,
        await connected(full, WORLD.a.user()) as a,
    ):
        done = {"data": {"code": 200, "message": "deleted 1 accounts"}}
        assert await answer(system, DELETE, deletion(WORLD.a.public)) == done
        await a.expect("-ERR 'Account Authentication Expired'\r\n")
        assert files(full) == {f"{WORLD.a.public}.jwt.deleted", f"{WORLD.system.public}.jwt"}
        async with await greeted(full) as client:
            client.send(f"CONNECT {WORLD.a.user().connect(client.info)}\r\nPING\r\n")
            await client.expect(VIOLATION)


async def test_an_account_comes_back(full: Broker) -> None:
    async with await connected(full, WORLD.system.user()) as system:
        (await connected(full, WORLD.a.user())).close()
        await answer(system, DELETE, deletion(WORLD.a.public))
        token = WORLD.a.token(exp=2_000_000_000)
        assert await answer(system, UPDATE, token) == updated(WORLD.a.public)
        (await connected(full, WORLD.a.user())).close()


STRANGER = key(Prefix.OPERATOR)
DELETIONS = {
    "not trusted": deletion(B.public, by=STRANGER),
    "not self signed": deletion(B.public, sub=STRANGER.public_key),
    "not allowed to delete system account": deletion(WORLD.system.public),
    "malformed request": deletion("x"),
}


@pytest.mark.parametrize("why", DELETIONS)
async def test_delete_refused(full: Broker, why: str) -> None:
    by = STRANGER if why in ("not trusted", "not self signed") else WORLD.operator
    async with await connected(full, WORLD.system.user()) as system:
        text = f"delete accounts request by {by.public_key} failed - {why}"
        assert await answer(system, DELETE, DELETIONS[why]) == failed("", text)


async def test_delete_where_it_is_not_enabled(broker: Brokers) -> None:
    server = broker.own(WORLD.config(WORLD.a.token(), resolver=KEEPING))
    async with await connected(server, WORLD.system.user()) as system:
        by = WORLD.operator.public_key
        text = f"delete accounts request by {by} failed - delete must be enabled in server config"
        assert await answer(system, DELETE, deletion(WORLD.a.public)) == failed("", text)


async def test_bootstrap(broker: Brokers) -> None:
    """A folder with nothing in it: users of the system account come in and put it there."""
    server = broker.own(f"operator: {WORLD.token}\nresolver: {FULL}\n")
    async with await connected(server, WORLD.system.user()) as system:
        assert await answer(system, UPDATE, WORLD.system.token()) == updated(WORLD.system.public)
        assert await answer(system, UPDATE, WORLD.a.token()) == updated(WORLD.a.public)
    (await connected(server, WORLD.a.user())).close()


async def test_strict_operator(broker: Brokers) -> None:
    signer = key(Prefix.OPERATOR)
    world = OperatorWorld(strict_signing_key_usage=True, signing_keys=(signer.public_key,))
    world.signer = signer
    account_signer = key(Prefix.ACCOUNT)
    signed = world.system.token(signing_keys={account_signer.public_key: None})
    preload = f"resolver_preload {{ {world.system.public}: {signed}\n }}"
    server = broker.own(f"operator: {world.token}\nresolver: MEMORY\n{preload}\n")
    async with await connected(server, world.system.user(by=account_signer)):
        pass
    async with await greeted(server) as client:
        client.send(f"CONNECT {world.system.user().connect(client.info)}\r\nPING\r\n")
        await client.expect(VIOLATION)


# --- a cache ---------------------------------------------------------------------------------------------


async def test_cache_keeps_what_is_in_use(broker: Brokers) -> None:
    server = broker.own(WORLD.config(WORLD.a.token(), resolver=CACHE))
    async with await connected(server, WORLD.system.user()) as system:
        skipped = updated(B.public, "jwt update cache skipped")
        assert await answer(system, UPDATE, B.token()) == skipped
        assert await answer(system, update(B.public), B.token()) == skipped
        async with await connected(server, WORLD.a.user()):
            token = WORLD.a.token(exp=2_000_000_000)
            assert await answer(system, UPDATE, token) == updated(WORLD.a.public, "jwt updated cache")
            assert (server.process.folder / "jwt" / f"{WORLD.a.public}.jwt").read_text() == token
        text = "jwt update cache resulted in error - expected 3 chunks"
        assert await answer(system, UPDATE, "x") == failed("n/a", text)
        assert await answer(system, update(B.public), "x") == failed(B.public, text)


# --- a web server ------------------------------------------------------------------------------------------


class AccountServer:
    """Answers with the JWTs it was given, under ``/jwt/v1/accounts/``."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """``context``: it speaks https."""
        self.tokens: dict[str, str] = {"": "ok"}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/jwt/v1/accounts/")
                outer.asked.append(name)
                token = outer.tokens.get(name)
                self.send_response(404 if token is None else 200)
                self.send_header("Content-Length", str(len(token or "")))
                self.end_headers()
                self.wfile.write((token or "").encode())

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "https" if context else "http"
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True)
        self._thread.start()

    @property
    def resolver(self) -> str:
        return f"URL({self._scheme}://127.0.0.1:{self._server.server_port}/jwt/v1/accounts/)"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def accounts() -> Iterator[AccountServer]:
    server = AccountServer()
    server.tokens[WORLD.system.public] = WORLD.system.token()
    yield server
    server.stop()


async def test_url(broker: Brokers, accounts: AccountServer) -> None:
    accounts.tokens[WORLD.a.public] = WORLD.a.token()
    server = broker.own(f"operator: {WORLD.token}\nresolver: {accounts.resolver}\n")
    for _ in range(2):
        (await connected(server, WORLD.a.user())).close()
    assert accounts.asked.count(WORLD.a.public) == 1
    async with await greeted(server) as client:
        client.send(f"CONNECT {B.user().connect(client.info)}\r\nPING\r\n")
        await client.expect(VIOLATION)


async def test_url_where_another_account_is(broker: Brokers, accounts: AccountServer) -> None:
    accounts.tokens[WORLD.a.public] = B.token()
    server = broker.own(f"operator: {WORLD.token}\nresolver: {accounts.resolver}\n")
    async with await greeted(server) as client:
        client.send(f"CONNECT {WORLD.a.user().connect(client.info)}\r\nPING\r\n")
        await client.expect(VIOLATION)


async def test_url_where_nobody_is(broker: Brokers, accounts: AccountServer) -> None:
    del accounts.tokens[""]
    with pytest.raises(StartFailed, match="404 Not Found"):
        broker.own(f"operator: {WORLD.token}\nresolver: {accounts.resolver}\n")


async def test_reload_to_where_nobody_is(broker: Brokers, accounts: AccountServer) -> None:
    """Only a start asks whether somebody is there; after a reload those who come are refused until there is."""
    accounts.tokens[WORLD.a.public] = WORLD.a.token()
    config = f"operator: {WORLD.token}\nresolver: {accounts.resolver}\n"
    server = broker.own(config)
    async with await connected(server, WORLD.a.user()) as stays:
        elsewhere = accounts.resolver.replace("/jwt/v1/", "/elsewhere/")
        assert server.process.reload(config.replace(accounts.resolver, elsewhere)) == ""
        await stays.expect_silence_until_pong()
        async with await greeted(server) as client:
            client.send(f"CONNECT {B.user().connect(client.info)}\r\nPING\r\n")
            await client.expect(VIOLATION)
        accounts.tokens[B.public] = B.token()
        assert server.process.reload(config) == ""
        (await connected(server, B.user())).close()


async def test_url_update(broker: Brokers, accounts: AccountServer) -> None:
    accounts.tokens[WORLD.a.public] = WORLD.a.token()
    server = broker.own(f"operator: {WORLD.token}\nresolver: {accounts.resolver}\n")
    async with await connected(server, WORLD.system.user()) as system:
        skipped = updated(WORLD.a.public, "jwt update skipped")
        assert await answer(system, update(WORLD.a.public), WORLD.a.token()) == skipped
        async with await connected(server, WORLD.a.user()):
            token = WORLD.a.token(exp=2_000_000_000)
            assert await answer(system, update(WORLD.a.public), token) == updated(WORLD.a.public)


@pytest.fixture
def secure_accounts(tmp_path: Path) -> Iterator[tuple[AccountServer, Certificates]]:
    """It wants to see a certificate of the authority."""
    made = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.server.cert_file, made.server.key_file)
    context.load_verify_locations(made.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    server = AccountServer(context)
    server.tokens[WORLD.system.public] = WORLD.system.token()
    yield server, made
    server.stop()


async def test_resolver_tls(broker: Brokers, secure_accounts: tuple[AccountServer, Certificates]) -> None:
    """Whom to believe, what to show; a reload may change both."""
    accounts, made = secure_accounts
    accounts.tokens |= {keys.public: keys.token() for keys in (WORLD.a, B)}
    config = f"operator: {WORLD.token}\nresolver: {accounts.resolver}\n"
    both = f'resolver_tls {{\n  ca_file: "{made.ca_file}"\n  {made.client.block}\n}}\n'
    server = broker.own(config + both)
    (await connected(server, WORLD.a.user())).close()
    assert server.process.reload(config + f'resolver_tls {{ ca_file: "{made.stranger.cert_file}" }}\n') == ""
    async with await greeted(server) as client:
        client.send(f"CONNECT {B.user().connect(client.info)}\r\nPING\r\n")
        await client.expect(VIOLATION)
    assert accounts.asked.count(B.public) == 0
    unseen = f"resolver_tls {{\n  insecure: true\n  {made.client.block}\n}}\n"
    assert server.process.reload(config + unseen) == ""
    (await connected(server, B.user())).close()


@pytest.mark.parametrize(
    "block", ["", 'resolver_tls {{ ca_file: "{0}" }}', "resolver_tls {{ insecure: true }}"]
)
async def test_resolver_tls_that_does_not_do(
    broker: Brokers, secure_accounts: tuple[AccountServer, Certificates], block: str
) -> None:
    """It is believed by nobody, or shown no certificate."""
    accounts, made = secure_accounts
    with pytest.raises(StartFailed, match="could not fetch"):
        broker.own(f"operator: {WORLD.token}\nresolver: {accounts.resolver}\n{block.format(made.ca_file)}\n")


async def test_updates_of_one_account_are_kept_in_order(full: Broker) -> None:
    """All are sent before the first is confirmed; each is there when it is, and the last one stays."""
    tokens = [B.token(tags=(str(number),)) for number in range(5)]
    async with await connected(full, WORLD.system.user()) as system:
        number = next(REPLIES)
        system.send(f"SUB re{number} {number}\r\n".encode())
        for token in tokens:
            subject = update(B.public)
            system.send(f"PUB {subject} re{number} {len(token)}\r\n{token}\r\n".encode())
        for _ in tokens:
            assert json.loads(await message(system))["data"]["code"] == 200
        assert await ask(system, lookup(B.public)) == tokens[-1].encode()
