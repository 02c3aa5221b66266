"""A device whose disk is used up while its hub is away: what goes, in which order, and what the hub is told."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import APIError

import phloem.edge.storage.keeper as keeper
import phloem.shared.store.generations as generations
from phloem.edge.app import Edge
from phloem.hub.app import Hub
from phloem.hub.collect.collector import KEY
from phloem.shared.forward.identity import Record
from phloem.shared.store.folder import make_file
from tests.interop.forward.test_forward import TIMEOUT_S, hub
from tests.interop.links import Cable

COUNT = 500
PAYLOAD = os.urandom(4000)  # 6 MB in all, of which 5 may stay
FORWARD = {
    "dbg": {"subjects": ["dbg.>"], "class": "debug"},
    "tele": {"subjects": ["tele.>"]},
    "al": {"subjects": ["al.>"], "class": "alarm"},
}
DISK = {"budget": 6_000_000, "free_floor": 0, "reserve": 256_000}


class Small(Edge):
    """With a journal that is small enough for a test."""

    generation_bytes: ClassVar[int] = 1 << 18


@contextlib.asynccontextmanager
async def device(folder: Path, port: int, **config: Any) -> AsyncIterator[Small]:
    options = {
        "server_name": "dev1",
        "listen": "127.0.0.1:-1",
        "leafnodes": {
            "reconnect": "20ms",
            "remotes": [{"urls": [f"nats-leaf://127.0.0.1:{port}"], "ignore_discovered_servers": True}],
        },
        "jetstream": {"store_dir": str(folder / "edge"), "domain": "dev1"},
        "forward": FORWARD,
        "disk": DISK,
        **config,
    }
    async with Small(options) as server:
        yield server


async def caught_up(edge: Edge, client: Client) -> None:
    """Everything is stored and moved, however slow the disk is, and what has to go is gone."""
    await client.flush()
    assert edge.jetstream is not None
    assert edge.storage is not None
    edge.jetstream.store.wait()
    while edge.storage.keeper.look():
        pass


async def fill(edge: Edge, client: Client) -> None:
    """More than there is room for, no faster than it is shed."""
    for i in range(COUNT):
        for kind in ("dbg", "tele", "al"):
            await client.publish(f"{kind}.{i}", PAYLOAD)
        if i % 10 == 9:
            await caught_up(edge, client)


def record(top: Hub, name: str) -> Record:
    assert top.jetstream is not None
    data = top.jetstream.store.get(KEY + f"$G/dev1/{name}".encode())
    return msgspec.msgpack.decode(data, type=Record) if data else Record(0, [])


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not is_so():  # noqa: ASYNC110  (the store has no event for it)
            await asyncio.sleep(0.01)


async def complete(top: Hub, names: tuple[str, ...]) -> dict[str, Record]:
    """When the hub knows of each message of each stream what has become of it."""
    await until(lambda: all(record(top, n).received + record(top, n).missing >= COUNT for n in names))
    return {name: record(top, name) for name in names}


async def test_the_hub_learns_exactly_what_was_shed_and_why(tmp_path: Path) -> None:
    async with hub(tmp_path) as top, Cable(top.leaf_port) as cable:
        await cable.cut()
        async with device(tmp_path, cable.port) as edge:
            client = await edge.connect()
            told = await client.subscribe("$JS.EVENT.ADVISORY.STREAM.SHED.*")
            await client.flush()
            await fill(edge, client)
            storage, edge.storage = edge.storage, None
            assert storage is not None
            storage.stop()  # so that nothing more goes while the hub receives the rest
            figures = storage.figures()["disk"]
            shed = figures["shed"]
            assert shed["debug"] > 0
            assert "alarm" not in shed
            assert figures["refused"] == {}
            cable.restore()
            found = await complete(top, ("dbg", "tele", "al"))
            for name, cls in (("dbg", "debug"), ("tele", "telemetry"), ("al", "alarm")):
                lost = shed.get(cls, 0)
                assert found[name].received == COUNT - lost
                gaps = [(first, last, count, why) for first, last, count, why, _ in found[name].gaps]
                why = f"shed on the device: its disk budget is used up (class {cls})"
                assert gaps == ([(1, lost, lost, why)] if lost else [])
            advised: list[dict[str, Any]] = []
            while sum(one["messages"] for one in advised) < sum(shed.values()):
                advised.append(msgspec.json.decode((await told.next_msg(TIMEOUT_S)).data))
            assert sum(one["messages"] for one in advised) == sum(shed.values())
            assert {one["class"] for one in advised} == set(shed)
            await client.close()


async def test_what_is_lost_is_written_down_in_the_batch_that_removes_it(tmp_path: Path) -> None:
    async with device(tmp_path, 1, disk={**DISK, "budget": 8_000_000}) as edge:
        client = await edge.connect()
        for i in range(50):
            await client.publish(f"dbg.{i}", PAYLOAD)
        await client.flush()
        assert edge.storage is not None
        assert edge.jetstream is not None
        store = edge.jetstream.store
        store.wait()
        before = store.stats["batches"]
        (shelf,) = [one for one in edge.storage.keeper.shelves() if one.stream.name == "FORWARD_dbg"]
        assert shelf.shed(20, "why", spare=False)[:2] == (20, 20)
        store.wait()
        assert store.stats["batches"] == before + 1
        (lane,) = shelf.lanes
        assert lane.lost(1, 20) == (20, "why")
        assert lane.lost(15, 20) == (6, "why")  # the hub had the others
        assert lane.lost(1, 25)[0] == 25
        await client.close()


async def test_what_the_hub_has_goes_first_and_is_no_loss(tmp_path: Path) -> None:
    forward = {**FORWARD, "al": {"subjects": ["al.>"], "class": "alarm", "keep": 100_000_000}}
    async with (
        hub(tmp_path) as top,
        Cable(top.leaf_port) as cable,
        device(tmp_path, cable.port, forward=forward) as edge,
    ):
        client = await edge.connect()
        for i in range(COUNT):
            await client.publish(f"al.{i}", PAYLOAD)
        await client.flush()
        assert edge.storage is not None
        shelf = next(one for one in edge.storage.keeper.shelves() if one.stream.name == "FORWARD_al")
        await until(lambda: shelf.confirmed >= COUNT)
        await cable.cut()
        for i in range(COUNT * 3 // 5):
            await client.publish(f"dbg.{i}", PAYLOAD)
            await client.publish(f"al.{i}", PAYLOAD)
            if i % 10 == 9:
                await caught_up(edge, client)
        shed = edge.storage.keeper.shed
        assert {(what.cls, what.reason) for what in shed} == {
            ("alarm", "the hub has it: its disk budget is used up")
        }
        cable.restore()
        await until(lambda: record(top, "al").received >= COUNT + COUNT * 3 // 5)
        assert record(top, "al").gaps == []
        await client.close()


async def test_a_full_disk_still_takes_alarms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No new file until the reserve has been given back; then there is room for alarms only."""
    reserve = tmp_path / "edge" / "jetstream" / "phloem-reserve"
    monkeypatch.setattr(generations, "RETRY_S", 0.01)

    def full(path: str, size: int) -> int:
        if reserve.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return make_file(path, size)

    async with device(tmp_path, 1) as edge:
        client = await edge.connect()
        js = client.jetstream()
        await js.publish("dbg.1", b"taken")
        assert edge.storage is not None
        assert edge.jetstream is not None
        monkeypatch.setattr(generations, "make_file", full)
        monkeypatch.setattr(keeper, "space_of", lambda _folder: (10_000_000, 0))
        assert reserve.exists()
        edge.storage.keeper.look()
        assert not reserve.exists()
        with pytest.raises(APIError, match="the disk has no space left, and only messages of class alarm"):
            await js.publish("dbg.2", b"refused")
        for i in range(200):  # more than a generation of the journal
            await js.publish(f"al.{i}", PAYLOAD)
        assert edge.device_figures()["disk"]["refused"] == {"debug": 1}
        monkeypatch.setattr(keeper, "space_of", lambda _folder: (10_000_000, 9_000_000))
        edge.storage.keeper.look()
        await js.publish("dbg.3", b"taken again")
        await client.close()
