"""Accounts in a running server: who is in which, the system account by name, and reloading."""

import json
from typing import Any

import pytest

from phloem import Server
from phloem.shared.server.load import load_mapping, merge
from phloem.shared.server.options import Options
from phloem.shared.server.reload import reload
from tests.support.rawclient import RawClient

USERS = [{"user": "a", "password": "p"}]
LISTEN = {"listen": "127.0.0.1:-1"}


def options(**config: Any) -> Options:
    return merge(load_mapping({**LISTEN, **config}), {})


async def connected(server: Server, user: str = "", **connect: Any) -> RawClient:
    """A client that has sent CONNECT and has read nothing but the first INFO."""
    client = await RawClient.connect("127.0.0.1", server.port)
    await client.expect_info()
    login = {"user": user, "pass": "p"} if user else {}
    client.send(f"CONNECT {json.dumps({'verbose': False, **login, **connect})}\r\n")
    return client


@pytest.mark.parametrize(
    ("user", "account", "is_system"), [("a", "A", None), ("s", "S", True), ("g", "$G", None)]
)
async def test_second_info_names_the_account(user: str, account: str, is_system: bool | None) -> None:
    accounts = {"A": {"users": USERS}, "S": {"users": [{"user": "s", "password": "p"}]}}
    config = options(
        accounts=accounts,
        system_account="S",
        authorization={"users": [{"user": "g", "password": "p"}]},
    )
    async with Server(config) as server, await connected(server, user, protocol=1) as client:
        client.send(b"PING\r\n")
        await client.expect(b"PONG\r\n")
        info = await client.expect_info()
        assert (info["remote_account"], info.get("acc_is_sys")) == (account, is_system)
        assert list(server.accounts) == ["$G", "S", "A"]


async def test_only_the_system_account_may_publish_to_the_servers_own_subjects() -> None:
    accounts = {"S": {"users": USERS}, "$SYS": {"users": [{"user": "b", "password": "p"}]}}
    async with Server(options(accounts=accounts, system_account="S")) as server:
        async with await connected(server, "a") as client:
            client.send(b"PUB $NRG.x 0\r\n\r\n")
            await client.expect_silence_until_pong()
        async with await connected(server, "b") as client:
            client.send(b"PUB $NRG.x 0\r\n\r\n")
            await client.expect(b"-ERR 'Permissions Violation for Publish to \"$NRG.x\"'\r\n")


async def test_a_user_who_moves_to_another_account_has_to_come_again() -> None:
    before, after = options(accounts={"A": {"users": USERS}}), options(accounts={"B": {"users": USERS}})
    async with Server(before) as server, await connected(server, "a") as client:
        await client.expect_silence_until_pong()
        assert reload(server, lambda: after)
        await client.expect_close()
        async with await connected(server, "a", protocol=1) as again:
            again.send(b"PING\r\n")
            await again.expect(b"PONG\r\n")
            assert (await again.expect_info())["remote_account"] == "B"


async def test_reload_keeps_the_system_account() -> None:
    async with Server(options(accounts=["A"])) as server:
        assert not reload(server, lambda: options(accounts=["A"], system_account="A"))
        assert server.is_system("$SYS")


async def test_no_auth_user_gets_its_new_permissions_without_connect() -> None:
    def config(publish: str) -> Options:
        user = {"user": "a", "password": "p", "permissions": {"publish": publish}}
        return options(accounts={"A": {"users": [user]}}, no_auth_user="a")

    async with Server(config("x")) as server, await RawClient.connect("127.0.0.1", server.port) as client:
        await client.expect_info()
        client.send(b"SUB > 1\r\nPUB x 0\r\n\r\n")
        await client.expect(b"+OK\r\n+OK\r\nMSG x 1 0\r\n\r\n")
        assert reload(server, lambda: config("y"))
        client.send(b"PUB x 0\r\n\r\nPUB y 0\r\n\r\n")
        await client.expect(b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n+OK\r\nMSG y 1 0\r\n\r\n")


@pytest.mark.parametrize(
    ("config", "anonymous"),
    [
        ({"accounts": {"$SYS": {"users": USERS}}}, True),
        ({"accounts": {"S": {"users": USERS}}, "system_account": "S"}, True),
        ({"accounts": {"$SYS": {"users": USERS}}, "authorization": {}}, False),
        ({"accounts": {"$SYS": {"users": USERS}, "A": {}}}, False),
        ({"accounts": {"A": {"users": USERS}}}, False),
        ({"accounts": {"$SYS": {"users": USERS}}, "no_auth_user": "a"}, False),
        ({}, False),
    ],
)
def test_anonymous(config: dict[str, Any], anonymous: bool) -> None:
    assert options(**config).anonymous is anonymous


async def test_clients_without_credentials_stay_when_operators_change() -> None:
    def config(user: str) -> Options:
        return options(accounts={"$SYS": {"users": [{"user": user, "password": "p"}]}})

    async with Server(config("a")) as server:
        operator, client = await connected(server, "a"), await connected(server)
        async with operator, client:
            for one in (operator, client):
                await one.expect_silence_until_pong()
            assert reload(server, lambda: config("b"))
            await operator.expect_close()
            await client.expect_silence_until_pong()
