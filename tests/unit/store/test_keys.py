"""A bit of a key in data.mdb that has flipped, of every tree: whoever looks for the entry would not find it, or find
another's. It is seen when the store is opened, before LMDB writes, and by readers; it is put right, nothing is lost."""

import contextlib
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from phloem.shared.store import keyring
from phloem.shared.store.encrypt import prepare
from phloem.shared.store.log import Damaged, Log
from phloem.shared.store.repair import mend
from phloem.shared.store.store import Store, StoreDamaged, StoreError
from tests.support.sampling import sampled
from tests.unit.store.damage import KEYS, LIMIT_S, open_store, turn
from tests.unit.store.pages import flip, live_keys
from tests.unit.store.test_heads import served

TREES = ("free", "names", "meta", "pairs", "dead", "blocks", "subjects")
SAMPLE, MORE, ALL = (
    3,
    60,
    10_000,
)  # flips of each tree in make test; in make test-long of a store in use, of a closed one
IDENTS, OWNER = (1, 2, 3), 7
Messages = dict[int, tuple[bytes, bytes]]


@dataclass
class Truth:
    """What the undamaged store answers."""

    messages: dict[int, Messages] = field(default_factory=dict)
    counters: dict[int, tuple[int, ...]] = field(default_factory=dict)
    subjects: dict[int, dict[bytes, tuple[int, int, int]]] = field(default_factory=dict)
    pairs: list[tuple[bytes, bytes]] = field(default_factory=list)
    state: tuple[bytes | None, list[bytes]] = (None, [])


def filled(folder: Path, *, encrypted: bool) -> Truth:
    """Three logs with neighbours' sequences, some messages removed, so that every tree has something to hide."""
    if encrypted:
        prepare(folder, KEYS, print)
    store = open_store(folder, generation_bytes=1 << 20)
    store.open()
    for ident in IDENTS:
        log = store.open_log(ident, compress=ident == 2)
        for number in range(40):
            log.append(
                b"s.%d" % (number % 5), b"", b"%d/%d " % (ident, number) + bytes(700 * (number % 4)), number
            )
        store.wait()
        for seq in (3, 17, 18, 30):
            log.remove(seq)
    store.put(b"s/A/ONE", b'{"ident": 1}')
    store.put(b"s/A/TWO", b"{}" * 20)
    store.put_state(OWNER, b"what a consumer knows")
    store.close()
    for _ in range(2):  # blocks and bits of other generations
        store = open_store(folder)
        store.open()
        for ident in IDENTS:
            log = store.open_log(ident, compress=ident == 2)
            log.append(b"t", b"", b"later", 50)
            log.remove(9 + log.last_seq % 2)
        store.close()
    store = open_store(folder)
    assert store.open() == []
    truth = asked(store)
    store.close()
    return truth


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "encrypted"])
def right(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Truth]]:
    """The undamaged store, encrypted or not, and what it answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyring, "COST", 4)
        folder = tmp_path_factory.mktemp("right") / "store"
        yield folder, filled(folder, encrypted=request.param)


def asked(store: Store) -> Truth:
    truth = Truth(pairs=list(store.scan(b"")), state=store.state(OWNER))
    for ident in IDENTS:
        log = store.open_log(ident, compress=ident == 2)
        truth.messages[ident] = {seq: (m.subject, m.payload) for seq, m in served(log).items()}
        truth.counters[ident] = (log.messages, log.bytes, log.first_seq, log.last_seq, log.subjects_count)
        truth.subjects[ident] = {subject: log.subject(subject) for subject in log.subjects()}
        assert log.count((b"s.*",)) == sum(m[0].startswith(b"s.") for m in truth.messages[ident].values())
    return truth


def bits_of(folder: Path, tree: str, count: int) -> list[int]:
    """So many of them, at most."""
    bits = [8 * at + bit for at, size in live_keys(folder / "data.mdb")[tree] for bit in range(8 * size)]
    assert bits
    return random.Random(tree).sample(bits, min(count, len(bits)))


def flipped(folder: Path, source: Path, bit: int) -> None:
    for old in folder.parent.glob(folder.name + ".*"):
        shutil.rmtree(old)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    flip(folder / "data.mdb", bit // 8, 1 << bit % 8)


def opened(folder: Path) -> Store:
    """As a server does it."""
    store = open_store(folder)
    try:
        assert store.open() == []
    except StoreDamaged:
        assert mend(folder, keys=KEYS).damaged is not None
        store = open_store(folder)
        assert store.open() == []
    return store


@sampled
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("tree", TREES)
def test_a_closed_store(tmp_path: Path, tree: str, whole: bool, right: tuple[Path, Truth]) -> None:
    folder, (source, truth) = tmp_path / "store", right
    for bit in bits_of(source, tree, ALL if whole else SAMPLE):
        flipped(folder, source, bit)
        store = opened(folder)
        what = f"{tree}: bit {bit % 8} of byte {bit // 8}"
        assert asked(store) == truth, what
        assert not any(store.lost(ident) for ident in IDENTS), what
        store.close()


def answers(log: Log, seqs: range) -> Iterator[tuple[int, object]]:
    """Each message, as far as it is not named as damaged."""
    for seq in seqs:
        with contextlib.suppress(Damaged):
            message = log.read(seq)
            yield seq, message and (message.subject, message.payload)


def not_wrong(store: Store, truth: Truth, what: str) -> None:
    """Before anybody has looked at the file: right, or named."""
    for ident in IDENTS:
        log = store.open_log(ident, compress=ident == 2)
        for seq, found in answers(log, range(1, 44)):
            assert found == truth.messages[ident].get(seq), f"{what}: log {ident}, message {seq}"


def until_looked(store: Store, what: str) -> None:
    """A generation ends; the file is looked at before it is moved, and mended if need be."""
    end, before, log = time.monotonic() + LIMIT_S, store.stats["flushes"], store.open_log(3)
    while store.stats["flushes"] == before or store.mending:
        assert time.monotonic() < end, (what, store.stats)
        if log.visible_seq == log.last_seq and not store.full:
            log.append(b"more", b"", bytes(4000), 60)
        turn(store)
    store.wait()


@sampled
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("tree", TREES)
def test_a_store_in_use(tmp_path: Path, tree: str, whole: bool, right: tuple[Path, Truth]) -> None:
    folder, (source, truth) = tmp_path / "store", right
    for bit in bits_of(source, tree, MORE if whole else SAMPLE):
        what = f"{tree}: bit {bit % 8} of byte {bit // 8}"
        flipped(folder, source, bit)
        flip(folder / "data.mdb", bit // 8, 1 << bit % 8)
        store = open_store(folder)
        assert store.open() == []
        for ident in IDENTS:  # as a server does it at once
            store.open_log(ident, compress=ident == 2)
        flip(folder / "data.mdb", bit // 8, 1 << bit % 8)
        not_wrong(store, truth, what)
        until_looked(store, what)
        if tree != "free":
            assert store.stats["mends"] == 1, what
        found = asked(store)
        for ident in IDENTS:
            assert store.lost(ident) is None, what
            messages = {seq: m for seq, m in found.messages[ident].items() if m[0] != b"more"}
            assert messages == truth.messages[ident], what
            subjects = {s: n for s, n in found.subjects[ident].items() if s != b"more"}
            assert subjects == truth.subjects[ident], what
        assert (found.pairs, found.state) == (truth.pairs, truth.state), what
        with contextlib.suppress(StoreError):
            store.close()
