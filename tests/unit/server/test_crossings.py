"""What crosses between the accounts of a running server: at the start and after a reload."""

import asyncio
import json
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client

from phloem import Server
from phloem.shared.server.load import load_mapping, merge
from phloem.shared.server.options import Options
from phloem.shared.server.reload import reload


def accounts(*, b: dict[str, Any], a: dict[str, Any], **more: Any) -> dict[str, Any]:
    def account(name: str, what: dict[str, Any]) -> dict[str, Any]:
        return {"users": [{"user": name, "password": "p"}], **what}

    return {"port": -1, "accounts": {"B": account("b", b), "A": account("a", a)}, **more}


EXPORTS = {"exports": [{"stream": "news.>"}, {"service": "ask.>", "latency": "took"}]}
IMPORTS = {
    "imports": [
        {"stream": {"account": "B", "subject": "news.>"}, "prefix": "far"},
        {"service": {"account": "B", "subject": "ask.>"}, "share": True},
    ]
}
SHARED = accounts(b=EXPORTS, a=IMPORTS)


def as_options(config: dict[str, Any]) -> Options:
    return merge(load_mapping(config), {})


async def both(server: Server) -> tuple[Client, Client]:
    return await server.connect(user="a", password="p"), await server.connect(user="b", password="p")


async def test_streams_and_services() -> None:
    async with Server(SHARED) as server:
        a, b = await both(server)
        news = await a.subscribe("far.news.*")
        took = await b.subscribe("took")
        asked: list[dict[str, str] | None] = []

        async def answer(message: Any) -> None:
            asked.append(message.headers)
            await message.respond(b"42")

        await b.subscribe("ask.*", cb=answer)
        await a.flush()
        await b.flush()
        await b.publish("news.x", b"now")
        assert (await news.next_msg(5)).subject == "far.news.x"
        assert (await a.request("ask.me", b"?", timeout=5)).data == b"42"
        [headers] = asked
        assert headers is not None
        who = json.loads(headers["Nats-Request-Info"])
        assert (who["acc"], who["user"], who["server"], who["kind"]) == ("A", "a", server.name, "Client")
        event = json.loads((await took.next_msg(5)).data)
        assert (event["status"], event["requestor"]["user"], event["responder"]["user"]) == (200, "a", "b")
        assert event["start"].endswith("Z")
        await a.close()
        await b.close()


async def test_a_reload_adds_and_removes() -> None:
    async with Server(accounts(b={}, a={})) as server:
        a, b = await both(server)
        news = await a.subscribe("far.news.*")
        await a.flush()
        await b.publish("news.x", b"0")
        await b.flush()
        assert reload(server, lambda: as_options(SHARED))
        await b.publish("news.x", b"1")
        assert (await news.next_msg(5)).data == b"1"
        wrong = accounts(b={}, a=IMPORTS)
        assert not reload(server, lambda: as_options(wrong)), "an import of nothing"
        await b.publish("news.x", b"2")
        assert (await news.next_msg(5)).data == b"2"
        assert reload(server, lambda: as_options(accounts(b={}, a={"mappings": {"x": "far.news.mapped"}})))
        await b.publish("news.x", b"3")
        await b.flush()
        await a.publish("x", b"4")
        message = await news.next_msg(5)
        assert (message.subject, message.data) == ("far.news.mapped", b"4")
        await a.close()
        await b.close()


async def test_nobody_answers() -> None:
    async with Server(SHARED) as server:
        a, b = await both(server)
        with pytest.raises(nats.errors.NoRespondersError):
            await asyncio.wait_for(a.request("ask.me", b"?", timeout=5), 5)
        await a.close()
        await b.close()
