"""What a server tells its system account by itself (security_ops 4.6)."""

import asyncio
import json
import signal
import time

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.jetstream import Message
from tests.support.operators import OperatorWorld, UserKeys
from tests.support.rawclient import RawClient
from tests.support.rawleaf import RawLeaf
from tests.support.system import SysClient, system_client

ADVISORY = "io.nats.server.advisory.v1."
ACCOUNTS = 20
CONFIG = (
    'server_name: ONE\naccounts {\n  "$SYS" { users: [ { user: sys, password: p } ] }\n'
    + "".join(f"  X{n} {{ users: [ {{ user: x{n}, password: p }} ] }}\n" for n in range(ACCOUNTS))
    + "}\nauthorization { users: [ { user: g, password: p } ] }\n"
    + 'leafnodes { listen: "127.0.0.1:-1", compression: off, authorization { users: [\n'
    + "".join(f"  {{ user: l{n}, password: p, account: X{n} }}\n" for n in range(ACCOUNTS))
    + "] } }\n"
)
NOTHING = {"msgs": 0, "bytes": 0}
DATA = {**NOTHING, "gateways": NOTHING, "routes": NOTHING, "leafs": NOTHING}
REFUSALS = "$SYS.SERVER.*.CLIENT.AUTH.ERR"


@pytest.fixture
def server(broker: Brokers) -> Broker:
    return broker.shared(CONFIG)


def told(event: dict[str, object], kind: str) -> dict[str, object]:
    """What an event says besides its head, without times and numbers of connections."""
    assert list(event)[:4] == ["type", "id", "timestamp", "server"]
    assert event["type"] == ADVISORY + kind
    assert len(str(event["id"])) == 22
    rest = dict(list(event.items())[4:])
    client = rest.get("client")
    if isinstance(client, dict):
        assert client.pop("start")
        assert client.pop("id") > 0
        client.pop("rtt", None)  # nats-server takes the time until CONNECT for one
        if "stop" in client:
            assert client.pop("stop") == event["timestamp"]
    return rest


def in_order(messages: list[Message]) -> list[Message]:
    """The number first; at the end of a connection nats-server tells the two in any order."""
    return sorted(messages, key=lambda message: message.subject, reverse=True)


def person(account: str, user: str, **more: object) -> dict[str, object]:
    """A ClientInfo without what differs from run to run."""
    info = {"host": "127.0.0.1", "acc": account, "user": user, **more}
    return info | {"name_tag": account, "kind": "Client", "client_type": "nats"}


async def test_a_client_comes_and_goes(broker: Brokers, server: Broker) -> None:
    n = broker.number(ACCOUNTS)
    async with await system_client(server) as sys:
        events = sys.subscribe(f"$SYS.ACCOUNT.X{n}.>")
        legacy = sys.subscribe(f"$SYS.SERVER.ACCOUNT.X{n}.CONNS")
        await sys.ping()
        async with await system_client(server, f"x{n}", name="prog", lang="py", version="1.2") as x:
            x.subscribe("foo")
            x.send("foo", b"hello")
            await x.ping()
        messages = await events.take(2) + in_order(await events.take(2))
        subjects = [(message.subject, message.json) for message in messages]
        first, second = [message.json for message in await legacy.take(2)]
    conns, connect, conns_again, disconnect = subjects
    account = f"$SYS.ACCOUNT.X{n}"
    assert [subject for subject, _ in subjects] == [
        f"{account}.SERVER.CONNS",
        f"{account}.CONNECT",
        f"{account}.SERVER.CONNS",
        f"{account}.DISCONNECT",
    ]
    number = {"acc": f"X{n}", "name": f"X{n}", "leafnodes": 0, "slow_consumers": 0}
    carried = DATA | {"msgs": 1, "bytes": 5}
    for event, count, data in ((conns[1], 1, DATA), (conns_again[1], 0, carried)):
        shown = told(event, "account_connections")
        assert shown.pop("num_subscriptions", 0) > 0
        assert shown == number | {"conns": count, "total_conns": count, "sent": data, "received": data}
    client = person(f"X{n}", f"x{n}", name="prog", lang="py", ver="1.2")
    assert told(connect[1], "client_connect") == {"client": client}
    assert told(disconnect[1], "client_disconnect") == {
        "client": client,
        "sent": {"msgs": 1, "bytes": 5},
        "received": {"msgs": 1, "bytes": 5},
        "reason": "Client Closed",
    }
    assert first["id"] == conns[1]["id"]
    assert second["id"] == conns_again[1]["id"]
    assert first["server"]["seq"] < conns[1]["server"]["seq"] < connect[1]["server"]["seq"]


@pytest.mark.parametrize("pattern", ["$SYS.>", "$SYS.ACCOUNT.*.CONNECT", "$SYS.ACCOUNT.X{n}.CONNECT", ">"])
async def test_any_pattern_hears_it(broker: Brokers, server: Broker, pattern: str) -> None:
    n = broker.number(ACCOUNTS)
    async with await system_client(server) as sys:
        events = sys.subscribe(pattern.replace("{n}", str(n)))
        await sys.ping()
        async with await system_client(server, f"x{n}"):
            while (await events.next()).subject != f"$SYS.ACCOUNT.X{n}.CONNECT":
                pass


async def test_a_queue_group_hears_it(broker: Brokers, server: Broker) -> None:
    n = broker.number(ACCOUNTS)
    async with await system_client(server) as sys:
        events = sys.subscribe(f"$SYS.ACCOUNT.X{n}.CONNECT", "q")
        await sys.ping()
        async with await system_client(server, f"x{n}"):
            assert (await events.json())["client"]["user"] == f"x{n}"


async def test_of_the_global_account_no_numbers_are_told(server: Broker) -> None:
    async with await system_client(server) as sys:
        events = sys.subscribe("$SYS.ACCOUNT.$G.*")
        numbers = sys.subscribe("$SYS.ACCOUNT.$G.SERVER.CONNS")
        await sys.ping()
        async with await system_client(server, "g"):
            pass
        assert (await events.next()).subject == "$SYS.ACCOUNT.$G.CONNECT"
        assert (await events.next()).subject == "$SYS.ACCOUNT.$G.DISCONNECT"
        await numbers.silence()


async def test_of_the_system_account_everything_is_told(server: Broker) -> None:
    async with await system_client(server) as sys:
        events = sys.subscribe("$SYS.ACCOUNT.$SYS.>")
        await sys.ping()
        async with await system_client(server):
            assert (await events.next()).subject == "$SYS.ACCOUNT.$SYS.SERVER.CONNS"
            assert (await events.next()).subject == "$SYS.ACCOUNT.$SYS.CONNECT"


async def ended(client: RawClient, first: str) -> None:
    await client.expect_info()
    client.send(first)
    await client.read_until_close()


@pytest.mark.parametrize(
    ("first", "client"),
    [
        (
            'CONNECT {"user":"x0","pass":"wrong","name":"n","lang":"l","version":"v"}\r\n',
            person("$G", "x0", name="n", lang="l", ver="v"),
        ),
        ('CONNECT {"user":"nobody","pass":"secret"}\r\n', person("$G", "nobody")),
        ('CONNECT {"auth_token":"secret"}\r\n', person("$G", "[REDACTED]")),
    ],
)
async def test_whoever_is_refused(server: Broker, first: str, client: dict[str, object]) -> None:
    async with await system_client(server) as sys, await system_client(server, "g") as g:
        refusals, ends = sys.subscribe(REFUSALS), sys.subscribe("$SYS.ACCOUNT.$G.DISCONNECT")
        seen = g.subscribe("$SYS.ACCOUNT.CLIENT.AUTH.ERR")
        await sys.ping()
        await g.ping()
        async with await server.connect() as refused:
            await ended(refused, first)
        sequence = []
        for subscription in (seen, refusals, ends):
            message = await subscription.next()
            assert b"wrong" not in message.payload
            assert b"secret" not in message.payload
            sequence.append(message.json["server"]["seq"])
            assert told(message.json, "client_disconnect") == {
                "client": client,
                "sent": NOTHING,
                "received": NOTHING,
                "reason": "Authentication Failure",
            }
        assert sequence[0] == min(sequence)  # the other two come from different places in nats-server


async def test_whoever_says_something_else_first(server: Broker) -> None:
    stranger = {"host": "127.0.0.1", "acc": "$G", "name_tag": "$G", "kind": "Client", "client_type": "nats"}
    async with await system_client(server) as sys, await system_client(server, "g") as g:
        refusals, ends = sys.subscribe(REFUSALS), sys.subscribe("$SYS.ACCOUNT.$G.DISCONNECT")
        seen = g.subscribe("$SYS.ACCOUNT.CLIENT.AUTH.ERR")
        await sys.ping()
        await g.ping()
        async with await server.connect() as refused:
            await ended(refused, "PING\r\n")
        for subscription in (refusals, ends):
            event = told(await subscription.json(), "client_disconnect")
            assert (event["client"], event["reason"]) == (stranger, "Authentication Failure")
        await g.ping()
        assert not seen.queue


async def test_whoever_says_nothing(server: Broker) -> None:
    async with await system_client(server) as sys:
        events = sys.subscribe("$SYS.ACCOUNT.$G.*")
        await sys.ping()
        async with await server.connect() as silent:
            await silent.expect_info()
        message = await events.next()
        assert message.subject == "$SYS.ACCOUNT.$G.DISCONNECT"
        assert message.json["reason"] == "Client Closed"


async def test_whoever_is_kicked(broker: Brokers, server: Broker) -> None:
    n = broker.number(ACCOUNTS)
    async with await system_client(server) as sys, await system_client(server, f"x{n}"):
        events = sys.subscribe(f"$SYS.ACCOUNT.X{n}.DISCONNECT")
        page = await sys.data(f"$SYS.REQ.ACCOUNT.X{n}.CONNZ")
        await sys.ask(f"$SYS.REQ.SERVER.{await sys.server_id()}.KICK", {"cid": page["connections"][0]["cid"]})
        assert (await events.json())["reason"] == "Kicked"


async def test_a_leaf_comes_and_goes(broker: Brokers, server: Broker) -> None:
    n = broker.number(ACCOUNTS)
    login = json.dumps({"user": f"l{n}", "pass": "p", "name": "edge", "version": "2.10.0"})
    async with await system_client(server) as sys:
        events = sys.subscribe(f"$SYS.ACCOUNT.X{n}.>")
        await sys.ping()
        async with await server.leaf(login):
            message = await events.next()
            assert message.subject == f"$SYS.ACCOUNT.X{n}.SERVER.CONNS"
            assert (message.json["conns"], message.json["leafnodes"]) == (0, 1)
        number, message = in_order(await events.take(2))
        assert (number.json["leafnodes"], number.json["total_conns"]) == (0, 0)
        assert message.subject == f"$SYS.ACCOUNT.X{n}.DISCONNECT"
        assert told(message.json, "client_disconnect")["client"] == {
            "host": "127.0.0.1",
            "acc": f"X{n}",
            "user": f"l{n}",
            "name": "edge",
            "ver": "2.10.0",
            "name_tag": f"X{n}",
            "kind": "Leafnode",
        }


async def test_a_leaf_is_refused(server: Broker) -> None:
    async with await system_client(server) as sys:
        refusals = sys.subscribe(REFUSALS)
        await sys.ping()
        async with await RawLeaf.connect("127.0.0.1", server.process.port("leafnodes")) as leaf:
            await leaf.expect_info()
            leaf.send('CONNECT {"user":"bad","pass":"secret","name":"edge","version":"2.10.0"}\r\n')
            await leaf.read_until_close()
        event = told(await refusals.json(), "client_disconnect")
        assert event["reason"] == "Authentication Failure"
        assert event["client"] == {
            "host": "127.0.0.1",
            "acc": "N/A",
            "user": "bad",
            "name": "edge",
            "ver": "2.10.0",
            "kind": "Leafnode",
        }


async def test_statsz_comes_by_itself(broker: Brokers) -> None:
    own = broker.own(CONFIG)
    async with await system_client(own) as sys:
        events = sys.subscribe("$SYS.SERVER.*.STATSZ")
        message = await events.next()
        assert message.subject == f"$SYS.SERVER.{await sys.server_id()}.STATSZ"
        assert list(message.json) == ["server", "statsz"]


async def test_the_end(broker: Brokers) -> None:
    own = broker.own(CONFIG)
    async with await system_client(own) as sys:
        events = sys.subscribe("$SYS.SERVER.*.*")
        ends = sys.subscribe("$SYS.ACCOUNT.>")
        server_id = await sys.server_id()
        own.process.signal(signal.SIGTERM)
        while (message := await events.next()).subject.endswith(".STATSZ"):
            pass
        assert message.subject == f"$SYS.SERVER.{server_id}.SHUTDOWN"
        assert message.json["id"] == server_id
        assert "seq" in message.json
        await sys.raw.expect_close()
        assert not ends.queue
        assert await asyncio.to_thread(own.process.wait) == 0


async def test_lame_duck_mode(broker: Brokers) -> None:
    own = broker.own(CONFIG + 'lame_duck_duration: "30s"\nlame_duck_grace_period: "200ms"\n')
    async with await system_client(own) as sys:
        events = sys.subscribe("$SYS.SERVER.*.LAMEDUCK")
        server_id = await sys.server_id()
        own.process.signal(signal.SIGUSR2)
        message = await events.next()
        assert message.subject == f"$SYS.SERVER.{server_id}.LAMEDUCK"
        assert message.json["id"] == server_id


# --- operators ---------------------------------------------------------------------------------------

WORLD = OperatorWorld()
OPERATOR_CONFIG = WORLD.config(WORLD.a.token())


async def logged_in(broker: Broker, user: UserKeys) -> SysClient:
    raw = await broker.connect()
    await raw.expect_info()
    raw.send(f"CONNECT {user.connect(raw.info, no_responders=True)}\r\n")
    client = SysClient(raw)
    await client.ping()
    return client


async def test_events_show_keys_and_names(broker: Brokers) -> None:
    own = broker.shared(OPERATOR_CONFIG)
    user = WORLD.a.user(name="device", tags=("team:x",), exp=int(time.time()) + 3600)
    async with await logged_in(own, WORLD.system.user()) as sys:
        events = sys.subscribe(f"$SYS.ACCOUNT.{WORLD.a.public}.>")
        await sys.ping()
        async with await logged_in(own, user) as client:
            data = await client.data("$SYS.REQ.USER.INFO")
            assert 3500 * 10**9 < data.pop("expires") <= 3600 * 10**9
            assert data == {
                "user": user.pair.public_key,
                "account": WORLD.a.public,
                "account_name": "A",
                "user_name": "device",
            }
        messages = await events.take(2) + in_order(await events.take(2))
        conns, connect, _, disconnect = [message.json for message in messages]
    assert (conns["acc"], conns["name"]) == (WORLD.a.public, "A")
    for event, kind in ((connect, "client_connect"), (disconnect, "client_disconnect")):
        assert told(event, kind)["client"] == {
            "host": "127.0.0.1",
            "acc": WORLD.a.public,
            "user": user.pair.public_key,
            "jwt": user.token,
            "issuer_key": WORLD.a.public,
            "name_tag": "A",
            "tags": ["team:x"],
            "kind": "Client",
            "client_type": "nats",
        }


async def test_without_a_system_account(broker: Brokers) -> None:
    own = broker.shared("no_system_account: true")
    async with await system_client(own) as client:
        for subject in ("$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.SERVER.PING"):
            assert (await client.answer(subject)).status == "503"
