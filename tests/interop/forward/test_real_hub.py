"""Store-and-forward to a hub that is nats-server itself: its streams, its acknowledgements, exactly once."""

import asyncio
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from phloem.edge.app import Edge
from tests.interop.links import TIMEOUT_S, World
from tests.support.real_server import RealServer


async def real_hub(world: World, more: str = "") -> RealServer:
    return await world.real(f'jetstream {{ store_dir: "{world.folder}/hub", domain: hub }}\n{more}')


def edge_config(world: World, port: int, forward: dict[str, Any], **phloem: str) -> dict[str, Any]:
    return {
        "server_name": "dev1",
        "listen": "127.0.0.1:-1",
        "leafnodes": {"reconnect": "20ms", "remotes": [{"urls": [f"nats-leaf://127.0.0.1:{port}"]}]},
        "jetstream": {"store_dir": str(world.folder / "edge"), "domain": "dev1"},
        "forward": forward,
        "phloem": {"forward_to": "jetstream", **phloem},
    }


async def everything(js: JetStreamContext, stream: str, until: int) -> list[Msg]:
    """What the hub's stream has, once its last message from the device is number ``until`` or later."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                last = await js.get_last_msg(stream, "fleet.>")
                if last.headers and int(last.headers["Phloem-Origin"].split()[1]) >= until:
                    break
            except NotFoundError:
                pass
            await asyncio.sleep(0.01)
    info = (await js.stream_info(stream)).state
    subscription = await js.subscribe("fleet.>", stream=stream, ordered_consumer=True)
    found = [await subscription.next_msg(timeout=TIMEOUT_S) for _ in range(info.messages)]
    await subscription.unsubscribe()
    return found


def sequences(found: list[Msg]) -> list[int]:
    return [int((msg.headers or {})["Phloem-Origin"].split()[1]) for msg in found]


@pytest.mark.parametrize("atomic", [True, False])
async def test_readings_arrive_once_whatever_the_link_does(world: World, atomic: bool) -> None:
    hub = await real_hub(world)
    top = (await world.client(hub)).jetstream()
    if not atomic:
        await top.add_stream(name="FLEET_tele", subjects=["fleet.tele.>"])
    cable = await world.cable(hub.port("leafnodes"))
    device = await world.run(Edge(edge_config(world, cable.port, {"tele": {"subjects": ["tele.>"]}})))
    below = (await world.client(device)).jetstream()
    for i in range(1, 1001):
        await below.publish(f"tele.{i % 3}", b"%d" % i)
        if i % 200 == 100:
            await cable.cut()
        if i % 200 == 150:
            cable.restore()
    found = await everything(top, "FLEET_tele", 1000)
    assert [(msg.subject, msg.data) for msg in found] == [
        (f"fleet.tele.dev1.tele.{i % 3}", b"%d" % i) for i in range(1, 1001)
    ]
    assert sequences(found) == list(range(1, 1001))
