"""A cable between a device and its hub that counts bytes, is slow, lossy, cut, or dead: a TCP proxy.

netem is not in every kernel. What is shaped is what a link does to TCP: so many bytes a second one behind the other, a
delay, and for a lost segment one more round trip in which everything behind it waits (TCP delivers in order). The
sender's window in the presence of loss is bounded as Mathis et al. (1997) have it, by how much the proxy takes in.
"""

import asyncio
import math
import socket
from collections.abc import Callable
from random import Random
from typing import NamedTuple

SEGMENT = 1448
HEADERS = 52  # of IPv4 and TCP with time stamps, for each segment and each acknowledgement
BUFFER = 16 << 10  # of the proxy's sockets, which stand for the modem's
QUEUE = 64 << 10  # of the router in front of the link


class Shape(NamedTuple):
    """A link. ``rate`` in bytes a second, 0: unlimited; ``delay_s`` one way; ``loss`` of a segment."""

    rate: float = 0.0
    delay_s: float = 0.0
    loss: float = 0.0

    @property
    def room(self) -> int:
        """Bytes that may be on their way in one direction."""
        if not self.rate:
            return 1 << 20
        product = int(self.rate * 2 * self.delay_s)
        if self.loss:
            product = min(product, int(1.22 * SEGMENT / math.sqrt(self.loss)))
        return max(product, 2 * SEGMENT) + QUEUE


UNLIMITED = Shape()
SLOW = Shape(rate=125_000, delay_s=0.15, loss=0.01)


class Cable:
    """Listens on ``port`` for the device, dials the hub; ``sent`` counts payload bytes of TCP in both directions."""

    def __init__(self, target: int, shape: Shape = UNLIMITED, seed: int = 1) -> None:
        self._target, self._shape, self._rng = target, shape, Random(seed)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.dead = False
        self.up_bytes = self.down_bytes = 0
        self.up_segments = self.down_segments = 0

    @property
    def payload(self) -> int:
        """Bytes that the two ends gave to TCP."""
        return self.up_bytes + self.down_bytes

    @property
    def wire(self) -> int:
        """The same with headers of IP and TCP, every second segment acknowledged on its own."""
        segments = self.up_segments + self.down_segments
        return self.payload + segments * HEADERS + (segments + 1) // 2 * HEADERS

    async def restore(self) -> None:
        """Let the device in."""
        self.dead = False
        if self._server is None:
            self._server = await asyncio.start_server(self._come, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def reserve(self) -> None:
        """A port, and nobody behind it yet."""
        await self.restore()
        await self.cut()

    async def cut(self) -> None:
        """End all connections and accept none."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def blacken(self) -> None:
        """Connections stay, and nothing passes any more."""
        self.dead = True

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back: asyncio.StreamWriter | None = None
        try:
            onward, back = await asyncio.open_connection("127.0.0.1", self._target)
            for end in (writer, back):
                raw = end.get_extra_info("socket")
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._shape.rate:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, back, self._count_up))
                group.create_task(self._carry(onward, writer, self._count_down))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            self._tasks.discard(task)
            for end in (writer, back):
                if end is not None:
                    end.transport.abort()

    def _count_up(self, size: int) -> None:
        self.up_bytes += size
        self.up_segments += -(-size // SEGMENT)

    def _count_down(self, size: int) -> None:
        self.down_bytes += size
        self.down_segments += -(-size // SEGMENT)

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: Callable[[int], None]
    ) -> None:
        way = _Way(self._shape, self._rng)
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        async def deliver() -> None:
            while True:
                when, data = await queue.get()
                if when > loop.time():
                    await asyncio.sleep(when - loop.time())
                while self.dead:
                    await asyncio.sleep(0.02)
                sink.write(data)
                await sink.drain()
                way.left(len(data))
                arrived.set()

        async with asyncio.TaskGroup() as group:
            delivering = group.create_task(deliver())
            while data := await source.read(SEGMENT * 4 if self._shape.rate else 1 << 18):
                while self.dead:
                    await asyncio.sleep(0.02)
                count(len(data))
                queue.put_nowait((way.when(len(data), loop.time()), data))
                while way.inside > self._shape.room:
                    arrived.clear()
                    await arrived.wait()
            delivering.cancel()
            raise ConnectionResetError


class _Way:
    """When what is sent in one direction arrives."""

    def __init__(self, shape: Shape, rng: Random) -> None:
        self._shape, self._rng = shape, rng
        self._free = self._last = 0.0
        self.inside = 0

    def when(self, size: int, now: float) -> float:
        shape = self._shape
        self.inside += size
        if shape.rate:
            self._free = max(self._free, now) + size / shape.rate
            now = self._free
        when = now + shape.delay_s
        for _ in range(-(-size // SEGMENT)):
            if shape.loss and self._rng.random() < shape.loss:
                when += 2 * shape.delay_s
        self._last = max(self._last, when)
        return self._last

    def left(self, size: int) -> None:
        self.inside -= size
