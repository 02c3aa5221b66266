"""The examples of NATS's documentation, as they stand there: tokens, passwords, nkeys, what a user may do.

Chapters "Authentication" (tokens, username/password, timeout, NKeys) and "Authorization" of "Securing NATS".
"""

import signal

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.logins import greeted, let_in, synced, turned_away
from tests.support.rawclient import RawClient
from tests.support.server_process import StartFailed

from phloem.shared.security.nkeys import KeyPair

TOKEN = """
authorization {
    token: "s3cr3t"
}
"""
HASHED_TOKEN = """
authorization {
    token: "$2a$11$PWIFAL8RsWyGI3jVZtO9Nu8.6jOxzxfZo7c/W0eLk017hjgUKWrhy"
}
"""
ONE_USER = """
authorization: {
    user: a,
    password: b
}
"""
TWO_USERS = """
authorization: {
    users: [
        {user: a, password: b},
        {user: b, password: a}
    ]
}
"""
HASHED_PASSWORD = """
authorization: {
    users: [
        {user: a, password: "$2a$11$V1qrpBt8/SLfEBr4NJq4T.2mg8chx8.MTblUiTBOLV3MKDeAy.f7u"},
    ]
}
"""
TIMEOUT = """
authorization: {
    timeout: 3
    users: [
        {user: a, password b},
        {user: b, password a}
    ]
}
"""
NKEY = """
authorization: {
  users: [
    { nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 }
  ]
}
"""
NKEY_SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"  # published in the same chapter
VARIABLES = """
authorization {
  default_permissions = {
    publish = "SANDBOX.*"
    subscribe = ["PUBLIC.>", "_INBOX.>"]
  }
  ADMIN = {
    publish = ">"
    subscribe = ">"
  }
  REQUESTOR = {
    publish = ["req.a", "req.b"]
    subscribe = "_INBOX.>"
  }
  RESPONDER = {
    subscribe = ["req.a", "req.b"]
    publish = "_INBOX.>"
  }
  users = [
    {user: admin,   password: $ADMIN_PASS, permissions: $ADMIN}
    {user: client,  password: $CLIENT_PASS, permissions: $REQUESTOR}
    {user: service,  password: $SERVICE_PASS, permissions: $RESPONDER}
    {user: other, password: $OTHER_PASS}
  ]
}
"""
ALLOW_DENY = """
authorization: {
    users = [
        {
            user: admin
            password: secret
            permissions: {
                publish: ">"
                subscribe: ">"
            }
        }
        {
            user: test
            password: test
            permissions: {
                publish: {
                    deny: ">"
                },
                subscribe: {
                    allow: "client.>"
                }
            }
        }
    ]
}
"""
ALLOW_RESPONSES = """
authorization: {
    users: [
        { user: a, password: a },
        { user: b, password: b, permissions: {subscribe: "q", allow_responses: true } },
        { user: c, password: c, permissions: {subscribe: "q", allow_responses: { max: 5, expires: "1m" } } }
        { user: d, password: d, permissions: {subscribe: "q", publish: "x", allow_responses: true } }
    ]
}
"""
QUEUES_AS_PRINTED = """
users = [
  {
    user: "a", password: "a", permissions: {
      sub: {
        allow: ["foo queue"]
     }
  }
  {
    user: "b", password: "b", permissions: {
      sub: {
        # Allow plain subscription foo, but only v1 groups or *.dev queue groups
        allow: ["foo", "foo v1", "foo v1.>", "foo *.dev"]

        # Prevent queue subscriptions on prod groups
        deny: ["> *.prod"]
     }
  }
]
"""
# braces closed, and the block around it
QUEUES = "authorization {" + QUEUES_AS_PRINTED.replace("     }\n  }", "     }\n  } }") + "}"


def publish_violation(subject: str) -> str:
    return f"-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n"


def subscription_violation(subject: str, queue: str = "") -> str:
    group = f' using queue "{queue}"' if queue else ""
    return f"-ERR 'Permissions Violation for Subscription to \"{subject}\"{group}'\r\n"


@pytest.fixture
def started_with(broker: Brokers) -> "dict[str, Broker]":
    """Servers that flags alone configure, by the documentation's command line."""
    flags = {"token": ["--auth", "s3cr3t"], "user": ["--user", "a", "--pass", "b"]}
    return {name: broker.own("", flags=words) for name, words in flags.items()}


async def test_token(broker: Brokers) -> None:
    server = broker.shared(TOKEN)
    (await let_in(server, auth_token="s3cr3t")).close()
    for wrong in ("", "s3cr3", "s3cr3t ", "S3cr3t"):
        await turned_away(server, auth_token=wrong)
    await turned_away(server, user="s3cr3t")


async def test_hashed_token(broker: Brokers) -> None:
    server = broker.shared(HASHED_TOKEN)
    (await let_in(server, auth_token="dag0HTXl4RGg7dXdaJwbC8")).close()
    await turned_away(server, auth_token="$2a$11$PWIFAL8RsWyGI3jVZtO9Nu8.6jOxzxfZo7c/W0eLk017hjgUKWrhy")
    await turned_away(server)


async def test_flags(started_with: dict[str, Broker]) -> None:
    (await let_in(started_with["token"], auth_token="s3cr3t")).close()
    await turned_away(started_with["token"], auth_token="s3cr3")
    (await let_in(started_with["user"], **{"user": "a", "pass": "b"})).close()
    await turned_away(started_with["user"], **{"user": "b", "pass": "a"})


async def test_one_user(broker: Brokers) -> None:
    server = broker.shared(ONE_USER)
    (await let_in(server, **{"user": "a", "pass": "b"})).close()
    await turned_away(server, **{"user": "a", "pass": "a"})
    await turned_away(server, **{"user": "b", "pass": "b"})


async def test_two_users(broker: Brokers) -> None:
    server = broker.shared(TWO_USERS)
    a = await let_in(server, **{"user": "a", "pass": "b"})
    b = await let_in(server, **{"user": "b", "pass": "a"})
    async with a, b:
        a.send("SUB docs.two 1\r\n")
        await synced(a)
        b.send("PUB docs.two 2\r\nhi\r\n")
        await a.expect("MSG docs.two 1 2\r\nhi\r\n")
    await turned_away(server, **{"user": "a", "pass": "a"})


async def test_hashed_password(broker: Brokers) -> None:
    server = broker.shared(HASHED_PASSWORD)
    await turned_away(server, **{"user": "a", "pass": "b"})
    await turned_away(
        server, **{"user": "a", "pass": "$2a$11$V1qrpBt8/SLfEBr4NJq4T.2mg8chx8.MTblUiTBOLV3MKDeAy.f7u"}
    )


async def test_reload_of_passwords(broker: Brokers) -> None:
    """Who is still in the file stays connected; who is not is gone."""
    server = broker.own(TWO_USERS)
    a = await let_in(server, **{"user": "a", "pass": "b"})
    b = await let_in(server, **{"user": "b", "pass": "a"})
    async with a, b:
        server.process.configure(TWO_USERS.replace("{user: b, password: a}", "{user: c, password: c}"))
        server.process.signal(signal.SIGHUP)
        await b.expect_close()
        await synced(a)
        (await let_in(server, **{"user": "c", "pass": "c"})).close()


async def test_timeout(broker: Brokers) -> None:
    """The example leaves out colons, which are not needed. The three seconds are shortened."""
    (await let_in(broker.shared(TIMEOUT), **{"user": "b", "pass": "a"})).close()
    async with await greeted(broker.shared(TIMEOUT.replace("timeout: 3", "timeout: 0.3"))) as client:
        await client.expect("-ERR 'Authentication Timeout'\r\n")
        await client.expect_close()


async def test_nkey(broker: Brokers) -> None:
    server, key = broker.shared(NKEY), KeyPair.from_seed(NKEY_SEED)
    (await let_in(server, key, nkey=key.public_key)).close()
    await turned_away(server, KeyPair(key.prefix, bytes(32)), nkey=key.public_key)
    await turned_away(server, nkey=key.public_key)
    await turned_away(server)


@pytest.fixture
def variables(broker: Brokers, monkeypatch: pytest.MonkeyPatch) -> Broker:
    for name in ("ADMIN", "CLIENT", "SERVICE", "OTHER"):
        monkeypatch.setenv(f"{name}_PASS", f"{name.lower()}-pw")
    return broker.own(VARIABLES)


async def as_user(server: Broker, user: str) -> RawClient:
    return await let_in(server, **{"user": user, "pass": f"{user}-pw"})


async def test_variables(variables: Broker) -> None:
    """Blocks and passwords by name; a request goes from one role to the other and back."""
    client, service = await as_user(variables, "client"), await as_user(variables, "service")
    async with client, service:
        service.send("SUB req.a 1\r\nSUB req.> 2\r\n")
        await service.expect(subscription_violation("req.>"))
        client.send("SUB _INBOX.x.* 1\r\nPUB req.a _INBOX.x.1 1\r\n?\r\nPUB req.c 0\r\n\r\n")
        await client.expect(publish_violation("req.c"))
        await service.expect("MSG req.a 1 _INBOX.x.1 1\r\n?\r\n")
        service.send("PUB _INBOX.x.1 1\r\n!\r\nPUB other 0\r\n\r\n")
        await service.expect(publish_violation("other"))
        await client.expect("MSG _INBOX.x.1 1 1\r\n!\r\n")
    await turned_away(variables, **{"user": "client", "pass": "$CLIENT_PASS"})


async def test_default_permissions(variables: Broker) -> None:
    """They hold for whoever has none of their own."""
    async with await as_user(variables, "other") as other, await as_user(variables, "admin") as admin:
        admin.send("SUB > 1\r\n")
        await synced(admin)
        other.send("SUB PUBLIC.> 1\r\nSUB SANDBOX.x 2\r\nPUB SANDBOX.a 0\r\n\r\nPUB SANDBOX.a.b 0\r\n\r\n")
        await other.expect(subscription_violation("SANDBOX.x") + publish_violation("SANDBOX.a.b"))
        await admin.expect("MSG SANDBOX.a 1 0\r\n\r\n")
        admin.send("PUB PUBLIC.news 0\r\n\r\n")
        await other.expect("MSG PUBLIC.news 1 0\r\n\r\n")


async def test_allow_and_deny(broker: Brokers) -> None:
    server = broker.shared(ALLOW_DENY)
    admin = await let_in(server, **{"user": "admin", "pass": "secret"})
    test = await let_in(server, **{"user": "test", "pass": "test"})
    async with admin, test:
        test.send("SUB client.> 1\r\nSUB client 2\r\nPUB client.x 0\r\n\r\n")
        await test.expect(subscription_violation("client") + publish_violation("client.x"))
        admin.send("PUB client.x 1\r\n1\r\n")
        await test.expect("MSG client.x 1 1\r\n1\r\n")


async def asked(server: Broker, user: str, times: int) -> None:
    """``user`` may answer a request ``times`` times, and publish nothing else."""
    a = await let_in(server, **{"user": "a", "pass": "a"})
    responder = await let_in(server, **{"user": user, "pass": user})
    async with a, responder:
        responder.send("SUB q 1\r\n")
        await synced(responder)
        a.send("SUB docs.reply 1\r\nPUB q docs.reply 0\r\n\r\n")
        await responder.expect("MSG q 1 docs.reply 0\r\n\r\n")
        responder.send("PUB docs.reply 0\r\n\r\n" * (times + 1))
        await responder.expect(publish_violation("docs.reply"))
        await a.expect("MSG docs.reply 1 0\r\n\r\n" * times)
        responder.send("PUB other 0\r\n\r\n")
        await responder.expect(publish_violation("other"))
        responder.send("SUB other 2\r\n")
        await responder.expect(subscription_violation("other"))
        await synced(a, responder)


@pytest.mark.parametrize(("user", "times"), [("b", 1), ("c", 5), ("d", 1)])
async def test_allow_responses(broker: Brokers, user: str, times: int) -> None:
    await asked(broker.own(ALLOW_RESPONSES), user, times)


async def test_allow_responses_and_publish(broker: Brokers) -> None:
    """What is allowed by name is allowed beside replies."""
    server = broker.shared(ALLOW_RESPONSES)
    a = await let_in(server, **{"user": "a", "pass": "a"})
    d = await let_in(server, **{"user": "d", "pass": "d"})
    async with a, d:
        a.send("SUB x 1\r\n")
        await synced(a)
        d.send("PUB x 0\r\n\r\nPUB x 0\r\n\r\n")
        await a.expect("MSG x 1 0\r\n\r\nMSG x 1 0\r\n\r\n")
        await synced(d)


def test_queue_permissions_as_printed(broker: Brokers) -> None:
    """That example does not close its braces; it is no configuration."""
    with pytest.raises(StartFailed):
        broker.own(QUEUES_AS_PRINTED)


async def test_queue_permissions(broker: Brokers) -> None:
    server = broker.shared(QUEUES)
    a = await let_in(server, **{"user": "a", "pass": "a"})
    b = await let_in(server, **{"user": "b", "pass": "b"})
    async with a, b:
        a.send("SUB foo queue 1\r\nSUB foo 2\r\nSUB foo other 3\r\n")
        await a.expect(subscription_violation("foo") + subscription_violation("foo", "other"))
        b.send("SUB foo 1\r\nSUB foo v1 2\r\nSUB foo v1.x 3\r\nSUB foo a.dev 4\r\n")
        await synced(a, b)
        for number, queue in enumerate(("v2", "a.prod", "v1.prod", "dev")):
            b.send(f"SUB foo {queue} {number + 5}\r\n")
            await b.expect(subscription_violation("foo", queue))
        await synced(b)
