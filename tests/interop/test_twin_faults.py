"""Twins when something goes wrong: hubs out of a backup, devices that begin anew, power cuts, wrong configurations."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from phloem.edge.app import Edge
from phloem.shared.server.server import Server
from phloem.shared.twin.names import HUB_DESIRED, HUB_REPORTED
from tests.interop.links import TIMEOUT_S, World
from tests.interop.test_twin import Pair, buckets, same, until, value
from tests.support.phloem_server import ForkedServer


class OurHub:
    """A phloem hub that can be stopped, saved and brought back, always on the same ports."""

    def __init__(self, folder: Path) -> None:
        self.store, self.saved = folder / "hub", folder / "saved"
        self._ports = (-1, -1)
        self.server: Server

    async def start(self) -> Server:
        self.server = Server(
            {
                "listen": f"127.0.0.1:{self._ports[0]}",
                "server_name": "HUB",
                "leafnodes": {"listen": f"127.0.0.1:{self._ports[1]}"},
                "jetstream": {"store_dir": str(self.store), "domain": "hub"},
            }
        )
        await self.server.start()
        self._ports = (self.server.port, self.server.leaf_port)
        return self.server

    async def save(self) -> None:
        await self.server.stop()
        shutil.copytree(self.store, self.saved)
        await self.start()

    async def restore(self) -> None:
        await self.server.stop()
        shutil.rmtree(self.store)
        shutil.copytree(self.saved, self.store)
        await self.start()


@pytest.fixture
async def hub(tmp_path: Path) -> Any:
    made = OurHub(tmp_path)
    await made.start()
    yield made
    await made.server.stop()


async def pair_of(world: World, hub: OurHub) -> Pair:
    pair = Pair(world, hub.server, await world.cable(hub.server.leaf_port))
    pair.up = await world.client(hub.server, reconnect_time_wait=0.02, max_reconnect_attempts=-1)
    await buckets(pair.up)
    return pair


async def test_a_hub_out_of_yesterdays_backup(world: World, hub: OurHub) -> None:
    pair = await pair_of(world, hub)
    await pair.start()
    wanted, here = await pair.bucket(HUB_DESIRED), await pair.bucket("desired")
    said, told = await pair.bucket("reported"), await pair.bucket(HUB_REPORTED)
    await wanted.put("dev.old", b"1")
    await said.put("old", b"1")
    await same(here, "old", b"1")
    await same(told, "dev.old", b"1")
    await hub.save()
    await same(here, "old", b"1")
    for number in range(20):
        await wanted.put("dev.lost", b"%d" % number)
        await said.put("kept", b"%d" % number)
    await same(here, "lost", b"19")
    await same(told, "dev.kept", b"19")
    await hub.restore()
    await same(here, "lost", None)  # the hub's is as it was, and so is the copy
    await same(told, "dev.kept", b"19")  # the device's is the device's
    await wanted.put("dev.new", b"2")
    await same(here, "new", b"2")
    await pair.stop()


async def test_a_device_that_was_imaged_anew(world: World, hub: OurHub) -> None:
    """What it has done is known at the hub: a command that may run once does not run in the next life."""
    pair = await pair_of(world, hub)
    await pair.start()
    wanted, told = await pair.bucket(HUB_DESIRED), await pair.bucket(HUB_REPORTED)
    runs: list[bytes] = []

    async def handle(msg: Msg) -> None:
        runs.append(msg.data)
        await msg.respond(b"")

    await pair.down.subscribe("cmd.once", cb=handle)
    await wanted.put("dev.rate", b"5")
    await wanted.put("dev.command.x", json.dumps({"name": "once", "data": "x"}).encode())
    await until(lambda: state(told, "x"), "done")
    await pair.stop()
    shutil.rmtree(world.folder / "edge")
    await pair.start()
    await pair.down.subscribe("cmd.once", cb=handle)
    await wanted.put("dev.command.y", json.dumps({"name": "once", "data": "y"}).encode())
    await until(lambda: state(told, "y"), "done")
    await until(lambda: state(told, "x"), "failed")
    assert runs == [b"x", b"y"]
    await same(await pair.bucket("desired"), "rate", b"5")
    await pair.stop()


async def state(bucket: Any, ident: str) -> str:
    body = await value(bucket, f"dev.command.{ident}")
    return json.loads(body)["state"] if body else "queued"


async def test_configuration(world: World, hub: OurHub) -> None:
    pair = await pair_of(world, hub)
    await pair.start()
    wanted, told = await pair.bucket(HUB_DESIRED), await pair.bucket(HUB_REPORTED)

    async def verdict() -> Any:
        found = json.loads(await value(told, "dev.config") or b"{}")
        return found.get("revision"), found.get("state")

    revision = await wanted.put("dev.config", b"max_connections: 17")
    await until(verdict, (revision, "applied"))
    assert pair.edge.options.max_connections == 17
    for text, why in (
        (b"max_connections: x", "expects integer"),
        (b"jetstream { domain: other }", '"jetstream" may not be set by the hub (twin.config_keys)'),
        (b"include '/etc/passwd'", "include is not allowed here"),
        (b"max_connections: $HOME", "can not be found"),
        (b'serial { a { device: "/dev/x", subject: "a.*" } }', "wildcard"),
    ):
        revision = await wanted.put("dev.config", text)
        await until(verdict, (revision, "refused"))
        assert why in json.loads(await value(told, "dev.config") or b"")["error"], text
    assert pair.edge.options.max_connections == 17
    await pair.stop()
    await pair.start()
    assert pair.edge.options.max_connections == 17
    revision = await wanted.put("dev.config", b"")
    await until(verdict, (revision, "applied"))
    assert pair.edge.options.max_connections == 1024
    await pair.stop()


async def test_a_configuration_that_cuts_the_device_off(world: World, hub: OurHub) -> None:
    pair = await pair_of(world, hub)
    more = {"twin": {"config_keys": ["leafnodes"], "config_trial": "300ms"}}
    await pair.start(**more)
    wanted, told = await pair.bucket(HUB_DESIRED), await pair.bucket(HUB_REPORTED)
    bad = await wanted.put(
        "dev.config", b'leafnodes { reconnect: "20ms", remotes: [ { urls: ["nats-leaf://127.0.0.1:9"] } ] }'
    )

    async def verdict() -> Any:
        found = json.loads(await value(told, "dev.config") or b"{}")
        return found.get("revision"), found.get("state"), found.get("error")

    await until(verdict, (bad, "rolled_back", "the hub was not reached within 0.3 s"))
    await pair.stop()
    # and one that does not live to see its verdict
    await pair.start(**{**more, "twin": {"config_keys": ["leafnodes"], "config_trial": "60s"}})
    bad = await wanted.put(
        "dev.config", b'leafnodes { reconnect: "20ms", remotes: [ { urls: ["nats-leaf://127.0.0.1:7"] } ] }'
    )
    async with asyncio.timeout(TIMEOUT_S):
        while pair.edge.options.local is None:  # noqa: ASYNC110  (it is in another task)
            await asyncio.sleep(0.01)
    await pair.stop()
    await pair.start(**more)
    await until(
        verdict, (bad, "rolled_back", "the device was started again before the hub could be reached with it")
    )
    assert pair.edge.options.local is None
    await pair.stop()


KILLED = """
listen: "127.0.0.1:{port}"
server_name: dev
jetstream {{ store_dir: "{store}", domain: dev }}
leafnodes {{ reconnect: "20ms", remotes: [ {{ url: "nats-leaf://127.0.0.1:{hub}" }} ] }}
twin {{ }}
"""


@pytest.mark.parametrize(
    ("step", "idempotent"), [("delivered", False), ("executing", False), ("executing", True)]
)
async def test_kill_9(world: World, hub: OurHub, step: str, idempotent: bool) -> None:
    """A process that is killed as soon as the hub, or the handler, knows of a step; nothing runs twice."""
    pair = await pair_of(world, hub)
    wanted, told = await pair.bucket(HUB_DESIRED), await pair.bucket(HUB_REPORTED)
    program = [sys.executable, "-m", "phloem", "edge"]
    text = KILLED.format(port=-1, store=world.folder / "killed", hub=hub.server.leaf_port)
    edge = await asyncio.to_thread(ForkedServer, program, text, world.folder / "run1")
    runs: list[str] = []
    running = asyncio.Event()

    async def handle(msg: Msg) -> None:
        runs.append((msg.headers or {})["Phloem-Attempt"])
        running.set()
        if step != "executing" or len(runs) > 1:
            await msg.respond(b"ok")

    try:
        first = await nats.connect(f"nats://127.0.0.1:{edge.port()}", allow_reconnect=False)
        if step != "delivered":
            await first.subscribe("cmd.act", cb=handle)
            await first.flush()
        await wanted.put("dev.command.k", json.dumps({"name": "act", "idempotent": idempotent}).encode())
        if step == "executing":
            await asyncio.wait_for(running.wait(), TIMEOUT_S)
        else:
            await until(lambda: state(told, "k"), step)
        await asyncio.to_thread(edge.kill)
        await first.close()
    finally:
        await asyncio.to_thread(edge.stop)
    edge = await asyncio.to_thread(ForkedServer, program, text, world.folder / "run2")
    try:
        again = await nats.connect(f"nats://127.0.0.1:{edge.port()}", allow_reconnect=False)
        await again.subscribe("cmd.act", cb=handle)
        await again.flush()
        expected = "failed" if step == "executing" and not idempotent else "done"
        await until(lambda: state(told, "k"), expected)
        await again.close()
    finally:
        await asyncio.to_thread(edge.stop)
    assert runs == (["1", "2"] if step == "executing" and idempotent else ["1"])


def test_an_edge_alone_keeps_a_twin(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="twin needs jetstream"):
        Edge({"server_name": "dev", "twin": {}})
    with pytest.raises(Exception, match="another one than the hub's"):
        Edge({"server_name": "dev", "jetstream": {"store_dir": str(tmp_path), "domain": "hub"}, "twin": {}})
