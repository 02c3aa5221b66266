"""A device and its hub, of either kind, with a cable between them and readings that go up through streams.

nats-server has two things that are near to store-and-forward: the hub's stream takes from one on the leaf with limits,
which is fast and never gives the device its space back, or from a work queue by durable sourcing (ADR-60), which does.
The first is measured, because it is the faster one by far. Its compression is the best that it has.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from tests.bench_link.shaped import UNLIMITED, Cable, Shape
from tests.support.real_server import BINARY
from tests.support.server_process import ServerProcess

PYTHON = [__import__("sys").executable, "-m", "phloem"]

HUB = """
server_name: HUB
http: "127.0.0.1:-1"
jetstream {{ store_dir: "{folder}", domain: hub }}
leafnodes {{ listen: "127.0.0.1:-1" {compression} }}
"""
EDGE = """
server_name: dev1
http: "127.0.0.1:-1"
jetstream {{ store_dir: "{folder}", domain: dev1 }}
leafnodes {{
  reconnect: "1s"
  remotes: [ {{ url: "nats-leaf://127.0.0.1:{port}", ignore_discovered_servers: true {compression} }} ]
}}
{more}
"""
BEST = ", compression: s2_best"
PATIENT = ", authorization { timeout: 60 }"  # while a thousand devices come on a machine that has other work


class Pair:
    """Both ends; ``streams`` is each stream's name, its subjects, and its class."""

    name = ""

    def __init__(self, folder: Path, streams: dict[str, tuple[str, str]], more: str = "") -> None:
        self._folder, self.streams, self._more = folder, streams, more
        self.hub: ServerProcess
        self.edge: ServerProcess
        self.cable: Cable
        self.at_hub: Client
        self.at_edge: Client

    def fleet(self, stream: str) -> str:
        """The hub's stream for one of the device's."""
        return f"FLEET_{stream}"

    @contextlib.contextmanager
    def hub_alone(self) -> Iterator[ServerProcess]:
        """Without a device of this pair's."""
        with self._hub() as hub:
            yield hub

    @contextlib.asynccontextmanager
    async def running(self, shape: Shape = UNLIMITED, *, linked: bool = False) -> AsyncIterator["Pair"]:
        """Everything is there; the cable is not plugged in, unless ``linked``."""
        with contextlib.ExitStack() as stack:
            self.hub = stack.enter_context(self._hub())
            self.cable = Cable(self.hub.port("leafnodes"), shape)
            await (self.cable.restore() if linked else self.cable.reserve())
            self.edge = stack.enter_context(self._edge())
            self.at_hub = await nats.connect(f"nats://127.0.0.1:{self.hub.port()}", pending_size=1 << 28)
            self.at_edge = await nats.connect(f"nats://127.0.0.1:{self.edge.port()}", pending_size=1 << 28)
            try:
                await self.prepare()
                if linked:
                    await self.plug()
                yield self
            finally:
                await self.at_edge.close()
                await self.at_hub.close()
                await self.cable.cut()

    def _hub(self) -> ServerProcess:
        raise NotImplementedError

    def _edge(self) -> ServerProcess:
        raise NotImplementedError

    async def prepare(self) -> None:
        """Streams, where the configuration does not make them."""

    async def plug(self) -> None:
        """The cable is plugged in for the first time; back when messages may flow."""
        await self.cable.restore()

    def local(self, stream: str) -> str:
        """The device's stream."""
        return stream

    async def fill(self, messages: Iterable[tuple[str, bytes]], stream: str) -> int:
        """Publish at the device; how many its stream has afterwards."""
        count = 0
        for subject, payload in messages:
            await self.at_edge.publish(subject, payload)
            count += 1
            if count % 2000 == 0:
                await self.at_edge.flush(timeout=60)
        await self.at_edge.flush(timeout=60)
        js = self.at_edge.jetstream(timeout=30)
        while (state := (await js.stream_info(self.local(stream))).state).last_seq < count:
            await asyncio.sleep(0.05)
        return state.messages

    async def arrived(self, stream: str) -> int:
        """Messages that the hub's stream has."""
        try:
            info = await self.at_hub.jetstream(timeout=30).stream_info(self.fleet(stream))
        except nats.js.errors.NotFoundError:
            return 0
        return int(info.state.messages)

    async def until(self, stream: str, count: int, timeout_s: float) -> float:
        """Seconds until the hub has as many."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(timeout_s):
            while await self.arrived(stream) < count:
                await asyncio.sleep(0.02)
        return loop.time() - began

    def resident_bytes(self) -> int:
        """Of the device's server."""
        for line in Path(f"/proc/{self.edge.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise ProcessLookupError(self.edge.pid)


class RealPair(Pair):
    """nats-server on both ends."""

    name = "nats-server"
    retention = "limits"

    def _hub(self) -> ServerProcess:
        text = HUB.format(folder=self._folder / "hub-js", compression=BEST + PATIENT)
        return ServerProcess([str(BINARY)], text, self._folder / "hub")

    def _edge(self) -> ServerProcess:
        text = EDGE.format(folder=self._folder / "edge-js", port=self.cable.port, compression=BEST, more="")
        return ServerProcess([str(BINARY)], text, self._folder / "edge")

    async def prepare(self) -> None:
        below = self.at_edge.jetstream()
        for stream, (subject, _) in self.streams.items():
            await below.add_stream(name=stream, subjects=[subject], retention=self.retention)

    async def plug(self) -> None:
        """Sources are made when their origins can answer: a source that asked in vain waits long before its next try,
        and that is not what is measured."""
        await self.cable.restore()
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(nats.errors.NoRespondersError, nats.errors.TimeoutError):
                    await self.at_hub.request("$JS.dev1.API.INFO", timeout=1)
                    break
                await asyncio.sleep(0.05)
        for stream in self.streams:
            source: dict[str, Any] = {"name": stream, "external": {"api": "$JS.dev1.API", "deliver": ""}}
            config = {"name": self.fleet(stream), "sources": [source]}
            answer = await self.at_hub.request(
                f"$JS.API.STREAM.CREATE.{self.fleet(stream)}", __import__("json").dumps(config).encode()
            )
            assert b"error" not in answer.data, answer.data


class OurPair(Pair):
    """phloem on both ends."""

    name = "phloem"

    def _hub(self) -> ServerProcess:
        text = HUB.format(folder=self._folder / "hub-js", compression="")
        return ServerProcess([*PYTHON, "hub"], text, self._folder / "hub")

    def _edge(self) -> ServerProcess:
        entries = "\n".join(
            f'{stream} {{ subjects: ["{subject}"], class: {kind} }}'
            for stream, (subject, kind) in self.streams.items()
        )
        text = EDGE.format(
            folder=self._folder / "edge-js",
            port=self.cable.port,
            compression="",
            more=f"forward {{ {entries} }}\n{self._more}",
        )
        return ServerProcess([*PYTHON, "edge"], text, self._folder / "edge")

    def local(self, stream: str) -> str:
        return f"FORWARD_{stream}"


PAIRS: tuple[type[Pair], type[Pair]] = (RealPair, OurPair)
