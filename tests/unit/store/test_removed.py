"""What says which messages were removed lies under a key of its own in LMDB. One flipped bit makes another key of it,
in order all the same: whoever looks for it finds nothing, as if nothing had been removed. That is seen before LMDB is
let at the file, and nothing comes back without a word."""

import time
from pathlib import Path

import pytest

from phloem.shared.store import keyring
from phloem.shared.store.check import check
from phloem.shared.store.inspect import Inspector
from phloem.shared.store.log import Message
from phloem.shared.store.repair import mend
from phloem.shared.store.store import Store, StoreDamaged
from tests.unit.store.damage import KEYS, fill, leaf_nodes, open_store
from tests.unit.store.pages import PAGE, TREES, flip, pages_of
from tests.unit.store.test_heads import served

LIMIT_S = 20.0
Kept = dict[int, dict[int, Message]]


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def encrypted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the store is."""
    monkeypatch.setattr(keyring, "COST", 4)
    return bool(request.param)


def dead_keys(data: bytes) -> list[bytes] | None:
    """The keys of what says what was removed; None: a page of it is not as it should be."""
    inspector = Inspector(data)
    keys = [key for key, _ in inspector.walk("dead")]
    problems = inspector.problems()
    inspector.close()
    return None if problems else keys


def misname(path: Path, ident: int) -> None:
    """Makes another key, in order, of one that a log's removed messages stand under."""
    data = path.read_bytes()
    keys, live = dead_keys(data), pages_of(path)["leaf"]
    assert keys
    for at, key in leaf_nodes(data):
        if key not in keys or int.from_bytes(key[:4]) != ident or at // PAGE not in live:
            continue
        changed = bytearray(data)
        changed[at + 11] ^= 1
        if dead_keys(bytes(changed)) not in (keys, None):
            flip(path, at + 11, 1)
            return
    raise AssertionError("there is no such key")


def nothing_lost(store: Store, kept: Kept) -> None:
    """A bit of a key is put right: it is the only one that makes a key of it under which the entry proves itself."""
    for ident, messages in kept.items():
        log = store.open_log(ident)
        assert served(log) == messages
        assert log.messages == len(messages)
        assert store.lost(ident) is None


def test_nothing_comes_back_without_a_word(tmp_path: Path, encrypted: bool) -> None:
    folder = tmp_path / "store"
    kept = fill(folder, encrypted=encrypted)
    misname(folder / "data.mdb", 1)
    with pytest.raises(StoreDamaged, match="phloem store repair"):
        open_store(folder).open()
    assert any("was kept under" in str(finding) for finding in check(folder, keys=KEYS).findings)
    assert mend(folder, keys=KEYS).damaged is not None
    store = open_store(folder)
    assert store.open() == []
    nothing_lost(store, kept)
    store.close()
    assert check(folder, keys=KEYS).findings == []


def test_nor_while_the_store_is_open(tmp_path: Path, encrypted: bool) -> None:
    folder, problems = tmp_path / "store", list[str]()
    kept = fill(folder, encrypted=encrypted)
    store = open_store(folder, problems)
    assert store.open() == []
    logs = {ident: store.open_log(ident) for ident in kept}
    misname(folder / "data.mdb", 1)
    end = time.monotonic() + LIMIT_S
    while not store.stats["mends"]:
        assert time.monotonic() < end, (problems, store.stats)
        seq = logs[2].append(b"b", b"", b"z" * 300, 7000)
        kept[2][seq] = Message(seq, 7000, b"b", b"", b"z" * 300)
        store.work()
    store.wait()
    assert any("was damaged while it is in use" in problem for problem in problems)
    nothing_lost(store, kept)
    store.close()


def test_nor_when_the_tree_has_another_name(tmp_path: Path, encrypted: bool) -> None:
    """LMDB would begin an empty one. What is in the tree proves itself: nothing is lost, nothing comes back."""
    folder = tmp_path / "store"
    kept = fill(folder, encrypted=encrypted)
    path = folder / "data.mdb"
    data, names = path.read_bytes(), pages_of(path)["names"][0]
    flip(path, data.index(b"dead", names * PAGE), 8)
    with pytest.raises(StoreDamaged, match="phloem store repair"):
        open_store(folder).open()
    mend(folder, keys=KEYS)
    store = open_store(folder)
    assert store.open() == []
    for ident, messages in kept.items():
        assert served(store.open_log(ident)) == messages
        assert store.lost(ident) is None
    store.close()
    assert check(folder, keys=KEYS).findings == []


def test_the_list_of_free_pages_is_of_its_kind(tmp_path: Path, encrypted: bool) -> None:
    """LMDB's assertions would end the process."""
    folder = tmp_path / "store"
    kept = fill(folder, encrypted=encrypted)
    path = folder / "data.mdb"
    flip(path, pages_of(path)["head"][0] * PAGE + TREES + 4, 4)
    with pytest.raises(StoreDamaged, match="phloem store repair"):
        open_store(folder).open()
    mend(folder, keys=KEYS)
    store = open_store(folder)
    assert store.open() == []
    assert {ident: served(store.open_log(ident)) for ident in kept} == kept
    store.close()
