"""What mirrors, sources, schedules and batches are after a restart, and after a crash: a copy of the running store."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext

from phloem.shared.testing import server


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Client, JetStreamContext]]:
    config = {"jetstream": {"store_dir": str(folder)}}
    async with server(config) as broker, await broker.connect() as client:
        yield client, client.jetstream()


async def api(client: Client, what: str, **body: Any) -> dict[str, Any]:
    answer = await client.request(f"$JS.API.{what}", json.dumps(body).encode() if body else b"", timeout=5)
    found: dict[str, Any] = json.loads(answer.data)
    assert "error" not in found, found
    return found


async def create(client: Client, name: str, **config: Any) -> None:
    await api(client, f"STREAM.CREATE.{name}", name=name, **config)


async def last_seq(client: Client, name: str, wanted: int) -> dict[str, Any]:
    """The stream's state, once it has got so far."""
    while True:
        state: dict[str, Any] = (await api(client, f"STREAM.INFO.{name}"))["state"]
        if state["last_seq"] >= wanted:
            return state


async def subjects(client: Client, name: str) -> list[str]:
    state = await last_seq(client, name, 0)
    answers = [
        await api(client, f"STREAM.MSG.GET.{name}", seq=seq)
        for seq in range(state["first_seq"], state["last_seq"] + 1)
    ]
    return [answer["message"]["subject"] for answer in answers]


async def _sourcing(folder: Path, crashed: Path | None) -> None:
    async with running(folder) as (client, js):
        await create(client, "O", subjects=["o.>"])
        await create(client, "M", mirror={"name": "O"})
        await create(client, "S", sources=[{"name": "O", "filter_subject": "o.a.>"}], subjects=["own"])
        for number in range(10):
            await js.publish(f"o.{'ab'[number % 2]}.{number}", b"")
        await last_seq(client, "S", 5)
        await last_seq(client, "M", 10)
        await js.publish("own", b"")
        if crashed is not None:
            shutil.copytree(folder, crashed)
    async with running(crashed or folder) as (client, js):
        await js.publish("o.a.last", b"")
        await last_seq(client, "M", 11)
        await last_seq(client, "S", 7)
        expected = [f"o.a.{number}" for number in range(0, 10, 2)]
        assert await subjects(client, "S") == [*expected, "own", "o.a.last"]
        assert len(await subjects(client, "M")) == 11
        source = (await api(client, "STREAM.INFO.S"))["sources"][0]
        assert (source["lag"], source["seq"]) == (0, 11)


async def test_sourcing_goes_on_after_a_restart(tmp_path: Path) -> None:
    await _sourcing(tmp_path / "one", None)


async def test_sourcing_goes_on_after_a_crash(tmp_path: Path) -> None:
    await _sourcing(tmp_path / "one", tmp_path / "copy")


async def test_purged_copy_does_not_begin_anew(tmp_path: Path) -> None:
    async with running(tmp_path) as (client, js):
        await create(client, "O", subjects=["o.>"])
        await create(client, "S", sources=[{"name": "O"}])
        await js.publish("o.1", b"")
        await last_seq(client, "S", 1)
        await api(client, "STREAM.PURGE.S")
    async with running(tmp_path) as (client, js):
        await js.publish("o.2", b"")
        await last_seq(client, "S", 2)
        assert await subjects(client, "S") == ["o.2"]


async def test_origin_that_is_made_anew_is_another(tmp_path: Path) -> None:
    async with running(tmp_path) as (client, js):
        await create(client, "O", subjects=["o.>"])
        await create(client, "S", sources=[{"name": "O"}])
        for number in range(3):
            await js.publish(f"o.{number}", b"")
        await last_seq(client, "S", 3)
        await api(client, "STREAM.DELETE.O")
        assert (await api(client, "STREAM.INFO.S"))["sources"][0]["error"]["err_code"] == 10059
        await create(client, "O", subjects=["o.>"])
        await js.publish("o.new", b"")
        await last_seq(client, "S", 4)
        assert await subjects(client, "S") == ["o.0", "o.1", "o.2", "o.new"]


async def test_schedules_outlive_the_server(tmp_path: Path) -> None:
    headers = {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "s.t"}
    once = {"Nats-Schedule": "@at 2090-01-01T00:00:00Z", "Nats-Schedule-Target": "s.t"}
    async with running(tmp_path) as (client, js):
        await create(client, "S", subjects=["s.>"], allow_msg_schedules=True)
        await js.publish("s.once", b"", headers=once)
        ack = await js.publish("s.a", b"x", headers=headers)
    async with running(tmp_path) as (client, js):
        state = await last_seq(client, "S", ack.seq + 1)
        message = (await api(client, "STREAM.MSG.GET.S", seq=state["last_seq"]))["message"]
        assert message["subject"] == "s.t"
        await js.publish("s.b", b"", headers={"Nats-Schedule-Next": "purge", "Nats-Scheduler": "s.once"})
        assert "s.once" not in await subjects(client, "S")


async def test_open_batch_is_gone(tmp_path: Path) -> None:
    first = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"}
    async with running(tmp_path) as (client, _):
        await create(client, "S", subjects=["s.>"], allow_atomic=True)
        await client.request("s.a", b"1", headers=first)
    async with running(tmp_path) as (client, _):
        last = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
        answer = json.loads((await client.request("s.a", b"2", headers=last)).data)
        assert answer["error"]["err_code"] == 10176
        assert (await last_seq(client, "S", 0))["messages"] == 0


async def test_committed_batch_is_one_frame(tmp_path: Path) -> None:
    config = {"jetstream": {"store_dir": str(tmp_path)}}
    async with server(config) as broker, await broker.connect() as client:
        assert broker.jetstream is not None
        await create(client, "S", subjects=["s.>"], allow_atomic=True)
        for seq in range(1, 100):
            headers = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": str(seq)}
            await client.request("s.a", b"x" * 1000, headers=headers)
        before = broker.jetstream.store.stats["batches"]
        last = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "100", "Nats-Batch-Commit": "1"}
        answer = json.loads((await client.request("s.a", b"", headers=last)).data)
        assert answer["count"] == 100
        assert broker.jetstream.store.stats["batches"] == before + 1
