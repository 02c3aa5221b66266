"""The cable between edge and hub: a TCP proxy in this process that is as narrow as a radio link, and can be cut.

* What is cut is gone: connections are reset with everything that was on its way in them, and who dials is refused,
  until the cable is mended. Neither end is told.
* A direction carries ``rate`` bytes a second, and the proxy takes no more in than what it passes on in a moment: what
  has to wait does so in the sender, as with a modem.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

from phloem.shared.clock import Clock
from phloem.shared.limits import SECOND_NS

PIECE_MIN, PIECE_MAX = 64, 64 << 10
PIECES = 50  # a second; a piece is what is passed on at a time
BUFFER = 4 << 10  # that receives: what is in it has left the sender and can be overtaken no more
SEGMENT = (
    1400  # as over radio; loopback's are larger than the buffer, and TCP would wait for room that never comes
)
LATE_NS = SECOND_NS // 10  # what a busy machine wakes up too late does not make the cable narrower
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: whoever closes it resets the connection


class Cable:
    """``port`` leads to ``target``, both on loopback; whole inside the block. ``carried`` counts the bytes towards the
    target, ``returned`` those back."""

    def __init__(self, target: int, rate: int, clock: Clock) -> None:
        self.rate = rate
        self.port = self.carried = self.returned = 0
        self._target, self._clock = target, clock
        self._piece = min(max(rate // PIECES, PIECE_MIN), PIECE_MAX)
        self._listening: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_whole(self) -> bool:
        """Whether it carries anything."""
        return self._listening is not None

    async def __aenter__(self) -> Self:
        self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    def mend(self) -> None:
        """Carry again, on the same port."""
        if self._listening is None:
            self._listening = listening = socket.create_server(("127.0.0.1", self.port))
            _narrow(listening)  # who is accepted inherits it
            listening.setblocking(False)
            self.port = listening.getsockname()[1]
            self._start(asyncio.create_task(self._accept(listening), name="cable"))

    async def cut(self) -> None:
        """End everything, at once."""
        listening, self._listening = self._listening, None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if listening is not None:
            listening.close()

    def _start(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            near, _ = await asyncio.get_running_loop().sock_accept(listening)
            self._start(asyncio.create_task(self._join(near), name="cable: a connection"))

    async def _join(self, near: socket.socket) -> None:
        with near, socket.socket() as far:
            _narrow(far)
            for end in (near, far):
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError):
                await asyncio.get_running_loop().sock_connect(far, ("127.0.0.1", self._target))
                ways = {
                    asyncio.create_task(self._carry(near, far, up=True)),
                    asyncio.create_task(self._carry(far, near, up=False)),
                }
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(self, source: socket.socket, sink: socket.socket, *, up: bool) -> None:
        """One direction, until either end closes."""
        loop, free_ns = asyncio.get_running_loop(), 0
        with suppress(OSError):
            while piece := await loop.sock_recv(source, self._piece):
                now_ns = self._clock.monotonic_ns()
                free_ns = max(free_ns, now_ns - LATE_NS) + len(piece) * SECOND_NS // self.rate
                await asyncio.sleep(max(free_ns - now_ns, 0) / SECOND_NS)
                await loop.sock_sendall(sink, piece)
                if up:
                    self.carried += len(piece)
                else:
                    self.returned += len(piece)


def _narrow(end: socket.socket) -> None:
    """Before it listens or connects: then TCP tells the peer."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
