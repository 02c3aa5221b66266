"""The format of a store: what any version has written is read for ever, what a later one wrote is left alone, and a
change of it is noticed."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from phloem import Server
from phloem.edge.upgrade.machine import UpgradeError
from phloem.edge.upgrade.rehearsal import rehearse
from phloem.shared.errors import ConfigError
from phloem.shared.server.store_command import store as command
from phloem.shared.store import keyring
from phloem.shared.store.check import check
from phloem.shared.store.compact import compact
from phloem.shared.store.encrypt import prepare
from phloem.shared.store.format import FILE, READS, WRITES, strange
from phloem.shared.store.inspect import DATABASES, Inspector, Reader
from phloem.shared.store.keyring import Keys
from phloem.shared.store.repair import mend, repair
from phloem.shared.store.store import StoreError
from tests.unit.store.every_format import KEYS, KINDS, Contents, make, opened, read
from tests.unit.store.pages import WORD

pytestmark = pytest.mark.skipif(WORD != 8, reason="a file of LMDB is for machines of one width")
VECTORS = Path(__file__).parents[2] / "vectors"
CHANGED = (
    "stores are written in another way than tests/vectors has them. If earlier versions cannot read that, it is a new "
    "format: first a version that reads it (format.READS, and its folder by python -m tests.unit.store.every_format), "
    "and in the version after it format.WRITES. See docs/device.md"
)


def unpacked(number: int, kind: str, to: Path) -> Path:
    """Not with ``extractall``: Debian 12's Python has no ``filter`` for it, and later ones want one."""
    with tarfile.open(VECTORS / f"store-{number}" / f"{kind}.tar.xz") as archive:
        for member in archive:
            if content := archive.extractfile(member):
                path = to / kind / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
    return to / kind


def keys(kind: str) -> Keys | None:
    return KEYS if kind == "encrypted" else None


def expected(number: int) -> Contents:
    found: Contents = json.loads((VECTORS / f"store-{number}" / "contents.json").read_text())
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(1, READS + 1))
def test_every_format_there_was_is_read(tmp_path: Path, number: int, kind: str) -> None:
    folder = unpacked(number, kind, tmp_path)
    assert check(folder, keys=keys(kind)).findings == []
    wanted = expected(number)
    assert len(wanted["logs"]["1"]["messages"]) > 40
    for _ in range(2):  # with the journal that was there, and as this version has it then
        assert read(folder, keys(kind)) == wanted
    assert check(folder, keys=keys(kind)).findings == []


def shape(folder: Path) -> Contents:
    """What of a store's files has to do with their format: all entries but what zstd made of messages."""
    data, reader = (folder / "data.mdb").read_bytes(), Reader()
    inspector = Inspector(data)
    found: Contents = {"missing": inspector.missing()}
    for name in DATABASES:
        found[name] = [
            (key, value[:4] if name == "blocks" and reader.is_block(key, value) else value)
            for key, value in inspector.walk(name)
        ]
    journals = sorted(folder.glob("journal-*"))
    found["journals"] = [path.read_bytes()[:4] for path in journals]
    found["files"] = sorted(path.name for path in folder.iterdir())
    return found


def test_this_version_writes_the_format_that_it_says(tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert make(made, None) == expected(WRITES), CHANGED
    found, wanted = shape(made), shape(unpacked(WRITES, "plain", tmp_path))
    assert all(wanted[name] for name in (*DATABASES, "journals"))
    assert found == wanted, CHANGED


def test_this_version_encrypts_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "COST", 14)  # others have made it less, for the process that they are in
    made = tmp_path / "made"
    assert make(made, KEYS) == expected(WRITES), CHANGED
    kept = files(unpacked(WRITES, "encrypted", tmp_path))
    for name, data in files(made).items():
        beginning = 11 if name == "keys" else 4 if name.startswith("journal") else 0
        assert data[:beginning] == kept[name][:beginning], CHANGED
        # LMDB's locks are as long as this machine's mutexes
        assert name.endswith("-lock") or len(data) == len(kept[name])


def test_there_is_a_way_back_by_one_version() -> None:
    assert READS >= WRITES
    assert [(VECTORS / f"store-{n}").is_dir() for n in range(1, READS + 2)] == [True] * READS + [False]


USES: dict[str, Callable[[Path, Keys | None], object]] = {
    "open": lambda folder, _: opened(folder, None).open(),
    "prepare": lambda folder, keys: prepare(folder, keys, print),
    "encrypt": lambda folder, _: prepare(folder, Keys("a new key"), print),
    "check": lambda folder, keys: check(folder, keys=keys),
    "repair": lambda folder, keys: repair(folder, keys=keys),
    "mend": lambda folder, keys: mend(folder, keys=keys),
    "compact": lambda folder, keys: compact(folder, keys=keys),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_later_format_is_left_alone(tmp_path: Path, kind: str, use: str) -> None:
    folder = unpacked(WRITES, kind, tmp_path)
    (folder / FILE).write_text(f"{READS + 1}\nwhatever else there is\n")
    (folder / "data.mdb").write_bytes(b"nothing that this version knows" * 1000)
    before = files(folder)
    with pytest.raises(StoreError, match=rf"later version .* format is {READS + 1}, .* reads up to {READS}"):
        USES[use](folder, keys(kind))
    assert files(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == [kind]


@pytest.mark.parametrize("text", ["", "two\n", "-1\n", "0\n"])
def test_a_number_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert "nothing was changed" in strange(str(tmp_path)).lower()


def test_a_format_that_is_read(tmp_path: Path) -> None:
    folder = unpacked(WRITES, "plain", tmp_path)
    (folder / FILE).write_text(f"{READS}\n")
    assert read(folder, None) == expected(WRITES)


def test_who_cannot_read_what_it_says(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    assert strange(str(tmp_path)) == f"{tmp_path}/{FILE} cannot be read: Is a directory; nothing was changed"
    assert strange(str(tmp_path / "none")) == ""


def later(tmp_path: Path) -> Path:
    """A store's copy after a version that writes what this one does not know, as ``phloem upgrade`` has it."""
    store = tmp_path / "copy/jetstream/phloem"
    store.parent.mkdir(parents=True)
    shutil.move(unpacked(WRITES, "plain", tmp_path), store)
    (store / FILE).write_text(f"{READS + 1}\n")
    return store


def test_commands_say_so(tmp_path: Path) -> None:
    store = later(tmp_path)
    for word in ("check", "repair", "compact"):
        done = CliRunner().invoke(command, [word, str(store)])
        assert done.exit_code == 2
        assert "install that version again" in done.output


async def test_a_server_says_so_and_does_not_start(tmp_path: Path) -> None:
    later(tmp_path)
    server = Server({"port": -1, "jetstream": {"store_dir": str(tmp_path / "copy")}})
    with pytest.raises(ConfigError, match="install that version again"):
        await server.start()
    assert (tmp_path / "copy/jetstream/phloem" / FILE).exists()


def test_a_rehearsal_says_so(tmp_path: Path) -> None:
    later(tmp_path)
    (tmp_path / "edge.conf").write_text(f'jetstream {{ store_dir: "{tmp_path}/live" }}\n')
    with pytest.raises(UpgradeError, match="install that version again"):
        rehearse(tmp_path / "copy", str(tmp_path / "edge.conf"))
