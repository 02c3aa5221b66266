"""Devices that say lines."""

import asyncio
import time
from pathlib import Path

from nats.aio.client import Client

from tests.bench_serial.devices import KEPT_BYTES, Device, saturate
from tests.bench_serial.edge import connected, make_stream, programs, shares, stored
from tests.bench_serial.loads import Load
from tests.bench_serial.report import Line

WARM_S = 1.0
SETTLE_S = 20


async def run_lines(load: Load, folder: Path, ports: int, seconds: float, core: int) -> Line:
    """One row."""
    devices = [Device(load, seed) for seed in range(ports)]
    try:
        with programs(load, [device.path for device in devices], folder, core) as running:
            client = await connected(running.edge)
            await make_stream(client, load)
            warm = await asyncio.to_thread(saturate, devices, WARM_S)
            if load.messages:
                await _settled(client, warm * load.messages)
            before, begin, read = running.use(), time.monotonic(), devices[0].written
            frames = await asyncio.to_thread(saturate, devices, seconds)
            seconds, read = time.monotonic() - begin, devices[0].written - read
            messages = await _settled(client, frames * load.messages) if load.messages else 0
            after = running.use()
            await client.close()
    finally:
        for device in devices:
            device.close()
    behind = max(device.behind_bytes_max for device in devices)
    lost = frames * load.messages - messages
    return Line(
        name=load.name,
        title=load.title,
        **shares(before, after, seconds * ports),
        bytes_s=read / seconds,
        messages_s=(frames - warm) * load.messages / seconds / ports,
        behind_bytes=behind,
        lost=lost,
        good=not lost and behind <= KEPT_BYTES,
    )


async def _settled(client: Client, wanted: int) -> int:
    """How many messages there are when all that are wanted have come, or no more do."""
    count, until = await stored(client), time.monotonic() + SETTLE_S
    while count < wanted and time.monotonic() < until:
        await asyncio.sleep(0.02)
        count = await stored(client)
    return count
