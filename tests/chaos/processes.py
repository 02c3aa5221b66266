"""Stories with real processes: ``phloem edge`` and ``phloem hub``, a cable between them, and kill -9.

A program on the device publishes and remembers what was acknowledged, with its sequence. In the end everything is read
from the hub's streams: each of those messages is there exactly once and in order, or the hub's log says that it will
not come, and why that is right.
"""

import asyncio
import contextlib
import json
import random
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from tests.interop.links import Cable
from tests.support.phloem_server import ForkedServer

ENTRIES = ("alarm", "tele", "debug")  # debug is a stream of its own that keeps what it has sent
SETTLED_S = 60.0
GAP = re.compile(r"dev1 > (\w+): (?:\d+|some) messages will not come, (\d+) to (\d+): (.*)")
HUB = """
server_name: HUB
leafnodes { listen: "127.0.0.1:-1" }
jetstream { store_dir: "@FOLDER@/data", domain: hub }
"""
EDGE = """
server_name: dev1
leafnodes { reconnect: "50ms", remotes: [ { urls: [ "nats-leaf://127.0.0.1:%d" ], ignore_discovered_servers: true } ] }
jetstream { store_dir: "@FOLDER@/data", domain: dev1 }
forward {
  alarm { subjects: ["alarm.>"], class: alarm }
  tele { subjects: ["tele.>"] }
  debug { subjects: ["debug.>"], class: debug, keep: -1 }
}
"""


class Process:
    """One product after the other on one folder."""

    def __init__(self, product: str, folder: Path, config: str) -> None:
        self._argv = [sys.executable, "-m", "phloem", product]
        self.folder, self._config = folder, config
        self._runs: list[ForkedServer] = []
        self.start()

    @property
    def running(self) -> ForkedServer:
        return self._runs[-1]

    @property
    def log(self) -> str:
        """Of all runs."""
        return "".join(run.log for run in self._runs)

    def start(self) -> None:
        self._runs.append(ForkedServer(self._argv, self._config, self.folder))

    def kill(self) -> None:
        self.running.signal(signal.SIGKILL)
        self.running.wait()
        self.running.stop()  # reads the rest of its log

    def stop(self) -> None:
        self.running.stop()

    def copy(self, to: Path) -> None:
        """Of a process that does not run."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.folder / "data", to)

    def put_back(self, copy: Path) -> None:
        shutil.rmtree(self.folder / "data")
        shutil.copytree(copy, self.folder / "data")


class RealStory:
    """One story. ``say`` gets what happens."""

    def __init__(
        self,
        seed: int,
        number: int,
        folder: Path,
        say: Callable[[str], None],
        faults: int = 0,
        *,
        of: "Sequence[Fault] | None" = None,
    ) -> None:
        """``faults``: so many, by default some; ``of`` these, by default all."""
        self.rng = random.Random(f"real/{seed}/{number}")
        self.folder, self.say, self.of = folder, say, of or FAULTS
        self.steps = faults or self.rng.randrange(5, 15)
        self.acked: dict[str, dict[int, int]] = {name: {} for name in ENTRIES}  # number: sequence
        self.excused: set[int] = set()
        self.numbers = 0
        self._copies: dict[str, set[int]] = {}  # of the device: what had been acknowledged then

    async def tell(self) -> None:
        """Raises AssertionError and TimeoutError."""
        self.hub = Process("hub", self.folder / "hub", HUB)
        try:
            async with Cable(self.hub.running.port("leafnodes")) as self.cable:
                self.edge = Process("edge", self.folder / "edge", EDGE % self.cable.port)
                try:
                    await self._told()
                finally:
                    self.edge.stop()
        finally:
            self.hub.stop()

    async def _told(self) -> None:
        for _ in range(self.steps):
            await self._publish(self.rng.choice((3, 30, 300)))
            await self.rng.choice(self.of)(self)
        await self._publish(5)
        self.say("everything is mended")
        self._way(0.0, 0)
        async with asyncio.timeout(SETTLED_S):
            while wrong := await self._look():
                await asyncio.sleep(0.1)
                self.wrong = wrong

    # --- the device's program ----------------------------------------------------------------------------

    async def _publish(self, count: int) -> None:
        """As many as get through; what was not acknowledged may be there or not."""
        self.say(f"{count} messages are published")
        with contextlib.suppress(NatsError, JetStreamError, OSError, TimeoutError):
            async with _client(self.edge) as client:
                js = client.jetstream(timeout=5)
                for _ in range(count):
                    name = self.rng.choice(ENTRIES)
                    self.numbers += 1
                    number = self.numbers
                    ack = await js.publish(f"{name}.{number % 3}", b"%d" % number)
                    self.acked[name][number] = ack.seq

    # --- what happens ----------------------------------------------------------------------------------------

    async def cut(self) -> None:
        self.say("the link is cut")
        await self.cable.cut()
        await self._publish(20)
        self.cable.restore()

    async def black_hole(self) -> None:
        ways = self.rng.choice(([self.cable.up], [self.cable.down], [self.cable.up, self.cable.down]))
        self.say(f"a black hole, {len(ways)} of two ways")
        for way in ways:
            way.shut()
        await self._publish(20)
        for way in ways:
            way.reopen()

    async def slow(self) -> None:
        self.say("the link is slow")
        self._way(self.rng.choice((0.0, 0.02, 0.1)), self.rng.choice((0, 20_000)))

    def _way(self, delay_s: float, rate: int) -> None:
        for way in (self.cable.up, self.cable.down):
            way.delay_s, way.rate = delay_s, rate

    async def kill_edge(self) -> None:
        self.say("the device is killed")
        publishing = asyncio.create_task(self._publish(300))
        await asyncio.sleep(self.rng.random() * 0.1)
        self.edge.kill()
        await publishing
        if self.rng.random() < 0.5:
            self.say("  and a copy is made of its folder")
            self.edge.copy(self.folder / "edge-copy")
            self._copies["edge"] = {number for named in self.acked.values() for number in named}
        await asyncio.to_thread(self.edge.start)

    async def kill_hub(self) -> None:
        self.say("the hub is killed")
        self.hub.kill()
        if self.rng.random() < 0.5:
            self.say("  and a copy is made of its folder")
            self.hub.copy(self.folder / "hub-copy")
            self._copies["hub"] = set()
        await self._hub_up()

    async def _hub_up(self) -> None:
        await asyncio.to_thread(self.hub.start)
        self.cable.target = self.hub.running.port("leafnodes")

    async def kill_both(self) -> None:
        self.say("both are killed")
        self.edge.kill()
        self.hub.kill()
        await self._hub_up()
        await asyncio.to_thread(self.edge.start)

    async def set_edge_back(self) -> None:
        if "edge" not in self._copies:
            return
        self.say("the device is set back to its copy")
        self.edge.kill()
        self.edge.put_back(self.folder / "edge-copy")
        self.excused |= {number for named in self.acked.values() for number in named} - self._copies["edge"]
        self._copies.pop("hub", None)  # what only the later device had, nobody can tell an earlier hub
        await asyncio.to_thread(self.edge.start)

    async def set_hub_back(self) -> None:
        if "hub" not in self._copies:
            return
        self.say("the hub is set back to its copy")
        self.hub.kill()
        self.hub.put_back(self.folder / "hub-copy")
        await self._hub_up()

    # --- what has to hold --------------------------------------------------------------------------------------

    async def _look(self) -> str:
        """What is not right yet; raises AssertionError for what never can be."""
        try:
            async with _client(self.hub) as client:
                come = {name: await _read(client, name) for name in ENTRIES}
            async with _client(self.edge) as client:
                held = {name: (await _info(client, f"FORWARD_{name}"))["messages"] for name in ENTRIES}
        except (NatsError, JetStreamError, OSError, TimeoutError) as error:
            return repr(error)
        gaps = [(name, int(first), int(last), why) for name, first, last, why in GAP.findall(self.hub.log)]
        for name, numbers in come.items():
            assert len(numbers) == len(set(numbers)), f"{name}: messages came twice"
            missing = set(self.acked[name]) - set(numbers) - self.excused
            silent = [number for number in missing if not _said(gaps, name, self.acked[name][number])]
            if silent:
                return (
                    f"{name}: {len(silent)} of {len(self.acked[name])} are not there, as {sorted(silent)[:5]}"
                )
            if held[name] and name != "debug":
                return f"{name}: {held[name]} are still on the device"
        return ""


def _said(gaps: list[tuple[str, int, int, str]], name: str, seq: int) -> bool:
    """Whether the hub knows that it will not come: only what it had, and lost with its own disk, may be missing."""
    return any(
        name == named and first <= seq <= last and "confirmed by the hub" in why
        for named, first, last, why in gaps
    )


@asynccontextmanager
async def _client(process: Process) -> AsyncIterator[Client]:
    async def quiet(_: Exception) -> None: ...

    client = await nats.connect(
        f"nats://127.0.0.1:{process.running.port()}",
        allow_reconnect=False,
        connect_timeout=5,
        error_cb=quiet,
    )
    try:
        yield client
    finally:
        await client.close()


async def _info(client: Client, stream: str) -> dict[str, int]:
    answer = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=5)).data)
    return dict(answer["state"]) if "state" in answer else {"messages": 0, "first_seq": 1, "last_seq": 0}


async def _read(client: Client, entry: str) -> list[int]:
    """Numbers in a fleet stream, in its order."""
    state = await _info(client, f"FLEET_{entry}")
    found: list[int] = []
    if state["messages"]:
        js = client.jetstream()
        subscription = await js.subscribe(f"fleet.{entry}.>", ordered_consumer=True)
        while len(found) < state["messages"]:
            found.append(int((await subscription.next_msg(timeout=5)).data))
        await subscription.unsubscribe()
    return found


Fault = Callable[[RealStory], Awaitable[None]]
FAULTS: Sequence[Fault] = [
    RealStory.cut,
    RealStory.black_hole,
    RealStory.slow,
    RealStory.kill_edge,
    RealStory.kill_edge,
    RealStory.kill_hub,
    RealStory.kill_both,
    RealStory.set_edge_back,
    RealStory.set_hub_back,
]
