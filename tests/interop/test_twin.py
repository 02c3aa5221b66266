"""The twin of a device, and its commands, with our hub and a real one, over real links."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import KeyNotFoundError, NotFoundError
from nats.js.kv import KeyValue

from phloem.edge.app import Edge
from phloem.shared.server.server import Server
from phloem.shared.twin.names import HUB_DESIRED, HUB_REPORTED, bucket_config
from tests.interop.links import TIMEOUT_S, Cable, World
from tests.support.real_server import RealServer

HUBS = pytest.mark.parametrize("real", [False, True], ids=["phloem", "nats-server"])


class Pair:
    """A hub with the two buckets, an edge ``dev`` behind a cable, and a client of each."""

    def __init__(self, world: World, hub: Server | RealServer, cable: Cable) -> None:
        self.world, self.hub, self.cable = world, hub, cable
        self.edge: Edge
        self.up: Client
        self.down: Client

    @property
    def config(self) -> dict[str, Any]:
        return {
            "listen": "127.0.0.1:-1",
            "server_name": "dev",
            "jetstream": {"store_dir": str(self.world.folder / "edge"), "domain": "dev"},
            "leafnodes": {
                "reconnect": "20ms",
                # the hub tells where it really is
                "remotes": [
                    {"url": f"nats-leaf://127.0.0.1:{self.cable.port}", "ignore_discovered_servers": True}
                ],
            },
            "twin": {"config_trial": "2s"},
        }

    async def start(self, **more: Any) -> None:
        self.edge = Edge({**self.config, **more})
        await self.edge.start()
        self.down = await self.world.client(self.edge)

    async def stop(self) -> None:
        await self.down.close()
        await self.edge.stop()

    async def bucket(self, name: str) -> KeyValue:
        client = self.up if name.startswith("twin_") else self.down
        js = client.jetstream(timeout=TIMEOUT_S)
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    return await js.key_value(name)
                except NotFoundError:  # the edge makes its own when it can
                    await asyncio.sleep(0.01)


@pytest.fixture
async def pair(world: World, request: pytest.FixtureRequest) -> Any:
    store = str(world.folder / "hub")
    hub: Server | RealServer
    if request.getfixturevalue("real"):
        hub = await world.real(f'jetstream {{ store_dir: "{store}", domain: hub }}')
        port = hub.port("leafnodes")
    else:
        hub = await world.ours("HUB", jetstream={"store_dir": store, "domain": "hub"})
        port = hub.leaf_port
    made = Pair(world, hub, await world.cable(port))
    made.up = await world.client(hub)
    await buckets(made.up)
    await made.start()
    yield made
    await made.stop()


async def buckets(client: Client) -> JetStreamContext:
    js = client.jetstream()
    for name, shared in ((HUB_DESIRED, False), (HUB_REPORTED, True)):
        config = bucket_config(name, owned=True, shared=shared)
        answer = await client.request(
            f"$JS.API.STREAM.CREATE.{config['name']}", json.dumps(config).encode(), timeout=TIMEOUT_S
        )
        assert "error" not in json.loads(answer.data), answer.data
    return js


async def value(bucket: KeyValue, key: str) -> bytes | None:
    try:
        return (await bucket.get(key)).value
    except KeyNotFoundError:
        return None


async def until(look: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    found = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while (found := await look()) != wanted:  # noqa: ASYNC110  (it is in another server)
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{found!r}, not {wanted!r}") from None


async def same(bucket: KeyValue, key: str, wanted: bytes | None) -> None:
    await until(lambda: value(bucket, key), wanted)


@HUBS
async def test_both_ways(pair: Pair, real: bool) -> None:
    """Also what is written on both sides while there is no link, and what is deleted."""
    wanted, here = await pair.bucket(HUB_DESIRED), await pair.bucket("desired")
    said, told = await pair.bucket("reported"), await pair.bucket(HUB_REPORTED)
    watch = await here.watchall()
    await wanted.put("dev.rate", b"5")
    await wanted.put("dev.gone", b"x")
    await wanted.put("other.rate", b"9")
    await same(here, "rate", b"5")
    await same(here, "gone", b"x")
    assert sorted(await here.keys()) == ["gone", "rate"]
    await said.put("firmware.version", b"1.2")
    await same(told, "dev.firmware.version", b"1.2")
    await pair.cable.cut()
    await wanted.put("dev.rate", b"6")
    await wanted.put("dev.new", b"n")
    await wanted.delete("dev.gone")
    await said.put("firmware.version", b"1.3")
    await said.put("uptime", b"7")
    await said.put("short", b"x")
    await said.delete("short")
    assert (await value(here, "rate"), await value(told, "dev.firmware.version")) == (b"5", b"1.2")
    pair.cable.restore()
    await same(here, "rate", b"6")
    await same(here, "new", b"n")
    await same(here, "gone", None)
    await same(told, "dev.firmware.version", b"1.3")
    await same(told, "dev.uptime", b"7")
    await same(told, "dev.short", None)
    seen = []
    while len(seen) < 6:
        update = await watch.updates(timeout=TIMEOUT_S)
        seen.append((update.key, update.value) if update else None)
    assert ("rate", b"5") in seen
    assert ("gone", b"x") in seen


@HUBS
async def test_a_command(pair: Pair, real: bool) -> None:
    wanted, told = await pair.bucket(HUB_DESIRED), await pair.bucket(HUB_REPORTED)
    everything: list[str] = []

    async def hear(msg: Msg) -> None:
        everything.append(msg.subject)

    await pair.up.subscribe(">", cb=hear)  # is no handler
    await wanted.put("dev.command.a1", json.dumps({"name": "led", "data": "on"}).encode())

    async def state(ident: str) -> Any:
        body = await value(told, f"dev.command.{ident}")
        return json.loads(body)["state"] if body else "queued"

    await until(lambda: state("a1"), "delivered")
    runs: list[tuple[bytes, str]] = []

    async def handle(msg: Msg) -> None:
        runs.append((msg.data, (msg.headers or {})["Phloem-Command"]))
        await msg.respond(b"is on")

    await pair.down.subscribe("cmd.led", cb=handle)
    await until(lambda: state("a1"), "done")
    record = json.loads(await value(told, "dev.command.a1") or b"")
    assert (record["result"], record["attempt"]) == ("is on", 1)
    await wanted.put("dev.command.a1", json.dumps({"name": "led", "data": "on"}).encode())
    await wanted.put("dev.command.a2", json.dumps({"name": "nobody", "absent": "fail"}).encode())
    await wanted.put("dev.command.a3", json.dumps({"name": "nobody", "expires_s": 0.05}).encode())
    await wanted.put("dev.command.a4", b"{}")
    for ident, wished in (("a2", "failed"), ("a3", "expired"), ("a4", "failed"), ("a1", "done")):
        await until(lambda ident=ident: state(ident), wished)  # type: ignore[misc]
    assert runs == [(b"on", "a1")]
    assert not [subject for subject in everything if subject.startswith("cmd.")]


@HUBS
async def test_many_reports_and_a_cut_amid(pair: Pair, real: bool) -> None:
    """More than any window; the last value of each key, and nothing else."""
    js, told = pair.down.jetstream(timeout=TIMEOUT_S), await pair.bucket(HUB_REPORTED)
    await pair.bucket("reported")

    async def put(body: bytes) -> None:
        await asyncio.gather(*(js.publish(f"$KV.reported.n{number}", body) for number in range(300)))

    async def there() -> int:
        return (await told.status()).values

    await put(b"first")
    await pair.cable.cut()
    await put(b"second")
    pair.cable.restore()
    await until(there, 300)
    await put(b"third")
    for number in range(300):
        await same(told, f"dev.n{number}", b"third")
    assert await there() == 300
