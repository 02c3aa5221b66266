"""Users by JWT: operators, accounts in memory, and what changes while somebody is connected (security_ops.md 2.10)."""

import itertools
import json
import re
import time
from collections.abc import Callable

import msgspec
import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.operators import OperatorWorld, UserKeys, key, signature
from tests.support.rawclient import RawClient

from phloem.shared.security.claims import (
    OPEN_LIMITS,
    OPEN_USER,
    Permission,
    Permissions,
    ResponsePermission,
    TimeRange,
    UserScope,
)
from phloem.shared.security.nkeys import KeyPair, Prefix

VIOLATION = "-ERR 'Authorization Violation'\r\n"
YEAR_S = 365 * 86_400

WORLD = OperatorWorld()
SIGNER, SCOPE, REVOKED = key(Prefix.ACCOUNT), key(Prefix.ACCOUNT), key(Prefix.USER)
TEMPLATE = msgspec.structs.replace(
    OPEN_USER, pub=Permission(allow=("d.{{name()}}.>",)), sub=Permission(allow=("t.{{tag(team)}}",)), subs=1
)
A = WORLD.a.token(
    signing_keys={
        SIGNER.public_key: None,
        SCOPE.public_key: UserScope(key=SCOPE.public_key, template=TEMPLATE),
    },
    revocations={REVOKED.public_key: int(time.time()) + YEAR_S},
    default_permissions=Permissions(sub=Permission(deny=("secret",))),
)
CONFIG = WORLD.config(A)


async def greeted(broker: Broker) -> RawClient:
    client = await broker.connect()
    await client.expect_info()
    return client


async def connected(broker: Broker, user: UserKeys, **more: object) -> RawClient:
    """A client that was let in."""
    client = await greeted(broker)
    client.send(f"CONNECT {user.connect(client.info, **more)}\r\nPING\r\n")
    await client.expect("PONG\r\n")
    return client


async def barrier(client: RawClient, lines: str = "") -> None:
    client.send(f"{lines}PING\r\n")
    await client.expect("PONG\r\n")


async def test_info(broker: Brokers) -> None:
    async with await greeted(broker.shared(CONFIG)) as client:
        assert client.info["auth_required"] is True
        assert len(client.info["nonce"]) == 15


async def test_connect_info_names_the_account(broker: Brokers) -> None:
    async with await greeted(broker.shared(CONFIG)) as client:
        client.send(f"CONNECT {WORLD.a.user().connect(client.info, protocol=1)}\r\nPING\r\n")
        await client.expect("PONG\r\n")
        await client.expect_info()
        assert (client.info["remote_account"], client.info.get("acc_is_sys")) == (WORLD.a.public, None)


async def test_system_account(broker: Brokers) -> None:
    async with await greeted(broker.shared(CONFIG)) as client:
        client.send(f"CONNECT {WORLD.system.user().connect(client.info, protocol=1)}\r\nPING\r\n")
        await client.expect("PONG\r\n")
        await client.expect_info()
        assert client.info["acc_is_sys"] is True


LET_IN: dict[str, Callable[[], UserKeys]] = {
    "plain": WORLD.a.user,
    "by a signing key": lambda: WORLD.a.user(by=SIGNER),
    "bearer": lambda: WORLD.a.user(bearer_token=True),
    "scoped": lambda: WORLD.a.user(by=SCOPE, scoped=True, tags=("team:x",)),
    "standard connections": lambda: WORLD.a.user(allowed_connection_types=("standard",)),
    "from here": lambda: WORLD.a.user(src=("127.0.0.0/8",)),
    "all day": lambda: WORLD.a.user(times=(TimeRange(start="00:00:00", end="23:59:59"),)),
}


@pytest.mark.parametrize("case", LET_IN)
async def test_let_in(broker: Brokers, case: str) -> None:
    (await connected(broker.shared(CONFIG), LET_IN[case]())).close()


STRANGER = OperatorWorld()
TURNED_AWAY: dict[str, Callable[[], UserKeys]] = {
    "unknown account": STRANGER.a.user,
    "unknown issuer": lambda: WORLD.a.user(by=key(Prefix.ACCOUNT)),
    "expired": lambda: WORLD.a.user(exp=int(time.time()) - 5),
    "revoked": lambda: WORLD.a.user(pair=REVOKED),
    "other connections": lambda: WORLD.a.user(allowed_connection_types=("LEAFNODE",)),
    "from elsewhere": lambda: WORLD.a.user(src=("10.0.0.0/8",)),
    "never": lambda: WORLD.a.user(times=(TimeRange(start="12:00:00", end="12:00:00"),)),
    "scoped with permissions": lambda: WORLD.a.user(by=SCOPE, pub=Permission(allow=("x",))),
    "proxy required": lambda: WORLD.a.user(proxy_required=True),
}


@pytest.mark.parametrize("case", TURNED_AWAY)
async def test_turned_away(broker: Brokers, case: str) -> None:
    async with await greeted(broker.shared(CONFIG)) as client:
        client.send(f"CONNECT {TURNED_AWAY[case]().connect(client.info)}\r\nPING\r\n")
        await client.expect(VIOLATION)
        await client.expect_close()


@pytest.mark.parametrize(
    "changes",
    [
        {"jwt": ""},
        {"jwt": "eyJ.eyJ.x"},
        {"sig": ""},
        {"sig": "!"},
        {"sig": "AAAA"},
        {"jwt": "", "user": "a", "pass": "b"},
        {"account": "x"},
    ],
    ids=json.dumps,
)
async def test_malformed(broker: Brokers, changes: dict[str, str]) -> None:
    async with await greeted(broker.shared(CONFIG)) as client:
        client.send(f"CONNECT {WORLD.a.user().connect(client.info, **changes)}\r\nPING\r\n")
        await client.expect(VIOLATION)
        await client.expect_close()


async def test_signature_of_another_nonce(broker: Brokers) -> None:
    user = WORLD.a.user()
    async with await greeted(broker.shared(CONFIG)) as first, await greeted(broker.shared(CONFIG)) as second:
        second.send(f"CONNECT {user.connect(first.info)}\r\nPING\r\n")
        await second.expect(VIOLATION)


async def test_nothing_before_connect(broker: Brokers) -> None:
    async with await greeted(broker.shared(CONFIG)) as client:
        client.send("PING\r\n")
        await client.expect(VIOLATION)


async def test_permissions(broker: Brokers) -> None:
    user = WORLD.a.user(pub=Permission(allow=("a",)), sub=Permission(allow=("b.*",), deny=("b.no",)))
    async with await connected(broker.shared(CONFIG), user) as client:
        client.send("PUB c 0\r\n\r\nSUB b.no 1\r\nSUB b.x 2\r\nPUB a 0\r\n\r\nPING\r\n")
        await client.expect(
            "-ERR 'Permissions Violation for Publish to \"c\"'\r\n"
            "-ERR 'Permissions Violation for Subscription to \"b.no\"'\r\n"
            "PONG\r\n"
        )


async def test_default_permissions(broker: Brokers) -> None:
    async with await connected(broker.shared(CONFIG), WORLD.a.user()) as client:
        client.send("SUB secret 1\r\nPING\r\n")
        await client.expect("-ERR 'Permissions Violation for Subscription to \"secret\"'\r\nPONG\r\n")


async def test_scope(broker: Brokers) -> None:
    user = WORLD.a.user(by=SCOPE, scoped=True, name="dev1", tags=("team:blue",))
    async with await connected(broker.shared(CONFIG), user) as client:
        client.send("PUB d.dev1.x 0\r\n\r\nPUB d.dev2.x 0\r\n\r\nSUB t.blue 1\r\nSUB t.blue 2\r\nPING\r\n")
        await client.expect(
            "-ERR 'Permissions Violation for Publish to \"d.dev2.x\"'\r\n"
            "-ERR 'maximum subscriptions exceeded'\r\n"
            "PONG\r\n"
        )


async def test_responses(broker: Brokers) -> None:
    user = WORLD.a.user(resp=ResponsePermission(max=1), sub=Permission(allow=("ask.responses",)))
    server = broker.shared(CONFIG)
    async with await connected(server, user) as responder, await connected(server, WORLD.a.user()) as asker:
        await barrier(responder, "SUB ask.responses 1\r\n")
        asker.send("PUB ask.responses re.responses 0\r\n\r\n")
        await responder.expect("MSG ask.responses 1 re.responses 0\r\n\r\n")
        responder.send("PUB re.responses 0\r\n\r\nPUB re.responses 0\r\n\r\nPING\r\n")
        await responder.expect("-ERR 'Permissions Violation for Publish to \"re.responses\"'\r\nPONG\r\n")


async def test_payload_of_the_user(broker: Brokers) -> None:
    async with await connected(broker.shared(CONFIG), WORLD.a.user(payload=3)) as client:
        client.send("PUB a 3\r\nabc\r\nPUB a 4\r\nabcd\r\n")
        await client.expect("-ERR 'Maximum Payload Violation'\r\n")
        await client.expect_close()


async def test_no_subscriptions_at_all(broker: Brokers) -> None:
    async with await greeted(broker.shared(CONFIG)) as client:
        client.send(f"CONNECT {WORLD.a.user(subs=0).connect(client.info)}\r\nPING\r\n")
        await client.expect_in_any_order("-ERR 'maximum subscriptions exceeded'\r\n", "PONG\r\n")
        await client.expect_close()


async def test_sentinel(broker: Brokers) -> None:
    sentinel = WORLD.a.user(bearer_token=True).token
    server = broker.shared(WORLD.config(A, more=f"default_sentinel: {sentinel}\n"))
    async with await greeted(server) as client:
        client.send('CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n')
        await client.expect("PONG\r\n")
        await client.expect_info()
        assert client.info["remote_account"] == WORLD.a.public


async def test_pinned_accounts(broker: Brokers) -> None:
    other = OperatorWorld().a.public
    server = broker.shared(WORLD.config(A, more=f"resolver_pinned_accounts: [{other}]\n"))
    async with await greeted(server) as client:
        client.send(f"CONNECT {WORLD.a.user().connect(client.info)}\r\nPING\r\n")
        await client.expect(VIOLATION)
    (await connected(server, WORLD.system.user())).close()


# --- limits of accounts ------------------------------------------------------------------------------


def limited(**changes: int) -> str:
    """A configuration in which A may have less."""
    return WORLD.config(WORLD.a.token(limits=msgspec.structs.replace(OPEN_LIMITS, **changes)))


async def test_connections_of_the_account(broker: Brokers) -> None:
    server = broker.own(limited(conn=1))
    async with await connected(server, WORLD.a.user()), await greeted(server) as second:
        second.send(f"CONNECT {WORLD.a.user().connect(second.info)}\r\nPING\r\n")
        await second.expect("-ERR 'maximum account active connections exceeded'\r\n")
        await second.expect_close()


async def test_payload_of_the_account(broker: Brokers) -> None:
    async with await connected(broker.own(limited(payload=2)), WORLD.a.user(payload=3)) as client:
        client.send("PUB a 3\r\nabc\r\n")
        await client.expect("-ERR 'Maximum Payload Violation'\r\n")


async def test_subscriptions_of_the_account_are_those_of_each_client(broker: Brokers) -> None:
    server = broker.own(limited(subs=1))
    for _ in range(2):
        async with await connected(server, WORLD.a.user()) as client:
            client.send("SUB a 1\r\nSUB b 2\r\nPING\r\n")
            await client.expect("-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n")


# --- claims change -------------------------------------------------------------------------------------

REPLIES = itertools.count()
ANSWER = re.compile(rb"MSG re\d+ 9 +(\d+)\r\n(\{.*\})\r\n")


async def push(system: RawClient, subject: str, token: str) -> dict[str, object]:
    """Ask for an update; what the server says, without who it is."""
    reply = f"re{next(REPLIES)}"
    system.send(f"SUB {reply} 9\r\nPUB {subject} {reply} {len(token)}\r\n{token}\r\n")
    match = ANSWER.fullmatch(await system.expect(ANSWER))
    assert match is not None
    system.send("UNSUB 9\r\n")
    answer: dict[str, object] = json.loads(match[2])
    assert answer.pop("server")
    return answer


def update(account: str) -> str:
    return f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.UPDATE"


async def test_update_in_memory(broker: Brokers) -> None:
    server, a = broker.own(CONFIG), WORLD.a.public
    async with await connected(server, WORLD.system.user()) as system:
        skipped = {"data": {"account": a, "code": 200, "message": "jwt update skipped"}}
        assert await push(system, update(a), WORLD.a.token()) == skipped
        async with await connected(server, WORLD.a.user()) as client:
            updated = {"data": {"account": a, "code": 200, "message": "jwt updated"}}
            token = WORLD.a.token(default_permissions=Permissions(pub=Permission(deny=("x",))))
            assert await push(system, update(a), token) == updated
            client.send("PUB x 0\r\n\r\nPING\r\n")
            await client.expect("-ERR 'Permissions Violation for Publish to \"x\"'\r\nPONG\r\n")


@pytest.mark.parametrize("case", ["empty", "no token", "another account"])
async def test_update_refused(broker: Brokers, case: str) -> None:
    token = {"empty": "", "no token": "x", "another account": WORLD.system.token()}[case]
    async with await connected(broker.shared(CONFIG), WORLD.system.user()) as system:
        answer = await push(system, update(WORLD.a.public), token)
        text = {
            "empty": "jwt update error - request body is empty",
            "no token": "jwt update resulted in error - expected 3 chunks",
            "another account": "jwt update resulted in error - subject does not match jwt content",
        }[case]
        assert answer == {"error": {"account": WORLD.a.public, "code": 500, "description": text}}


@pytest.mark.parametrize("whom", ["user", "*"])
async def test_revoked_while_connected(broker: Brokers, whom: str) -> None:
    server, user = broker.own(CONFIG), WORLD.a.user()
    revoked = user.pair.public_key if whom == "user" else "*"
    async with (
        await connected(server, WORLD.system.user()) as system,
        await connected(server, user) as client,
    ):
        await push(system, update(WORLD.a.public), WORLD.a.token(revocations={revoked: int(time.time())}))
        await client.expect("-ERR 'User Authentication Revoked'\r\n")
        await client.expect_close()


async def test_signing_key_gone_while_connected(broker: Brokers) -> None:
    server, user = broker.own(CONFIG), WORLD.a.user(by=SIGNER)
    async with (
        await connected(server, WORLD.system.user()) as system,
        await connected(server, user) as client,
    ):
        await push(system, update(WORLD.a.public), WORLD.a.token())
        await client.expect_close()


async def test_bearer_forbidden_while_connected(broker: Brokers) -> None:
    server, user = broker.own(CONFIG), WORLD.a.user(bearer_token=True)
    limits = msgspec.structs.replace(OPEN_LIMITS, disallow_bearer=True)
    async with (
        await connected(server, WORLD.system.user()) as system,
        await connected(server, user) as client,
    ):
        await push(system, update(WORLD.a.public), WORLD.a.token(limits=limits))
        await client.expect(VIOLATION)
        await client.expect_close()


async def test_fewer_connections_close_the_newest(broker: Brokers) -> None:
    server = broker.own(CONFIG)
    async with (
        await connected(server, WORLD.system.user()) as system,
        await connected(server, WORLD.a.user()) as first,
        await connected(server, WORLD.a.user()) as second,
    ):
        limits = msgspec.structs.replace(OPEN_LIMITS, conn=1)
        await push(system, update(WORLD.a.public), WORLD.a.token(limits=limits))
        await second.expect("-ERR 'maximum account active connections exceeded'\r\n")
        await second.expect_close()
        await barrier(first)


async def test_fewer_subscriptions(broker: Brokers) -> None:
    server = broker.own(CONFIG)
    async with (
        await connected(server, WORLD.system.user()) as system,
        await connected(server, WORLD.a.user()) as client,
    ):
        await barrier(client, "SUB a 1\r\nSUB b 2\r\n")
        limits = msgspec.structs.replace(OPEN_LIMITS, subs=1)
        await push(system, update(WORLD.a.public), WORLD.a.token(limits=limits))
        await client.expect("-ERR 'maximum subscriptions exceeded'\r\n")
        await client.expect_close()


async def test_user_expires(broker: Brokers) -> None:
    async with await connected(broker.shared(CONFIG), WORLD.a.user(exp=int(time.time()) + 1)) as client:
        await client.expect("-ERR 'User Authentication Expired'\r\n")
        await client.expect_close()


async def test_account_expires(broker: Brokers) -> None:
    server = broker.own(CONFIG)
    async with (
        await connected(server, WORLD.system.user()) as system,
        await connected(server, WORLD.a.user()) as client,
    ):
        await push(system, update(WORLD.a.public), WORLD.a.token(exp=int(time.time()) + 1))
        await client.expect("-ERR 'Account Authentication Expired'\r\n")
        await client.expect_close()


# --- proxies ---------------------------------------------------------------------------------------------

PROXY = key(Prefix.USER)
BEHIND = key(Prefix.USER)
PROXIES = f"""proxies {{ trusted: [ {{ key: {PROXY.public_key} }} ] }}
authorization {{ users: [
  {{ user: a, password: x, proxy_required: true }}
  {{ nkey: {BEHIND.public_key}, proxy_required: true }}
  {{ user: b, password: x }}
] }}
"""


async def behind_proxy(broker: Brokers, proxy: KeyPair | None, **shown: str) -> RawClient:
    client = await greeted(broker.shared(PROXIES))
    nonce = client.info["nonce"]
    if proxy is not None:
        shown["proxy_sig"] = signature(proxy, nonce)
    if "nkey" in shown:
        shown["sig"] = signature(BEHIND, nonce)
    client.send(f"CONNECT {json.dumps({'verbose': False, **shown})}\r\nPING\r\n")
    return client


@pytest.mark.parametrize(
    "shown",
    [{"user": "a", "pass": "x"}, {"user": "b", "pass": "x"}, {"nkey": BEHIND.public_key}],
    ids=json.dumps,
)
async def test_through_a_proxy(broker: Brokers, shown: dict[str, str]) -> None:
    async with await behind_proxy(broker, PROXY, **shown) as client:
        await client.expect("PONG\r\n")


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        (None, {"user": "a", "pass": "x"}),
        (None, {"nkey": BEHIND.public_key}),
        (BEHIND, {"user": "b", "pass": "x"}),
        (PROXY, {"user": "a", "pass": "y"}),
    ],
    ids=["not there", "not there for an nkey", "not trusted", "wrong password"],
)
async def test_proxy_does_not_help(broker: Brokers, proxy: KeyPair | None, shown: dict[str, str]) -> None:
    async with await behind_proxy(broker, proxy, **shown) as client:
        await client.expect(VIOLATION)
        await client.expect_close()
