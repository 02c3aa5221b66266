"""JWTs in a folder: what is on the disk, what goes first, and what servers compare."""

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phloem.shared.errors import ConfigError, InvalidJWT
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.claim_folder import ClaimFolder
from phloem.shared.testing import ManualClock
from tests.support.operators import AccountKeys, OperatorWorld

NOW_S = 1_800_000_000
WORLD = OperatorWorld()
ACCOUNTS = [AccountKeys(WORLD, f"A{number}") for number in range(4)]


class Told:
    """What the folder tells of."""

    def __init__(self) -> None:
        self.changed: list[tuple[str, str]] = []
        self.deleted: list[str] = []


Make = Callable[..., ClaimFolder]


def save(folder: ClaimFolder, name: str, token: str) -> None:
    """As a resolver does it, which has a thread write."""
    if folder.admit(name, token):
        folder.write(name, token)
        folder.keep(name, token)


def save_if_newer(folder: ClaimFolder, name: str, token: str) -> None:
    if folder.is_newer(name, token):
        save(folder, name, token)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall_ns=NOW_S * SECOND_NS)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def make(tmp_path: Path, clock: ManualClock, told: Told) -> Make:
    def folder(*, limit: int = 0, evicts: bool = False, **more: Any) -> ClaimFolder:
        return ClaimFolder(
            str(tmp_path / "jwt"),
            limit=limit,
            evicts=evicts,
            wall_ns=clock.wall_ns,
            changed=lambda name, token: told.changed.append((name, token)),
            deleted=told.deleted.append,
            **more,
        )

    return folder


def token(number: int, iat: int = NOW_S, exp: int = 0) -> str:
    return ACCOUNTS[number].token(iat=iat, exp=exp)


def name(number: int) -> str:
    return ACCOUNTS[number].public


def test_saved_for_its_owner_alone_and_read_back(make: Make, tmp_path: Path, told: Told) -> None:
    folder = make()
    save(folder, name(0), token(0))
    path = tmp_path / "jwt" / f"{name(0)}.jwt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == token(0) == folder.load(name(0))
    assert told.changed == [(name(0), token(0))]
    save(folder, name(0), token(0))
    assert len(told.changed) == 1
    assert [one.name for one in (tmp_path / "jwt").iterdir()] == [path.name]
    assert make().load(name(0)) == token(0)


def test_hash_over_all(make: Make) -> None:
    folder = make()
    assert folder.digest == bytes(32)
    total = 0
    for number in range(3):
        save(folder, name(number), token(number))
        total ^= int.from_bytes(hashlib.sha256(token(number).encode()).digest())
    assert folder.digest == total.to_bytes(32) == make().digest


def test_newer_ones_win(make: Make, told: Told) -> None:
    folder = make()
    save_if_newer(folder, name(0), token(0, NOW_S))
    save_if_newer(folder, name(0), token(0, NOW_S - 5))
    assert folder.load(name(0)) == token(0, NOW_S)
    save_if_newer(folder, name(0), token(0, NOW_S + 5))
    assert folder.load(name(0)) == token(0, NOW_S + 5)
    with pytest.raises(InvalidJWT, match="do not match"):
        save_if_newer(folder, name(0), token(1, NOW_S + 10))
    with pytest.raises(InvalidJWT):
        save_if_newer(folder, name(0), "x")


def test_full(make: Make) -> None:
    folder = make(limit=1)
    save(folder, name(0), token(0))
    with pytest.raises(InvalidJWT, match="jwt store is full"):
        save(folder, name(1), token(1))
    save(folder, name(0), token(0, NOW_S + 1))


def test_a_cache_drops_what_was_not_used_for_longest(make: Make) -> None:
    folder = make(limit=2, evicts=True)
    for number in range(2):
        save(folder, name(number), token(number))
    folder.load(name(0))
    save(folder, name(2), token(2))
    assert [folder.load(name(number)) is not None for number in range(3)] == [True, False, True]


def test_time_to_live_counts_from_the_last_use(make: Make, clock: ManualClock) -> None:
    folder = make(evicts=True, ttl_ns=10 * SECOND_NS)
    save(folder, name(0), token(0))
    save(folder, name(1), token(1))
    clock.advance(6 * SECOND_NS)
    folder.load(name(0))
    clock.advance(6 * SECOND_NS)
    folder.expire()
    assert [folder.load(name(number)) is not None for number in range(2)] == [True, False]


def test_expired_ones_go(make: Make, clock: ManualClock) -> None:
    folder = make()
    save(folder, name(0), token(0, exp=NOW_S + 5))
    save(folder, name(1), token(1))
    clock.advance(6 * SECOND_NS)
    assert [one for one, _ in folder.all()] == [name(1)]
    folder.expire()
    assert folder.load(name(0)) is None
    assert len(folder) == 1


@pytest.mark.parametrize("hard", [False, True])
def test_delete(make: Make, tmp_path: Path, told: Told, hard: bool) -> None:
    folder = make(hard_delete=hard)
    save(folder, name(0), token(0))
    folder.take_away(name(0))
    folder.delete(name(0))
    folder.take_away(name(1))
    folder.delete(name(1))
    assert told.deleted == [name(0)]
    assert folder.digest == bytes(32)
    there = [path.name for path in (tmp_path / "jwt").iterdir()]
    assert there == ([] if hard else [f"{name(0)}.jwt.deleted"])


def test_reload_finds_what_was_put_there_by_hand(make: Make, tmp_path: Path, told: Told) -> None:
    folder = make()
    save(folder, name(0), token(0))
    save(folder, name(1), token(1))
    told.changed.clear()
    (tmp_path / "jwt" / f"{name(0)}.jwt").write_text(token(0, NOW_S + 1))
    (tmp_path / "jwt" / f"{name(1)}.jwt").unlink()
    (tmp_path / "jwt" / f"{name(2)}.jwt").write_text(token(2))
    (tmp_path / "jwt" / "x.jwt").write_text("x")
    folder.reload()
    assert told.changed == [(name(0), token(0, NOW_S + 1))]
    assert folder.load(name(1)) is None
    assert folder.load(name(2)) == token(2)
    assert len(folder) == 2


def test_a_name_that_is_none(make: Make, tmp_path: Path) -> None:
    folder = make()
    for wrong in ("", "x", "../x", name(0).lower()):
        with pytest.raises(InvalidJWT):
            save(folder, wrong, token(0))
        assert folder.load(wrong) is None
    assert not list((tmp_path / "jwt").iterdir())


def test_a_folder_that_is_a_file(make: Make, tmp_path: Path) -> None:
    (tmp_path / "jwt").write_text("")
    with pytest.raises(ConfigError, match="resolver"):
        make()
