"""EdgeLink into the stream of a server of either kind, over a connection: ``phloem bridge --protocol edgelink``."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.edgelink import effects, records
from phloem.firmware_bridge.edgelink.ledger import Position
from phloem.firmware_bridge.edgelink.schema import Layout, Read
from phloem.firmware_bridge.edgelink.stream import Found, JetStream, Kept
from phloem.firmware_bridge.headers import Encoded
from phloem.firmware_bridge.nats_publisher import NatsPublisher
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.timers import Timer, loop_call_later
from phloem.shared.clock import SystemClock
from tests.support.phloem_server import ForkedPhloemServer, ForkedServer
from tests.support.plugged_board import CHANNELS, UID, Plugged, make_stream, plugged, stored
from tests.support.real_server import RealServer
from tests.support.server_process import ServerProcess

KINDS: dict[str, Any] = {"real": RealServer, "ours": ForkedPhloemServer}
PATTERN = records.pattern_of("tele.s", UID)


@pytest.fixture(scope="module", params=list(KINDS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp(request.param)
    running = KINDS[request.param](f'jetstream {{ store_dir: "{folder / "js"}" }}\n', folder)
    yield running
    running.end()


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    made = await nats.connect(url(server))
    yield made
    for one in await made.jetstream().streams_info():
        await made.jetstream().delete_stream(one.config.name)
    await made.close()


def url(server: ServerProcess) -> str:
    return f"nats://127.0.0.1:{server.port('nats')}"


def frame(seq: int) -> list[Encoded]:
    taken = effects.Taken(UID, 7, seq, Read(Layout(CHANNELS), [seq] * len(CHANNELS)), 0, None)
    (messages,) = records.Records(UID, 7, "tele.s", "p").of([taken], 0, "synced")
    return messages


class EdgeProcess(ForkedServer):
    """``phloem edge``."""

    def __init__(self, config: str, folder: Path) -> None:
        super().__init__([sys.executable, "-m", "phloem", "edge"], config, folder)


class Asked:
    """The questions of a ledger, awaited."""

    def __init__(self, publisher: NatsPublisher) -> None:
        self._stream = JetStream(publisher, lambda: f"{random.getrandbits(64):x}")

    async def last(self) -> Found:
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._stream.last(PATTERN, answer.set_result)
        return await answer

    async def store(self, after: int, messages: list[Encoded]) -> Kept:
        answer: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
        self._stream.store(PATTERN, after, messages, answer.set_result)
        return await answer


@pytest.mark.parametrize("atomic", [True, False])
async def test_what_a_ledger_asks(server: ServerProcess, client: Client, atomic: bool) -> None:
    async with NatsPublisher([url(server)], random.Random(1)) as publisher:
        await publisher.wait_connected()
        asked = Asked(publisher)
        assert (await asked.last()).why == f"no stream has {PATTERN}"
        await make_stream(client, atomic=atomic)
        assert await asked.last() == Found(None)
        assert await asked.store(0, frame(0) + frame(1)) == Kept(4)
        assert await asked.last() == Found(Position(7, 1, 1, 2, 4))
        await client.jetstream().publish("tele.s.other", b"of somebody else")
        assert await asked.store(4, frame(2)[:1]) == Kept(6)
        assert await asked.last() == Found(Position(7, 2, 0, 2, 6))
        late = await asked.store(4, frame(2) + frame(3))
        assert (late.stream_seq, late.overtaken) == (None, True)
        assert await asked.last() == Found(Position(7, 2, 0, 2, 6))
        await client.jetstream().purge_stream("TELE", subject=PATTERN)
        behind = await asked.store(6, frame(3))
        if isinstance(
            server, RealServer
        ):  # ours, asked for groups, knows that nobody stored anything behind it
            assert behind.overtaken
            assert await asked.last() == Found(None)
            behind = await asked.store(0, frame(3))
        assert behind == Kept(8)
        await client.jetstream().publish(f"tele.s.{UID.hex()}.x", b"not ours")
        assert "is not the bridge's" in (await asked.last()).why


async def test_a_board_into_the_stream(server: ServerProcess, client: Client, tmp_path: Path) -> None:
    await make_stream(client, atomic=True)
    settings = SerialSettings(device=str(tmp_path / "tty"), subject="tele.s", protocol="edgelink")
    async with plugged(tmp_path / "tty") as board:
        board.measure(range(10))
        for numbers in (range(10, 15), range(15, 20)):
            async with (
                NatsPublisher([url(server)], random.Random(1)) as publisher,
                Bridge([settings], publisher, SystemClock(), random.Random(), requests=publisher),
            ):
                board.measure(numbers)
                everything = await stored(client, 2 * numbers.stop)
    values = [data for subject, data, _ in everything if subject.endswith(".count")]
    assert values == [b'{"v":%d}' % number for number in range(20)]


class Counting(NatsPublisher):
    """How many groups were sent behind another one whose answer was not there yet."""

    behind = 0

    def group(
        self,
        stream: str,
        pattern: str,
        after: int | None,
        messages: Sequence[Encoded],
        done: Callable[[bytes | None], None],
    ) -> bool:
        sent = super().group(stream, pattern, after, messages, done)
        self.behind += sent and after is None
        return sent


async def measure(board: Plugged) -> None:
    """Without a pause, until it is cancelled."""
    while True:
        if len(board.board.ring.frames) < board.board.capacity:
            board.measure(range(board.measured, board.measured + 1))
        await asyncio.sleep(0.002)


async def test_a_broker_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """The bridge lives on, with groups under way that nobody answers any more."""
    text = f'phloem {{ unix_socket: "{tmp_path / "s"}" }}\njetstream {{ store_dir: "{tmp_path / "js"}" }}\n'
    settings = SerialSettings(device=str(tmp_path / "tty"), subject="tele.s", protocol="edgelink")
    rng, kills = random.Random(9), 3

    def at_once(_delay_ns: int, callback: Callable[[], None]) -> Timer:
        return loop_call_later(10_000_000, callback)  # nobody waits for the next attempt to connect

    async with (
        plugged(tmp_path / "tty", window=64, capacity=256) as board,
        Counting([f"unix://{tmp_path / 's'}"], random.Random(1), call_later=at_once) as publisher,
        Bridge([settings], publisher, SystemClock(), random.Random(), requests=publisher),
    ):
        measuring = asyncio.create_task(measure(board))
        for kill in range(kills + 1):
            broker = await asyncio.to_thread(ForkedPhloemServer, text, tmp_path / f"broker{kill}")
            try:
                client = await nats.connect(url(broker), allow_reconnect=False)
                if kill == 0:
                    await make_stream(client, atomic=True)
                await stored(client, 2 * (board.measured + rng.randrange(50, 200)))
                if kill == kills:
                    measuring.cancel()
                    everything = await stored(client, 2 * board.measured)
                else:
                    await asyncio.to_thread(broker.kill)
                await client.close()
            finally:
                await asyncio.to_thread(broker.stop)
    values = [data for subject, data, _ in everything if subject.endswith(".count")]
    assert values == [b'{"v":%d}' % number for number in range(board.measured)]
    assert publisher.behind > 0  # how many there are depends on how busy the machine is


async def test_an_edge_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """A board measures without a pause; what it was told to forget is on the disk, and nothing comes twice."""
    text = (
        f'listen: "127.0.0.1:-1"\njetstream {{ store_dir: "{tmp_path / "js"}" }}\n'
        f'serial {{ s {{ device: "{tmp_path / "tty"}", subject: "tele.s", protocol: edgelink }} }}\n'
    )
    rng, kills = random.Random(8), 5

    async with plugged(tmp_path / "tty") as board:
        for kill in range(kills + 1):
            edge = await asyncio.to_thread(EdgeProcess, text, tmp_path / f"edge{kill}")
            try:
                client = await nats.connect(url(edge), allow_reconnect=False)
                if kill == 0:
                    await make_stream(client, atomic=True)
                measuring = asyncio.create_task(measure(board))
                await stored(client, 2 * (board.measured + rng.randrange(30, 60)))
                if kill == kills:
                    measuring.cancel()
                    everything = await stored(client, 2 * board.measured)
                else:
                    await asyncio.to_thread(edge.kill)
                    measuring.cancel()
                await client.close()
            finally:
                await asyncio.to_thread(edge.stop)
    values = [data for subject, data, _ in everything if subject.endswith(".count")]
    assert values == [b'{"v":%d}' % number for number in range(board.measured)]
