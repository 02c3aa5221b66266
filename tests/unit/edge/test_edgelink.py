"""A board on a pseudo-terminal, an edge with JetStream: readings in the stream, commands and their answers."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.api import StreamConfig
from tests.unit.bridge.rig import WAIT_S, listen

from phloem.edge.app import Edge
from phloem.edge.ports import port_settings
from phloem.firmware_bridge.edgelink.messages import Status
from phloem.firmware_bridge.edgelink.schema import Channel
from phloem.firmware_bridge.edgelink.simulated import SimulatedBoard
from phloem.firmware_bridge.simulate import SimulatedSensor
from phloem.shared.clock import SystemClock
from phloem.shared.errors import ConfigError
from phloem.shared.server.load import load_mapping, merge

UID = bytes.fromhex("00c0ffee")
CHANNELS = (Channel(1, 4, -1, "temperature", "Cel"), Channel(2, 5, 0, "count", ""))


class Plugged:
    """A board behind a pseudo-terminal, with timers of the loop."""

    def __init__(self, link: Path, *, survives: bool = False) -> None:
        self.clock = SystemClock()
        self.board = SimulatedBoard(
            UID, CHANNELS, random.Random(5), self.now(), survives=survives, command=self._done
        )
        self.sensor = SimulatedSensor(link, self.clock, random.Random(1), on_bytes=self._heard)
        self.done: list[tuple[str, bytes]] = []
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> int:
        return self.clock.monotonic_ns()

    def measure(self, numbers: range) -> None:
        for number in numbers:
            assert self.board.push([("temperature", number), ("count", number)], self.now())
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


def config(tmp_path: Path) -> dict[str, Any]:
    port = {
        "device": str(tmp_path / "tty"),
        "subject": "tele.s",
        "command_subject": "cmd.s",
        "protocol": "edgelink",
    }
    return {
        "listen": "127.0.0.1:-1",
        "jetstream": {"store_dir": str(tmp_path / "store")},
        "serial": {"s": port},
    }


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


async def until(client: Client, subject: str, ask: bytes) -> Any:
    """An answer, once somebody serves the subject."""
    while True:
        try:
            return await client.request(subject, ask, timeout=WAIT_S)
        except NoRespondersError:
            await asyncio.sleep(0)


@pytest.mark.parametrize("atomic", [True, False])
async def test_readings_are_in_the_stream_once_and_in_order(tmp_path: Path, atomic: bool) -> None:
    prefix = f"tele.s.{UID.hex()}"
    async with plugged(tmp_path / "tty") as board:
        board.measure(range(10))
        async with Edge(config(tmp_path)) as edge, listen(edge.client_url, "unused") as heard:
            await make_stream(heard.client, atomic=atomic)
            first = await stored(heard.client, 20)
        board.measure(range(10, 20))  # nobody is there
        async with Edge(config(tmp_path)) as edge, listen(edge.client_url, "unused") as heard:
            board.measure(range(20, 30))
            everything = await stored(heard.client, 60)
            while board.board.ring.frames:  # noqa: ASYNC110  (acknowledged a moment after it was stored)
                await asyncio.sleep(0.001)
            info = await heard.client.jetstream().stream_info("TELE", subjects_filter=f"{prefix}.>")
    assert sum((info.state.subjects or {}).values()) == 60
    assert everything[:20] == first
    assert [data for subject, data, _ in everything if subject == f"{prefix}.count"] == [
        b'{"v":%d}' % number for number in range(30)
    ]
    assert everything[42][:2] == (f"{prefix}.temperature", b'{"v":2.1,"u":"Cel"}')
    headers = everything[42][2]
    assert (headers["Phloem-Port"], headers["Phloem-Seq"], headers["Phloem-Part"]) == ("s", "21", "1/2")
    assert int(headers["Phloem-Time-Error"]) < 10**9
    assert abs(int(headers["Phloem-Time"]) - SystemClock().wall_ns()) < 60 * 10**9


async def test_commands_are_answered(tmp_path: Path) -> None:
    async with (
        plugged(tmp_path / "tty") as board,
        Edge(config(tmp_path)) as edge,
        listen(edge.client_url, "unused") as heard,
    ):
        await make_stream(heard.client, atomic=True)
        done = await until(heard.client, f"cmd.s.{UID.hex()}", b"led on 3")
        unknown = await until(heard.client, f"cmd.s.{UID.hex()}", b"jump")
    assert (done.data, done.headers["Phloem-Status"]) == (b"is on 3", "done")
    assert unknown.headers["Phloem-Status"] == "unknown_command"
    assert board.done == [("led", b"on 3"), ("jump", b"")]


async def test_without_a_stream_the_board_keeps_its_readings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with plugged(tmp_path / "tty") as board, Edge(config(tmp_path)) as edge:
        board.measure(range(3))
        async with listen(edge.client_url, "unused") as heard:
            await _said(caplog, "cannot be stored: no stream has")
            assert len(board.board.ring.frames) == 3
            await make_stream(heard.client, atomic=True)
            assert len(await stored(heard.client, 6)) == 6


async def _said(caplog: pytest.LogCaptureFixture, text: str) -> None:
    while not any(text in record.getMessage() for record in caplog.records):  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("framing", "raw"),
        ("decode", "json"),
        ("idle_gap", "20ms"),
        ("max_frame_bytes", 99),
    ],
)
def test_what_a_protocol_says_itself_is_refused(tmp_path: Path, setting: str, value: object) -> None:
    block = {**config(tmp_path)["serial"]["s"], setting: value}
    with pytest.raises(ConfigError, match="means nothing with protocol edgelink"):
        port_settings(merge(load_mapping({"serial": {"s": block}}), {}))


def test_a_protocol_that_is_none(tmp_path: Path) -> None:
    block = {**config(tmp_path)["serial"]["s"], "protocol": "edge"}
    with pytest.raises(ConfigError):
        port_settings(merge(load_mapping({"serial": {"s": block}}), {}))
