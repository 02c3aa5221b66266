"""What no store has written, with good checksums, and numbers at their edges: see also tests/fuzz."""

import os
import shutil
from pathlib import Path

import pytest

from phloem.shared.store.log import Damaged, Log
from phloem.shared.store.repair import repair
from phloem.shared.store.store import Store, StoreError
from tests.fuzz import seals
from tests.unit.store.damage import open_store


def filled(log: Log) -> None:
    for seq in (1, 2, 600, 10_000_000_000, 1 << 61):
        assert log.append(b"a", b"", b"%d" % seq, 5, seq) == seq


@pytest.mark.parametrize("memory", [True, False])
def test_sequences_far_apart(tmp_path: Path, memory: bool) -> None:
    """What lies between costs neither memory nor time."""
    store = open_store(tmp_path / "store")
    store.open()
    log = Log() if memory else store.open_log(1)
    filled(log)
    assert log.read(1 << 61) is not None
    assert log.read((1 << 61) - 1) is None
    assert log.count((), 2, 1 << 60) == 3
    assert [m.seq for m in (log.next((), 601), log.next((b"a",), 10_000_000_001)) if m] == [
        10_000_000_000,
        1 << 61,
    ]
    assert log.remove(600)
    assert log.remove(1)
    assert (log.first_seq, log.messages) == (2, 3)
    log.append(b"b", b"", b"", 6)
    assert log.purge((b"a",), keep=1) == 2
    assert log.first_seq == 1 << 61
    store.close()
    again = open_store(tmp_path / "store")
    assert again.open() == []
    again.close()


def test_pages_of_sequences_come_and_go() -> None:
    """In any order, with holes of any size."""
    log, kept = Log(), []
    for number in range(300):
        seq = log.last_seq + (1, 511, 512, 513, 40_000)[number % 5]
        log.append(b"s.%d" % (number % 7), b"", b"", number, seq)
        kept.append(seq)
    for seq in kept[::2] + kept[1::6]:
        assert log.remove(seq)
    left = [seq for seq in kept if seq not in {*kept[::2], *kept[1::6]}]
    found, message = [], log.next()
    while message is not None:
        found.append(message.seq)
        message = log.next((), message.seq + 1)
    assert found == left
    assert log.count((), left[3], left[-3]) == len(left) - 5


@pytest.mark.parametrize(
    "records",
    [
        b"\2" + seals.varint(1) + seals.varint(1) + seals.varint((1 << 64) - 1),
        b"\4" + seals.varint(1) + seals.varint(1 << 63),
        b"\5" + seals.varint(9) + seals.varint(1 << 40) + b"abc",
        b"\6" + seals.varint(60_000) + seals.varint(1) + b"k",
        b"\1" + seals.varint(1) * 2 + seals.varint(0) + seals.varint(9) + seals.varint(0) * 2 + b"abcd",
        b"\x63",
    ],
)
def test_a_batch_that_cannot_be_read_stops_the_store(tmp_path: Path, records: bytes) -> None:
    """It has a good checksum, so it is no torn write: somebody decides, and nothing is changed before that."""
    folder = tmp_path / "store"
    folder.mkdir()
    good = [b"\6" + seals.varint(1) + seals.varint(2) + key + b"v" for key in (b"a", b"b")]
    frames = [seals.frame(1, 70 + n, 0, payload) for n, payload in enumerate((good[0], records, good[1]))]
    journal = folder / "journal-00000001"
    journal.write_bytes(b"".join(frames))
    for _ in range(2):
        with pytest.raises(StoreError, match="nothing was changed"):
            open_store(folder).open()
        assert journal.read_bytes() == b"".join(frames)
    assert any("cannot be read" in str(finding) for finding in repair(folder).lost)
    store = open_store(folder)
    assert store.open() == []
    assert (store.get(b"a"), store.get(b"b")) == (b"v", b"v")
    store.close()


def test_a_journal_larger_than_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    journal = folder / "journal-00000001"
    journal.touch()
    os.truncate(journal, 1 << 31)
    with pytest.raises(StoreError, match="larger than can be read"):
        open_store(folder).open()
    assert journal.stat().st_size == 1 << 31


@pytest.mark.parametrize("memory", [True, False])
def test_no_higher_sequence_can_be_asked_for(tmp_path: Path, memory: bool) -> None:
    """What is written is read back."""
    store = open_store(tmp_path / "store")
    store.open()
    log = Log() if memory else store.open_log(1)
    log.append(b"a", b"", b"", 1)
    for ask in (
        lambda: log.append(b"a", b"", b"", 1, (1 << 61) + 1),
        lambda: log.skip((1 << 61) + 1),
        lambda: log.purge(below=(1 << 61) + 1),
    ):
        with pytest.raises(ValueError, match="above"):
            ask()
    assert (log.messages, log.last_seq) == (1, 1)
    log.purge(below=1 << 61)
    assert log.append(b"a", b"", b"", 1) == 1 << 61
    assert log.append(b"a", b"", b"", 1) == (1 << 61) + 1
    log.skip((1 << 61) + 2)
    assert log.purge() == 2
    store.wait()
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    store.close()
    for folder in (tmp_path / "store", tmp_path / "copy"):
        store = open_store(folder)
        assert store.open() == []
        assert memory or store.open_log(1).last_seq == (1 << 61) + 2
        store.close()


def test_removing_a_range_up_to_the_highest_sequence(tmp_path: Path) -> None:
    """Only what is there is gone through."""
    folder = tmp_path / "store"
    folder.mkdir()
    check = seals.record_check(7, 0, b"s", b"", b"x").to_bytes(4, "little")
    message = b"\1\1\7" + seals.varint(0) + b"\1\0\1" + check + b"sx"
    records = message + b"\4\1" + seals.varint(1 << 61) + b"\2\1\1" + seals.varint((1 << 62) - 1)
    (folder / "journal-00000001").write_bytes(seals.frame(1, 70, 0, records))
    store = open_store(folder)
    assert store.open() == []
    log = store.open_log(1)
    assert (log.messages, log.last_seq, log.append(b"s", b"", b"", 1)) == (0, 1 << 61, (1 << 61) + 1)
    store.close()


@pytest.mark.parametrize("wrong", [0, 1, 5, 700, 0xFFFFFFFF])
def test_a_sequence_of_a_block_is_damaged(tmp_path: Path, wrong: int) -> None:
    """The list of sequences is searched and has no checksum: all other messages are read, in their order."""
    folder = tmp_path / "store"
    store = open_store(folder)
    store.open()
    log = store.open_log(1)
    for number in range(200):
        log.append(b"a", b"", b"payload %d" % number, number)
    for seq in range(10, 190, 3):
        log.remove(seq)
    store.wait()
    store.close()
    kept = [seq for seq in range(1, 201) if seq not in range(10, 190, 3)]
    path = folder / "data.mdb"
    data = bytearray(path.read_bytes())
    deltas = b"".join((seq - 1).to_bytes(4, "little") for seq in kept)
    damaged = deltas[: 4 * 60] + wrong.to_bytes(4, "little") + deltas[4 * 61 :]
    assert deltas in data
    path.write_bytes(data.replace(deltas, damaged))  # also where an older version of the block lies
    found = _everything(open_store(folder))
    assert set(found) >= {seq for seq in kept if seq != kept[60]} - {wrong + 1}
    assert found == sorted(set(found))


def _everything(store: Store) -> list[int]:
    assert store.open() == []
    log, found, at = store.open_log(1), list[int](), 1
    for _ in range(1_000):
        try:
            message = log.next((), at)
        except Damaged as damage:
            back, at = damage.seq < at, damage.seq + 1
            if back:
                pytest.fail("reading goes back")
            continue
        if message is None:
            break
        assert message.payload == b"payload %d" % (message.seq - 1)
        found.append(message.seq)
        at = message.seq + 1
    store.close()
    return found
