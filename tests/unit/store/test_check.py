"""``check`` sees every kind of damage, ``repair`` keeps all that is good, and neither makes things worse."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from phloem.shared.server.store_command import store as command
from phloem.shared.store import keyring
from phloem.shared.store.check import check
from phloem.shared.store.folder import other_machines
from phloem.shared.store.inspect import Inspector
from phloem.shared.store.log import Message
from phloem.shared.store.repair import repair
from phloem.shared.store.store import StoreError
from tests.unit.store.damage import KEYS, fill, nothing_invented, open_store
from tests.unit.store.pages import HEAD

Kept = dict[int, dict[int, Message]]


@pytest.fixture(scope="module", params=["plain", "encrypted"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Kept]]:
    folder = tmp_path_factory.mktemp("made") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyring, "COST", 4)
        patch.setenv("PHLOEM_STORE_KEY", KEYS.key)
        yield folder, fill(folder, encrypted=request.param == "encrypted")


def contents(folder: Path) -> dict[int, dict[int, Message]]:
    store = open_store(folder)
    assert store.open() == []
    found: dict[int, dict[int, Message]] = {}
    for ident in (1, 2):
        log = store.open_log(ident)
        found[ident] = {}
        message = log.next()
        while message is not None:
            found[ident][message.seq] = message
            message = log.next((), message.seq + 1)
        assert len(found[ident]) == log.messages
    store.close()
    return found


def test_a_sound_store_has_no_findings(made: tuple[Path, Kept], tmp_path: Path) -> None:
    folder, kept = made
    survey = check(folder, keys=KEYS)
    assert [str(finding) for finding in survey.findings] == []
    assert survey.totals.messages == sum(len(messages) for messages in kept.values())
    assert survey.streams == {1: "A/ORDERS"}
    assert repair(folder, keys=KEYS).kept is None
    assert not list(folder.parent.glob("*.damaged-*"))


def test_a_store_that_was_left_with_a_journal(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = open_store(folder, generation_bytes=1 << 20)
    store.open()
    log = store.open_log(1)
    for number in range(100):
        log.append(b"a", b"", b"%d" % number, 1)
    store.wait()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with pytest.raises(StoreError, match="in use"):
        check(folder, keys=KEYS)
    store.close()
    survey = check(copy, keys=KEYS)
    assert survey.findings == []
    assert survey.totals.batches > 0
    journal = copy / "journal-00000001"
    data = bytearray(journal.read_bytes())
    data[100] ^= 4
    journal.write_bytes(data)
    assert (
        check(copy, keys=KEYS).totals.batches == 0
    )  # its only batch is gone, as if it had never been finished


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits(made: tuple[Path, Kept], tmp_path: Path, seed: int) -> None:
    folder, kept = made
    rng = random.Random(seed)
    copy = tmp_path / "store"
    shutil.copytree(folder, copy)
    path = copy / "data.mdb"
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 10, 300))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    second = tmp_path / "second"
    shutil.copytree(copy, second)
    nothing_invented(second, kept)
    before = check(copy, keys=KEYS)
    try:
        done = repair(copy, keys=KEYS)
    except StoreError:
        assert before.findings
        assert path.read_bytes() == bytes(data)
        return
    if not before.findings:  # the flips were in pages that nobody uses
        assert contents(copy) == kept
        return
    assert check(copy, keys=KEYS).findings == []
    assert done.damaged is not None
    assert (done.damaged / "data.mdb").read_bytes() == bytes(data)
    found = contents(copy)
    for ident, messages in found.items():
        for seq, message in messages.items():
            if seq in kept[ident]:
                assert message == kept[ident][seq]
            else:
                assert any(finding.kind in ("removed", "page") for finding in done.found.findings)
    if not done.lost:
        assert found == kept


@pytest.mark.parametrize("size", [0, 100, 200, 4096, 5000, 8192, 50_000, 200_000])
def test_a_truncated_file(made: tuple[Path, Kept], tmp_path: Path, size: int) -> None:
    folder, kept = made
    copy = tmp_path / "store"
    shutil.copytree(folder, copy)
    with (copy / "data.mdb").open("r+b") as file:
        file.truncate(size)
    assert check(copy, keys=KEYS).findings
    nothing_invented(copy, kept)


def test_the_command(made: tuple[Path, Kept], tmp_path: Path) -> None:
    folder, _ = made
    copy = tmp_path / "store"
    shutil.copytree(folder, copy)
    run = CliRunner().invoke
    result = run(command, ["check", str(copy)])
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "all is well")
    data = bytearray((copy / "data.mdb").read_bytes())
    inspector = Inspector(bytes(data))
    block = next(value for key, value in inspector.walk("blocks") if key[:4] == (1).to_bytes(4))
    inspector.close()
    data[data.index(block) + len(block) // 2] ^= 1
    (copy / "data.mdb").write_bytes(data)
    result = run(command, ["check", str(copy)])
    assert result.exit_code == 1
    assert "message: log 1 (stream A/ORDERS), sequence " in result.output
    result = run(command, ["repair", str(copy)])
    assert result.exit_code == 1
    assert "its checksum does not match" in result.output
    assert run(command, ["check", str(copy)]).exit_code == 0
    assert run(command, ["check", str(tmp_path)]).exit_code == 2


def test_an_emptied_file_is_not_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = open_store(folder, generation_bytes=2000)
    store.open()
    log = store.open_log(1)
    for number in range(100):
        log.append(b"a", b"", b"%d" % number, 1)
        store.wait()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    store.close()
    (copy / "data.mdb").write_bytes(b"")
    with pytest.raises(StoreError, match="is damaged"):
        open_store(copy).open()
    assert {finding.kind for finding in check(copy, keys=KEYS).findings} == {"file"}
    repair(copy, keys=KEYS)
    assert check(copy, keys=KEYS).findings == []


def test_a_file_of_a_machine_with_another_width_is_not_taken_for_damage(
    made: tuple[Path, Kept], tmp_path: Path
) -> None:
    """A repair would find nothing in it, and put an empty store in its place."""
    folder = tmp_path / "store"
    shutil.copytree(made[0], folder)
    path = folder / "data.mdb"
    assert other_machines(str(path)) == ""
    whole, other = path.read_bytes(), 28 - HEAD  # bytes in front of the magic number: 16, or 12
    path.write_bytes(whole[HEAD:].rjust(len(whole) - HEAD + other, b"\0"))
    before = path.read_bytes()
    for look in (
        lambda: open_store(folder).open(),
        lambda: check(folder, keys=KEYS),
        lambda: repair(folder, keys=KEYS),
    ):
        with pytest.raises(StoreError, match="cannot be read here"):
            look()
    assert path.read_bytes() == before
    assert not list(folder.parent.glob("*.damaged-*"))
