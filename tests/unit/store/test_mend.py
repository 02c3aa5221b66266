"""What a server does with a file that LMDB must not be let at: all that is good is kept, what was lost is marked."""

import errno
import shutil
from pathlib import Path

import pytest

from phloem.shared.store import keyring
from phloem.shared.store.check import check
from phloem.shared.store.repair import mend, repair
from phloem.shared.store.store import StoreDamaged, StoreError
from tests.unit.store.damage import KEYS, break_leaf, fill, leaf_nodes, open_store
from tests.unit.store.pages import FLAGS, LOWER, word


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def encrypted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the store is."""
    monkeypatch.setattr(keyring, "COST", 4)
    return bool(request.param)


def test_a_damaged_leaf_costs_one_log_one_block(tmp_path: Path, encrypted: bool) -> None:
    folder = tmp_path / "store"
    kept = fill(folder, encrypted=encrypted)
    break_leaf(folder / "data.mdb", 1)
    with pytest.raises(StoreDamaged, match="phloem store repair"):
        open_store(folder).open()
    done = mend(folder, keys=KEYS)
    assert done.damaged is not None
    store = open_store(folder)
    assert store.open() == []
    one, two = store.open_log(1), store.open_log(2)
    found = {seq: message for seq, message in kept[2].items() if two.read(seq) == message}
    assert found == kept[2]
    assert store.lost(2) is None
    lost = store.lost(1)
    assert lost is not None
    first, last, text = lost
    missing = [seq for seq in kept[1] if one.read(seq) is None]
    assert 0 < len(missing) < len(kept[1])
    assert all(first <= seq <= last for seq in missing)
    assert "messages" in text
    assert one.messages == len(kept[1]) - len(missing)
    assert one.last_seq == 750
    store.close()
    # the mark stays, and check tells of it, until somebody says that this is how it is
    assert {finding.kind for finding in check(folder, keys=KEYS).findings} == {"mark"}
    store = open_store(folder)
    store.open()
    store.open_log(1)
    assert store.lost(1) == lost
    store.close()
    repair(folder, keys=KEYS)
    assert check(folder, keys=KEYS).findings == []
    store = open_store(folder)
    store.open()
    assert store.open_log(1).messages == len(kept[1]) - len(missing)
    assert store.lost(1) is None
    store.close()


@pytest.mark.parametrize("crash", [False, True])
def test_a_purge_or_a_drop_ends_the_mark(tmp_path: Path, crash: bool, encrypted: bool) -> None:
    folder = tmp_path / "store"
    fill(folder, encrypted=encrypted)
    store = open_store(folder, generation_bytes=1 << 20)
    store.open()
    for ident in (1, 2):
        store.open_log(ident)
        store.mark(ident, 1, 2, "gone")
        assert store.lost(ident) == (1, 2, "gone")
    store.close()
    store = open_store(folder, generation_bytes=1 << 20)
    store.open()
    assert store.open_log(1).purge() > 0
    store.open_log(2)
    store.drop_log(2)
    assert store.lost(1) is store.lost(2) is None
    store.wait()
    if crash:
        copy = folder.with_name("copy")
        shutil.copytree(folder, copy)
    store.close()
    folder = copy if crash else folder
    for _ in range(2):
        store = open_store(folder)
        store.open()
        store.open_log(1)
        store.open_log(2)
        assert store.lost(1) is store.lost(2) is None
        store.close()
    assert check(folder, keys=KEYS).findings == []


def test_damaged_counters(tmp_path: Path, encrypted: bool) -> None:
    """LMDB's pages are sound, what one of them says is not: counted anew, and the log says so."""
    folder = tmp_path / "store"
    kept = fill(folder, encrypted=encrypted)
    path = folder / "data.mdb"
    data = bytearray(path.read_bytes())
    for at, key in leaf_nodes(bytes(data)):
        if key == b"log:" + (1).to_bytes(4, "little"):
            data[at + len(key) + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreDamaged):
        open_store(folder).open()
    mend(folder, keys=KEYS)
    store = open_store(folder)
    assert store.open() == []
    assert store.open_log(1).messages == len(kept[1])
    assert store.open_log(2).messages == len(kept[2])
    assert store.lost(1) is not None
    assert store.lost(2) is None
    store.close()


def test_a_block_that_says_it_has_more_pages_takes_none_from_others(tmp_path: Path, encrypted: bool) -> None:
    """LMDB believes it; its pages are given up instead, and nothing else is touched."""
    folder = tmp_path / "store"
    kept = fill(folder, encrypted=encrypted)
    path = folder / "data.mdb"
    data = bytearray(path.read_bytes())
    pages = {
        word(data, at + 12)
        for at, key in leaf_nodes(bytes(data))
        if len(key) == 12 and key[:4] == (1).to_bytes(4)
    }
    damaged = 0
    for page in pages:
        if 0 < page < len(data) // 4096 and data[page * 4096 + FLAGS] == 4:
            data[page * 4096 + LOWER] += 40
            damaged += 1
    assert damaged
    path.write_bytes(data)
    store = open_store(folder, generation_bytes=100_000)
    assert store.open() == []
    one, two = store.open_log(1), store.open_log(2)
    for seq in list(kept[1])[::2]:
        one.remove(seq)
    store.wait()
    one.purge()
    for number in range(3000):  # what was given away would be written over now
        two.append(b"b", b"", b"%d" % number + b"n" * 200, 5000)
        if number % 300 == 0:
            store.wait()
    store.close()
    store = open_store(folder)
    store.open()
    two = store.open_log(2)
    assert {seq: two.read(seq) for seq in kept[2]} == kept[2]
    assert two.messages == len(kept[2]) + 3000
    assert store.open_log(1).next() is None
    store.close()
    assert {finding.ident for finding in check(folder, keys=KEYS).findings} <= {0, 1}


def _damaged(tmp_path: Path) -> tuple[Path, int]:
    folder = tmp_path / "store"
    fill(folder)
    break_leaf(folder / "data.mdb", 1)
    return folder, (folder / "data.mdb").stat().st_size


def test_what_may_be_the_original_is_never_removed(tmp_path: Path) -> None:
    """The power went between the exchange and the renaming: FOLDER.repair is the damaged store."""
    folder, _ = _damaged(tmp_path)
    left, unfinished = tmp_path / "store.repair", tmp_path / "store.repair" / "unfinished"
    shutil.copytree(folder, left)
    done = repair(folder, keys=KEYS)
    assert done.damaged == tmp_path / "store.damaged-2"
    assert (tmp_path / "store.damaged-1" / "data.mdb").exists()
    break_leaf(folder / "data.mdb", 2)
    left.mkdir()
    unfinished.touch()
    assert repair(folder, keys=KEYS).damaged == tmp_path / "store.damaged-3"
    assert not left.exists()
    assert not (folder / "unfinished").exists()


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_repair_that_fails_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    """Nothing is lost: everything is as it was, or the exchange counts."""
    folder, size = _damaged(tmp_path)
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        if path.name.endswith(".repair"):
            raise OSError(errno.EIO, "no")
        return rename(path, target)

    def exchange(one: str, other: str) -> None:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(Path, "rename", renamed)
    if exchanges:
        assert repair(folder, keys=KEYS).damaged == tmp_path / "store.repair"
        assert (tmp_path / "store.repair" / "data.mdb").stat().st_size == size
        assert check(folder, keys=KEYS).findings == []
        return
    monkeypatch.setattr("phloem.shared.store.inspect.exchange", exchange)
    with pytest.raises(StoreError, match="was not changed"):
        repair(folder, keys=KEYS)
    assert (folder / "data.mdb").stat().st_size == size
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("name", ["store.repair", "store.damaged-1"])
def test_a_store_that_is_not_there_is_not_begun_anew_beside_its_remains(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(StoreError, match=name):
        open_store(tmp_path / "store").open()
    assert not (tmp_path / "store").exists()
    (tmp_path / name).rmdir()
    store = open_store(tmp_path / "store")
    assert store.open() == []
    store.close()
