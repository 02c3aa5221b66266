"""Auth callouts: a service of the user's decides who comes in (security_ops.md 2.9)."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.operators import AccountKeys, OperatorWorld, UserKeys, key
from tests.support.rawclient import RawClient

from phloem.shared.security.callout_claims import (
    AuthorizationRequestClaims,
    AuthorizationResponse,
    AuthorizationResponseClaims,
)
from phloem.shared.security.claims import (
    OPEN_USER,
    ExternalAuthorization,
    Permission,
    User,
    UserClaims,
    UserPermissionLimits,
)
from phloem.shared.security.nkeys import KeyPair, Prefix
from phloem.shared.security.tokens import decode_as, encode
from phloem.shared.security.xkeys import seal, unseal

VIOLATION = "-ERR 'Authorization Violation'\r\n"
NOW_S = 1_700_000_000
OPEN = {name: getattr(OPEN_USER, name) for name in UserPermissionLimits.__struct_fields__}

ISSUER, STRANGER, CURVE = key(Prefix.ACCOUNT), key(Prefix.ACCOUNT), key(Prefix.CURVE)
CONFIG = """authorization {
  timeout: 1
  auth_callout { issuer: %s, account: AUTH, auth_users: [auth], %s }
}
accounts {
  AUTH { users: [ { user: auth, password: pwd } ] }
  APP { users: [ { user: known, password: pwd } ] }
  OTHER { users: [ { user: other, password: pwd } ] }
}
"""
PLAIN = CONFIG % (ISSUER.public_key, "")
SEALED = CONFIG % (ISSUER.public_key, f"xkey: {CURVE.public_key}")
SOME = CONFIG % (ISSUER.public_key, "allowed_accounts: [APP]")

MESSAGE = re.compile(rb"(H?)MSG \S+ 1 (\S+) (?:(\d+) )?(\d+)\r\n")


class Request(NamedTuple):
    """What the service was asked."""

    claims: AuthorizationRequestClaims
    reply: str
    token: str
    server_xkey: str

    @property
    def user(self) -> str:
        return self.claims.nats.user_nkey

    @property
    def server(self) -> str:
        return self.claims.nats.server_id.id


Answer = Callable[[Request], bytes]


def user_token(request: Request, account: str = "APP", signer: KeyPair = ISSUER, **body: Any) -> str:
    """The JWT of whom the service lets in."""
    fields = {"sub": request.user, "name": body.pop("name", "bob"), "aud": account}
    claims = UserClaims(**fields, exp=body.pop("exp", 0), nats=User(**{**OPEN, **body}))
    return encode(claims, signer, NOW_S)


def response(request: Request, signer: KeyPair = ISSUER, **fields: Any) -> bytes:
    """What the service says: ``jwt`` or ``error``; ``sub`` and ``aud`` instead of what fits."""
    who = {"sub": fields.pop("sub", request.user), "aud": fields.pop("aud", request.server)}
    claims = AuthorizationResponseClaims(**who, nats=AuthorizationResponse(**fields))
    return encode(claims, signer, NOW_S).encode()


def lets_in(**body: Any) -> Answer:
    return lambda request: response(request, jwt=user_token(request, **body))


class Service:
    """The auth service: a client of the callout's account that answers one request at a time."""

    def __init__(self, client: RawClient) -> None:
        self.client = client

    async def asked(self) -> Request:
        """The next request."""
        head = MESSAGE.fullmatch(await self.client.expect(MESSAGE))
        assert head is not None
        size, reply = int(head[4]), head[2].decode()
        whole = (await self.client.expect(re.compile(rb"(?s).{%d}\r\n" % size)))[:-2]
        header, body = whole[: int(head[3] or 0)], whole[int(head[3] or 0) :]
        xkey = re.search(rb"Nats-Server-Xkey: (\S+)", header)
        server_xkey = xkey[1].decode() if xkey else ""
        if server_xkey:
            body = unseal(CURVE, body, server_xkey)
        token = body.decode()
        return Request(decode_as(token, AuthorizationRequestClaims), reply, token, server_xkey)

    def say(self, request: Request, body: bytes) -> None:
        self.client.send(f"PUB {request.reply} {len(body)}\r\n".encode() + body + b"\r\n")

    async def answer(self, answer: Answer) -> Request:
        """Answer the next request."""
        request = await self.asked()
        self.say(request, answer(request))
        return request


async def greeted(broker: Broker) -> RawClient:
    client = await broker.connect()
    await client.expect_info()
    return client


@asynccontextmanager
async def service(broker: Broker) -> AsyncIterator[Service]:
    connect = '{"verbose":false,"headers":true,"user":"auth","pass":"pwd"}'
    async with await broker.client(connect) as client:
        client.send("SUB $SYS.REQ.USER.AUTH 1\r\nPING\r\n")
        await client.expect("PONG\r\n")
        yield Service(client)


def connect(**shown: object) -> str:
    return f"CONNECT {json.dumps({'verbose': False, 'protocol': 1, **shown})}\r\nPING\r\n"


async def account_of(client: RawClient) -> object:
    """The account that the server says an accepted client is in."""
    await client.expect("PONG\r\n")
    await client.expect_info()
    return client.info["remote_account"]


# --- configuration mode -----------------------------------------------------------------------------------


async def test_request(broker: Brokers) -> None:
    server = broker.own(PLAIN)
    async with service(server) as auth, await greeted(server) as client:
        client.send(connect(user="bob", **{"pass": "x"}, name="b", lang="py", version="1"))
        request = await auth.asked()
        claims, asked = request.claims, request.claims.nats
        assert (claims.aud, claims.sub) == ("nats-authorization-request", ISSUER.public_key)
        assert (claims.iss, asked.server_id.id) == (client.info["server_id"], client.info["server_id"])
        assert (asked.type, asked.version) == ("authorization_request", 2)
        info, options = asked.client_info, asked.connect_opts
        assert (info.host, info.user, info.name, info.kind, info.type, info.nonce) == (
            "127.0.0.1",
            "bob",
            "b",
            "Client",
            "nats",
            "",
        )
        assert (options.user, options.pass_, options.lang, options.version, options.protocol) == (
            "bob",
            "x",
            "py",
            "1",
            1,
        )
        assert re.fullmatch(r"\$SYS\._INBOX\.\w{8}\.\w+", request.reply)
        auth.say(request, lets_in()(request))
        assert await account_of(client) == "APP"


async def test_permissions(broker: Brokers) -> None:
    server = broker.own(PLAIN)
    async with service(server) as auth, await greeted(server) as client:
        client.send(connect(user="bob", **{"pass": "x"}))
        await auth.answer(lets_in(pub=Permission(allow=("a",))))
        assert await account_of(client) == "APP"
        client.send("PUB b 0\r\n\r\nPING\r\n")
        await client.expect("-ERR 'Permissions Violation for Publish to \"b\"'\r\nPONG\r\n")


async def test_own_limits_do_not_count(broker: Brokers) -> None:
    server = broker.own(PLAIN)
    async with service(server) as auth, await greeted(server) as client:
        client.send(connect(user="bob", **{"pass": "x"}))
        await auth.answer(lets_in(subs=0, payload=0))
        assert await account_of(client) == "APP"
        client.send("SUB a 1\r\nPUB a 1\r\nx\r\n")
        await client.expect("MSG a 1 1\r\nx\r\n")


@pytest.mark.parametrize(
    "shown",
    [
        {"user": "known", "pass": "pwd"},
        {"user": "known", "pass": "wrong"},
        {"auth_token": "t"},
        {},
    ],
    ids=json.dumps,
)
async def test_is_asked(broker: Brokers, shown: dict[str, str]) -> None:
    server = broker.own(PLAIN)
    async with service(server) as auth, await greeted(server) as client:
        client.send(connect(**shown))
        request = await auth.answer(lets_in(account="OTHER"))
        wanted = "[REDACTED]" if "auth_token" in shown else shown.get("user", "")
        assert request.claims.nats.client_info.user == wanted
        assert await account_of(client) == "OTHER"


async def test_accounts_it_has_nothing_to_do_with(broker: Brokers) -> None:
    server = broker.own(SOME)
    async with service(server) as auth, await greeted(server) as client, await greeted(server) as other:
        other.send(connect(user="other", **{"pass": "pwd"}))
        assert await account_of(other) == "OTHER"
        client.send(connect(user="known", **{"pass": "pwd"}))
        await auth.answer(lets_in())
        assert await account_of(client) == "APP"


async def test_own_user_with_a_wrong_password(broker: Brokers) -> None:
    async with await greeted(broker.shared(PLAIN)) as client:
        client.send(connect(user="auth", **{"pass": "wrong"}))
        await client.expect(VIOLATION)
        await client.expect_close()


async def test_own_users_may_not_ask(broker: Brokers) -> None:
    async with service(broker.own(PLAIN)) as auth:
        auth.client.send("PUB $SYS.REQ.USER.AUTH 0\r\n\r\nPING\r\n")
        await auth.client.expect(
            "-ERR 'Permissions Violation for Publish to \"$SYS.REQ.USER.AUTH\"'\r\nPONG\r\n"
        )


REFUSALS: dict[str, Answer] = {
    "error": lambda r: response(r, error="nope"),
    "empty": lambda r: b"",
    "no token": lambda r: b"x",
    "neither": lambda r: response(r),
    "both": lambda r: response(r, jwt=user_token(r), error="nope"),
    "for somebody else": lambda r: response(r, sub=key(Prefix.USER).public_key, jwt=user_token(r)),
    "for another server": lambda r: response(r, aud=key(Prefix.SERVER).public_key, jwt=user_token(r)),
    "user signed by a stranger": lambda r: response(r, jwt=user_token(r, signer=STRANGER)),
    "user with issuer_account": lambda r: response(r, jwt=user_token(r, issuer_account=ISSUER.public_key)),
    "no such account": lambda r: response(r, jwt=user_token(r, "NOWHERE")),
    "expired user": lambda r: response(r, jwt=user_token(r, exp=NOW_S)),
    "unknown connection type": lambda r: response(r, jwt=user_token(r, allowed_connection_types=("X",))),
    "proxy required": lambda r: response(r, jwt=user_token(r, proxy_required=True)),
    "by a stranger": lambda r: response(r, STRANGER, jwt=user_token(r)),
    "by a stranger for the issuer": lambda r: response(
        r, STRANGER, jwt=user_token(r), issuer_account=ISSUER.public_key
    ),
    "a request": lambda r: r.token.encode(),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_refused(broker: Brokers, case: str) -> None:
    server = broker.own(PLAIN)
    async with service(server) as auth, await greeted(server) as client:
        client.send(connect(user="bob", **{"pass": "x"}))
        await auth.answer(REFUSALS[case])
        await client.expect(VIOLATION)
        await client.expect_close()


async def test_no_service(broker: Brokers) -> None:
    async with await greeted(broker.shared(PLAIN)) as client:
        client.send(connect(user="bob", **{"pass": "x"}))
        await client.expect(VIOLATION)
        await client.expect_close()


# --- sealed -------------------------------------------------------------------------------------------------


async def test_sealed_request_and_answer(broker: Brokers) -> None:
    server = broker.own(SEALED)
    async with service(server) as auth, await greeted(server) as client:
        client.send(connect(user="bob", **{"pass": "x"}))
        request = await auth.asked()
        assert request.server_xkey == client.info["xkey"] == request.claims.nats.server_id.xkey
        auth.say(request, seal(CURVE, lets_in()(request), request.server_xkey, bytes(24)))
        assert await account_of(client) == "APP"


async def test_plain_answer_to_a_sealed_request(broker: Brokers) -> None:
    server = broker.own(SEALED)
    async with service(server) as auth, await greeted(server) as client:
        client.send(connect(user="bob", **{"pass": "x"}))
        await auth.answer(lets_in())
        assert await account_of(client) == "APP"


async def test_sealed_answer_by_a_stranger(broker: Brokers) -> None:
    server = broker.own(SEALED)
    async with service(server) as auth, await greeted(server) as client:
        client.send(connect(user="bob", **{"pass": "x"}))
        await auth.answer(
            lambda r: seal(CURVE, response(r, STRANGER, jwt=user_token(r)), r.server_xkey, bytes(24))
        )
        assert await account_of(client) == "APP"


async def test_sealed_by_somebody_else(broker: Brokers) -> None:
    server, other = broker.own(SEALED), key(Prefix.CURVE)
    async with service(server) as auth, await greeted(server) as client:
        client.send(connect(user="bob", **{"pass": "x"}))
        await auth.answer(lambda r: seal(other, lets_in()(r), r.server_xkey, bytes(24)))
        await client.expect(VIOLATION)


# --- events -------------------------------------------------------------------------------------------------


EVENT = re.compile(rb"MSG \$SYS\.ACCOUNT\.CLIENT\.AUTH\.ERR 2 +\d+\r\n(\{.*\})\r\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda r: response(r, error="nope"), "Auth callout service returned an error: nope"),
        (
            lambda r: response(r, jwt=user_token(r, "NOWHERE")),
            'No valid account "NOWHERE" for auth callout response on account "AUTH": account missing',
        ),
    ],
    ids=["error", "no account"],
)
async def test_event_of_a_failure(broker: Brokers, answer: Answer, reason: str) -> None:
    server = broker.own(PLAIN)
    async with service(server) as auth, await greeted(server) as client:
        auth.client.send("SUB $SYS.ACCOUNT.CLIENT.AUTH.ERR 2\r\nPING\r\n")
        await auth.client.expect("PONG\r\n")
        client.send(connect(user="bob", **{"pass": "x"}))
        await auth.answer(answer)
        match = EVENT.fullmatch(await auth.client.expect(EVENT))
        assert match is not None
        assert json.loads(match[1])["reason"] == reason


# --- operators ----------------------------------------------------------------------------------------------

WORLD = OperatorWorld()
AUTH_USER = WORLD.a.user(name="auth")
SENTINEL = WORLD.a.user(
    name="sentinel", bearer_token=True, sub=Permission(deny=(">",)), pub=Permission(deny=(">",))
)
TARGET = AccountKeys(WORLD, "B")


def operator_config(allowed: str, xkey: str = "") -> str:
    callout = ExternalAuthorization(
        auth_users=(AUTH_USER.pair.public_key,), allowed_accounts=(allowed,), xkey=xkey
    )
    return WORLD.config(
        WORLD.a.token(authorization=callout),
        TARGET.token(),
        more="authorization { timeout: 1 }\n",
    )


async def operator_service(server: Broker) -> RawClient:
    client = await greeted(server)
    client.send(f"CONNECT {AUTH_USER.connect(client.info)}\r\nSUB $SYS.REQ.USER.AUTH 1\r\nPING\r\n")
    await client.expect("PONG\r\n")
    return client


async def as_sentinel(server: Broker, user: UserKeys = SENTINEL) -> RawClient:
    client = await greeted(server)
    client.send(f"CONNECT {user.connect(client.info, protocol=1, user='bob', auth_token='t')}\r\nPING\r\n")
    return client


async def test_operator_mode(broker: Brokers) -> None:
    server = broker.own(operator_config("*"))
    async with await operator_service(server) as auth, await as_sentinel(server) as client:
        request = await Service(auth).answer(
            lambda r: response(r, WORLD.a.pair, jwt=user_token(r, "", TARGET.pair))
        )
        assert request.claims.sub == WORLD.a.public
        options = request.claims.nats.connect_opts
        assert (options.jwt, options.user, options.auth_token) == (SENTINEL.token, "bob", "t")
        assert await account_of(client) == TARGET.public


async def test_operator_mode_own_account(broker: Brokers) -> None:
    server = broker.own(operator_config(TARGET.public))
    async with await operator_service(server) as auth, await as_sentinel(server) as client:
        await Service(auth).answer(lambda r: response(r, WORLD.a.pair, jwt=user_token(r, "", WORLD.a.pair)))
        assert await account_of(client) == WORLD.a.public
        client.send("PUB $SYS.REQ.USER.AUTH 0\r\n\r\nPING\r\n")
        await client.expect("-ERR 'Permissions Violation for Publish to \"$SYS.REQ.USER.AUTH\"'\r\nPONG\r\n")


OPERATOR_REFUSALS: dict[str, Answer] = {
    "account that is not allowed": lambda r: response(
        r, WORLD.a.pair, jwt=user_token(r, "", WORLD.system.pair)
    ),
    "answer by a stranger": lambda r: response(r, STRANGER, jwt=user_token(r, "", TARGET.pair)),
    "error": lambda r: response(r, WORLD.a.pair, error="nope"),
}


@pytest.mark.parametrize("case", OPERATOR_REFUSALS)
async def test_operator_mode_refused(broker: Brokers, case: str) -> None:
    server = broker.own(operator_config(TARGET.public))
    async with await operator_service(server) as auth, await as_sentinel(server) as client:
        await Service(auth).answer(OPERATOR_REFUSALS[case])
        await client.expect(VIOLATION)
        await client.expect_close()


async def test_operator_mode_sealed(broker: Brokers) -> None:
    server = broker.own(operator_config("*", CURVE.public_key))
    async with await operator_service(server) as auth, await as_sentinel(server) as client:
        await Service(auth).answer(
            lambda r: seal(
                CURVE, response(r, WORLD.a.pair, jwt=user_token(r, "", TARGET.pair)), r.server_xkey, bytes(24)
            )
        )
        assert await account_of(client) == TARGET.public
