"""The examples of NATS's documentation, as they stand there: accounts, what crosses between them, subject mappings.

Chapters "Accounts" of "Securing NATS", "System Events" and "Subject Mapping". A system account is only asked who one
is and whether servers answer.
"""

import json
import re

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.logins import greeted, let_in, synced, turned_away
from tests.support.rawclient import RawClient
from tests.support.server_process import StartFailed

TWO_ACCOUNTS = """
accounts: {
    A: {
        users: [
            {user: a, password: a}
        ]
    },
    B: {
        users: [
            {user: b, password: b}
        ]
    },
}
"""
SHARING = """
accounts: {
    A: {
        users: [
            {user: a, password: a}
        ]
        exports: [
            {stream: puba.>}
            {service: pubq.>}
            {stream: b.>, accounts: [B]}
            {service: q.b, accounts: [B]}
        ]
    },
    B: {
        users: [
            {user: b, password: b}
        ]
        imports: [
            {stream: {account: A, subject: b.>}}
            {service: {account: A, subject: q.b}}
        ]
    }
    C: {
        users: [
            {user: c, password: c}
        ]
        imports: [
            {stream: {account: A, subject: puba.>}, prefix: from_a}
            {service: {account: A, subject: pubq.C}, to: Q}
        ]
    }
}
"""
NO_AUTH_USER = """
accounts: {
    A: {
        users: [
            {user: a, password: a}
        ]
    },
    B: {
        users: [
            {user: b, password: b}
        ]
    }
}
no_auth_user: a
"""
SYSTEM = """
accounts: {
    USERS: {
        users: [
            {user: a, password: a}
        ]
    },
    SYS: { 
        users: [
            {user: admin, password: changeit}
           ]
    },
}
system_account: SYS
"""  # noqa: W291
MAPPINGS = """
mappings = {

  # Simple direct mapping.  Messages published to foo are mapped to bar.
  foo: bar

  # remapping tokens can be done with $<N> representing token position.
  # In this example bar.a.b would be mapped to baz.b.a.
  bar.*.*: baz.$2.$1

  # You can scope mappings to a particular cluster
  foo.cluster.scoped : [
    { destination: bar.cluster.scoped, weight:100%, cluster: us-west-1 }
  ]

  # Use weighted mapping for canary testing or A/B testing.  Change dynamically
  # at any time with a server reload.
  myservice.request: [
    { destination: myservice.request.v1, weight: 90% },
    { destination: myservice.request.v2, weight: 10% }
  ]

  # A testing example of wildcard mapping balanced across two subjects.
  # 20% of the traffic is mapped to a service in QA coded to fail.
  myservice.test.*: [
    { destination: myservice.test.$1, weight: 80% },
    { destination: myservice.test.fail.$1, weight: 20% }
  ]

  # A chaos testing trick that introduces 50% artificial message loss of
  # messages published to foo.loss
  foo.loss.>: [ { destination: foo.loss.>, weight: 50% } ]
}
"""
CANARY = """
mappings = {
  myservice.requests: [
    { destination: myservice.requests.v3, weight: 90% },
    { destination: myservice.requests.v3.fail, weight: 8% }
    # the remaining 2% is "lost"
  ]
}
"""
SEQUENCE = """
mappings: {
	transform.order target.order
	target.order transform.order
}
"""
CENTRAL = """
server_name: "hub"
mappings: {
	orders.* orders.central.{{wildcard(1)}}
}
"""
TRANSFORMS = {  # source: destination, and what becomes of subjects
    "bar.*.*": ("baz.{{wildcard(2)}}.{{wildcard(1)}}", {"bar.a.b": "baz.b.a", "bar.one.two": "baz.two.one"}),
    "orders.*.*": ("foo.{{wildcard(2)}}", {"orders.local.order1": "foo.order1"}),
    "split.*": ("s.{{split(1,-)}}", {"split.foo-bar": "s.foo.bar"}),
    "split2.*": ("s.{{split(1,--)}}", {"split2.foo--bar": "s.foo.bar"}),
    "left.*": ("s.{{splitfromleft(1,4)}}", {"left.1234567": "s.1234.567"}),
    "right.*": ("s.{{splitfromright(1,4)}}", {"right.1234567": "s.123.4567"}),
    "slice.*": ("s.{{slicefromleft(1,2)}}", {"slice.1234567": "s.12.34.56.7"}),
    "slice2.*": ("s.{{slicefromright(1,2)}}", {"slice2.1234567": "s.1.23.45.67"}),
    "neworders.*": (
        "neworders.{{wildcard(1)}}.{{partition(3,1)}}",
        {f"neworders.customerid{n}": f"neworders.customerid{n}.{p}" for n, p in enumerate("021210", 1)},
    ),
    "foo.*.*": (
        "foo.{{wildcard(1)}}.{{wildcard(2)}}.{{partition(10,1,2)}}",
        {"foo.1.a": "foo.1.a.1", "foo.1.b": "foo.1.b.0", "foo.2.b": "foo.2.b.9", "foo.2.a": "foo.2.a.2"},
    ),
    "cust.*.*": (
        "cust.{{wildcard(1)}}.{{wildcard(2)}}.{{partition(5,1,2)}}",
        {"cust.us.customerid": "cust.us.customerid.0"},
    ),
}
RANDOM = 'mappings { "neworders.create": "neworders.{{random(15)}}.create" }'


async def as_user(server: Broker, user: str, password: str = "") -> RawClient:
    return await let_in(server, **{"user": user, "pass": password or user})


async def test_accounts_are_isolated(broker: Brokers) -> None:
    server = broker.shared(TWO_ACCOUNTS)
    async with await as_user(server, "a") as a, await as_user(server, "b") as b:
        a.send("SUB > 1\r\n")
        b.send("SUB > 1\r\n")
        await synced(a, b)
        a.send("PUB docs.alone 1\r\n1\r\n")
        await a.expect("MSG docs.alone 1 1\r\n1\r\n")
        await synced(b)
    await turned_away(server, **{"user": "a", "pass": "b"})
    await turned_away(server)


async def test_a_private_stream(broker: Brokers) -> None:
    """Only B gets it, under the exporter's subject."""
    server = broker.own(SHARING)
    clients = [await as_user(server, user) for user in "abc"]
    a, b, c = clients
    for client in clients:
        client.send("SUB > 1\r\n")
    await synced(*clients)
    a.send("PUB b.news 1\r\n1\r\nPUB b 1\r\n2\r\n")
    await a.expect("MSG b.news 1 1\r\n1\r\nMSG b 1 1\r\n2\r\n")
    await b.expect("MSG b.news 1 1\r\n1\r\n")
    await synced(b, c)
    b.send("PUB b.news 1\r\n3\r\n")  # what is imported is not exported
    await b.expect("MSG b.news 1 1\r\n3\r\n")
    await synced(*clients)
    for client in clients:
        client.close()


async def test_a_public_stream_behind_a_prefix(broker: Brokers) -> None:
    server = broker.own(SHARING)
    async with (
        await as_user(server, "a") as a,
        await as_user(server, "b") as b,
        await as_user(server, "c") as c,
    ):
        b.send("SUB > 1\r\n")
        c.send("SUB from_a.puba.* 1\r\nSUB puba.> 2\r\nSUB from_a.> g 3\r\n")
        await synced(b, c)
        a.send("PUB puba.x 1\r\n1\r\n")
        await c.expect_in_any_order("MSG from_a.puba.x 1 1\r\n1\r\n", "MSG from_a.puba.x 3 1\r\n1\r\n")
        a.send("PUB puba.x.y 1\r\n2\r\n")
        await c.expect("MSG from_a.puba.x.y 3 1\r\n2\r\n")
        await synced(a, b, c)


async def service(server: Broker, user: str, local: str, exported: str) -> None:
    """A request on ``local`` is A's on ``exported``, who sees which account asks, and the reply finds its way."""
    asker, a, other = await as_user(server, user), await as_user(server, "a"), await as_user(server, "a")
    async with asker, a, other:
        asker.send(f"SUB docs.inbox 1\r\nSUB {local} 2\r\n")
        a.send(f"SUB {exported} 1\r\n")
        other.send("SUB docs.inbox 1\r\n")
        await synced(asker, a, other)
        asker.send(f"PUB {local} docs.inbox 4\r\nwhat\r\n")
        got = await a.expect(
            re.compile(
                rb"HMSG " + exported.encode() + rb" 1 (_R_\.\S+) \d+ \d+\r\nNATS/1\.0\r\n"
                rb"Nats-Request-Info: (\{[^\r]*\})\r\n\r\nwhat\r\n"
            )
        )
        reply = got.split(b" ")[3].decode()
        info = json.loads(got[got.index(b"{") : got.index(b"}") + 1])
        assert info["acc"] == user.upper()
        assert set(info) <= {"acc", "rtt"}
        await asker.expect(f"MSG {local} 2 docs.inbox 4\r\nwhat\r\n")
        a.send(f"PUB {reply} 4\r\nthat\r\nPUB {reply} 5\r\nagain\r\n")
        await asker.expect("MSG docs.inbox 1 4\r\nthat\r\n")
        await synced(asker, a, other)


async def test_a_private_service(broker: Brokers) -> None:
    await service(broker.own(SHARING), "b", "q.b", "q.b")


async def test_a_public_service_by_another_name(broker: Brokers) -> None:
    await service(broker.own(SHARING), "c", "Q", "pubq.C")


async def test_a_service_with_nobody_there(broker: Brokers) -> None:
    async with await as_user(broker.own(SHARING), "c") as c:
        c.send("SUB docs.inbox 1\r\nPUB Q docs.inbox 0\r\n\r\n")
        await c.expect("HMSG docs.inbox 1 33 33\r\nNATS/1.0 503\r\nNats-Subject: Q\r\n\r\n\r\n")
        c.send("PUB pubq.C docs.inbox 0\r\n\r\n")
        await c.expect("HMSG docs.inbox 1 38 38\r\nNATS/1.0 503\r\nNats-Subject: pubq.C\r\n\r\n\r\n")


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ("{account: A, subject: b.>}", "{account: A, subject: c.>}"),
        ("{account: A, subject: b.>}", "{account: D, subject: b.>}"),
        ("{account: A, subject: puba.>}", "{account: A, subject: b.>}"),
        ("{account: A, subject: pubq.C}", "{account: A, subject: q.b}"),
    ],
)
def test_imports_that_nobody_exports(broker: Brokers, written: str, instead: str) -> None:
    """Changed by one word, the example does not start."""
    assert written in SHARING
    with pytest.raises(StartFailed):
        broker.own(SHARING.replace(written, instead))


async def test_no_auth_user(broker: Brokers) -> None:
    server = broker.shared(NO_AUTH_USER)
    anybody, a, b = await let_in(server), await as_user(server, "a"), await as_user(server, "b")
    async with anybody, a, b:
        a.send("SUB docs.nobody 1\r\n")
        b.send("SUB docs.nobody 1\r\n")
        await synced(a, b)
        anybody.send("PUB docs.nobody 0\r\n\r\n")
        await a.expect("MSG docs.nobody 1 0\r\n\r\n")
        await synced(b)
    await turned_away(server, **{"user": "a", "pass": "b"})
    async with await greeted(server) as client:
        assert "auth_required" not in client.info


async def test_system_account(broker: Brokers) -> None:
    """Its user sees what others do, they do not see the system's subjects."""
    server = broker.own(SYSTEM)
    async with await as_user(server, "admin", "changeit") as admin, await as_user(server, "a") as a:
        a.send("SUB > 1\r\n")
        admin.send("SUB $SYS.ACCOUNT.USERS.CONNECT 1\r\nSUB docs.> 2\r\n")
        await synced(a, admin)
        (await as_user(server, "a")).close()
        event = await admin.expect(
            re.compile(rb"MSG \$SYS\.ACCOUNT\.USERS\.CONNECT 1 +\d+\r\n\{.*?\}\r\n", re.DOTALL)
        )
        assert json.loads(event[event.index(b"{") :])["client"]["acc"] == "USERS"
        admin.send("PUB $SYS.REQ.SERVER.PING docs.ping 0\r\n\r\n")
        await admin.expect(re.compile(rb"MSG docs\.ping 2 +\d+\r\n\{.*?\"statsz\".*?\}\r\n", re.DOTALL))
        await synced(a)


async def test_user_info(broker: Brokers) -> None:
    """Anybody may ask who he is."""
    async with await as_user(broker.own(SYSTEM), "a") as a:
        a.send("SUB docs.me 1\r\nPUB $SYS.REQ.USER.INFO docs.me 0\r\n\r\n")
        got = await a.expect(re.compile(rb"MSG docs\.me 1 +\d+\r\n(\{.*?\})\r\n", re.DOTALL))
        data = json.loads(got[got.index(b"{") :])["data"]
        assert (data["user"], data["account"]) == ("a", "USERS")


async def published(server: Broker, subject: str, times: int = 1) -> list[str]:
    """The subjects under which messages published to ``subject`` arrive."""
    async with await let_in(server) as client:
        client.send("SUB > 1\r\n" + f"PUB {subject} 1\r\nx\r\n" * times + "PUB docs.over 0\r\n\r\n")
        got = await client.expect(re.compile(rb"(?:MSG \S+ 1 1\r\nx\r\n)*MSG docs\.over 1 0\r\n\r\n"))
        return re.findall(r"MSG (\S+) 1 1\r\n", got.decode())


@pytest.mark.parametrize(
    ("subject", "becomes"),
    [
        ("foo", "bar"),
        ("bar.a.b", "baz.b.a"),
        ("bar.one.two", "baz.two.one"),
        ("bar.one", "bar.one"),
        ("foo.cluster.scoped", "foo.cluster.scoped"),  # of another cluster
        ("myservice.other", "myservice.other"),
    ],
)
async def test_mapping(broker: Brokers, subject: str, becomes: str) -> None:
    assert await published(broker.shared(MAPPINGS), subject) == [becomes]


@pytest.mark.parametrize(
    ("config", "subject", "shares"),
    [
        (MAPPINGS, "myservice.request", {"myservice.request.v1": 900, "myservice.request.v2": 100}),
        (MAPPINGS, "myservice.test.x", {"myservice.test.x": 800, "myservice.test.fail.x": 200}),
        (MAPPINGS, "foo.loss.a.b", {"foo.loss.a.b": 500}),
        # what the weights leave over is published as it is, not lost, whatever the comment in it says
        (
            CANARY,
            "myservice.requests",
            {"myservice.requests.v3": 900, "myservice.requests.v3.fail": 80, "myservice.requests": 20},
        ),
    ],
    ids=["canary", "testing", "loss", "rest"],
)
async def test_weights(broker: Brokers, config: str, subject: str, shares: dict[str, int]) -> None:
    """Of a thousand messages about as many as the weights say: eight standard deviations are allowed."""
    arrived = await published(broker.shared(config), subject, 1000)
    assert set(arrived) == set(shares)
    for becomes, share in shares.items():
        deviation = (share * (1000 - share) / 1000) ** 0.5
        assert abs(arrived.count(becomes) - share) <= 8 * deviation


async def test_mappings_are_applied_once(broker: Brokers) -> None:
    server = broker.shared(SEQUENCE)
    assert await published(server, "transform.order") == ["target.order"]
    assert await published(server, "target.order") == ["transform.order"]


async def test_mapping_of_a_hub(broker: Brokers) -> None:
    """As printed, without quotes, the first brace that closes ends the value; what is left over is let pass."""
    assert await published(broker.shared(CENTRAL), "orders.one") == ["orders.central.{{wildcard(1)"]
    quoted = CENTRAL.replace("orders.central.{{wildcard(1)}}", '"orders.central.{{wildcard(1)}}"')
    assert await published(broker.shared(quoted), "orders.one") == ["orders.central.one"]
    assert await published(broker.shared(quoted), "orders.central.one") == ["orders.central.one"]


@pytest.mark.parametrize("source", TRANSFORMS)
async def test_transforms(broker: Brokers, source: str) -> None:
    lines = (f'  "{source}": "{destination}"' for source, (destination, _) in TRANSFORMS.items())
    server = broker.shared("mappings {\n" + "\n".join(lines) + "\n}\n")
    for subject, becomes in TRANSFORMS[source][1].items():
        assert await published(server, subject) == [becomes]


async def test_random_partition(broker: Brokers) -> None:
    arrived = await published(broker.shared(RANDOM), "neworders.create", 300)
    assert len(arrived) == 300
    assert set(arrived) <= {f"neworders.{n}.create" for n in range(15)}
    assert len(set(arrived)) > 5
