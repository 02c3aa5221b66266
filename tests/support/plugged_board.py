"""A simulated EdgeLink board behind a pseudo-terminal, and what of it is in a stream."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.js.api import StreamConfig

from phloem.firmware_bridge.edgelink import limits
from phloem.firmware_bridge.edgelink.messages import Status
from phloem.firmware_bridge.edgelink.schema import Channel
from phloem.firmware_bridge.edgelink.simulated import SimulatedBoard
from phloem.firmware_bridge.simulate import SimulatedSensor
from phloem.shared.clock import SystemClock

WAIT_S = 10
UID = bytes.fromhex("00c0ffee")
CHANNELS = (Channel(1, 4, -1, "temperature", "Cel"), Channel(2, 5, 0, "count", ""))


class Plugged:
    """A board behind a pseudo-terminal, with timers of the loop."""

    def __init__(
        self, link: Path, *, survives: bool = False, window: int = limits.WINDOW_MAX, capacity: int = 64
    ) -> None:
        self.clock = SystemClock()
        self.board = SimulatedBoard(
            UID,
            CHANNELS,
            random.Random(5),
            self.now(),
            survives=survives,
            capacity=capacity,
            window=window,
            command=self._done,
        )
        self.measured = 0
        self.sensor = SimulatedSensor(link, self.clock, random.Random(1), on_bytes=self._heard)
        self.done: list[tuple[str, bytes]] = []
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> int:
        return self.clock.monotonic_ns()

    def measure(self, numbers: range) -> None:
        for number in numbers:
            assert self.board.push([("temperature", number), ("count", number)], self.now())
            self.measured = number + 1
        self.turn()

    def turn(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._write(self.board.expire(self.now()))
        wait_s = max(0.001, (self.board.due_ns - self.now()) / 1e9)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self.turn)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _heard(self, data: bytes) -> None:
        self._write(self.board.receive(data, self.now()))
        self.turn()

    def _write(self, data: bytes) -> None:
        if data:
            self.sensor.write(data)

    def _done(self, name: str, argument: bytes) -> tuple[Status, bytes]:
        self.done.append((name, argument))
        return (Status.DONE, b"is " + argument) if name == "led" else (Status.UNKNOWN, b"")


@asynccontextmanager
async def plugged(link: Path, **more: Any) -> AsyncIterator[Plugged]:
    board = Plugged(link, **more)
    async with board.sensor:
        board.turn()
        try:
            yield board
        finally:
            board.stop()


async def make_stream(client: Client, *, atomic: bool) -> None:
    js = client.jetstream()
    await js.add_stream(StreamConfig(name="TELE", subjects=["tele.s.>"], allow_atomic=atomic))


async def stored(client: Client, least: int) -> list[tuple[str, bytes, dict[str, str]]]:
    """Messages of the board, when there are ``least`` of them."""
    js, found = client.jetstream(), list[tuple[str, bytes, dict[str, str]]]()
    subscription = await js.subscribe(f"tele.s.{UID.hex()}.>", ordered_consumer=True)
    while len(found) < least:
        message = await subscription.next_msg(WAIT_S)
        found.append((message.subject, message.data, message.headers or {}))
    await subscription.unsubscribe()
    return found
