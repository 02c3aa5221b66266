"""Hub, cable, edge, sensor and clients, put together and ready: the way is open in both directions.

The edge forwards what the sensor says, and alarms of a program on the device, to fleet streams of the hub. It reaches
the hub through the cable alone: of the address that the hub tells it makes no use. Clients of the demo look at each end
on its own: what arrived at the hub is read from the hub's streams.

Readiness is proven, not hoped for: a command from the hub has come out of the device, and the fleet streams are there,
which the hub makes when the edge has introduced itself.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.client import JetStreamContext

from phloem.edge.demo import children
from phloem.edge.demo.cable import Cable
from phloem.edge.demo.children import Child, DemoError
from phloem.edge.demo.story import Facts
from phloem.edge.demo.tally import Tally
from phloem.firmware_bridge.simulate import SimulatedSensor
from phloem.shared.clock import Clock

READINGS, COMMANDS, ALARMS = "demo.readings", "demo.commands", "demo.alarms"
FLEET_READINGS, FLEET_ALARMS = "FLEET_readings", "FLEET_alarms"
HISTORICAL = "Phloem-Historical"
KNOCK, KNOCK_AGAIN_S = b"hello\n", 0.05
FETCH, FETCH_TIMEOUT_S = 500, 10.0
ALARM_TIMEOUT_S = 5.0

HUB = """\
server_name: hub
jetstream {{ store_dir: "{store}", domain: hub }}
leafnodes {{ listen: "127.0.0.1:-1" }}
"""
EDGE = """\
server_name: edge
jetstream {{ store_dir: "{store}", domain: edge }}
leafnodes {{ remotes: [ {{ urls: ["nats-leaf://127.0.0.1:{cable}"], ignore_discovered_servers: true }} ] }}
serial {{ sensor {{ device: "{device}", subject: "{readings}", command_subject: "{commands}" }} }}
forward {{
  alarms {{ subjects: "{alarms}", class: alarm }}
  readings {{ subjects: "{readings}", linger: "250ms" }}
}}
"""


class Scene:
    """Everything that runs. ``at_edge`` counts what a subscriber there receives, ``at_hub`` and ``alarms`` what comes
    into the hub's streams; ``historical`` those of ``at_hub`` that are marked so."""

    def __init__(self, hub: Child, cable: Cable, edge: Child, sensor: SimulatedSensor, clock: Clock) -> None:
        self.hub, self.cable, self.edge, self.sensor = hub, cable, edge, sensor
        self.at_edge, self.at_hub, self.alarms = Tally(), Tally(), Tally()
        self.historical = self.raised = 0
        self.clients: list[Client] = []
        self._clock = clock

    def facts(self) -> Facts:
        """What is where."""
        return Facts(
            self.at_edge.distinct, self.at_hub.distinct, self.historical, self.raised, self.alarms.distinct
        )

    async def connect(self, child: Child) -> Client:
        """A client of ``child``."""

        async def on_error(error: Exception) -> None:
            """A client that cannot go on shows as a loss; nats-py would print a traceback."""

        try:
            client = await nats.connect(child.url("nats"), allow_reconnect=False, error_cb=on_error)
        except (OSError, nats.errors.Error) as error:
            raise DemoError(f"no connection to the {child.name}: {error}") from error
        self.clients.append(client)
        return client

    async def hear(self, client: Client) -> None:
        """Count what is read at the edge."""

        async def on_message(message: Msg) -> None:
            self.at_edge.received(message.data, self._clock.wall_ns())

        await client.subscribe(READINGS, cb=on_message)
        await client.flush()

    async def watch(self, client: Client) -> None:
        """Count what comes into the hub's streams."""

        async def on_reading(message: Msg) -> None:
            self.at_hub.received(message.data, self._clock.wall_ns())
            self.historical += HISTORICAL in (message.headers or {})

        async def on_alarm(message: Msg) -> None:
            self.alarms.received(message.data, self._clock.wall_ns())

        js = client.jetstream()
        for stream, heard in ((FLEET_READINGS, on_reading), (FLEET_ALARMS, on_alarm)):
            config = ConsumerConfig(ack_policy=AckPolicy.NONE)  # nats-py writes into it
            await js.subscribe(">", stream=stream, config=config, cb=heard, manual_ack=True)
        await client.flush()

    async def raise_alarm(self) -> None:
        """A program on the device has one, and knows that it is on the edge's disk."""
        self.raised += 1
        text = f"alarm seq={self.raised} t={self._clock.wall_ns()} v=too hot"
        try:
            await self.clients[0].jetstream().publish(ALARMS, text.encode(), timeout=ALARM_TIMEOUT_S)
        except (OSError, nats.errors.Error) as error:
            self.check()
            raise DemoError(f"the edge did not take an alarm: {error}") from error

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

    async def audit(self) -> tuple[Tally, Tally]:
        """What the hub's streams of readings and of alarms hold, read from their beginnings."""
        js = self.clients[1].jetstream()
        try:
            return await self._contents(js, FLEET_READINGS), await self._contents(js, FLEET_ALARMS)
        except (OSError, nats.errors.Error) as error:
            self.check()
            raise DemoError(f"the hub's streams cannot be read: {error}") from error

    async def _contents(self, js: JetStreamContext, stream: str) -> Tally:
        found, left = Tally(), (await js.stream_info(stream)).state.messages
        config = ConsumerConfig(ack_policy=AckPolicy.NONE)
        reading = await js.pull_subscribe("", stream=stream, config=config)
        while left > 0:
            for message in await reading.fetch(min(left, FETCH), timeout=FETCH_TIMEOUT_S):
                found.received(message.data, self._clock.wall_ns())
                left -= 1
        await reading.unsubscribe()
        return found

    async def close(self) -> None:
        """Close the clients."""
        for client in self.clients:
            await client.close()


@asynccontextmanager
async def open_scene(
    folder: Path, link_rate: int, clock: Clock, rng: Random, unless: Callable[[], None]
) -> AsyncIterator[Scene]:
    """Start everything in ``folder``, with a cable of so many bytes a second; ``unless`` is asked while waiting and may
    raise what ends it."""
    knocked = asyncio.Event()
    device = folder / "ttySENSOR"
    async with AsyncExitStack() as stack:
        sensor = SimulatedSensor(device, clock, rng, on_bytes=lambda _: knocked.set())
        await stack.enter_async_context(sensor)
        config = HUB.format(store=folder / "at-hub")
        hub = await stack.enter_async_context(children.start("hub", config, folder, unless))
        target = urlsplit(hub.url("leafnodes")).port or 0
        cable = await stack.enter_async_context(Cable(target, link_rate, clock))
        config = EDGE.format(
            store=folder / "at-edge",
            cable=cable.port,
            device=device,
            readings=READINGS,
            commands=COMMANDS,
            alarms=ALARMS,
        )
        edge = await stack.enter_async_context(children.start("edge", config, folder, unless))
        scene = Scene(hub, cable, edge, sensor, clock)
        stack.push_async_callback(scene.close)
        await scene.hear(await scene.connect(edge))
        client = await scene.connect(hub)
        await _introduced(scene, client, unless)
        await scene.watch(client)
        await _knock(scene, client, knocked, unless)
        yield scene


async def _introduced(scene: Scene, client: Client, unless: Callable[[], None]) -> None:
    """Wait for the fleet streams."""
    js = client.jetstream()
    for _ in range(round(children.START_TIMEOUT_S / KNOCK_AGAIN_S)):
        unless()
        scene.check()
        try:
            for stream in (FLEET_READINGS, FLEET_ALARMS):
                await js.stream_info(stream)
        except nats.js.errors.NotFoundError:
            await asyncio.sleep(KNOCK_AGAIN_S)
            continue
        except (OSError, nats.errors.Error) as error:
            raise DemoError(f"the hub does not answer: {error}") from error
        return
    raise DemoError("the edge did not come to the hub: no fleet streams were made")


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
