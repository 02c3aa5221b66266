"""EdgeLink for as long as one likes: the board's C on a line that damages what it carries, a real ``phloem edge``, and
both of them killed again and again. ``make soak ARGS="--for 2h"``.

Each life of the board counts from 0, so what is in the stream has to be lives that count without a hole or a
repetition.
"""

import asyncio
from itertools import pairwise
from pathlib import Path
from random import Random

import nats
import pytest
from nats.aio.client import Client

from phloem.shared.clock import SystemClock
from tests.interop.test_edgelink import EdgeProcess, url
from tests.soak.lossy import LossyBoard
from tests.support.plugged_board import make_stream

ROUNDS_MIN = 8
SEED = 31
ERRORS = 0.001  # of bytes; a frame in forty or so
MORE = 150  # messages between two kills, at most
LAST = 50  # frames of the last life
DRAIN_S = 120
WAIT_S = 30

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]


async def _count(client: Client) -> int:
    info = await client.jetstream().stream_info("TELE", subjects_filter="tele.s.00.>")
    return sum((info.state.subjects or {}).values())


async def _reach(client: Client, count: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while await _count(client) < count:  # a request paces it
            pass


async def _values(client: Client) -> list[int]:
    """All that is in the stream, in order."""
    subscription = await client.jetstream().subscribe("tele.s.00.>", ordered_consumer=True)
    values = []
    for _ in range(await _count(client)):
        message = await subscription.next_msg(WAIT_S)
        assert message.subject == "tele.s.00.count", "a gap"
        values.append(int(message.data.removeprefix(b'{"v":').partition(b",")[0].rstrip(b"}")))
    return values


async def test_each_reading_once_through_noise_and_kills(tmp_path: Path, duration_ns: int) -> None:
    clock, rng = SystemClock(), Random(SEED)
    end_ns = clock.monotonic_ns() + duration_ns
    board = LossyBoard(tmp_path, SEED, ERRORS)
    text = (
        f'listen: "127.0.0.1:-1"\njetstream {{ store_dir: "{tmp_path / "js"}" }}\n'
        f'serial {{ s {{ device: "{board.link}", subject: "tele.s", protocol: edgelink }} }}\n'
    )
    rounds = kills = 0

    async def begin() -> tuple[EdgeProcess, Client]:
        edge = await asyncio.to_thread(EdgeProcess, text, tmp_path / f"edge{kills}")
        return edge, await nats.connect(url(edge), allow_reconnect=False)

    edge, client = await begin()
    try:
        await make_stream(client, atomic=True)
        await asyncio.to_thread(board.start)
        while clock.monotonic_ns() < end_ns or rounds < ROUNDS_MIN:
            rounds += 1
            await _reach(client, await _count(client) + rng.randrange(MORE))
            which = (
                rng.choice(("edge", "board", "both")) if rounds > 3 else ("edge", "board", "both")[rounds - 1]
            )
            if which != "edge":
                await asyncio.to_thread(board.kill)
            if which != "board":
                await client.close()
                await asyncio.to_thread(edge.kill)
                await asyncio.to_thread(edge.stop)
                kills += 1
                edge, client = await begin()
            if which != "edge":
                await asyncio.to_thread(board.start)
        await asyncio.to_thread(board.kill)
        await asyncio.to_thread(board.start, LAST)
        assert await asyncio.to_thread(board.wait, DRAIN_S) == 0
        values = await _values(client)
        await client.close()
        assert "Traceback" not in edge.log
    finally:
        await asyncio.to_thread(edge.stop)
        board.close()
    print(
        f"{rounds} rounds, {board.lives} lives of the board, {kills + 1} of the edge, {len(values)} readings"
    )
    starts = [at for at, value in enumerate(values) if value == 0]
    for first, following in pairwise([*starts, len(values)]):
        assert values[first:following] == list(range(following - first))
    assert starts[0] == 0
    assert len(values) - starts[-1] == LAST
    assert len(starts) <= board.lives
