"""EdgeLink boards: ``el_sim``, the board's C as a program, on lines of the same speed.

Each board counts its frames from 0, so that as many messages have to be on each of its subjects as the last one says.
"""

import asyncio
import json
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from nats.aio.client import Client

from tests.bench_serial.edge import (
    STREAM,
    connected,
    make_stream,
    programs,
    shares,
    stored,
)
from tests.bench_serial.loads import LINE_BYTES_S, Load
from tests.bench_serial.report import Line
from tests.unit.bridge.boards.building import C

WARM_S = 3.0  # until all of them are welcomed
SETTLE_S = 20


def _program(folder: Path) -> Path:
    """As on a board: optimised, without sanitizers."""
    target = folder / "el_sim"
    sources = [C / "host" / "el_sim.c", C / "src" / "edgelink.c"]
    command = ["cc", "-O2", "-DEL_WINDOW_MAX=64", "-o", str(target)]
    subprocess.run([*command, *map(str, sources)], check=True)
    return target


def _command(program: Path, link: Path, number: int, load: Load) -> list[str]:
    words = [str(program), "--live", "--every", "0", "--rate", str(LINE_BYTES_S), "--pty", str(link)]
    words += ["--uid", f"{number + 1:02x}", "--window", str(load.window), "--ring", "16384"]
    words += ["--frame-in", "512", "--frame-out", "512"]
    for channel in range(load.messages):
        words += ["--channel", f"{channel},5,-2,c{channel},Cel"]
    return words


def _plug(stack: ExitStack, command: list[str]) -> "subprocess.Popen[bytes]":
    board = stack.enter_context(subprocess.Popen(command))
    stack.callback(board.kill)
    return board


async def run_boards(load: Load, folder: Path, ports: int, seconds: float, core: int) -> Line:
    """One row."""
    program = _program(folder)
    links = [folder / f"tty{number}" for number in range(ports)]
    with ExitStack() as stack:
        boards = [_plug(stack, _command(program, link, number, load)) for number, link in enumerate(links)]
        while not all(link.is_symlink() for link in links):
            await asyncio.sleep(0.01)
        paths = [str(link) for link in links]
        running = stack.enter_context(programs(load, paths, folder, core))
        client = await connected(running.edge)
        await make_stream(client, load)
        async with asyncio.timeout(SETTLE_S):
            while await stored(client) < ports * load.messages:
                await asyncio.sleep(0.1)
        await asyncio.sleep(WARM_S)
        before = running.use()
        count, read, begin = await stored(client), await _bytes_read(client, ports), time.monotonic()
        await asyncio.sleep(seconds)
        after = running.use()
        count_then, read_then = await stored(client), await _bytes_read(client, ports)
        seconds = time.monotonic() - begin
        for board in boards:
            board.kill()
        lost = await _lost(client, load, ports)
        await client.close()
    return Line(
        name=load.name,
        title=load.title,
        **shares(before, after, seconds * ports),
        bytes_s=(read_then - read) / seconds / ports,
        messages_s=(count_then - count) / seconds / ports,
        behind_bytes=0,
        lost=lost,
        good=not lost,
    )


async def _lost(client: Client, load: Load, ports: int) -> int:
    """Messages that are missing, or there twice, once nothing more comes."""
    async with asyncio.timeout(SETTLE_S):
        count = -1
        while count != (count := await stored(client)):
            await asyncio.sleep(0.2)
    wrong = 0
    for number in range(ports):
        prefix = f"bench.s{number}.{number + 1:02x}"
        info = await client.jetstream().stream_info(STREAM, subjects_filter=f"{prefix}.>")
        counts = info.state.subjects or {}
        for channel in range(load.messages):
            last = await client.jetstream().get_last_msg(STREAM, f"{prefix}.c{channel}")
            wrong += abs(int((last.headers or {})["Phloem-Seq"]) + 1 - counts[f"{prefix}.c{channel}"])
    return wrong


async def _bytes_read(client: Client, ports: int) -> int:
    """Of all ports. The stream answers such a request as well, as it has the subject."""
    total = 0
    for number in range(ports):
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        await client.publish(f"bench.s{number}.$port", b"state", reply=inbox)
        while "bytes_read" not in (state := json.loads((await answers.next_msg(5)).data)):
            pass
        await answers.unsubscribe()
        total += int(state["bytes_read"])
    return total
