"""Streams of another account: its API and its deliveries, as far as it exports them (jetstream.md 2.9)."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, JsWorld

CONFIG = """
jetstream { store_dir: "@FOLDER@/js" }
accounts {
  A { jetstream: enabled, users: [ { user: a, password: p } ]
      exports: [ { service: "$JS.API.>", response_type: stream }, { service: "$JS.FC.>" }, { stream: "deliver.B.>" } ] }
  B { jetstream: enabled, users: [ { user: b, password: p } ]
      imports: [ { service: { account: A, subject: "$JS.API.>" }, to: "JS.A.API.>" },
                 { service: { account: A, subject: "$JS.FC.>" } },
                 { stream: { account: A, subject: "deliver.B.>" } } ] }
}
"""
ORIGIN = {"name": "S", "external": {"api": "JS.A.API", "deliver": "deliver.B"}}


@asynccontextmanager
async def two_accounts(broker: Brokers) -> AsyncIterator[tuple[JsClient, JsClient]]:
    server = broker.own(CONFIG)
    worlds = JsWorld(server, "a"), JsWorld(server, "b")
    try:
        yield await worlds[0].client(), await worlds[1].client()
    finally:
        for world in worlds:
            world.close()


@pytest.mark.parametrize("kind", ["mirror", "source"])
@pytest.mark.parametrize("overheard", [False, True])
async def test_what_another_account_exports_is_taken(broker: Brokers, kind: str, overheard: bool) -> None:
    async with two_accounts(broker) as (a, b):
        await a.stream("S", subjects=["s.>"])
        await a.fill("s.1", "s.2")
        if overheard:  # so that the origin's consumer finds somebody at once
            a.subscribe("deliver.>")
            await a.sync()
        await b.stream("M", **({"mirror": ORIGIN} if kind == "mirror" else {"sources": [ORIGIN]}))
        await a.fill("s.3")

        async def messages() -> object:
            return (await b.state("M"))["messages"]

        await b.until(messages, 3)
        stored = [await b.stored(seq, "M") for seq in (1, 2, 3)]
        assert [message and message["subject"] for message in stored] == ["s.1", "s.2", "s.3"]
        assert stored[0] is not None
        assert base64.b64decode(stored[0]["data"]) == base64.b64decode((await a.stored(1) or {})["data"])


async def test_its_api_is_not_the_own_one(broker: Brokers) -> None:
    async with two_accounts(broker) as (a, b):
        await a.stream("S", subjects=["s.>"])
        assert (await b.api("STREAM.NAMES"))["streams"] is None
        answer = await b.request("JS.A.API.STREAM.NAMES")
        assert answer.json["streams"] == ["S"]
