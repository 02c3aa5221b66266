"""Hub, edge, sensor and subscribers, put together and ready: the way is open in both directions.

The edge keeps every reading in a stream of its own, on the disk of this machine, whoever else hears it.

Readiness is proven, not hoped for: a command from the hub's subscriber has come out of the device. It travelled
behind the subscription to the readings on the same connections, so the first line already has its way.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import StreamConfig

from phloem.edge.demo import children
from phloem.edge.demo.children import Child, DemoError
from phloem.edge.demo.tally import Tally
from phloem.firmware_bridge.simulate import SimulatedSensor
from phloem.shared.clock import Clock

READINGS, COMMANDS, STREAM = "demo.readings", "demo.commands", "READINGS"
KNOCK, KNOCK_AGAIN_S = b"hello\n", 0.05

HUB = 'server_name: hub\nleafnodes { listen: "127.0.0.1:-1" }\n'
EDGE = """\
server_name: edge
jetstream {{ store_dir: "{store}" }}
leafnodes {{ remotes: [ {{ urls: ["{hub}"] }} ] }}
serial {{ sensor {{ device: "{device}", subject: "{readings}", command_subject: "{commands}" }} }}
"""


class Scene:
    """Everything that runs; ``at_edge`` and ``at_hub`` count what subscribers there receive."""

    def __init__(self, hub: Child, edge: Child, sensor: SimulatedSensor, clock: Clock) -> None:
        self.hub, self.edge, self.sensor = hub, edge, sensor
        self.at_edge, self.at_hub = Tally(), Tally()
        self.clients: list[Client] = []
        self._clock = clock

    async def subscribe(self, child: Child, tally: Tally) -> Client:
        """A client of ``child`` whose readings go into ``tally``."""

        async def on_message(message: Msg) -> None:
            tally.received(message.data, self._clock.wall_ns())

        async def on_error(error: Exception) -> None:
            """A client that cannot go on shows as a loss; nats-py would print a traceback."""

        try:
            client = await nats.connect(child.url("nats"), allow_reconnect=False, error_cb=on_error)
            self.clients.append(client)
            await client.subscribe(READINGS, cb=on_message)
            await client.flush()
        except (OSError, nats.errors.Error) as error:
            raise DemoError(f"no connection to the {child.name}: {error}") from error
        return client

    def check(self) -> None:
        """Raise DemoError if a child has ended."""
        self.hub.check()
        self.edge.check()

    async def settle(self) -> None:
        """Return when the subscribers have what their servers had for them."""
        try:
            for client in self.clients:
                await client.flush()
        except (OSError, nats.errors.Error) as error:
            raise DemoError(f"a connection was lost: {error}") from error

    async def close(self) -> None:
        """Close the subscribers."""
        for client in self.clients:
            await client.close()


@asynccontextmanager
async def open_scene(
    folder: Path, clock: Clock, rng: Random, unless: Callable[[], None]
) -> AsyncIterator[Scene]:
    """Start everything in ``folder``; ``unless`` is asked while waiting and may raise what ends it."""
    knocked = asyncio.Event()
    device = folder / "ttySENSOR"
    async with AsyncExitStack() as stack:
        sensor = SimulatedSensor(device, clock, rng, on_bytes=lambda _: knocked.set())
        await stack.enter_async_context(sensor)
        hub = await stack.enter_async_context(children.start("hub", HUB, folder, unless))
        config = EDGE.format(
            hub=hub.url("leafnodes"), device=device, readings=READINGS, commands=COMMANDS, store=folder
        )
        edge = await stack.enter_async_context(children.start("edge", config, folder, unless))
        scene = Scene(hub, edge, sensor, clock)
        stack.push_async_callback(scene.close)
        await _keep(await scene.subscribe(edge, scene.at_edge))
        client = await scene.subscribe(hub, scene.at_hub)
        await _knock(scene, client, knocked, unless)
        yield scene


async def _keep(client: Client) -> None:
    """The stream of the readings."""
    try:
        await client.jetstream().add_stream(StreamConfig(name=STREAM, subjects=[READINGS]))
    except (OSError, nats.errors.Error) as error:
        raise DemoError(f"no stream at the edge: {error}") from error


async def _knock(scene: Scene, client: Client, answered: asyncio.Event, unless: Callable[[], None]) -> None:
    """Send commands until one has come out of the device."""
    for _ in range(round(children.START_TIMEOUT_S / KNOCK_AGAIN_S)):
        unless()
        scene.check()
        await client.publish(COMMANDS, KNOCK)
        await scene.settle()
        try:
            await asyncio.wait_for(answered.wait(), KNOCK_AGAIN_S)
        except TimeoutError:
            continue
        return
    raise DemoError("no command from the hub reached the device: the link or the serial port did not come up")
