"""The harness itself: a journal that is right passes at every cut, each that is wrong is caught."""

import functools
import os
import random
from pathlib import Path

import pytest

from tests.durability import toys
from tests.durability.cuts import complete, cut, record
from tests.durability.disk import SECTOR, Choice, Disk
from tests.durability.trace import AT_ONCE, CREATES, FOLDER, Event, Op


def recorded(tmp_path: Path, kind: str) -> list[Event]:
    events = record("tests.durability.toys", tmp_path / "toy", tmp_path / "trace", kind)
    complete(events, tmp_path / "toy")
    return events


@pytest.mark.parametrize("kind", ["right", "renamed"])
def test_a_right_journal_passes_everywhere(kind: str, tmp_path: Path) -> None:
    events = recorded(tmp_path, kind)
    every = range(1, len(events) + 1)
    assert cut(events, every, functools.partial(toys.verify, kind=kind), tmp_path / "cut", 1) == []


@pytest.mark.parametrize("kind", toys.WRONG)
def test_a_wrong_journal_is_caught(kind: str, tmp_path: Path) -> None:
    events = recorded(tmp_path, kind)
    every = [point for point in range(1, len(events) + 1) for _ in range(4)]
    assert cut(events, every, functools.partial(toys.verify, kind=kind), tmp_path / "cut", 1, failures_max=1)


def disk_of(*events: Event) -> Disk:
    disk = Disk()
    disk.follow(Event(Op.OPEN, CREATES, 1, 0, 0, b"a"))
    disk.follow(Event(Op.OPEN, FOLDER, 2, 0, 0, b""))
    for event in events:
        disk.follow(event)
    return disk


def syncs(handle: int) -> tuple[Event, Event]:
    return Event(Op.SYNC_BEGIN, 0, handle, 0, 0, b""), Event(Op.SYNC_END, 0, handle, 0, 0, b"")


def write(offset: int, data: bytes, flags: int = 0) -> Event:
    return Event(Op.WRITE, flags, 1, offset, len(data), data)


def possible(disk: Disk) -> set[bytes | None]:
    return {disk.crash(Choice(str(seed))).get("a") for seed in range(300)}


def test_what_was_synced_is_there() -> None:
    assert possible(disk_of(write(0, b"x"), *syncs(1), *syncs(2))) == {b"x"}


def test_a_name_needs_its_folder() -> None:
    assert possible(disk_of(write(0, b"x"), *syncs(1))) == {None, b"x"}


def test_a_write_during_a_sync_is_not_covered() -> None:
    begin, end = syncs(1)
    found = possible(disk_of(*syncs(2), write(0, b"x"), begin, write(0, b"y"), end))
    assert found == {b"x", b"y"}


def test_sectors_are_whole_and_independent() -> None:
    found = possible(
        disk_of(*syncs(2), write(0, b"x" * (2 * SECTOR)), *syncs(1), write(0, b"y" * (2 * SECTOR)))
    )
    assert found == {a * SECTOR + b * SECTOR for a in (b"x", b"y") for b in (b"x", b"y")}


def test_at_once_is_durable_before_older_writes() -> None:
    found = possible(disk_of(*syncs(2), write(0, b"old"), write(0, b"new", AT_ONCE)))
    assert found == {b"new"}


def test_renames_are_whole() -> None:
    other = [Event(Op.OPEN, CREATES, 3, 0, 0, b"b"), Event(Op.WRITE, 0, 3, 0, 1, b"2"), *syncs(3), *syncs(2)]
    disk = disk_of(write(0, b"1"), *syncs(1), *other, Event(Op.RENAME, 0, 0, 0, 0, b"b\0a"))
    found = {tuple(sorted(disk.crash(Choice(str(seed))).items())) for seed in range(100)}
    assert found == {(("a", b"1"), ("b", b"2")), (("a", b"2"),)}


def test_a_failed_sync_loses_what_it_should_have_written() -> None:
    begin, end = syncs(1)
    failed = Event(Op.SYNC_FAILED, 0, 1, 0, 0, b"")
    disk = Disk(failed_syncs_lose=True)
    opened = [Event(Op.OPEN, CREATES, 1, 0, 0, b"a"), Event(Op.OPEN, FOLDER, 2, 0, 0, b""), *syncs(2)]
    for event in [*opened, write(0, b"x"), begin, failed, begin, end]:
        disk.follow(event)
    assert possible(disk) == {b""}


@pytest.mark.parametrize("seed", range(5))
def test_everything_is_what_the_file_system_has(seed: int, tmp_path: Path) -> None:
    """Random operations on a real file and on the model."""
    rng = random.Random(seed)
    disk = disk_of(*syncs(2))
    with (tmp_path / "a").open("w+b", buffering=0) as file:
        for _ in range(50):
            offset, data = rng.randrange(3000), rng.randbytes(rng.randrange(1, 1500))
            if rng.random() < 0.2:
                file.truncate(offset)
                disk.follow(Event(Op.TRUNCATE, 0, 1, 0, offset, b""))
            else:
                os.pwrite(file.fileno(), data, offset)
                disk.follow(write(offset, data))
            if rng.random() < 0.1:
                for event in syncs(1):
                    disk.follow(event)
        assert disk.contents()["a"] == (tmp_path / "a").read_bytes()
