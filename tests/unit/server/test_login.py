"""Logging in, and what ends a stay: with a clock that is set by hand."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from phloem.shared.errors import InvalidJWT
from phloem.shared.kernel import Reason
from phloem.shared.limits import REFUSAL_STEP_NS, SECOND_NS
from phloem.shared.security.claims import (
    Activation,
    ActivationClaims,
    Export,
    Import,
    TimeRange,
)
from phloem.shared.security.nkeys import Prefix
from phloem.shared.security.tokens import encode
from phloem.shared.server.server import Server
from phloem.shared.testing import ManualClock
from phloem.shared.testing import server as running
from tests.support.operators import AccountKeys, OperatorWorld, UserKeys, key, signature, subject
from tests.support.rawclient import RawClient

VIOLATION = "-ERR 'Authorization Violation'\r\n"
START_NS = 1_800_000_000 * SECOND_NS
NOW_S = START_NS // SECOND_NS

WORLD = OperatorWorld()
B = AccountKeys(WORLD, "B")


def trusting(*tokens: str, **more: Any) -> dict[str, Any]:
    accounts = {subject(token): token for token in (WORLD.system.token(iat=NOW_S), *tokens)}
    return {
        "operator": WORLD.token,
        "resolver": "MEMORY",
        "resolver_preload": accounts,
        "ping_interval": "100h",
        **more,
    }


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall_ns=START_NS)


@asynccontextmanager
async def greeted(server: Server) -> AsyncIterator[RawClient]:
    async with await RawClient.connect("127.0.0.1", server.port) as client:
        await client.expect_info()
        yield client


async def come_in(client: RawClient, user: UserKeys) -> None:
    client.send(f"CONNECT {user.connect(client.info)}\r\nPING\r\n")
    await client.expect("PONG\r\n")


async def is_refused(client: RawClient, server: Server, clock: ManualClock) -> None:
    """Who is refused hears of it when the clock has gone on."""
    await until(lambda: len(server.login.refusals) == 1)
    clock.advance(REFUSAL_STEP_NS)
    await client.expect(VIOLATION)


async def test_user_expires(clock: ManualClock) -> None:
    config = trusting(WORLD.a.token(iat=NOW_S))
    async with running(config, clock=clock) as server, greeted(server) as client:
        await come_in(client, WORLD.a.user(exp=NOW_S + 3600))
        clock.advance(3599 * SECOND_NS)
        await client.expect_silence_until_pong()
        clock.advance(SECOND_NS)
        await client.expect("-ERR 'User Authentication Expired'\r\n")
        await client.expect_close()


async def test_end_of_the_window(clock: ManualClock) -> None:
    """1,800,000,000 is 08:00:00 UTC."""
    user = WORLD.a.user(times=(TimeRange(start="07:00:00", end="09:00:00"),), times_location="UTC")
    config = trusting(WORLD.a.token(iat=NOW_S))
    async with running(config, clock=clock) as server, greeted(server) as client:
        await come_in(client, user)
        clock.advance(3599 * SECOND_NS)
        await client.expect_silence_until_pong()
        clock.advance(SECOND_NS)
        await client.expect("-ERR 'User Authentication Expired'\r\n")
        async with greeted(server) as late:
            late.send(f"CONNECT {user.connect(late.info)}\r\nPING\r\n")
            await is_refused(late, server, clock)


async def test_account_expires(clock: ManualClock) -> None:
    config = trusting(WORLD.a.token(iat=NOW_S, exp=NOW_S + 60))
    async with running(config, clock=clock) as server, greeted(server) as client:
        await come_in(client, WORLD.a.user())
        clock.advance(60 * SECOND_NS)
        await client.expect("-ERR 'Account Authentication Expired'\r\n")
        async with greeted(server) as late:
            late.send(f"CONNECT {WORLD.a.user().connect(late.info)}\r\nPING\r\n")
            await is_refused(late, server, clock)


async def test_alarms_of_who_has_left_do_not_pile_up(clock: ManualClock) -> None:
    async with running(trusting(WORLD.a.token(iat=NOW_S)), clock=clock) as server:
        for _ in range(3):
            async with greeted(server) as client:
                await come_in(client, WORLD.a.user(exp=NOW_S + 3600))
            await until(lambda: not server.clients.open)
        assert len(server.alarms) == 0
        assert server.members.count(WORLD.a.public) == 0


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  (what changes tells nobody)
            await asyncio.sleep(0)


# --- activations -----------------------------------------------------------------------------------------


async def test_activation_runs_out(clock: ManualClock) -> None:
    exports = (Export(subject="private.>", type="stream", token_req=True),)
    activation = encode(
        ActivationClaims(sub=B.public, exp=NOW_S + 60, nats=Activation(subject="private.>", kind="stream")),
        WORLD.a.pair,
        NOW_S,
    )
    imports = (Import(subject="private.>", type="stream", account=WORLD.a.public, token=activation),)
    config = trusting(WORLD.a.token(iat=NOW_S, exports=exports), B.token(iat=NOW_S, imports=imports))
    async with running(config, clock=clock) as server, greeted(server) as giver, greeted(server) as taker:
        await come_in(giver, WORLD.a.user())
        await come_in(taker, B.user())
        taker.send("SUB private.x 1\r\nPING\r\n")
        await taker.expect("PONG\r\n")
        giver.send("PUB private.x 1\r\na\r\n")
        await taker.expect("MSG private.x 1 1\r\na\r\n")
        clock.advance(60 * SECOND_NS)
        giver.send("PUB private.x 1\r\nb\r\nPING\r\n")
        await giver.expect("PONG\r\n")
        await taker.expect_silence_until_pong()


# --- accounts that are asked for ---------------------------------------------------------------------------


class SlowResolver:
    """Answers when it is told to."""

    def __init__(self, tokens: dict[str, str]) -> None:
        self.tokens = tokens
        self.asked: list[str] = []
        self.go = asyncio.Event()

    async def start(self) -> None: ...

    async def fetch(self, name: str) -> str:
        self.asked.append(name)
        await self.go.wait()
        if name not in self.tokens:
            raise InvalidJWT("account missing")
        return self.tokens[name]

    def reload(self) -> None: ...

    async def stop(self) -> None: ...


async def test_logins_wait_together(clock: ManualClock) -> None:
    async with running(trusting(), clock=clock) as server:
        assert server.login.trusted is not None
        resolver = SlowResolver({WORLD.a.public: WORLD.a.token(iat=NOW_S)})
        server.login.trusted.resolver = resolver
        async with greeted(server) as one, greeted(server) as two, greeted(server) as three:
            for client, account in ((one, WORLD.a), (two, WORLD.a), (three, B)):
                client.send(f"CONNECT {account.user().connect(client.info)}\r\nPING\r\n")
            await until(lambda: len(resolver.asked) == 2)
            assert resolver.asked == [WORLD.a.public, B.public]
            resolver.go.set()
            await one.expect("PONG\r\n")
            await two.expect("PONG\r\n")
            await is_refused(three, server, clock)


async def test_a_login_ends_with_its_connection(clock: ManualClock) -> None:
    async with running(trusting(), clock=clock) as server:
        assert server.login.trusted is not None
        resolver = SlowResolver({})
        server.login.trusted.resolver = resolver
        async with greeted(server) as client:
            client.send(f"CONNECT {WORLD.a.user().connect(client.info)}\r\nPING\r\n")
            await until(lambda: len(resolver.asked) == 1)
            assert server.login.waiting == 1
            (guest,) = server.clients.open.values()
            guest.conn.close(Reason.CLIENT_CLOSED)
            await until(lambda: not server.clients.open)
            assert server.login.waiting == 0
            resolver.go.set()


# --- callouts ------------------------------------------------------------------------------------------------

CALLOUT = {
    "accounts": {"AUTH": {"users": [{"user": "auth", "password": "x"}]}},
    "authorization": {
        "timeout": 3,
        "auth_callout": {"issuer": WORLD.a.public, "account": "AUTH", "auth_users": ["auth"]},
    },
}


async def test_a_callout_that_does_not_answer(clock: ManualClock) -> None:
    async with running(CALLOUT, clock=clock) as server, greeted(server) as client:
        client.send('CONNECT {"user":"u","pass":"p"}\r\nPING\r\n')
        await until(lambda: len(server.alarms) == 1)
        clock.advance(2 * SECOND_NS)
        assert server.login.waiting == 1
        clock.advance(SECOND_NS)
        await client.expect(VIOLATION)
        await client.expect_close()


# --- what is logged --------------------------------------------------------------------------------------------

USER = key(Prefix.USER)
CONNECTS = {
    "password": (
        {"users": [{"user": "u", "password": "right"}]},
        {"user": "u", "pass": "S3CRET"},
        'User "u"',
    ),
    "token": ({"token": "right"}, {"auth_token": "S3CRET"}, 'Token "[REDACTED]"'),
    "nkey": (
        {"users": [{"nkey": USER.public_key}]},
        {"nkey": USER.public_key, "sig": "S3CRET"},
        f'Nkey "{USER.public_key}"',
    ),
}


@pytest.mark.parametrize("case", CONNECTS)
async def test_a_failure_is_logged_once_without_secrets(case: str, caplog: pytest.LogCaptureFixture) -> None:
    authorization, shown, label = CONNECTS[case]
    with caplog.at_level(logging.INFO, "phloem"):
        async with running({"authorization": authorization}) as server, greeted(server) as client:
            client.send(f"CONNECT {json.dumps(shown)}\r\nPING\r\n")
            await client.expect(VIOLATION)
            await client.expect_close()
            cid = f"cid:{client.info['client_id']}"
    lines = [line for line in caplog.messages if cid in line]
    assert [line.partition(" - authentication error - ")[2] for line in lines] == [label]
    assert "S3CRET" not in caplog.text


async def test_a_jwt_is_logged_once_without_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "phloem"):
        async with running(trusting()) as server, greeted(server) as client:
            user = WORLD.a.user()
            client.send(f"CONNECT {user.connect(client.info)}\r\nPING\r\n")
            await client.expect(VIOLATION)
            sig = signature(user.pair, client.info["nonce"])
    assert len([line for line in caplog.messages if "authentication error" in line]) == 1
    assert user.token not in caplog.text
    assert sig not in caplog.text


# --- keys ------------------------------------------------------------------------------------------------------


async def test_keys_are_new_at_each_start_and_those_of_a_seed_are_not() -> None:
    one, two = Server({"port": -1}), Server({"port": -1})
    assert one.server_id != two.server_id
    assert one.curve.public_key != two.curve.public_key
    same = [Server({"port": -1}, seed=1) for _ in range(2)]
    assert same[0].server_id == same[1].server_id


async def test_limits_of_the_configuration() -> None:
    config = {
        "accounts": {
            "A": {
                "users": [{"user": "a", "password": "x"}],
                "limits": {"max_connections": 1, "max_subscriptions": 1, "max_payload": 2},
            }
        }
    }
    async with running(config) as server, greeted(server) as one, greeted(server) as two:
        one.send('CONNECT {"user":"a","pass":"x","verbose":false}\r\nSUB a 1\r\nSUB b 2\r\nPING\r\n')
        await one.expect("-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n")
        two.send('CONNECT {"user":"a","pass":"x","verbose":false}\r\nPING\r\n')
        await two.expect("-ERR 'maximum account active connections exceeded'\r\n")
        one.send("PUB x 3\r\nabc\r\n")
        await one.expect("-ERR 'Maximum Payload Violation'\r\n")
