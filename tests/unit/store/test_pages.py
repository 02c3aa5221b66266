"""Pages of data.mdb that are damaged while the store is open: the file is made anew, what is acknowledged is there,
what was lost is named, and new messages are taken all the time."""

import contextlib
import time
from pathlib import Path

import pytest

from phloem.shared.store import generations, keyring, mending
from phloem.shared.store.check import check
from phloem.shared.store.log import Log, Message
from phloem.shared.store.repair import mend
from phloem.shared.store.store import Store, StoreError
from tests.unit.store.damage import KEYS, LIMIT_S, Kept, fill, nothing_invented, open_store, turn, work_until
from tests.unit.store.pages import pages_of, spoil
from tests.unit.store.test_heads import served


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def encrypted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the store is."""
    monkeypatch.setattr(keyring, "COST", 4)
    return bool(request.param)


def added(store: Store, ident: int, kept: Kept, count: int) -> None:
    """Messages that are acknowledged."""
    log = store.open_log(ident, compress=ident == 2)
    for number in range(count):
        assert not store.full
        seq = log.append(b"more.%d" % (number % 9), b"", b"m%d" % number + b"x" * 200, 7000)
        kept[ident][seq] = Message(seq, 7000, b"more.%d" % (number % 9), b"", b"m%d" % number + b"x" * 200)
        store.work()
    work_until(store, lambda: log.visible_seq == log.last_seq)


def until_full(store: Store, kept: dict[int, Message]) -> None:
    """Messages one after the other, until nothing new is taken."""
    log, end = store.open_log(1), time.monotonic() + LIMIT_S
    while not store.full:
        assert time.monotonic() < end, store.stats
        if log.visible_seq == log.last_seq:
            seq = log.append(b"b", b"", b"y" * 300, 1)
            kept[seq] = Message(seq, 1, b"b", b"", b"y" * 300)
        turn(store)


def right(log: Log, kept: dict[int, Message], lost: tuple[int, int, str] | None) -> None:
    """What is there is right, what is not is said to be lost, counters and subjects are those of what is there."""
    found = served(log)
    assert found.items() <= kept.items()
    gone = kept.keys() - found.keys()
    assert bool(gone) <= (lost is not None)
    assert all(lost is not None and lost[0] <= seq <= lost[1] for seq in gone)
    subjects: dict[bytes, int] = {}
    for message in found.values():
        subjects[message.subject] = subjects.get(message.subject, 0) + 1
    assert log.messages == len(found)
    assert log.subjects() == subjects
    assert log.subjects_count == len(subjects)
    assert log.first_seq == min(found)
    assert log.bytes == sum(len(m.subject) + len(m.payload) + 30 for m in found.values())


@pytest.mark.parametrize("kind", ["free", "names", "flags", "leaf", "branch"])
def test_damaged_while_the_store_is_open(tmp_path: Path, encrypted: bool, kind: str) -> None:
    folder, problems = tmp_path / "store", list[str]()
    kept = fill(folder, encrypted=encrypted)
    store = open_store(folder, problems)
    assert store.open() == []
    for ident in kept:
        added(store, ident, kept, 20)
    logs = {ident: store.open_log(ident) for ident in kept}
    for seq in list(kept[1])[::5]:
        logs[1].remove(seq)
        del kept[1][seq]
    spoil(folder / "data.mdb", kind)
    end = time.monotonic() + LIMIT_S
    while not store.stats["mends"]:
        assert time.monotonic() < end, (problems, store.stats)
        for ident in kept:
            added(store, ident, kept, 3)
    for ident in kept:
        if store.lost(ident) is None:
            added(store, ident, kept, 100)
    store.wait()
    assert any("was damaged while it is in use" in problem for problem in problems)
    assert store.stats["mends"] == 1
    assert store.mending == ""
    lost = {ident: store.lost(ident) for ident in kept}
    for ident, log in logs.items():
        right(log, kept[ident], lost[ident])
    if kind in ("free", "names", "flags"):
        assert not any(lost.values())
    store.close()
    store = open_store(folder)
    assert store.open() == []
    for ident in kept:
        log = store.open_log(ident)
        assert store.lost(ident) == lost[ident]
        right(log, kept[ident], lost[ident])
    store.close()
    assert {finding.kind for finding in check(folder, keys=KEYS).findings} <= {"mark"}
    assert (tmp_path / "store.damaged-1" / "data.mdb").exists()
    assert not (folder / "mending").exists()
    assert nothing_invented(folder, kept)


def test_a_head_is_written_again(tmp_path: Path, encrypted: bool) -> None:
    folder, problems = tmp_path / "store", list[str]()
    kept = fill(folder, encrypted=encrypted)
    store = open_store(folder, problems)
    store.open()
    spoil(folder / "data.mdb", "head")
    before = store.stats["flushes"]
    while store.stats["flushes"] < before + 2:
        added(store, 1, kept, 50)
    store.wait()
    assert any("a head of data.mdb was damaged" in problem for problem in problems)
    assert store.stats["mends"] == 0
    right(store.open_log(1), kept[1], None)
    store.close()
    assert check(folder, keys=KEYS).findings == []


def refused(_folder: Path, _vault: object, _place: tuple[int, int]) -> mending.Mended:
    raise StoreError("no space left")


def test_without_space_nothing_new_is_taken_until_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, problems = tmp_path / "store", list[str]()
    kept = fill(folder)
    store = open_store(folder, problems)
    store.open()
    monkeypatch.setattr(generations, "MEND_PAUSE_S", 0.01)
    monkeypatch.setattr(generations, "RETRY_S", 0.01)
    with monkeypatch.context() as full:
        full.setattr(mending, "mend_open", refused)
        spoil(folder / "data.mdb", "names")
        until_full(store, kept[1])
        assert "was damaged while it is in use" in store.mending
        assert any("could not be mended: no space left" in problem for problem in problems)
        seq = store.open_log(1).append(b"b", b"", b"waits", 1)
        kept[1][seq] = Message(seq, 1, b"b", b"", b"waits")
        with pytest.raises(StoreError, match="could not be mended"):
            store.wait()
    work_until(store, lambda: not store.full)
    added(store, 1, kept, 10)
    store.wait()
    assert store.mending == ""
    right(store.open_log(1), kept[1], None)
    store.close()
    assert check(folder, keys=KEYS).findings == []


def test_a_disk_that_damages_everything_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some mends in a row; what was acknowledged is in the journal, and the next start mends."""
    folder, problems = tmp_path / "store", list[str]()
    kept = fill(folder)
    store = open_store(folder, problems)
    store.open()
    monkeypatch.setattr(generations, "MEND_PAUSE_S", 0.0)
    monkeypatch.setattr(generations, "MENDS_MAX", 2)
    store.open_log(1)
    for mends in (1, 2):
        spoil(folder / "data.mdb", "names")
        end = time.monotonic() + LIMIT_S
        while store.stats["mends"] < mends:
            assert time.monotonic() < end, problems
            added(store, 1, kept, 5)
        store.wait()
    spoil(folder / "data.mdb", "names")
    until_full(store, kept[1])
    assert any("mended 2 times already" in problem and "replace the disk" in problem for problem in problems)
    with contextlib.suppress(StoreError):  # the last message was still under way
        store.close()
    mend(folder, keys=KEYS)
    store = open_store(folder)
    assert store.open() == []
    log = store.open_log(1)
    assert served(log).items() <= kept[1].items()
    assert log.messages >= len(kept[1]) - 1  # the last one may not have been acknowledged
    assert store.lost(1) is None
    store.close()


def test_there_is_a_page_of_each_kind(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    assert all(pages_of(tmp_path / "store" / "data.mdb").values())
