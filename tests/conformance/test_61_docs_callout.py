"""The examples of NATS's documentation, as they stand there: authentication by somebody else's program.

Chapter "Auth Callout" of "Securing NATS". The service runs in the test, with the keys that the chapter publishes.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import nats
import pytest
from nats.aio.msg import Msg
from tests.support.brokers import Broker, Brokers
from tests.support.logins import let_in, synced, turned_away

from phloem.shared.security.callout_claims import (
    AuthorizationRequestClaims,
    AuthorizationResponse,
    AuthorizationResponseClaims,
)
from phloem.shared.security.claims import Permission, Permissions
from phloem.shared.security.issue import new_user
from phloem.shared.security.nkeys import KeyPair, Prefix
from phloem.shared.security.tokens import decode_as, encode
from phloem.shared.security.xkeys import unseal

GLOBAL = """
authorization {
  users: [ { user: auth, password: auth } ]
  auth_callout {
    issuer: ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA
    auth_users: [ auth ]
  }
}
"""
ACCOUNTS = """
accounts {
  AUTH: {
    users: [ { user: auth, password: auth } ]
  }
  APP: {}
  SYS: {}
}
system_account: SYS

authorization {
  auth_callout {
    issuer: ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA
    auth_users: [ auth ]
    account: AUTH
  }
}
"""
SEALED = """
accounts {
  AUTH: {
    users: [ { user: auth, password: auth } ]
  }
  APP: {}
  SYS: {}
}
system_account: SYS

authorization {
  auth_callout {
    issuer: ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA
    auth_users: [ auth ]
    account: AUTH
    xkey: XAMHJVPKHHPYZQQM2IVWXKJH36KDDZZMSJ32QKSQBUODFX4I4HARO4GL
  }
}
"""
ISSUER_SEED = "SAANDLKMXL6CUS3CP52WIXBEDN6YJ545GDKC65U5JZPPV6WH6ESWUA6YAI"  # both published in the chapter
CURVE_SEED = "SXANPB47UINQR7EXT3BRP26A4LY2CMCDLTY2KX6BU3EGK2VZYREJ4IJRCE"
PASSWORDS = {"alice": ("alice", "APP"), "bob": ("bob", "APP"), "root": ("root", "SYS")}
LISTENER = Permissions(pub=Permission(deny=("secret.>",)), sub=Permission(allow=("news.>", "_INBOX.>")))

Decide = Callable[[AuthorizationRequestClaims], AuthorizationResponse | None]


def issue(claims: AuthorizationRequestClaims, account: str, rights: Permissions | None = None) -> str:
    """A user JWT for who asks, in an account, by the published key."""
    with KeyPair.from_seed(ISSUER_SEED) as issuer:
        user = new_user(claims.nats.user_nkey, claims.nats.connect_opts.user, rights)
        return encode(msgspec.structs.replace(user, aud=account), issuer, int(time.time()))


def by_password(account: str = "") -> Decide:
    """Who knows a password of ``PASSWORDS`` comes into that account, or into ``account``."""

    def decide(claims: AuthorizationRequestClaims) -> AuthorizationResponse:
        asked = claims.nats.connect_opts
        password, own = PASSWORDS.get(asked.user, ("", ""))
        if not own or asked.pass_ != password:
            return AuthorizationResponse(error="who are you?")
        rights = LISTENER if asked.user == "bob" else None
        return AuthorizationResponse(jwt=issue(claims, account or own, rights))

    return decide


@asynccontextmanager
async def service(server: Broker, decide: Decide, sealed: bool = False) -> AsyncIterator[list[Msg]]:
    """The program that is asked; what it was asked. An answer of ``None`` is none at all."""
    heard: list[Msg] = []

    async def asked(message: Msg) -> None:
        heard.append(message)
        data = message.data
        if sealed:
            assert message.headers is not None
            with KeyPair.from_seed(CURVE_SEED) as curve:
                data = unseal(curve, data, message.headers["Nats-Server-Xkey"])
        claims = decode_as(data.decode(), AuthorizationRequestClaims)
        body = decide(claims)
        if body is None:
            return
        with KeyPair.from_seed(ISSUER_SEED) as issuer:
            answer = AuthorizationResponseClaims(
                sub=claims.nats.user_nkey, aud=claims.nats.server_id.id, nats=body
            )
            await message.respond(encode(answer, issuer, int(time.time())).encode())

    port = server.process.port("nats")
    connection = await nats.connect(f"nats://auth:auth@127.0.0.1:{port}", allow_reconnect=False)
    await connection.subscribe("$SYS.REQ.USER.AUTH", cb=asked)
    await connection.flush()
    try:
        yield heard
    finally:
        await connection.close()


def login(user: str, password: str = "") -> dict[str, str]:
    return {"user": user, "pass": password or user}


async def test_one_account(broker: Brokers) -> None:
    server = broker.own(GLOBAL)
    async with service(server, by_password("$G")) as heard:
        alice, bob = await let_in(server, **login("alice")), await let_in(server, **login("bob"))
        async with alice, bob:
            bob.send("SUB news.> 1\r\nSUB other 2\r\n")
            await bob.expect("-ERR 'Permissions Violation for Subscription to \"other\"'\r\n")
            alice.send("PUB news.today 2\r\nhi\r\n")
            await bob.expect("MSG news.today 1 2\r\nhi\r\n")
            bob.send("PUB secret.x 0\r\n\r\n")
            await bob.expect("-ERR 'Permissions Violation for Publish to \"secret.x\"'\r\n")
            await synced(alice, bob)
        assert len(heard) == 2
        await turned_away(server, **login("alice", "wrong"))
        await turned_away(server, **login("mallory"))
        await turned_away(server)
        assert len(heard) == 5


async def test_what_the_service_is_told(broker: Brokers) -> None:
    server = broker.own(GLOBAL)
    told: list[AuthorizationRequestClaims] = []

    def decide(claims: AuthorizationRequestClaims) -> AuthorizationResponse:
        told.append(claims)
        return AuthorizationResponse(jwt=issue(claims, "$G"))

    async with service(server, decide):
        client = await let_in(server, name="thing", lang="test", version="1", **login("alice", "x"))
        client.close()
    (claims,) = told
    assert claims.aud == "nats-authorization-request"
    assert claims.sub == "ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA"
    assert claims.iss == claims.nats.server_id.id == client.info["server_id"]
    asked = claims.nats.connect_opts
    assert (asked.user, asked.pass_, asked.name, asked.lang) == ("alice", "x", "thing", "test")
    info = claims.nats.client_info
    assert (info.host, info.user, info.kind, info.type, info.name) == (
        "127.0.0.1",
        "alice",
        "Client",
        "nats",
        "thing",
    )


async def test_several_accounts(broker: Brokers) -> None:
    """The service says which account somebody is in; who is not asked for stays out of them."""
    server = broker.own(ACCOUNTS)
    async with service(server, by_password()):
        alice = await let_in(server, **login("alice"))
        root = await let_in(server, **login("root"))
        auth = await let_in(server, **login("auth"))
        async with alice, root, auth:
            auth.send("SUB docs.> 1\r\n")
            root.send("SUB docs.> 1\r\n")
            alice.send("SUB docs.> 1\r\n")
            await synced(alice, root, auth)
            alice.send("PUB docs.x 0\r\n\r\n")
            await alice.expect("MSG docs.x 1 0\r\n\r\n")
            await synced(root, auth)
            # the service's account may not play the server
            auth.send("PUB $SYS.REQ.USER.AUTH 0\r\n\r\n")
            await auth.expect("-ERR 'Permissions Violation for Publish to \"$SYS.REQ.USER.AUTH\"'\r\n")
        await turned_away(server, **login("bob", "wrong"))


@pytest.mark.parametrize("account", ["NOWHERE", ""])
async def test_accounts_that_there_are_not(broker: Brokers, account: str) -> None:
    server = broker.own(ACCOUNTS)
    async with service(server, lambda claims: AuthorizationResponse(jwt=issue(claims, account))):
        await turned_away(server, **login("alice"))


async def test_sealed(broker: Brokers) -> None:
    """Nobody but the service can read what it is asked."""
    server = broker.own(SEALED)
    async with service(server, by_password(), sealed=True) as heard:
        (await let_in(server, **login("alice"))).close()
        await turned_away(server, **login("alice", "wrong"))
        assert all(b"alice" not in message.data and not message.data.startswith(b"eyJ") for message in heard)


async def test_nobody_answers(broker: Brokers) -> None:
    """Without the service, or without its answer, nobody comes in."""
    server = broker.own(GLOBAL.replace("authorization {", "authorization { timeout: 0.5", 1))
    await turned_away(server, **login("alice"))
    async with service(server, lambda claims: None):
        await turned_away(server, **login("alice"))


def _forged(claims: AuthorizationRequestClaims) -> AuthorizationResponse:
    """A user JWT by a key that the server does not know."""
    with KeyPair(Prefix.ACCOUNT, bytes(32)) as other:
        user = msgspec.structs.replace(new_user(claims.nats.user_nkey, "alice"), aud="$G")
        return AuthorizationResponse(jwt=encode(user, other, int(time.time())))


def _for_another(claims: AuthorizationRequestClaims) -> AuthorizationResponse:
    """A user JWT for somebody else's key."""
    with KeyPair(Prefix.USER, bytes(32)) as somebody, KeyPair.from_seed(ISSUER_SEED) as issuer:
        user = msgspec.structs.replace(new_user(somebody.public_key, "alice"), aud="$G")
        return AuthorizationResponse(jwt=encode(user, issuer, int(time.time())))


def _both(claims: AuthorizationRequestClaims) -> AuthorizationResponse:
    return AuthorizationResponse(jwt=issue(claims, "$G"), error="no")


@pytest.mark.parametrize("decide", [_forged, _for_another, _both, lambda _: AuthorizationResponse()])
async def test_answers_that_are_none(broker: Brokers, decide: Decide) -> None:
    server = broker.own(GLOBAL)
    async with service(server, decide):
        await turned_away(server, **login("alice"))
