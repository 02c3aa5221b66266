"""The file stays near what is live, it can be made smaller, and a full disk at the start is waited out."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import phloem.shared.store.generations as generations
from phloem.shared.server.store_command import store as command
from phloem.shared.store.check import check
from phloem.shared.store.compact import compact
from phloem.shared.store.folder import make_file
from phloem.shared.store.store import StoreError
from tests.unit.store.damage import fill, open_store, work_until

PAYLOAD = random.Random(1).randbytes(120)


def test_a_stream_that_is_always_full_keeps_the_file_near_its_size(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = open_store(folder, generation_bytes=1 << 20)
    store.open()
    log = store.open_log(1, relaxed=True)
    sizes = []
    for number in range(100_000):
        log.append(b"a.%d" % (number % 100), b"", PAYLOAD, number)
        if log.messages > 10_000:
            log.remove(log.first_seq)
        if number % 5000 == 0:
            store.wait()
            sizes.append((folder / "data.mdb").stat().st_size)
    store.wait()
    stats = store.stats
    live = 10_000 * (len(PAYLOAD) + 20)
    assert sizes[-1] < 3 * live
    assert sizes[-1] == sizes[len(sizes) // 2]  # it has stopped growing
    assert stats["messages"] == 100_000
    assert len(PAYLOAD) < stats["written_per_message"] < 3 * len(PAYLOAD)
    assert stats["lmdb_bytes"] > stats["moved_bytes"] > 0
    assert stats["lmdb_syncs"] == 4 * stats["flushes"] > 0
    store.close()
    assert check(folder).findings == []


def test_compressed_blocks_are_made_smaller_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    rng = random.Random(2)
    store = open_store(folder, generation_bytes=1 << 20)
    store.open()
    log = store.open_log(1, compress=True)
    kept = {}
    for number in range(8000):
        payload = rng.randbytes(100) + b"." * 60
        kept[log.append(b"a.%d" % (number % 50), b"", payload, number)] = payload
    store.wait()
    store.close()
    before = check(folder).totals.block_bytes
    store = open_store(folder, generation_bytes=1 << 20)
    store.open()
    log = store.open_log(1, compress=True)
    for seq in list(kept):
        if seq % 8:
            assert log.remove(seq)
            del kept[seq]
    store.close()
    survey = check(folder)
    assert survey.findings == []
    assert survey.totals.block_bytes < before // 4
    store = open_store(folder)
    store.open()
    log = store.open_log(1)
    assert log.messages == len(kept)
    for seq, payload in kept.items():
        message = log.read(seq)
        assert message is not None
        assert message.payload == payload
    store.close()


def emptied(folder: Path) -> int:
    """A store of which most was removed; the size of its file."""
    fill(folder, count=4000)
    store = open_store(folder)
    store.open()
    store.open_log(2).purge()
    store.wait()
    store.close()
    return (folder / "data.mdb").stat().st_size


def test_compacting(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    size = emptied(folder)
    messages = check(folder).totals.messages
    (folder / "data.mdb").chmod(0o640)
    result = CliRunner().invoke(command, ["compact", str(folder)])
    assert (result.exit_code, result.output.split()[1]) == (0, str(size))
    assert (folder / "data.mdb").stat().st_size < 0.7 * size
    assert (folder / "data.mdb").stat().st_mode & 0o777 == 0o640
    survey = check(folder)
    assert survey.findings == []
    assert survey.totals.messages == messages
    store = open_store(folder)
    assert store.open() == []
    assert store.open_log(2).last_seq == 2000
    with pytest.raises(StoreError, match="in use"):
        compact(folder)
    store.close()


def test_a_damaged_store_is_not_compacted(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    emptied(folder)
    data = bytearray((folder / "data.mdb").read_bytes())
    for at in range(2 * 4096, len(data), 4096):
        data[at] ^= 1  # every page says that it is another
    (folder / "data.mdb").write_bytes(data)
    with pytest.raises(StoreError, match="was not changed"):
        compact(folder)
    assert (folder / "data.mdb").read_bytes() == bytes(data)
    assert [path.name for path in folder.iterdir() if "compact" in path.name] == []


def crashed(folder: Path) -> Path:
    store = open_store(folder, generation_bytes=1 << 20)
    store.open()
    log = store.open_log(1)
    for number in range(100):
        log.append(b"a.%d" % (number % 3), b"", b"%d" % number + b"x" * 1000, 1)
    store.put(b"key", b"value")
    store.wait()
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    store.close()
    return copy


def test_no_space_for_the_journal_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = crashed(tmp_path / "store")

    def full(path: str, size: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(generations, "make_file", full)
    monkeypatch.setattr(generations, "RETRY_S", 0.01)
    problems: list[str] = []
    store = open_store(copy, problems)
    assert store.open() == []
    log = store.open_log(1)
    assert store.full
    assert log.messages == 100
    assert store.get(b"key") == b"value"
    assert "no space" in problems[0]
    seq = log.append(b"a.1", b"", b"waits", 1)
    for _ in range(10):
        store.work()
    assert log.visible_seq == 100
    monkeypatch.setattr(generations, "make_file", make_file)
    work_until(store, lambda: not store.full)
    store.wait()
    assert log.visible_seq == seq
    store.close()
    assert check(copy).totals.messages == 101


def test_another_refusal_at_the_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: str, size: int) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(generations, "make_file", forbidden)
    with pytest.raises(StoreError, match="Read-only file system"):
        open_store(tmp_path / "store").open()


def _full_at_the_start(folder: str) -> None:
    """Nothing can be written at all; LMDB cannot take what the journal has."""
    generations.RETRY_S = 0.01
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    problems: list[str] = []
    store = open_store(Path(folder), problems)
    assert store.open() == []
    log = store.open_log(1)
    assert store.full
    assert log.messages == log.visible_seq == 100
    assert [message for message in problems if "data.mdb failed" in message]
    assert log.subjects() == {b"a.0": 34, b"a.1": 33, b"a.2": 33}
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    work_until(store, lambda: not store.full)
    log.append(b"a.0", b"", b"more", 1)
    store.wait()
    store.close()
    assert check(Path(folder)).totals.messages == 101


def test_no_space_for_the_store_at_the_start(tmp_path: Path) -> None:
    copy = crashed(tmp_path / "store")
    code = f"from tests.unit.store.test_space import _full_at_the_start as run; run({str(copy)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
