"""What a reload does to those who are connected (security_ops 1.6, 2.3): who stays, who goes, what holds then."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.rawclient import RawClient

VIOLATION = "Authorization Violation"
ANSWER = re.compile(rb"(?:MSG [^\r]*\r\n[^\r]*|HMSG [^\r]*\r\n.*?\r\n\r\n)\r\n", re.DOTALL)


def users(*entries: str) -> str:
    return f"authorization {{ users: [ {', '.join(entries)} ] }}"


def user(name: str, password: str = "p", more: str = "") -> str:
    return f"{{ user: {name}, password: {password} {more} }}"


def account(name: str, *entries: str, more: str = "") -> str:
    return f"{name} {{ users: [ {', '.join(entries)} ] {more} }}\n"


def accounts(*blocks: str) -> str:
    return f"accounts {{\n{''.join(blocks)}}}\n"


@asynccontextmanager
async def connected(broker: Broker, name: str = "", **connect: object) -> AsyncIterator[RawClient]:
    fields: dict[str, object] = {"verbose": False, "pedantic": False, "headers": True, **connect}
    if name:
        fields |= {"user": name, "pass": "p"}
    client = await broker.client(json.dumps(fields))
    async with client:
        yield client


GONE = [  # before, after, the user, what he is told
    (users(user("a"), user("b")), users(user("a", "q"), user("b")), "a", VIOLATION),
    (users(user("a"), user("b")), users(user("b")), "a", ""),
    (
        users(user("a"), user("b")),
        users(user("a", more=', allowed_connection_types: ["MQTT"]'), user("b")),
        "a",
        VIOLATION,
    ),
    (accounts(account("A", user("a"))), accounts(account("B", user("a"))), "a", ""),
    (accounts(account("A", user("a"))), accounts(account("A", user("b"))), "a", ""),
    (accounts(account("A", user("a"))), users(user("b")), "a", ""),
    ("authorization { user: a, password: p }", "authorization { user: a, password: q }", "a", ""),
    ("authorization { user: a, password: p }", "authorization { token: t }", "a", ""),
    ("", users(user("a")), "", VIOLATION),
    ("", "authorization { token: t }", "", VIOLATION),
    (f"no_auth_user: a\n{users(user('a'), user('b'))}", users(user("b")), "", ""),
    (users(user("a")), "", "a", ""),
]
STAY = [
    (users(user("a")), users(user("a"), user("b")), "a"),
    (accounts(account("A", user("a"))), accounts(account("A", user("a")), account("B", user("b"))), "a"),
    ("authorization { user: a, password: p }", users(user("a")), "a"),
    (f"no_auth_user: a\n{users(user('a'))}", f"no_auth_user: a\n{users(user('a'), user('b'))}", ""),
    ("", accounts(account("A")), ""),
]


@pytest.mark.parametrize(("before", "after", "name", "told"), GONE)
async def test_goes(broker: Brokers, before: str, after: str, name: str, told: str) -> None:
    server = broker.own(before)
    async with connected(server, name) as client:
        assert server.process.reload(after) == ""
        if told:
            await client.expect_error(told, closes=True)
        else:
            await client.expect_close()


@pytest.mark.parametrize(("before", "after", "name"), STAY)
async def test_stays(broker: Brokers, before: str, after: str, name: str) -> None:
    server = broker.own(before)
    async with connected(server, name) as client:
        client.send("SUB x 1\r\n")
        await client.expect_silence_until_pong()
        assert server.process.reload(after) == ""
        client.send("PUB x 0\r\n\r\n")
        await client.expect("MSG x 1 0\r\n\r\n")


async def test_what_a_user_may_do_is_that_of_now(broker: Brokers) -> None:
    before = users(user("a", more=', permissions: { publish: "x", subscribe: [ "x", "y" ] }'))
    after = users(user("a", more=', permissions: { publish: "y", subscribe: [ "y", "z" ] }'))
    server = broker.own(before)
    async with connected(server, "a") as client:
        client.send("SUB x 1\r\nSUB y 2\r\n")
        await client.expect_silence_until_pong()
        assert server.process.reload(after) == ""
        await client.expect('-ERR \'Permissions Violation for Subscription to "x" (sid "1")\'\r\n')
        client.send("PUB y 0\r\n\r\nPUB x 0\r\n\r\nSUB z 3\r\n")
        await client.expect("MSG y 2 0\r\n\r\n")
        await client.expect("-ERR 'Permissions Violation for Publish to \"x\"'\r\n")
        await client.expect_silence_until_pong()


async def test_an_account_that_may_have_fewer_clients_loses_some(broker: Brokers) -> None:
    server = broker.own(accounts(account("A", user("a"))))
    limited = accounts(account("A", user("a"), more=", limits { max_connections: 1 }"))
    async with connected(server, "a") as one, connected(server, "a") as two:
        assert server.process.reload(limited) == ""
        await one_of_them_ends(one, two, "maximum account active connections exceeded")
        async with await server.connect() as third:
            await third.expect_info()
            third.send('CONNECT {"user":"a","pass":"p"}\r\n')
            await third.expect_error("maximum account active connections exceeded", closes=True)


async def one_of_them_ends(one: RawClient, two: RawClient, text: str) -> None:
    """Which one is nobody's promise."""
    ends = 0
    for client in (one, two):
        client.send("PING\r\n")
        answer = await client.expect(re.compile(rb"PONG\r\n|-ERR '([^']*)'\r\n"))
        if answer != b"PONG\r\n":
            assert answer == f"-ERR '{text}'\r\n".encode()
            await client.expect_close()
            ends += 1
    assert ends == 1


async def test_an_accounts_payload_limit_holds_for_who_is_connected(broker: Brokers) -> None:
    server = broker.own(accounts(account("A", user("a"))))
    limited = accounts(account("A", user("a"), more=", limits { max_payload: 10 }"))
    async with connected(server, "a") as client:
        assert server.process.reload(limited) == ""
        client.send("PUB x 11\r\nhello world\r\n")
        await client.expect_error("Maximum Payload Violation", closes=True)


async def test_an_accounts_subscription_limit_holds_for_who_is_connected(broker: Brokers) -> None:
    server = broker.own(accounts(account("A", user("a"))))
    limited = accounts(account("A", user("a"), more=", limits { max_subscriptions: 2 }"))
    async with connected(server, "a") as client:
        client.send("SUB x 1\r\n")
        await client.expect_silence_until_pong()
        assert server.process.reload(limited) == ""
        client.send("SUB y 2\r\nSUB z 3\r\n")
        await client.expect_error("maximum subscriptions exceeded", closes=False)


async def test_a_servers_limits_hold_for_who_is_connected(broker: Brokers) -> None:
    server = broker.own("")
    async with connected(server) as client:
        assert server.process.reload("max_payload: 10\nmax_control_line: 64") == ""
        client.send("PUB x 10\r\n0123456789\r\n")
        await client.expect_silence_until_pong()
        client.send("PUB x 11\r\nhello world\r\n")
        await client.expect_error("Maximum Payload Violation", closes=True)


async def test_too_many_clients_are_closed(broker: Brokers) -> None:
    server = broker.own("")
    async with connected(server) as one, connected(server) as two:
        assert server.process.reload("max_connections: 1") == ""
        server.process.wait_for_log("Closed 1 connections to fall within max_connections")
        await one_of_them_ends(one, two, "maximum connections exceeded")


async def test_who_comes_is_told_where_else_to_connect(broker: Brokers) -> None:
    server = broker.own("")
    assert server.process.reload('client_advertise: "example.com:1234"') == ""
    async with await server.connect() as client:
        info = await client.expect_info()
        assert (info["host"], info["port"]) == ("example.com", 1234)


async def test_mappings_change_for_who_is_connected(broker: Brokers) -> None:
    server = broker.own("mappings { a: b }")
    async with connected(server) as client:
        client.send("SUB b 1\r\nSUB c 2\r\nPUB a 0\r\n\r\n")
        await client.expect("MSG b 1 0\r\n\r\n")
        assert server.process.reload("mappings { a: c }") == ""
        client.send("PUB a 0\r\n\r\n")
        await client.expect("MSG c 2 0\r\n\r\n")


def shared(subject: str, to: str) -> str:
    return accounts(
        account("A", user("a"), more=f", exports: [ {{ stream: {subject} }} ]"),
        account(
            "B",
            user("b"),
            more=f", imports: [ {{ stream: {{ account: A, subject: {subject} }}, to: {to} }} ]",
        ),
    )


async def test_imports_change_for_who_is_connected(broker: Brokers) -> None:
    server = broker.own(shared("x", "one"))
    async with connected(server, "a") as exporter, connected(server, "b") as importer:
        importer.send("SUB one 1\r\nSUB two 2\r\n")
        await importer.expect_silence_until_pong()
        exporter.send("PUB x 1\r\na\r\n")
        await importer.expect("MSG one 1 1\r\na\r\n")
        assert server.process.reload(shared("x", "two")) == ""
        exporter.send("PUB x 1\r\nb\r\n")
        await importer.expect("MSG two 2 1\r\nb\r\n")
        assert server.process.reload(accounts(account("A", user("a")), account("B", user("b")))) == ""
        exporter.send("PUB x 1\r\nc\r\n")
        await exporter.expect_silence_until_pong()
        await importer.expect_silence_until_pong()


async def test_a_file_that_is_wrong_changes_nothing(broker: Brokers) -> None:
    server = broker.own(users(user("a")))
    async with connected(server, "a") as client:
        wrong = users(user("b")) + "\nmax_payload: 10\nmax_pending: 5"
        assert server.process.reload(wrong).startswith("max_payload (10) cannot be higher than")
        assert server.process.reload(users(user("b")) + "\nserver_name: x").startswith("config reload not")
        client.send("SUB x 1\r\nPUB x 11\r\nhello world\r\n")
        await client.expect("MSG x 1 11\r\nhello world\r\n")
    async with connected(server, "a"):
        pass


async def test_jetstream_comes_and_goes(broker: Brokers) -> None:
    on = 'jetstream { store_dir: "@FOLDER@/js" }'
    server = broker.own(on)
    async with connected(server, no_responders=True) as client:

        async def answer(subject: str, body: str = "") -> str:
            client.send(f"PUB {subject} r {len(body)}\r\n{body}\r\n")
            return (await client.expect(ANSWER)).decode()

        client.send("SUB r 1\r\n")
        assert '"S"' in await answer("$JS.API.STREAM.CREATE.S", '{"name":"S","subjects":["s"]}')
        assert '"seq":1' in await answer("s", "hello")
        assert server.process.reload("") == ""
        assert "503" in await answer("s", "hello")
        assert server.process.reload(on) == ""
        assert '"messages":1' in await answer("$JS.API.STREAM.INFO.S")
        assert '"seq":2' in await answer("s", "hello")
