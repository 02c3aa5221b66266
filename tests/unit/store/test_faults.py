"""A disk that refuses: nothing is acknowledged that is not there, what is there is read, new space is used."""

import errno
import os
import resource
import threading
from pathlib import Path

import pytest

from phloem.shared.store import generations
from phloem.shared.store.check import check
from phloem.shared.store.log import Log
from phloem.shared.store.store import Store, StoreError
from phloem.shared.testing.faults import break_disk, mend_disk
from tests.unit.store.damage import open_store, work_until


def started(folder: Path, problems: list[str], generation_bytes: int = 1 << 20) -> tuple[Store, Log]:
    store = open_store(folder, problems, generation_bytes)
    store.open()
    log = store.open_log(1)
    for number in range(10):
        log.append(b"a", b"", b"%d" % number, 1)
    store.wait()
    assert log.visible_seq == 10
    return store, log


@pytest.mark.parametrize("fault", [{"on_sync": errno.EIO}, {"on_write": errno.EIO, "room_bytes": 20}])
def test_after_an_error_nothing_is_acknowledged(tmp_path: Path, fault: dict[str, int]) -> None:
    problems: list[str] = []
    store, log = started(tmp_path / "store", problems)
    break_disk(store, **fault)
    log.append(b"a", b"", b"lost", 1)
    work_until(store, lambda: store.failed != 0)
    mend_disk(store)  # too late: what the kernel has dropped it will not write any more
    log.append(b"a", b"", b"refused", 1)
    for _ in range(10):
        store.work()
    assert store.failed == errno.EIO
    assert log.visible_seq == 10
    message = log.read(10)
    assert message is not None
    assert message.payload == b"9"
    assert len(problems) == 1
    assert "nothing is acknowledged" in problems[0]
    with pytest.raises(StoreError, match="Input/output"):
        store.wait()
    store.close()
    assert check(tmp_path / "store").findings == []
    again, log = started(tmp_path / "again", [])
    again.close()
    store = open_store(tmp_path / "store")
    store.open()
    log = store.open_log(1)
    assert 10 <= log.messages <= 11  # the one that was under way may be there
    store.close()


def test_short_writes_are_gone_on_with(tmp_path: Path) -> None:
    problems: list[str] = []
    store, log = started(tmp_path / "store", problems)
    break_disk(store, write_most=7)
    for number in range(50):
        log.append(b"a", b"", b"%d" % number, 1)
    store.wait()
    assert log.visible_seq == 60
    store.close()
    assert problems == []
    assert check(tmp_path / "store").totals.messages == 60


def test_no_space_for_the_journal(tmp_path: Path) -> None:
    problems: list[str] = []
    store, log = started(tmp_path / "store", problems)
    break_disk(store, on_write=errno.ENOSPC, room_bytes=30)
    log.append(b"a", b"", b"waits", 1)
    work_until(store, lambda: bool(store.stats["full"]))
    assert store.why_full == "the disk is full"
    assert log.visible_seq == 10
    assert log.read(10) is not None
    with pytest.raises(StoreError, match="no space"):
        store.wait()
    mend_disk(store)
    work_until(store, lambda: log.visible_seq == 11)
    store.work()
    assert store.stats["full"] == 0
    assert store.failed == 0
    assert len(problems) == 1
    store.close()
    assert check(tmp_path / "store").totals.messages == 11


def test_closing_with_a_full_disk(tmp_path: Path) -> None:
    store, log = started(tmp_path / "store", [])
    break_disk(store, on_write=errno.ENOSPC, room_bytes=0)
    log.append(b"a", b"", b"waits", 1)
    work_until(store, lambda: bool(store.stats["full"]))
    with pytest.raises(StoreError, match="no space"):
        store.close()
    assert check(tmp_path / "store").totals.batches >= 1
    store = open_store(tmp_path / "store")
    store.open()
    assert store.open_log(1).last_seq == 10
    store.close()


def _full_child(folder: str) -> None:
    """Files may not grow: LMDB cannot take a generation, later it can."""
    problems: list[str] = []
    store = open_store(Path(folder), problems, 100_000)
    store.open()
    log = store.open_log(1)
    log.append(b"a", b"", b"x" * 1000, 1)
    store.wait()
    # Several generations: the journal, which a message more or less makes longer, must not reach the limit first.
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    while not store.stats["full"]:
        log.append(b"a", b"", os.urandom(5000), 1)
        try:
            store.wait()  # also for the generation that is being moved
        except StoreError:
            assert store.stats["full"], store.stats
    told = log.last_seq
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    work_until(store, lambda: not store.stats["full"])
    store.wait()
    assert log.visible_seq == log.last_seq == told
    assert problems
    store.close()
    assert check(Path(folder)).totals.messages == told


def test_no_space_for_the_store(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = f"from tests.unit.store.test_faults import _full_child; _full_child({str(tmp_path / 's')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_generation_that_cannot_end_goes_on(tmp_path: Path) -> None:
    """What shall be in its last batch fails: nothing is lost, and it ends when that works again."""
    problems: list[str] = []
    fails = True

    def on_freeze() -> None:
        if fails:
            raise ValueError("not now")

    store = Store(
        str(tmp_path / "s"), seed=3, generation_bytes=20_000, on_freeze=on_freeze, on_problem=problems.append
    )
    store.open()
    log = store.open_log(1)
    for _ in range(50):
        log.append(b"a", b"", bytes(1000), 1)
        store.wait()
    assert store.stats["flushes"] == 0
    assert store.stats["generation_bytes"] > 50_000
    assert any("not now" in problem for problem in problems)
    fails = False
    log.append(b"a", b"", b"", 1)
    store.wait()
    assert store.stats["flushes"] == 1
    assert log.visible_seq == 51
    store.close()
    assert check(tmp_path / "s").totals.messages == 51


def test_no_thread_for_moving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again in the next rounds."""
    problems: list[str] = []
    store, log = started(tmp_path / "s", problems, 20_000)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    log.append(b"a", b"", bytes(30_000), 1)
    work_until(store, lambda: bool(store.stats["full"]))
    assert any("cannot begin" in problem for problem in problems)
    assert store.why_full == "no thread can be begun for the store"
    monkeypatch.setattr(threading.Thread, "start", start)
    work_until(store, lambda: not store.stats["full"])
    assert store.why_full == ""
    store.wait()
    assert store.stats["flushes"] == 1
    store.close()
    assert check(tmp_path / "s").totals.messages == 11


def test_no_thread_to_begin_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what is too low, has nothing open, and the folder is as it was."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StoreError, match="TasksMax="):
            open_store(tmp_path / "s").open()
    store = open_store(tmp_path / "s")
    assert store.open() == []
    store.close()


def test_a_log_that_becomes_strict_is_synced(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.open()
    log = store.open_log(1, relaxed=True)
    log.append(b"a", b"", b"", 1)
    store.work()  # the batch is under way, without a sync
    store.configure_log(1, relaxed=False, compress=False)
    syncs = store.stats["syncs"]
    store.wait()
    assert store.stats["syncs"] > syncs
    assert log.visible_seq == 1
    store.close()


def test_a_file_that_has_its_new_name_and_no_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done already is not tried again."""
    monkeypatch.setattr(generations, "RETRY_S", 0.01)
    problems: list[str] = []
    store, log = started(tmp_path / "s", problems, 20_000)
    synced, failed = generations.sync_name, list[str]()

    def fail_once(path: str, fd: int) -> None:
        if not failed:
            failed.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        synced(path, fd)

    monkeypatch.setattr(generations, "sync_name", fail_once)
    for _ in range(5):
        log.append(b"a", b"", bytes(18_000), 1)
        work_until(store, lambda: store.settled and not store.stats["full"])
    work_until(store, lambda: bool(failed) and not store.stats["full"])
    store.wait()
    assert len(problems) == 1
    store.close()
    assert check(tmp_path / "s").totals.messages == 15
