"""What is believed of a journal that was damaged, and what is said of it; the same for opening and for ``check``."""

import shutil
import struct
from pathlib import Path

import pytest

from phloem.shared.store.check import check
from phloem.shared.store.frames import Journals
from tests.unit.store.damage import open_store

HEAD = struct.Struct("<4sIQQqQQ")  # magic, length, generation, batch, base time, durable, check


def left(folder: Path, batches: int, *, relaxed: bool) -> Path:
    """A copy of a store's folder as a crash leaves it, with so many batches of one message in its first journal."""
    store = open_store(folder, generation_bytes=1 << 20)
    store.open()
    log = store.open_log(1, relaxed=relaxed)
    for number in range(batches):
        log.append(b"a", b"", b"%d" % number, 1)
        store.wait()
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    store.close()
    return copy


def frames_of(data: bytes) -> list[tuple[int, int, int, int]]:
    """Place, length, batch and the last durable batch of each frame."""
    found, at = [], 0
    while data[at : at + 4] == b"PHL1":
        _, length, _, batch, _, durable, _ = HEAD.unpack_from(data, at)
        found.append((at, HEAD.size + length, batch, durable))
        at += HEAD.size + length
    return found


def without(path: Path, *gone: int) -> None:
    """Damages frames, the first being 0."""
    data = bytearray(path.read_bytes())
    frames = frames_of(bytes(data))
    for index in gone:
        data[frames[index][0] + 50] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("gone", [(0,), (2,), (0, 1, 2)])
def test_frames_behind_a_damaged_one_are_kept_and_it_is_named(tmp_path: Path, gone: tuple[int, ...]) -> None:
    copy = left(tmp_path / "store", 5, relaxed=False)
    without(copy / "journal-00000001", *gone)
    findings = check(copy).findings
    assert [finding.kind for finding in findings] == ["journal"]
    store = open_store(copy)
    damage = store.open()
    assert len(damage) == 1
    assert findings[0].text.split(": ", 1)[1] == damage[0].split(": ", 1)[1]
    log = store.open_log(1)
    assert [log.read(seq) is not None for seq in range(1, 6)] == [seq - 1 not in gone for seq in range(1, 6)]
    store.close()
    again = open_store(copy)
    assert again.open() == []
    again.close()


def test_the_last_frame_ends_the_journal(tmp_path: Path) -> None:
    """Whether it was torn or damaged nobody can know; it is the one batch that may have been on its way."""
    copy = left(tmp_path / "store", 5, relaxed=False)
    without(copy / "journal-00000001", 4)
    store = open_store(copy)
    assert store.open() == []
    assert store.open_log(1).last_seq == 4
    store.close()


def test_batches_that_were_not_synced_may_be_missing(tmp_path: Path) -> None:
    copy = left(tmp_path / "store", 5, relaxed=True)
    journal = copy / "journal-00000001"
    assert {durable for _, _, batch, durable in frames_of(journal.read_bytes())} == {
        frames_of(journal.read_bytes())[0][2] - 1
    }
    without(journal, 0, 2)
    assert check(copy).findings == []
    store = open_store(copy)
    assert store.open() == []
    assert store.stats["unsynced_lost"] == 2
    log = store.open_log(1)
    assert [log.read(seq) is not None for seq in range(1, 6)] == [False, True, False, True, True]
    store.close()


def test_a_journal_that_does_not_go_on_from_the_one_before(tmp_path: Path) -> None:
    """The end of a generation was lost, and the next one begins: its first frame says that there was more."""
    copy = left(tmp_path / "store", 3, relaxed=False)
    data = (copy / "journal-00000001").read_bytes()
    first = frames_of(data)[0][2]
    journals = Journals(first - 3)
    assert len(journals.read("journal-2", data, 1)) == 3
    assert journals.holes() == [("journal-2", 0, 0, first - 3, first)]
    assert "does not go on" in journals.damage()[0]
    assert journals.batch == first + 2


def test_numbers_of_batches_go_on(tmp_path: Path) -> None:
    """From run to run, after a clean end and after a crash, so that the first frame of a run is known, too."""
    copy = left(tmp_path / "store", 3, relaxed=False)
    last = frames_of((copy / "journal-00000001").read_bytes())[-1][2]
    for run in range(2, 4):
        store = open_store(copy)
        assert store.open() == []
        store.open_log(1).append(b"a", b"", b"more", 1)
        store.wait()
        frames = frames_of((copy / f"journal-{store.stats['generation']:08d}").read_bytes())
        assert frames[0][2:] == (last + 1, last)
        last = frames[-1][2]
        if run == 2:
            store.close()
        else:
            second = copy.with_name("second")
            shutil.copytree(copy, second)
            store.close()
            copy = second
    store = open_store(copy)
    assert store.open() == []
    assert store.open_log(1).last_seq == 5
    store.close()
