"""Heads of large values in data.mdb that are damaged: LMDB meets none of them. What proves itself is served, the mover
goes on, no page of another value is given away, and the damage is told."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from phloem.shared.store import keyring
from phloem.shared.store.check import check
from phloem.shared.store.encrypt import prepare
from phloem.shared.store.log import Log, Message
from phloem.shared.store.repair import repair
from phloem.shared.store.store import Store
from tests.unit.store.damage import KEYS, fill, leaf_nodes, open_store
from tests.unit.store.pages import FLAGS, HEAD, LOWER, PAGE, word

FIELDS = {  # of a head, and what a flipped bit makes of it
    "number": lambda head: head.__setitem__(0, head[0] ^ 1),
    "branch": lambda head: head.__setitem__(FLAGS, head[FLAGS] ^ 1),
    "leaf": lambda head: head.__setitem__(FLAGS, head[FLAGS] ^ 2),
    "no large value": lambda head: head.__setitem__(FLAGS, head[FLAGS] ^ 4),
    "dirty": lambda head: head.__setitem__(FLAGS, head[FLAGS] ^ 0x10),
    "more pages": lambda head: head.__setitem__(LOWER, head[LOWER] ^ 0x40),
    "very many pages": lambda head: head.__setitem__(HEAD - 1, head[HEAD - 1] ^ 0x40),
}
Spoil = Callable[[bytearray], None]


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def encrypted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the store is."""
    monkeypatch.setattr(keyring, "COST", 4)
    return bool(request.param)


@pytest.fixture(params=FIELDS, ids=[name.replace(" ", "-") for name in FIELDS])
def spoil(request: pytest.FixtureRequest) -> Spoil:
    """What is wrong with a head."""
    return FIELDS[request.param]


def large_values(data: bytes, wanted: Callable[[bytes], bool]) -> list[int]:
    """First pages of the large values under keys that are wanted, of entries of any age."""
    pages = {word(data, at + len(key)) for at, key in leaf_nodes(data) if data[at - 4] == 1 and wanted(key)}
    return sorted(n for n in pages if 0 < n < len(data) // PAGE and data[n * PAGE + FLAGS] == 4)


def damage(path: Path, spoil: Spoil, wanted: Callable[[bytes], bool]) -> list[int]:
    """In place, as a disk does it: a store that is open sees it as well. The pages."""
    pages = large_values(path.read_bytes(), wanted)
    assert pages
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE)
            head = bytearray(file.read(HEAD))
            spoil(head)
            file.seek(page * PAGE)
            file.write(head)
    return pages


def of_log(ident: int) -> Callable[[bytes], bool]:
    return lambda key: len(key) == 12 and key[:4] == ident.to_bytes(4)


def served(log: Log) -> dict[int, Message]:
    found: dict[int, Message] = {}
    message = log.next()
    while message is not None:
        found[message.seq] = message
        message = log.next((), message.seq + 1)
    return found


def use(store: Store, kept: dict[int, dict[int, Message]], problems: list[str]) -> None:
    """Everything that moves, thins, empties and writes again: the mover goes on, and nobody else loses anything."""
    one, two = store.open_log(1), store.open_log(2)
    assert served(one) == kept[1]
    assert served(two) == kept[2]
    for seq in list(kept[1])[: len(kept[1]) * 3 // 4]:
        one.remove(seq)
        del kept[1][seq]
    store.wait()
    for number in range(400):
        seq = two.append(b"b", b"", b"%d" % number + b"n" * 300, 5000)
        kept[2][seq] = Message(seq, 5000, b"b", b"", b"%d" % number + b"n" * 300)
        if number % 100 == 0:
            store.wait()
    store.wait()
    assert served(one) == kept[1]
    assert served(two) == kept[2]
    one.purge()
    kept[1] = {}
    store.wait()
    seq = one.append(b"a.1", b"", b"new", 6000)
    kept[1][seq] = Message(seq, 6000, b"a.1", b"", b"new")
    store.wait()
    assert not store.full
    assert store.stats["flushes"] >= 2
    assert any("is damaged where a large value begins" in problem for problem in problems)
    assert len(problems) == len(set(problems))


def holds(folder: Path, kept: dict[int, dict[int, Message]]) -> None:
    store = open_store(folder)
    assert store.open() == []
    assert {ident: served(store.open_log(ident)) for ident in kept} == kept
    store.close()


def test_damaged_while_the_store_is_closed(tmp_path: Path, encrypted: bool, spoil: Spoil) -> None:
    folder, problems = tmp_path / "store", list[str]()
    kept = fill(folder, encrypted=encrypted)
    damage(folder / "data.mdb", spoil, of_log(1))
    assert any("where a large value begins" in str(finding) for finding in check(folder, keys=KEYS).findings)
    store = open_store(folder, problems)
    assert store.open() == []
    use(store, kept, problems)
    store.close()
    holds(folder, kept)


def test_damaged_while_the_store_is_open(tmp_path: Path, encrypted: bool, spoil: Spoil) -> None:
    folder, problems = tmp_path / "store", list[str]()
    kept = fill(folder, encrypted=encrypted)
    store = open_store(folder, problems)
    assert store.open() == []
    damage(folder / "data.mdb", spoil, of_log(1))
    use(store, kept, problems)
    store.close()
    holds(folder, kept)


def test_repair_brings_nothing_back(tmp_path: Path, encrypted: bool) -> None:
    """Blocks that had to stay where they are, of a log that was purged and of one that was deleted."""
    folder = tmp_path / "store"
    kept = fill(folder, encrypted=encrypted)
    whole = tmp_path / "whole"
    damage(folder / "data.mdb", FIELDS["dirty"], lambda key: of_log(1)(key) or of_log(2)(key))
    shutil.copytree(folder, whole)
    assert repair(whole, keys=KEYS).lost == []
    holds(whole, kept)  # what proves itself is not lost with the head
    store = open_store(folder)
    store.open()
    store.open_log(1).purge()
    store.open_log(2)
    store.drop_log(2)
    store.close()
    assert check(folder, keys=KEYS).findings
    repair(folder, keys=KEYS)
    assert check(folder, keys=KEYS).findings == []
    holds(folder, {1: {}, 2: {}})


def test_a_large_pair_is_replaced_and_deleted(tmp_path: Path, encrypted: bool, spoil: Spoil) -> None:
    """It proves itself, so its head is written again: what is new must not be lost."""
    folder, problems = tmp_path / "store", list[str]()
    if encrypted:
        prepare(folder, KEYS, print)
    store = open_store(folder)
    store.open()
    values = {b"k%d" % number: bytes([number]) * 9000 for number in range(4)}
    for key, value in values.items():
        store.put(key, value)
    store.close()
    store = open_store(folder, problems)
    store.open()
    damage(folder / "data.mdb", spoil, lambda key: True)
    assert dict(store.scan(b"k")) == values
    assert {key: store.get(key) for key in values} == values
    store.put(b"k1", b"other" * 4000)
    store.put(b"k2", b"small")
    store.delete(b"k3")
    store.close()
    assert problems
    store = open_store(folder)
    store.open()
    assert dict(store.scan(b"k")) == {b"k0": values[b"k0"], b"k1": b"other" * 4000, b"k2": b"small"}
    store.close()
    found = [str(finding) for finding in check(folder, keys=KEYS).findings]
    assert len(found) == 1  # of the one that nobody has replaced
    assert "where a large value begins" in found[0]


@pytest.mark.parametrize("whole", [False, True])
def test_a_long_subject_that_is_purged(tmp_path: Path, encrypted: bool, spoil: Spoil, whole: bool) -> None:
    """Its entry does not outlive its messages."""
    folder, subject = tmp_path / "store", b"long." + b"y" * 5000
    if encrypted:
        prepare(folder, KEYS, print)
    store = open_store(folder)
    store.open()
    store.open_log(1).append(subject, b"", b"one", 1)
    store.close()
    damage(folder / "data.mdb", spoil, lambda key: key[:4] == (1).to_bytes(4) and len(key) != 12)
    store = open_store(folder)
    store.open()
    log = store.open_log(1)
    log.append(b"b", b"", b"two", 1)
    assert log.purge(() if whole else (subject,)) == (2 if whole else 1)
    store.close()
    store = open_store(folder)
    store.open()
    assert store.open_log(1).subjects() == ({} if whole else {b"b": 1})
    store.close()


def test_a_long_subject(tmp_path: Path, encrypted: bool, spoil: Spoil) -> None:
    """Its entry in the index is a large value."""
    folder, subject = tmp_path / "store", b"long." + b"y" * 5000
    if encrypted:
        prepare(folder, KEYS, print)
    store = open_store(folder)
    store.open()
    log = store.open_log(1)
    for number in range(3):
        log.append(subject, b"", b"%d" % number, 1)
    store.close()
    store = open_store(folder)
    store.open()
    log = store.open_log(1)
    damage(folder / "data.mdb", spoil, lambda key: key[:4] == (1).to_bytes(4) and len(key) != 12)
    assert log.subject(subject)[0] == 3
    assert log.count((b"long.>",), 1, log.last_seq) == 3
    log.remove(2)
    log.append(subject, b"", b"more", 1)
    store.close()
    store = open_store(folder)
    store.open()
    log = store.open_log(1)
    assert log.subject(subject) == (3, 1, 4)
    log.purge((subject,))
    store.close()
    assert check(folder, keys=KEYS).findings == []
