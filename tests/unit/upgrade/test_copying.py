"""Copies of a store, and whether there is room for them."""

import os
from pathlib import Path

import pytest

from phloem.edge.upgrade import copying
from phloem.edge.upgrade.machine import UpgradeError

HOLE = 32 << 20


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/empty").touch(mode=0o600)
    (folder / "keys").write_bytes(b"k" * 100)
    with (folder / "data.mdb").open("wb") as data:
        data.write(b"begin")
        data.seek(HOLE)
        data.write(os.urandom(copying.PIECE + 7))
    return folder


def test_a_copy_is_the_same_and_keeps_its_holes(store: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    copying.copy(store, tmp_path / "copy", lambda done, whole: told.append((done, whole)))
    for name in ("data.mdb", "keys", "inner/empty"):
        assert (tmp_path / "copy" / name).read_bytes() == (store / name).read_bytes()
        assert (tmp_path / "copy" / name).stat().st_mode == (store / name).stat().st_mode
    assert copying.size(tmp_path / "copy") < HOLE
    assert told == sorted(told)
    assert told[-1][0] <= told[-1][1]


def test_cloned_where_the_file_system_can(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloned: list[int] = []
    monkeypatch.setattr(copying.fcntl, "ioctl", lambda to, request, source: cloned.append(request))
    assert copying.shares(store, tmp_path)
    copying.copy(store, tmp_path / "copy", lambda *_: None)
    assert cloned == [copying.FICLONE] * 4
    assert not (tmp_path / ".clone").exists()
    assert (tmp_path / "copy/data.mdb").stat().st_size == 0  # the ioctl was played


def test_an_empty_store_shares_nothing(tmp_path: Path) -> None:
    assert not copying.shares(tmp_path / "none", tmp_path)
    assert copying.size(tmp_path / "none") == 0


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    copying.room(tmp_path / "not/there/yet", 1, "a copy", "do this")
    found = os.statvfs(tmp_path)
    free = found.f_bavail * found.f_frsize
    with pytest.raises(
        UpgradeError, match=r"a copy needs .* free in .*, and there are .* are missing; do this"
    ):
        copying.room(tmp_path, free * 2, "a copy", "do this")


def test_a_disk_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.statvfs(tmp_path)
    fields = [*found[:8], found.f_flag | os.ST_RDONLY, found.f_namemax]
    monkeypatch.setattr(copying.os, "statvfs", lambda _: os.statvfs_result(fields))
    with pytest.raises(UpgradeError, match="remount,rw"):
        copying.room(tmp_path, 1, "a copy", "do this")


def test_a_disk_that_gets_full(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying.os, "pwrite", lambda *_: 0)
    with pytest.raises(OSError, match="Input/output"):
        copying.copy(store, tmp_path / "copy", lambda *_: None)
