"""Damage in a store that nothing is written to: a timer has its file looked at, a reader who finds what cannot be has
it looked at at once, and it is mended without a message or a restart. What is asked of a store meanwhile is done."""

import time
from pathlib import Path

import pytest

from phloem.shared.store import keyring
from phloem.shared.store.check import check
from phloem.shared.store.log import Damaged
from phloem.shared.store.store import Store
from tests.unit.store.damage import KEYS, Kept, fill, open_store, turn, work_until
from tests.unit.store.pages import flip, live_keys, spoil
from tests.unit.store.test_heads import served
from tests.unit.store.test_pages import added

LONG_AFTER_NS = 10**18


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def encrypted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the store is."""
    monkeypatch.setattr(keyring, "COST", 4)
    return bool(request.param)


def misname(path: Path, tree: str) -> None:
    """One bit of the last key of a tree."""
    at, size = live_keys(path)[tree][-1]
    flip(path, at + size - 1, 1)


@pytest.mark.parametrize("tree", ["dead", "blocks", "subjects", "pairs", "meta"])
def test_an_idle_store_is_looked_at(tmp_path: Path, tree: str, encrypted: bool) -> None:
    folder, problems = tmp_path / "store", list[str]()
    kept = fill(folder, encrypted=encrypted)
    store = open_store(folder, problems)
    assert store.open() == []
    logs = {ident: store.open_log(ident) for ident in kept}
    misname(folder / "data.mdb", tree)
    assert not store.glance_due(time.monotonic_ns())  # it was looked at when it was opened
    assert store.glance_due(LONG_AFTER_NS)
    assert not store.glance_due(LONG_AFTER_NS)  # one at a time
    work_until(store, lambda: store.stats["mends"] == 1)
    store.wait()
    assert any("nothing is lost" in problem for problem in problems)
    assert {ident: served(log) for ident, log in logs.items()} == kept
    store.close()
    assert check(folder, keys=KEYS).findings == []


def test_a_look_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    fill(folder)
    store = open_store(folder)
    store.open()
    before, files = store.stats, {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for times in range(1, 4):
        assert store.glance_due(LONG_AFTER_NS * times)
        work_until(store, lambda times=times: store.stats["looks"] == before["looks"] + times)
    after = store.stats
    for name in ("batches", "flushes", "journal_bytes", "lmdb_bytes", "syncs"):
        assert after[name] == before[name]
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files
    store.close()


def test_a_store_closes_during_a_look(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    kept = fill(folder)
    store = open_store(folder)
    store.open()
    added(store, 1, kept, 3)
    assert store.glance_due(LONG_AFTER_NS)
    store.close()
    assert check(folder, keys=KEYS).findings == []


def test_a_reader_has_it_looked_at(tmp_path: Path, encrypted: bool) -> None:
    """Nothing is written: the generation ends with an empty batch."""
    folder, problems = tmp_path / "store", list[str]()
    kept = fill(folder, encrypted=encrypted)
    store = open_store(folder, problems)
    store.open()
    log = store.open_log(2)
    misname(folder / "data.mdb", "dead")
    found, named = {}, 0
    for seq in range(1, log.last_seq + 1):
        try:
            found[seq] = log.read(seq)
        except Damaged:
            named += 1
    assert named
    assert all(message == kept[2].get(seq) for seq, message in found.items())
    work_until(store, lambda: store.stats["mends"] == 1)
    store.wait()
    assert served(log) == kept[2]
    assert log.damaged is None
    assert any("it is looked at now" in problem for problem in problems)
    store.close()


def mended_while(store: Store, path: Path, kept: Kept) -> None:
    """All of a log, and part of another, is purged while the file is made anew."""
    spoil(path, "flags")
    logs = {ident: store.open_log(ident) for ident in kept}
    end = time.monotonic() + 20
    while not store.mending:
        assert time.monotonic() < end
        if logs[2].visible_seq == logs[2].last_seq:
            logs[2].append(b"b", b"", b"z" * 300, 7000)
        turn(store)
    logs[1].purge()
    logs[2].purge((b"b",))
    work_until(store, lambda: store.stats["mends"] == 1)
    store.wait()


def test_a_purge_during_a_mend(tmp_path: Path, encrypted: bool) -> None:
    folder = tmp_path / "store"
    kept = fill(folder, encrypted=encrypted)
    store = open_store(folder)
    store.open()
    mended_while(store, folder / "data.mdb", kept)
    left = {seq: message for seq, message in kept[2].items() if message.subject != b"b"}
    for times in range(2):
        one, two = store.open_log(1), store.open_log(2)
        assert one.messages == 0
        assert served(one) == {}
        assert served(two) == left
        assert two.subjects() == {s: sum(m.subject == s for m in left.values()) for s in two.subjects()}
        assert store.lost(1) is store.lost(2) is None
        store.close()
        if times == 0:
            store = open_store(folder)
            assert store.open() == []
    assert check(folder, keys=KEYS).findings == []
