"""Message ids in a running server: what a duplicate waits for, crashes, and what is freed though nobody publishes."""

import asyncio
import errno
import json
import shutil
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext

from phloem.shared.server.server import Server
from phloem.shared.testing import ManualClock, server
from phloem.shared.testing.faults import break_disk, mend_disk

SECOND_NS = 1_000_000_000


def config(folder: Path) -> dict[str, Any]:
    return {"jetstream": {"store_dir": str(folder)}}


async def create(client: Client, **settings: Any) -> None:
    body = json.dumps({"name": "S", "subjects": ["s.>"], **settings}).encode()
    answer = json.loads((await client.request("$JS.API.STREAM.CREATE.S", body)).data)
    assert "error" not in answer, answer


def figures(broker: Server) -> dict[str, int]:
    assert broker.jetstream is not None
    (account,) = (account for account in broker.jetstream.accounts.values() if account.streams)
    return account.streams["S"].engine.ids.figures


async def seqs(js: JetStreamContext, *idents: object) -> list[tuple[int, bool]]:
    acks = [await js.publish("s.a", b"", headers={"Nats-Msg-Id": str(ident)}) for ident in idents]
    return [(ack.seq, bool(ack.duplicate)) for ack in acks]


async def test_a_duplicate_waits_for_its_original(tmp_path: Path) -> None:
    async with server(config(tmp_path)) as broker, await broker.connect() as client:
        await create(client)
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        async def heard(message: Any) -> None:
            answers.put_nowait(message.data)

        await client.subscribe("answers", cb=heard)
        headers = {"Nats-Msg-Id": "before"}
        assert await seqs(client.jetstream(), "before") == [(1, False)]
        assert broker.jetstream is not None
        store = broker.jetstream.store
        break_disk(store, on_sync=errno.EIO)
        try:
            await client.publish("s.a", b"", reply="answers", headers=headers)
            assert b'"duplicate"' in await answers.get()  # its original is safe: it waits for nothing else
            await client.publish("s.a", b"", headers={"Nats-Msg-Id": "lost"})
            for _ in range(3):
                await client.publish("s.a", b"", reply="answers", headers={"Nats-Msg-Id": "lost"})
            while not store.failed:
                await client.flush()
            await client.flush()
            assert answers.empty()
        finally:
            mend_disk(store)


async def test_ids_outlive_a_crash(tmp_path: Path) -> None:
    one, copy = tmp_path / "one", tmp_path / "copy"
    async with server(config(one)) as broker, await broker.connect() as client:
        await create(client, max_msgs_per_subject=3)
        assert await seqs(client.jetstream(), *range(5)) == [(seq, False) for seq in range(1, 6)]
        shutil.copytree(one, copy)
    async with server(config(copy)) as broker, await broker.connect() as client:
        assert figures(broker)["ids"] <= 3
        found = await seqs(client.jetstream(), 4, 3, 2, 5, 4)
        assert found == [(5, True), (4, True), (3, True), (6, False), (5, True)]
        assert figures(broker)["ids"] == 4


async def test_an_old_window_is_not_read_back(tmp_path: Path) -> None:
    clock = ManualClock()
    async with server(config(tmp_path), clock=clock) as broker, await broker.connect() as client:
        await create(client, duplicate_window=SECOND_NS)
        await seqs(client.jetstream(), 1, 2)
    clock.advance(2 * SECOND_NS)
    async with server(config(tmp_path), clock=clock) as broker, await broker.connect() as client:
        assert await seqs(client.jetstream(), 1, 1) == [(3, False), (3, True)]
        assert figures(broker)["ids"] == 1


async def test_ids_are_freed_though_nobody_publishes(tmp_path: Path) -> None:
    clock = ManualClock()
    async with server(config(tmp_path), clock=clock) as broker, await broker.connect() as client:
        await create(client, duplicate_window=60 * SECOND_NS)
        await seqs(client.jetstream(), *range(10))
        clock.advance(59 * SECOND_NS)
        await client.flush()
        assert figures(broker)["ids"] == 10
        clock.advance(2 * SECOND_NS)
        await client.flush()
        assert figures(broker)["ids"] == 0
