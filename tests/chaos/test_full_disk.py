"""A file system that is really full, under ``phloem edge`` and ``phloem hub``: a small tmpfs, and a file in it that
takes what is left. Run as root, or under ``unshare -Urm``; else skipped."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError

from tests.chaos.processes import Process, _client, _info, _read
from tests.interop.links import Cable

SIZE = 96 << 20
PAYLOAD = 30_000
TIMEOUT_S = 60.0
HUB = """
server_name: HUB
leafnodes { listen: "127.0.0.1:-1" }
jetstream { store_dir: "@FOLDER@/data", domain: hub }
"""
EDGE = """
server_name: dev1
leafnodes { reconnect: "50ms", remotes: [ { urls: [ "nats-leaf://127.0.0.1:%d" ], ignore_discovered_servers: true } ] }
jetstream { store_dir: "@FOLDER@/data", domain: dev1 }
disk { budget: 0 }
forward { tele { subjects: ["tele.>"] } }
"""

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no mounts here: run as root, or under unshare -Urm ({done.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take everything that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    assert os.statvfs(folder).f_bavail == 0
    return ballast


@contextlib.asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[Process, Process, Cable]]:
    hub = await asyncio.to_thread(Process, "hub", folder / "hub", HUB)
    try:
        async with Cable(hub.running.port("leafnodes")) as cable:
            edge = await asyncio.to_thread(Process, "edge", folder / "edge", EDGE % cable.port)
            try:
                yield hub, edge, cable
            finally:
                edge.stop()
    finally:
        hub.stop()


class Program:
    """Publishes on the device and remembers what was acknowledged."""

    def __init__(self, client: Client) -> None:
        self.acked: list[int] = []
        self.use(client)
        self._number = 0

    def use(self, client: Client) -> None:
        """Go on over another connection."""
        self._js = client.jetstream(timeout=5)

    async def publish(self) -> None:
        self._number += 1
        number = self._number
        await self._js.publish("tele.x", b"%d" % number, headers={"pad": "x" * PAYLOAD})
        self.acked.append(number)


async def begun(client: Client) -> Program:
    """Twenty messages are there already."""
    program = Program(client)
    for _ in range(20):
        await program.publish()
    return program


async def until_refused(program: Program) -> APIError:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                await program.publish()
            except APIError as error:
                return error


async def until_taken(program: Program) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            with contextlib.suppress(APIError, NatsTimeoutError):
                await program.publish()
                return
            await asyncio.sleep(0.05)


async def all_arrived(hub: Process, edge: Process, program: Program) -> None:
    """Each once and in order, and the device has given its space back."""
    async with asyncio.timeout(TIMEOUT_S), _client(hub) as above, _client(edge) as below:
        while (await _info(below, "FORWARD_tele"))["messages"] or not await _info(above, "FLEET_tele"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        come = await _read(above, "tele")
    assert come == sorted(set(come))
    assert set(program.acked) <= set(come)


async def test_the_disk_of_the_device_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "edge" / "data") as disk:
        async with pair(tmp_path) as (hub, edge, cable):
            await cable.cut()
            async with _client(edge) as client:
                program = await begun(client)
                ballast = fill(disk)
                error = await until_refused(program)
                assert error.err_code == 10077
                assert "insufficient storage resources available" in (error.description or "")
                ballast.unlink()
                await until_taken(program)
                cable.restore()
                await all_arrived(hub, edge, program)


async def test_a_device_that_is_killed_and_starts_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "edge" / "data") as disk:
        async with pair(tmp_path) as (hub, edge, cable):
            await cable.cut()
            async with _client(edge) as client:
                program = await begun(client)
                ballast = fill(disk)
                await until_refused(program)
            await asyncio.to_thread(edge.kill)
            await asyncio.to_thread(edge.start)
            async with _client(edge) as client:
                program.use(client)
                ballast.unlink()
                await until_taken(program)
            cable.restore()
            await all_arrived(hub, edge, program)


async def test_the_disk_of_the_hub_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "hub" / "data") as disk:
        async with pair(tmp_path) as (hub, edge, _), _client(edge) as client:
            program = Program(client)
            await program.publish()
            ballast = fill(disk)
            async with asyncio.timeout(TIMEOUT_S):
                while "no space" not in hub.log:
                    await program.publish()
            for _ in range(20):
                await program.publish()
            ballast.unlink()
            await all_arrived(hub, edge, program)
