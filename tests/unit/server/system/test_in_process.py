"""The system account of an embedded server: what nobody hears costs nothing, links, accounts that come later."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.client import Client

from phloem import Server

CONFIG: dict[str, Any] = {
    "server_name": "HUB",
    "listen": "127.0.0.1:-1",
    "accounts": {
        "$SYS": {"users": [{"user": "sys", "password": "p"}]},
        "A": {"users": [{"user": "a", "password": "p"}]},
    },
    "leafnodes": {"listen": "127.0.0.1:-1"},
}


@asynccontextmanager
async def client(server: Server, user: str) -> AsyncIterator[Client]:
    connected = await server.connect(user=user, password="p")
    try:
        yield connected
    finally:
        await connected.close()


async def asked(by: Client, subject: str, body: bytes = b"") -> dict[str, Any]:
    return dict(json.loads((await by.request(subject, body, timeout=5)).data))


def messages(server: Server) -> int:
    """How many messages with a ServerInfo there were before."""
    assert server.system is not None
    return server.system.voice.info().seq - 1


async def test_nothing_is_made_up_if_nobody_listens() -> None:
    async with Server(CONFIG) as server:
        async with client(server, "sys") as sys, client(server, "a"):
            await sys.subscribe("$SYS.ACCOUNT.*.NOTHING")
            await sys.subscribe("_INBOX.>")
            await sys.flush()
            async with client(server, "a"):
                pass
        assert messages(server) == 0


async def test_the_largest_figures_fit_into_any_subject() -> None:
    """An account's name may be anything that is not too long."""
    name = "a b>c.*" + "x" * 300
    config = {"listen": "127.0.0.1:-1", "accounts": {name: {"users": [{"user": "a", "password": "p"}]}}}
    async with Server(config) as server, client(server, "a") as a:
        page = await asked(a, "$SYS.REQ.ACCOUNT.PING.CONNZ", b'{"auth":true}')
        assert [c["account"] for c in page["data"]["connections"]] == [name]


async def test_an_account_that_comes_later_may_ask_as_well() -> None:
    async with Server(CONFIG) as server:
        late = server.account("LATE")
        said: list[bytes] = []
        server.kernel.subscribe(late, b"answer", None, lambda *message: said.append(message[3]))
        server.kernel.publish(
            late, b"$SYS.REQ.ACCOUNT.PING.STATZ", b"answer", b"", b'{"include_unused":true}'
        )
        async with client(server, "a") as a:
            await a.flush()  # the kernel has worked since
        (answer,) = said
        assert [stat["acc"] for stat in json.loads(answer)["data"]["account_statz"]] == ["LATE"]


async def test_an_embedded_server_has_no_file_to_reload() -> None:
    async with Server(CONFIG) as server, client(server, "sys") as sys:
        answer = await asked(sys, f"$SYS.REQ.SERVER.{server.server_id}.RELOAD")
        text = "can only reload config when a file is provided using -c or --config"
        assert answer["error"] == {"code": 500, "description": text}


async def test_a_link_that_this_server_dialled() -> None:
    async with Server(CONFIG) as hub:
        edge = {
            **CONFIG,
            "server_name": "EDGE",
            "leafnodes": {"remotes": [{"url": f"nats-leaf://a:p@127.0.0.1:{hub.leaf_port}", "account": "A"}]},
        }
        async with client(hub, "sys") as at_hub:
            events = await at_hub.subscribe("$SYS.ACCOUNT.A.SERVER.CONNS")
            await at_hub.flush()
            async with Server(edge) as server, client(server, "a") as a, client(server, "sys") as at_edge:
                assert json.loads((await events.next_msg(5)).data)["leafnodes"] == 1
                await a.flush()
                inbox = await a.subscribe("answers")
                await a.publish("$SYS.REQ.USER.INFO", b"", reply="answers")
                answers = [json.loads((await inbox.next_msg(5)).data) for _ in range(2)]
                users = {answer["server"]["name"]: answer["data"]["user"] for answer in answers}
                assert users == {"EDGE": "a", "HUB": "a"}
                info = (await asked(at_edge, "$SYS.REQ.SERVER.PING.VARZ"))["server"]
                assert (info["name"], info["cluster"]) == ("EDGE", "EDGE")
                assert "cluster" not in (await asked(at_hub, "$SYS.REQ.SERVER.PING.VARZ"))["server"]


async def test_it_ends_without_a_trace() -> None:
    async with Server(CONFIG) as server:
        system = server.system
        assert system is not None
    assert server.system is None
    server.events.lame_duck()  # nobody minds
