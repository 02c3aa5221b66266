"""A folder of accounts while the server runs: who writes, where, and in which order."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from phloem.shared.server import claim_folder
from phloem.shared.server.claim_service import FolderResolver
from phloem.shared.server.secret_files import write_secret
from phloem.shared.server.server import Server
from phloem.shared.testing import server as running
from tests.support.operators import AccountKeys, OperatorWorld, subject

WORLD = OperatorWorld()
B = AccountKeys(WORLD, "B")


class Disk:
    """Writes for a folder, one at a time if ``go`` says so."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def write(self, path: Path, content: bytes, *, replace: bool = False) -> None:
        self.threads.append(threading.current_thread())
        self.begun.set()
        self.go.wait()
        write_secret(path, content, replace=replace)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(claim_folder, "write_secret", disk.write)
    return disk


def config(folder: Path, *tokens: str) -> dict[str, Any]:
    preload = {subject(token): token for token in (WORLD.system.token(), *tokens)}
    return {
        "operator": WORLD.token,
        "resolver": {"type": "full", "dir": str(folder)},
        "resolver_preload": preload,
    }


def resolver(server: Server) -> FolderResolver:
    assert server.login.trusted is not None
    found = server.login.trusted.resolver
    assert isinstance(found, FolderResolver)
    return found


async def test_the_loop_does_not_wait_for_the_disk(tmp_path: Path, disk: Disk) -> None:
    """What is preloaded is there when the server is ready, and other threads have written it."""
    token = WORLD.a.token()
    async with running(config(tmp_path, token)) as server:
        assert await resolver(server).fetch(WORLD.a.public) == token
        resolver(server).reload({B.public: B.token()})
        assert await asyncio.create_task(resolver(server).fetch(B.public))  # as a login does it
    assert len(disk.threads) == 3
    assert threading.current_thread() not in disk.threads


async def test_two_resolvers_of_one_folder(tmp_path: Path, disk: Disk) -> None:
    """A reload replaces one while it writes: the new one waits for its turn, and has what the old one wrote."""
    old_token, new_token = (
        B.token(tags=("old",), iat=1_700_000_000),
        B.token(tags=("new",), iat=1_700_000_001),
    )
    async with running(config(tmp_path)) as server:
        assert server.login.trusted is not None
        disk.begun.clear()
        disk.go.clear()
        before = resolver(server)
        writing = asyncio.create_task(before._store(B.public, old_token))
        assert await asyncio.to_thread(disk.begun.wait, 10)
        after = server.login.trusted.another_resolver()
        server.login.trusted.use_resolver(after)
        after.reload({B.public: new_token})
        fetching = asyncio.create_task(after.fetch(B.public))
        disk.go.set()
        await writing
        assert await fetching == new_token
        assert await before.fetch(B.public) == new_token


def test_two_threads_write_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither finds the other's half-written file in its way."""
    both = threading.Barrier(2, timeout=10)
    monkeypatch.setattr("os.fsync", lambda _: both.wait())
    failures: list[OSError] = []

    def write(content: bytes) -> None:
        try:
            write_secret(tmp_path / "x", content, replace=True)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in (b"one", b"two")]
    monkeypatch.setattr("phloem.shared.server.secret_files.sync_folder", lambda _: None)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert (tmp_path / "x").read_bytes() in (b"one", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
