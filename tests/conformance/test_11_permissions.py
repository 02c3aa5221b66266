"""What a user may publish and subscribe (wire.md 1.12, security_ops.md 2.3)."""

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.rawclient import RawClient
from tests.support.rows import each

# One server for all of it: each user is one way to write permissions; `admin` may do anything.
USERS = {
    "nothing": "",
    "empty": "permissions: {}",
    "pub_allow": 'permissions: { publish: { allow: ["ok.a", "ok.*.x", "wide.>"] } }',
    "pub_string": 'permissions: { publish: "ok.a" }',
    "pub_list": 'permissions: { pub: ["ok.a", "ok.b"] }',
    "pub_deny": 'permissions: { publish: { deny: ["no.a", "no.all.>"] } }',
    "pub_both": 'permissions: { publish: { allow: "ok.>", deny: "ok.no.*" } }',
    "sub_allow": 'permissions: { subscribe: { allow: ["ok.a", "ok.*.x", "wide.>"] } }',
    "sub_string": 'permissions: { sub: "ok.a" }',
    "sub_deny": 'permissions: { subscribe: { deny: ["no.a", "no.all.>"] } }',
    "sub_both": 'permissions: { subscribe: { allow: "ok.>", deny: "ok.no.*" } }',
    "queue_allow": 'permissions: { subscribe: { allow: ["q.* grp", "v.1 v1.>", "d.1 *.dev", "free"] } }',
    "queue_deny": 'permissions: { subscribe: { deny: ["s.q dq", "t.q *.prod"] } }',
    "queue_both": 'permissions: { subscribe: { allow: ["e.1", "e.1 v1", "e.1 v2.>", "e.*.x"] } }',
    "star": 'permissions: { subscribe: { allow: "one.*" } }',
    "responder": 'permissions: { subscribe: "svc.>", allow_responses: true }',
    "responder_3": 'permissions: { subscribe: "svc.>", allow_responses: { max: 3, expires: "1m" } }',
    "responder_any": 'permissions: { subscribe: "svc.>", allow_responses: { max: -1, expires: "1m" } }',
    "responder_brief": 'permissions: { subscribe: "svc.>", allow_responses: { max: 5, expires: "1ms" } }',
    "responder_and": 'permissions: { publish: "ok.a", subscribe: "svc.>", allow_responses: true }',
}
DEFAULTED = """authorization {
  default_permissions: { publish: "only.this", subscribe: "only.>" }
  users: [
    { user: plain, password: p }
    { user: own, password: p, permissions: { publish: "other" } }
    { user: free, password: p, permissions: {} }
  ]
}"""
CONFIG = (
    "authorization { users: [\n"
    + "".join(f"{{ user: {n}, password: p, {p} }}\n" for n, p in USERS.items())
    + "] }"
)


async def user(broker: Broker, name: str, options: str = '"headers":true') -> RawClient:
    return await broker.client(f'{{"verbose":false,"pedantic":false,"user":"{name}","pass":"p",{options}}}')


PUBLISH = [
    ("empty", "any.thing", True),
    ("pub_allow", "ok.a", True),
    ("pub_allow", "ok.b", False),
    ("pub_allow", "ok.b.x", True),
    ("pub_allow", "ok.b.y", False),
    ("pub_allow", "wide.a.b", True),
    ("pub_allow", "wide", False),
    ("pub_string", "ok.a", True),
    ("pub_string", "ok.b", False),
    ("pub_list", "ok.b", True),
    ("pub_list", "ok.c", False),
    ("pub_deny", "no.a", False),
    ("pub_deny", "no.b", True),
    ("pub_deny", "no.all.x", False),
    ("pub_deny", "no.all", True),
    ("pub_both", "ok.a", True),
    ("pub_both", "ok.no.a", False),
    ("pub_both", "ok.no.a.b", True),
    ("pub_both", "other", False),
    ("sub_allow", "any.thing", True),
    ("responder", "any.thing", False),
    ("responder_and", "ok.a", True),
    ("responder_and", "ok.b", False),
]


@each(("name", "subject", "allowed"), PUBLISH)
async def test_publish(broker: Brokers, name: str, subject: str, allowed: bool) -> None:
    shared = broker.shared(CONFIG)
    async with await user(shared, name) as client, await user(shared, "nothing") as admin:
        admin.send(f"SUB {subject} 1\r\n")
        await admin.expect_silence_until_pong()
        client.send(f"PUB {subject} 2\r\nhi\r\n")
        if allowed:
            await client.expect_silence_until_pong()
            await admin.expect(f"MSG {subject} 1 2\r\nhi\r\n")
        else:
            await client.expect_error(f'Permissions Violation for Publish to "{subject}"', closes=False)
        await admin.expect_silence_until_pong()


async def test_publish_with_headers_is_checked_too(broker: Brokers) -> None:
    async with await user(broker.shared(CONFIG), "pub_deny") as client:
        client.send(b"HPUB no.a 12 12\r\nNATS/1.0\r\n\r\n\r\n")
        await client.expect_error('Permissions Violation for Publish to "no.a"', closes=False)


async def test_a_refused_publish_has_no_ok(broker: Brokers) -> None:
    async with await user(broker.shared(CONFIG), "pub_deny", '"verbose":true') as client:
        client.send(b"PUB no.a 0\r\n\r\n")
        await client.expect_error('Permissions Violation for Publish to "no.a"', closes=False)


async def test_the_reply_subject_is_not_checked(broker: Brokers) -> None:
    async with await user(broker.shared(CONFIG), "pub_string") as client:
        client.send(b"PUB ok.a not.allowed.to.publish 0\r\n\r\n")
        await client.expect_silence_until_pong()


SUBSCRIBE = [
    ("empty", "any.>", "", True),
    ("sub_allow", "ok.a", "", True),
    ("sub_allow", "ok.b", "", False),
    ("sub_allow", "ok.*.x", "", True),
    ("sub_allow", "ok.b.x", "", True),
    ("sub_allow", "ok.*", "", False),
    ("sub_allow", ">", "", False),
    ("sub_allow", "wide.>", "", True),
    ("sub_allow", "wide.*", "", True),
    ("star", "one.*", "", True),
    ("sub_allow", "ok.a", "any", True),
    ("sub_allow", "ok.b", "any", False),
    ("sub_string", "ok.a", "", True),
    ("sub_string", "ok.b", "", False),
    ("sub_deny", "no.a", "", False),
    ("sub_deny", "no.b", "", True),
    ("sub_deny", "no.*", "", True),
    ("sub_deny", ">", "", True),
    ("sub_deny", "no.all.x", "", False),
    ("sub_deny", "no.all.*", "", False),
    ("sub_deny", "no.a", "any", False),
    ("sub_both", "ok.a", "", True),
    ("sub_both", "ok.no.a", "", False),
    ("sub_both", "ok.*.a", "", True),
    ("sub_both", "other", "", False),
    ("queue_allow", "q.1", "grp", True),
    ("queue_allow", "q.1", "", False),
    ("queue_allow", "q.1", "other", False),
    ("queue_allow", "v.1", "v1.a", True),
    ("queue_allow", "v.1", "v1.a.b", True),
    ("queue_allow", "v.1", "v2.a", False),
    ("queue_allow", "d.1", "a.dev", True),
    ("queue_allow", "d.1", "a.prod", False),
    ("queue_allow", "free", "", True),
    ("queue_allow", "free", "any", True),
    ("queue_both", "e.1", "", True),
    ("queue_both", "e.1", "v1", True),
    ("queue_both", "e.1", "v2.a", True),
    ("queue_both", "e.1", "other", False),
    ("queue_both", "e.1.x", "other", True),
    ("queue_deny", "s.q", "", True),
    ("queue_deny", "s.q", "dq", False),
    ("queue_deny", "s.q", "other", True),
    ("queue_deny", "t.q", "a.prod", False),
    ("queue_deny", "t.q", "a.dev", True),
]


@each(("name", "subject", "queue", "allowed"), SUBSCRIBE)
async def test_subscribe(broker: Brokers, name: str, subject: str, queue: str, allowed: bool) -> None:
    async with await user(broker.shared(CONFIG), name) as client:
        client.send(f"SUB {subject} {queue} 1\r\n")
        if allowed:
            await client.expect_silence_until_pong()
            return
        using = f' using queue "{queue}"' if queue else ""
        await client.expect_error(
            f'Permissions Violation for Subscription to "{subject}"{using}', closes=False
        )


async def test_a_star_does_not_allow_gt(broker: Brokers) -> None:
    """``one.>`` is wider than ``one.*``."""
    if broker.implementation == "nats-server":
        pytest.xfail("2.15.1 takes the > for a token that * matches, and delivers one.x.y")
    async with await user(broker.shared(CONFIG), "star") as client:
        client.send(b"SUB one.> 1\r\n")
        await client.expect_error('Permissions Violation for Subscription to "one.>"', closes=False)


async def test_a_refused_subscription_gets_nothing(broker: Brokers) -> None:
    shared = broker.shared(CONFIG)
    async with await user(shared, "sub_deny") as client, await user(shared, "nothing") as admin:
        client.send(b"SUB no.a 1\r\n")
        await client.expect_error('Permissions Violation for Subscription to "no.a"', closes=False)
        admin.send(b"PUB no.a 2\r\nhi\r\n")
        await admin.expect_silence_until_pong()
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("queue", [b"", b" grp"], ids=["plain", "queue"])
@pytest.mark.parametrize("subject", [b">", b"no.>", b"no.*"])
async def test_deny_filters_what_a_wildcard_gets(broker: Brokers, subject: bytes, queue: bytes) -> None:
    shared = broker.shared(CONFIG)
    async with await user(shared, "sub_deny") as client, await user(shared, "nothing") as admin:
        client.send(b"SUB " + subject + queue + b" 1\r\n")
        await client.expect_silence_until_pong()
        admin.send(
            b"PUB no.a 2\r\nhi\r\nPUB no.b 2\r\nyo\r\nPUB no.all.x 2\r\nhi\r\n"
            b"PUB no.a 2\r\nhi\r\nPUB no.c 0\r\n\r\n"
        )
        await admin.expect_silence_until_pong()
        await client.expect(b"MSG no.b 1 2\r\nyo\r\nMSG no.c 1 0\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_a_denied_queue_is_filtered(broker: Brokers) -> None:
    """What a wildcard of the group gets leaves out what the group is denied; other groups get it."""
    shared = broker.shared(CONFIG)
    async with await user(shared, "queue_deny") as client, await user(shared, "nothing") as admin:
        client.send(b"SUB s.* dq 1\r\nSUB s.* other 2\r\n")
        await client.expect_silence_until_pong()
        admin.send(b"PUB s.q 2\r\nhi\r\nPUB s.r 2\r\nyo\r\n")
        await client.expect(b"MSG s.q 2 2\r\nhi\r\n")
        await client.expect_in_any_order(b"MSG s.r 1 2\r\nyo\r\n", b"MSG s.r 2 2\r\nyo\r\n")
        await client.expect_silence_until_pong()


async def test_own_messages_are_filtered_too(broker: Brokers) -> None:
    async with await user(broker.shared(CONFIG), "sub_deny") as client:
        client.send(b"SUB no.> 1\r\nPUB no.a 0\r\n\r\nPUB no.b 0\r\n\r\n")
        await client.expect(b"MSG no.b 1 0\r\n\r\n")
        await client.expect_silence_until_pong()


RESPONSES = [("responder", 1), ("responder_3", 3), ("responder_any", 10)]


@pytest.mark.parametrize(("name", "count"), RESPONSES)
async def test_allow_responses(broker: Brokers, name: str, count: int) -> None:
    """As many answers as allowed per request, to the reply subject of that request alone."""
    shared = broker.shared(CONFIG)
    async with await user(shared, name) as service, await user(shared, "nothing") as admin:
        service.send(b"SUB svc.r 1\r\n")
        await service.expect_silence_until_pong()
        service.send(b"PUB in.box 0\r\n\r\n")
        await service.expect_error('Permissions Violation for Publish to "in.box"', closes=False)
        admin.send(b"SUB in.* 9\r\n")
        for inbox in (b"in.box", b"in.second"):
            admin.send(b"PUB svc.r " + inbox + b" 2\r\nrq\r\n")
            await service.expect(b"MSG svc.r 1 " + inbox + b" 2\r\nrq\r\n")
            service.send((b"PUB " + inbox + b" 2\r\nre\r\n") * count)
            await service.expect_silence_until_pong()
            await admin.expect((b"MSG " + inbox + b" 9 2\r\nre\r\n") * count)
        if count < 10:
            service.send(b"PUB in.box 0\r\n\r\n")
            await service.expect_error('Permissions Violation for Publish to "in.box"', closes=False)
        await admin.expect_silence_until_pong()


async def test_allow_responses_needs_a_reply(broker: Brokers) -> None:
    shared = broker.shared(CONFIG)
    async with await user(shared, "responder") as service, await user(shared, "nothing") as admin:
        service.send(b"SUB svc.n 1\r\n")
        await service.expect_silence_until_pong()
        admin.send(b"PUB svc.n 0\r\n\r\n")
        await service.expect(b"MSG svc.n 1 0\r\n\r\n")
        service.send(b"PUB svc.n 0\r\n\r\n")
        await service.expect_error('Permissions Violation for Publish to "svc.n"', closes=False)


async def test_allow_responses_beside_publish_allow(broker: Brokers) -> None:
    shared = broker.shared(CONFIG)
    async with await user(shared, "responder_and") as service, await user(shared, "nothing") as admin:
        service.send(b"SUB svc.a 1\r\n")
        await service.expect_silence_until_pong()
        admin.send(b"SUB in.and 9\r\nPUB svc.a in.and 0\r\n\r\n")
        await service.expect(b"MSG svc.a 1 in.and 0\r\n\r\n")
        service.send(b"PUB in.and 0\r\n\r\nPUB ok.a 0\r\n\r\n")
        await service.expect_silence_until_pong()
        await admin.expect(b"MSG in.and 9 0\r\n\r\n")


async def test_responses_expire(broker: Brokers) -> None:
    """One millisecond is over once a timer that was set later has run out (no PUB in between keeps it)."""
    shared = broker.shared(CONFIG)
    brief = broker.shared("authorization { user: a, password: b, timeout: 0.1 }")
    async with await user(shared, "responder_brief") as service, await user(shared, "nothing") as admin:
        service.send(b"SUB svc.b 1\r\n")
        await service.expect_silence_until_pong()
        admin.send(b"PUB svc.b in.brief 0\r\n\r\n")
        await service.expect(b"MSG svc.b 1 in.brief 0\r\n\r\n")
        async with await brief.connect() as clock:
            await clock.expect_info()
            await clock.expect_error("Authentication Timeout", closes=True)
        service.send(b"PUB in.brief 0\r\n\r\n")
        await service.expect_error('Permissions Violation for Publish to "in.brief"', closes=False)


@pytest.mark.parametrize(
    ("name", "subject", "allowed"),
    [
        ("plain", "only.this", True),
        ("plain", "other", False),
        ("own", "other", True),
        ("own", "only.this", False),
    ],
)
async def test_default_permissions(broker: Brokers, name: str, subject: str, allowed: bool) -> None:
    async with await user(broker.shared(DEFAULTED), name) as client:
        client.send(f"PUB {subject} 0\r\n\r\n")
        if allowed:
            await client.expect_silence_until_pong()
        else:
            await client.expect_error(f'Permissions Violation for Publish to "{subject}"', closes=False)


async def test_default_permissions_on_subscribe(broker: Brokers) -> None:
    async with await user(broker.shared(DEFAULTED), "plain") as client:
        client.send(b"SUB only.a 1\r\n")
        await client.expect_silence_until_pong()
        client.send(b"SUB other 2\r\n")
        await client.expect_error('Permissions Violation for Subscription to "other"', closes=False)


async def test_no_responders_under_permissions(broker: Brokers) -> None:
    async with await user(
        broker.shared(CONFIG), "pub_string", '"headers":true,"no_responders":true'
    ) as client:
        client.send(b"SUB in.p 1\r\nPUB ok.a in.p 0\r\n\r\n")
        await client.expect(b"HMSG in.p 1 36 36\r\nNATS/1.0 503\r\nNats-Subject: ok.a\r\n\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_account_default_permissions(broker: Brokers) -> None:
    config = """accounts { A {
      default_permissions: { publish: "only.this" }
      users: [ { user: plain, password: p }, { user: own, password: p, permissions: { publish: "other" } } ]
    } }"""
    async with (
        await user(broker.shared(config), "plain") as plain,
        await user(broker.shared(config), "own") as own,
    ):
        plain.send(b"PUB only.this 0\r\n\r\nPUB other 0\r\n\r\n")
        await plain.expect_error('Permissions Violation for Publish to "other"', closes=False)
        own.send(b"PUB other 0\r\n\r\nPUB only.this 0\r\n\r\n")
        await own.expect_error('Permissions Violation for Publish to "only.this"', closes=False)
