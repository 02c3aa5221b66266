"""What a configuration allows an account (security_ops 2.3, 2.6): connections, subscriptions, payload, leaf links."""

import json
import re

from tests.support.brokers import Broker, Brokers
from tests.support.rawclient import RawClient
from tests.support.rawleaf import RawLeaf

LIMITS = """accounts {
  CONNECTIONS { users: [ { user: connections, password: p } ], limits { max_connections: 2 } }
  NOBODY { users: [ { user: nobody, password: p } ], limits { max_conn: 0 } }
  SUBSCRIPTIONS { users: [ { user: subscriptions, password: p } ], limits { max_subs: 2 } }
  PAYLOAD { users: [ { user: payload, password: p } ], limits { max_pay: 10 } }
  LARGE { users: [ { user: large, password: p } ], limits { max_payload: 10MB } }
  LEAFS { users: [ { user: leafs, password: p } ], limits { max_leafs: 1 } }
  FREE { users: [ { user: free, password: p } ], limits { max_connections: -1, max_payload: -1 } }
}
max_payload: 100
leafnodes { listen: "127.0.0.1:-1", compression: off }
"""
TOO_MANY = "maximum account active connections exceeded"


def login(name: str) -> str:
    return json.dumps({"verbose": False, "pedantic": False, "user": name, "pass": "p"})


async def refused(server: Broker, name: str) -> None:
    async with await server.connect() as client:
        await client.expect_info()
        client.send(f"CONNECT {login(name)}\r\n")
        await client.expect_error(TOO_MANY, closes=True)


async def test_connections(broker: Brokers) -> None:
    server = broker.own(LIMITS)
    async with await server.client(login("connections")), await server.client(login("connections")) as second:
        await refused(server, "connections")
        await refused(server, "connections")
        async with await server.client(login("free")):
            pass
        second.close()
        await second.expect_close()
        await until_there_is_room(server)


async def until_there_is_room(server: Broker) -> None:
    """The server hears of a close when it does."""
    for _ in range(1000):
        async with await server.connect() as client:
            await client.expect_info()
            client.send(f"CONNECT {login('connections')}\r\nPING\r\n")
            if (await answer(client)).startswith(b"PONG"):
                return
    raise AssertionError("no room")


async def answer(client: RawClient) -> bytes:
    return await client.expect(re.compile(rb"PONG\r\n|-ERR '[^']*'\r\n"))


async def test_nobody_at_all(broker: Brokers) -> None:
    await refused(broker.shared(LIMITS), "nobody")


async def test_a_login_that_fails_takes_no_room(broker: Brokers) -> None:
    server = broker.own(LIMITS)
    async with await server.client(login("connections")):
        async with await server.connect() as wrong:
            await wrong.expect_info()
            wrong.send('CONNECT {"user":"connections","pass":"q"}\r\n')
            await wrong.expect_error("Authorization Violation", closes=True)
        async with await server.client(login("connections")):
            pass


async def test_subscriptions_of_each_client(broker: Brokers) -> None:
    server = broker.shared(LIMITS)
    async with await server.client(login("subscriptions")) as one:
        one.send("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n")
        await one.expect_error("maximum subscriptions exceeded", closes=False)
        async with await server.client(login("subscriptions")) as two:
            two.send("SUB a 1\r\nSUB b 2\r\nPUB a 0\r\n\r\n")
            await two.expect("MSG a 1 0\r\n\r\n")
            await one.expect("MSG a 1 0\r\n\r\n")
        one.send("UNSUB 1\r\nSUB c 3\r\n")
        await one.expect_silence_until_pong()


async def test_payload(broker: Brokers) -> None:
    server = broker.shared(LIMITS)
    async with await server.client(login("payload")) as client:
        client.send("PUB a 10\r\n0123456789\r\n")
        await client.expect_silence_until_pong()
        client.send("PUB a 11\r\n0123456789a\r\n")
        await client.expect_error("Maximum Payload Violation", closes=True)


async def test_the_servers_payload_limit_is_not_exceeded(broker: Brokers) -> None:
    async with await broker.shared(LIMITS).client(login("large")) as client:
        client.send("PUB a 101\r\n" + "x" * 101 + "\r\n")
        await client.expect_error("Maximum Payload Violation", closes=True)


async def test_unlimited_is_the_servers_limit(broker: Brokers) -> None:
    async with await broker.shared(LIMITS).client(login("free")) as client:
        client.send("PUB a 100\r\n" + "x" * 100 + "\r\n")
        await client.expect_silence_until_pong()


async def test_leaf_links(broker: Brokers) -> None:
    server = broker.own(LIMITS)
    async with await server.leaf(json.dumps({"user": "leafs", "pass": "p"})):
        async with await RawLeaf.connect("127.0.0.1", server.process.port("leafnodes")) as second:
            await second.expect_info()
            second.send(f"CONNECT {json.dumps({'user': 'leafs', 'pass': 'p', 'name': 'second'})}\r\n")
            assert TOO_MANY.encode() in await second.read_until_close()
        async with await server.client(login("leafs")):
            pass


async def test_requests_to_jetstream_go_to_the_default_domain(broker: Brokers) -> None:
    config = "accounts { A { users: [ { user: a, password: p } ] } }\ndefault_js_domain { A: hub }\n"
    async with await broker.own(config).client(login("a")) as client:
        client.send("SUB $JS.hub.API.> 1\r\nPUB $JS.API.INFO 0\r\n\r\nPUB $JS.API.STREAM.NAMES 0\r\n\r\n")
        await client.expect("MSG $JS.hub.API.INFO 1 0\r\n\r\nMSG $JS.hub.API.STREAM.NAMES 1 0\r\n\r\n")
        client.send("PUB $KV.bucket.key 0\r\n\r\n")
        await client.expect("MSG $JS.hub.API.$KV.bucket.key 1 0\r\n\r\n")


async def test_info_has_what_the_user_may_send(broker: Brokers) -> None:
    server = broker.shared(LIMITS)
    for name, most in (("payload", 10), ("large", 100), ("free", 100)):
        async with await server.connect() as client:
            await client.expect_info()
            client.send(f'CONNECT {{"verbose":false,"protocol":1,"user":"{name}","pass":"p"}}\r\nPING\r\n')
            await client.expect(b"PONG\r\n")
            assert (await client.expect_info())["max_payload"] == most
