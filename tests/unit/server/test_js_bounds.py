"""How much JetStream may store where the configuration does not say: three quarters of what is free or its own."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from nats.js.errors import APIError

from phloem.shared.server.jetstream import system
from phloem.shared.testing import ManualClock, server

BLOCK = 4096


class Disk:
    """A file system of ``size`` bytes with nothing on it but the store."""

    def __init__(self, size: int) -> None:
        self.size = size

    def statvfs(self, path: Path) -> SimpleNamespace:
        free = max(self.size - held(path), 0)
        return SimpleNamespace(f_bavail=free // BLOCK, f_frsize=BLOCK)


def held(folder: Path) -> int:
    """What the files of a folder take."""
    return sum(entry.stat().st_blocks for entry in os.scandir(folder)) * 512


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(64 << 20)
    monkeypatch.setattr(system.os, "statvfs", made.statvfs)
    return made


async def test_what_the_store_has_counts(tmp_path: Path, disk: Disk) -> None:
    config = {"jetstream": {"store_dir": str(tmp_path)}}
    async with server(config) as broker, await broker.connect() as client:
        js = client.jetstream()
        await js.add_stream(name="S", subjects=["s"])
        for _ in range(20):
            await js.publish("s", bytes(100_000))
    disk.size = 0  # others have taken what was free
    async with server(config) as broker:
        assert broker.jetstream is not None
        assert 1_500_000 < broker.jetstream.disk.limit <= held(tmp_path / "jetstream" / "phloem")


async def test_space_that_others_give_back_counts_without_a_restart(tmp_path: Path, disk: Disk) -> None:
    clock = ManualClock()
    async with (
        server({"jetstream": {"store_dir": str(tmp_path)}}, clock=clock) as broker,
        await broker.connect() as client,
    ):
        js = client.jetstream()
        await js.add_stream(name="S", subjects=["s"])
        assert broker.jetstream is not None
        broker.jetstream.disk.limit = 4_000_000  # what it found at its start
        broker.jetstream.accounts["$G"].disk.limit = 4_000_000
        disk.size = 5_000_000
        payload = bytes(900_000)
        refused = None
        for _ in range(100):
            try:
                await js.publish("s", payload)
            except APIError as error:
                refused = error
                break
        assert refused is not None
        assert refused.err_code == 10002
        disk.size = 256 << 20
        clock.advance(2 * 10**9)
        assert (await js.publish("s", payload)).stream == "S"
