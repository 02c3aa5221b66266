"""Encryption at rest: nothing of what is stored can be read in any file, keys are asked for, and whatever interrupts an
encryption or a change of keys, the next start goes on."""

import errno
import hashlib
import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from phloem.shared.server.store_command import store as command
from phloem.shared.store import encrypt, inspect, keyring
from phloem.shared.store.check import check
from phloem.shared.store.compact import compact
from phloem.shared.store.encrypt import prepare, secret_of
from phloem.shared.store.frames import Journals
from phloem.shared.store.keyring import Keys
from phloem.shared.store.log import Damaged, Message
from phloem.shared.store.repair import repair
from phloem.shared.store.store import Store, StoreDamaged, StoreError
from phloem.shared.store.vault import Vault
from tests.fuzz import seals
from tests.support.sampling import sampled
from tests.unit.store.pages import flip

KEY = Keys("correct horse battery staple")
OTHER = Keys("another key", prev_key=KEY.key)
AES = Keys(KEY.key, cipher="aes")
COUNT = 400
CANARY = b"CaNaRy"  # in everything that is somebody's
SUBJECT, LONG = b"field.CaNaRy.%d.temperature", b"CaNaRy." + b"y" * 600
PAIR, VALUE = b"s/CaNaRyAccount/CaNaRyStream", b'{"ident": 1, "config": {"name": "CaNaRyStream"}}'
Kept = dict[int, dict[int, Message]]


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing keys costs nothing here."""
    monkeypatch.setattr(keyring, "COST", 4)


def opened(folder: Path, keys: Keys | None, told: list[str] | None = None) -> Store:
    vault = prepare(folder, keys, (told if told is not None else []).append)
    store = Store(str(folder), seed=3, generation_bytes=12_000, vault=vault)
    assert store.open() == []
    return store


def filled(store: Store, count: int = COUNT) -> Kept:
    """Two logs, one of them compressed, with removals, pairs and notes."""
    rng = random.Random(1)
    kept: Kept = {1: {}, 2: {}}
    store.put(PAIR, VALUE)
    for number in range(count):
        ident = 1 + number % 2
        log = store.open_log(ident, compress=ident == 2)
        subject = LONG if number % 50 == 0 else SUBJECT % rng.randrange(60)
        header = b"NATS/1.0\r\nNats-Msg-Id: CaNaRy-%d\r\n\r\n" % number if number % 3 == 0 else b""
        payload = b"CaNaRy reading %d " % number + b"CaNaRy" * rng.randrange(40)
        seq = log.append(subject, header, payload, 1000 + number)
        kept[ident][seq] = Message(seq, 1000 + number, subject, header, payload)
        if number % 9 == 0:
            gone = rng.choice(list(kept[ident]))
            assert log.remove(gone)
            del kept[ident][gone]
        if number % 20 == 0:
            store.put(b"c/CaNaRyAccount/CaNaRyStream/CaNaRy%d" % number, b"CaNaRy state" * rng.randrange(9))
            store.note(7, b"CaNaRy note")
        if number % 100 == 0:
            store.wait()
    store.wait()
    return kept


def found_in(folder: Path) -> list[str]:
    """Files with something in them that is somebody's."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path.name for path in files if CANARY in path.read_bytes()]


def all_of(folder: Path, keys: Keys | None) -> Kept:
    store = opened(folder, keys)
    try:
        assert store.get(PAIR) == VALUE
        assert dict(store.scan(b"s/CaNaRyAccount/")) == {PAIR: VALUE}
        assert len(list(store.scan(b"c/CaNaRyAccount/"))) == COUNT // 20
        found: Kept = {}
        for ident in (1, 2):
            log = store.open_log(ident)
            found[ident] = {}
            message = log.next()
            while message is not None:
                found[ident][message.seq] = message
                message = log.next((), message.seq + 1)
            assert sum(log.subjects((b"field.CaNaRy.>", LONG)).values()) == log.messages == len(found[ident])
        return found
    finally:
        store.close()


def prints(folder: Path) -> dict[str, str]:
    """What is in every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("lock", "data.mdb-lock")
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Kept]:
    """A store that is not encrypted: after a clean stop, and as a kill leaves it."""
    folder = tmp_path_factory.mktemp("plain") / "store"
    store = opened(folder, None)
    kept = filled(store)
    killed = folder.with_name("killed")
    shutil.copytree(folder, killed)
    store.close()
    return folder, killed, kept


@pytest.fixture(params=["stopped", "killed"])
def old(request: pytest.FixtureRequest, plain: tuple[Path, Path, Kept], tmp_path: Path) -> tuple[Path, Kept]:
    """A copy of one of them."""
    folder = tmp_path / "store"
    shutil.copytree(plain[0] if request.param == "stopped" else plain[1], folder)
    assert found_in(folder)
    return folder, plain[2]


@pytest.mark.parametrize("cipher", ["chacha", "aes"])
def test_nothing_can_be_read(tmp_path: Path, cipher: str) -> None:
    keys = Keys(KEY.key, cipher=cipher)
    folder = tmp_path / "store"
    store = opened(folder, keys)
    kept = filled(store)
    assert store.stats["flushes"] > 3
    killed = tmp_path / "killed"
    shutil.copytree(folder, killed)
    assert found_in(folder) == []
    store.close()
    assert found_in(folder) == []
    assert keys.key.encode() not in (folder / "keys").read_bytes()
    for place in (folder, killed):
        survey = check(place, keys=keys)
        assert survey.findings == []
        assert survey.streams == {1: "CaNaRyAccount/CaNaRyStream"}
        assert all_of(place, keys) == kept
        compact(place, keys=keys)
        assert found_in(place) == []
        assert check(place, keys=keys).findings == []
        assert all_of(place, keys) == kept
        assert found_in(place) == []


def test_a_name_says_nothing_and_is_found(tmp_path: Path) -> None:
    """Two stores hide the same names differently; one hides them the same way each time."""
    keys = []
    for name in ("one", "two"):
        store = opened(tmp_path / name, KEY)
        filled(store, 60)
        store.close()
        data = (tmp_path / name / "data.mdb").read_bytes()
        inspector = inspect.Inspector(data)
        keys.append({key for database in ("subjects", "pairs") for key, _ in inspector.walk(database)})
        inspector.close()
    assert keys[0].isdisjoint(keys[1])


def test_an_old_store_is_encrypted(old: tuple[Path, Kept]) -> None:
    folder, kept = old
    told: list[str] = []
    opened(folder, KEY, told).close()
    assert told == ["Encrypting the store with ChaCha20-Poly1305"]
    assert found_in(folder) == []
    assert check(folder, keys=KEY).findings == []
    assert all_of(folder, KEY) == kept
    assert found_in(folder) == []


def test_long_work_is_told(
    plain: tuple[Path, Path, Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(plain[0], folder)
    monkeypatch.setattr(encrypt, "LONG_BYTES", 1)
    told: list[str] = []
    prepare(folder, KEY, told.append)
    assert told[1:]
    assert all(text.startswith("  encrypting: ") for text in told[1:])


def test_without_space_nothing_changes(plain: tuple[Path, Path, Kept], tmp_path: Path) -> None:
    """The folder is as it was but for what is coming, and the next start goes on."""
    folder = tmp_path / "store"
    shutil.copytree(plain[0], folder)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encrypt, "_copy", full)
        with pytest.raises(StoreError, match="cannot be encrypted: No space"):
            prepare(folder, KEY, print)
    assert (folder / "data.mdb").read_bytes() == (plain[0] / "data.mdb").read_bytes()
    assert all_of(folder, KEY) == plain[2]


def test_a_compaction_without_space_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = opened(folder, KEY)
    kept = filled(store)
    store.close()
    before, data = secret_of(folder, KEY), (folder / "data.mdb").read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encrypt, "_copy", full)
        with pytest.raises(StoreError, match="was not changed: No space"):
            compact(folder, keys=KEY)
    assert secret_of(folder, KEY) == before
    assert (folder / "data.mdb").read_bytes() == data
    assert all_of(folder, KEY) == kept


def test_what_was_in_the_clear_is_written_over(
    old: tuple[Path, Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a file is deleted, nothing of it is on the disk any more."""
    folder, _ = old
    wiped: list[str] = []
    real = encrypt.wipe_file

    def wipe(path: str) -> None:
        if Path(path).exists():
            kept = tmp_path / f"kept-{len(wiped)}"
            kept.hardlink_to(path)
            wiped.append(Path(path).name)
        real(path)

    monkeypatch.setattr(encrypt, "wipe_file", wipe)
    had_journals = [path.name for path in folder.glob("journal-*")]
    opened(folder, KEY).close()
    assert "data.mdb.sealed" in wiped
    assert {name.removesuffix(".old") for name in wiped} >= {name for name in had_journals}
    for path in tmp_path.glob("kept-*"):
        assert CANARY not in path.read_bytes()
        assert path.stat().st_size


@pytest.mark.parametrize("keys", [None, Keys(""), Keys("wrong"), Keys("wrong", prev_key="as well"), OTHER])
def test_without_the_key_nothing_changes(tmp_path: Path, keys: Keys | None) -> None:
    folder = tmp_path / "store"
    opened(folder, Keys("the key")).close()
    before = prints(folder)
    text = "no main key" if keys is None or not keys.key else "unable to recover keys"
    tried: tuple[Callable[[], object], ...] = (
        lambda: prepare(folder, keys, print),
        lambda: check(folder, keys=keys),
        lambda: repair(folder, keys=keys),
        lambda: compact(folder, keys=keys),
    )
    for attempt in tried:
        with pytest.raises(StoreError, match=text):
            attempt()
    with pytest.raises(StoreError, match="no main key"):
        Store(str(folder), seed=1, generation_bytes=1 << 20).open()
    assert prints(folder) == before


def test_another_key(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = opened(folder, KEY)
    kept = filled(store)
    store.close()
    data = (folder / "data.mdb").read_bytes()
    told: list[str] = []
    prepare(folder, OTHER, told.append)
    assert "wrapped by the new key" in told[0]
    assert (folder / "data.mdb").read_bytes() == data  # only the file of keys
    with pytest.raises(StoreError, match="unable to recover keys"):
        prepare(folder, KEY, print)
    assert all_of(folder, Keys(OTHER.key)) == kept
    assert not list(folder.glob("keys.*"))


def test_another_cipher(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = opened(folder, KEY)
    kept = filled(store)
    store.close()
    told: list[str] = []
    opened(folder, AES, told).close()
    assert told == ["Converting to AES-GCM"]
    assert secret_of(folder, AES).cipher == "aes"
    assert all_of(folder, AES) == kept
    assert found_in(folder) == []


def test_aes_without_instructions_reads_the_same(tmp_path: Path) -> None:
    secret = keyring.fresh("aes")
    store = Store(
        str(tmp_path / "s"), seed=1, generation_bytes=9000, vault=Vault("aes", secret.key, fast=False)
    )
    store.open()
    kept = filled(store, 100)
    store.close()
    store = Store(str(tmp_path / "s"), seed=1, generation_bytes=9000, vault=Vault("aes", secret.key))
    assert store.open() == []
    assert store.open_log(1).messages == len(kept[1])
    seq = max(kept[1])
    assert store.open_log(1).read(seq) == kept[1][seq]
    store.close()


def test_a_compaction_makes_a_new_data_key(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = opened(folder, KEY)
    kept = filled(store)
    store.close()
    before = secret_of(folder, KEY)
    compact(folder, keys=KEY)
    after = secret_of(folder, KEY)
    assert before.key != after.key
    inspector = inspect.Inspector((folder / "data.mdb").read_bytes())
    reader = inspect.Reader(before.vault())
    assert all(reader.unsealed("meta", key, value) is None for key, value in inspector.walk("meta"))
    inspector.close()
    assert all_of(folder, KEY) == kept


class Killed(BaseException):
    """The process ends here."""


STEPS = [
    (keyring, "wipe_file"),
    (keyring, "_replace"),
    (encrypt, "_move_journal"),
    (encrypt, "_copy"),
    (encrypt, "_like"),
    (encrypt, "_exchange"),
    (encrypt, "sync_folder"),
    (keyring, "write"),
    (encrypt, "wipe_file"),
]


def dies(work: Callable[[], object], at: int) -> bool:
    """Whether the process ended before (``at`` even) or after (odd) the ``at // 2``-th step of some work."""
    steps = 0

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **more: object) -> object:
            nonlocal steps
            mine, steps = steps, steps + 1
            if mine * 2 == at:
                raise Killed
            result = real(*args, **more)
            if mine * 2 + 1 == at:
                raise Killed
            return result

        return step

    with pytest.MonkeyPatch.context() as patch:
        for module, name in STEPS:
            patch.setattr(module, name, dying(getattr(module, name)))
        try:
            work()
        except Killed:
            return True
    return False


def survives(
    folder: Path, source: Path, work: Callable[[], object], after: Callable[[], Kept], kept: Kept, whole: bool
) -> int:
    """The work, ended at every step, or each third of them, before it and after it in turn: what was kept is there, and
    cannot be read. How many steps there were."""
    for at in itertools.count(0, 1 if whole else 3):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        died = dies(work, at)
        assert after() == kept, at
        assert found_in(folder) == [], at
        assert {path.name for path in folder.iterdir()} <= {"data.mdb", "data.mdb-lock", "keys", "lock"}, at
        if not died:
            return at
    raise AssertionError


@sampled
def test_encrypting_is_interrupted(old: tuple[Path, Kept], tmp_path: Path, whole: bool) -> None:
    source, kept = old
    folder = tmp_path / "work"
    steps = survives(
        folder,
        source,
        lambda: prepare(folder, KEY, print),
        lambda: all_of(folder, KEY),
        kept,
        whole,
    )
    assert steps > 20


def made(tmp_path: Path) -> tuple[Path, Kept]:
    """A store that is encrypted, as a kill leaves it."""
    store = opened(tmp_path / "made", KEY)
    kept = filled(store)
    shutil.copytree(tmp_path / "made", tmp_path / "source")
    store.close()
    return tmp_path / "source", kept


@sampled
def test_another_cipher_is_interrupted(tmp_path: Path, whole: bool) -> None:
    source, kept = made(tmp_path)
    folder = tmp_path / "work"
    steps = survives(
        folder,
        source,
        lambda: prepare(folder, AES, print),
        lambda: all_of(folder, AES),
        kept,
        whole,
    )
    assert steps > 20


@sampled
def test_a_compaction_is_interrupted(tmp_path: Path, whole: bool) -> None:
    source, kept = made(tmp_path)
    folder = tmp_path / "work"
    steps = survives(
        folder,
        source,
        lambda: compact(folder, keys=KEY),
        lambda: all_of(folder, KEY),
        kept,
        whole,
    )
    assert steps > 20


def test_another_key_is_interrupted(tmp_path: Path) -> None:
    source, kept = made(tmp_path)
    folder = tmp_path / "work"
    steps = survives(
        folder, source, lambda: prepare(folder, OTHER, print), lambda: all_of(folder, OTHER), kept, True
    )
    assert steps >= 6


def test_the_file_of_keys_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    opened(folder, KEY).close()
    path = folder / "keys"
    whole = path.read_bytes()
    for at in (3, 40, 100, 4100, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert prepare(folder, KEY, print) is not None  # the other copy is good
    path.write_bytes(whole[:40] + b"\0" + whole[41:-20] + b"\0" + whole[-19:])
    with pytest.raises(StoreError, match="is damaged"):
        prepare(folder, KEY, print)


def test_plain_entries_are_not_taken_for_encrypted_ones(
    plain: tuple[Path, Path, Kept], tmp_path: Path
) -> None:
    """Whoever has the card and not the key cannot put messages on it."""
    folder = tmp_path / "store"
    opened(folder, KEY).close()
    shutil.copyfile(plain[0] / "data.mdb", folder / "data.mdb")
    vault = prepare(folder, KEY, print)
    with pytest.raises(StoreDamaged):
        Store(str(folder), seed=1, generation_bytes=1 << 20, vault=vault).open()
    for journal in plain[1].glob("journal-*"):
        shutil.copyfile(journal, folder / journal.name)
    (folder / "data.mdb").unlink()
    store = Store(str(folder), seed=1, generation_bytes=1 << 20, vault=prepare(folder, KEY, print))
    try:
        store.open()
    except StoreError:
        return
    assert store.open_log(1).messages == 0
    store.close()


def test_values_are_bound_to_their_place(tmp_path: Path) -> None:
    """What has changed places, or a bit of which has changed, is not what was written."""
    folder = tmp_path / "store"
    store = opened(folder, KEY)
    filled(store, 300)
    store.close()
    rng = random.Random(1)
    reader = inspect.Reader(secret_of(folder, KEY).vault())
    inspector = inspect.Inspector((folder / "data.mdb").read_bytes())
    for name in ("meta", "subjects", "dead"):
        entries = list(inspector.walk(name))
        assert len(entries) > 1
        assert all(reader.unsealed(name, key, value) is not None for key, value in entries)
        for (key, value), (other, _) in itertools.pairwise(entries):
            assert reader.unsealed(name, other, value) is None
            assert reader.unsealed("meta" if name == "dead" else "dead", key, value) is None
            at = rng.randrange(len(value))
            assert reader.unsealed(name, key, value[:at] + bytes([value[at] ^ 4]) + value[at + 1 :]) is None
            assert reader.unsealed(name, key, value[:at]) is None
    inspector.close()


def test_the_format_by_hand() -> None:
    """libsodium's ciphers as Python calls them make the same bytes."""
    reader = inspect.Reader(keyring.Secret("chacha", seals.DATA_KEY).vault())
    messages = [(seq, 1000 + seq, b"a.%d" % seq, b"", b"x" * 50 * seq) for seq in (3, 4, 5, 8, 40)]
    block, key = seals.block(messages), b"\0\0\0\x01" + (40).to_bytes(8)
    assert len(block) > 3 * seals.CHUNK
    assert reader.block(key, seals.block_shut(key, block, seals.tail_of(block), 9)) == block
    assert reader.block(key, seals.block_shut(key, block, seals.tail_of(block) + 2, 9)) is None
    assert reader.unsealed("dead", b"key", seals.value_shut("dead", b"key", b"value", 1 << 40)) == b"value"
    pair = b"\3\0keyvalue"
    assert reader.pair(b"hidden", seals.value_shut("pairs", b"hidden", pair, 5)) == (b"key", b"value")
    frame = seals.frame_shut(7, 3, 1234, b"\7\5", 2)
    journals = Journals(2, reader.vault)
    assert journals.read("journal", frame, 7) == [0]
    plain, at = journals.plain(frame, 0)
    assert (plain[at + 24 : at + 32], plain[at + seals.FRAME :]) == ((1234).to_bytes(8, "little"), b"\7\5")


def test_a_chunk_that_is_damaged_costs_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = opened(folder, KEY)
    log = store.open_log(1)
    for number in range(2000):
        log.append(b"a.%d" % number, b"", b"%0100d" % number, number)
    store.wait()
    store.close()
    data = bytearray((folder / "data.mdb").read_bytes())
    inspector = inspect.Inspector(bytes(data))
    key, block = next(iter(inspector.walk("blocks")))
    inspector.close()
    data[data.index(block) + len(block) // 2] ^= 1
    (folder / "data.mdb").write_bytes(data)
    store = opened(folder, KEY)
    log = store.open_log(1)
    lost = 0
    for seq in range(1, 2001):
        try:
            message = log.read(seq)
        except Damaged:
            lost += 1
            assert seq <= int.from_bytes(key[4:])
        else:
            assert message is not None
            assert message.payload == b"%0100d" % (seq - 1)
    assert 5 <= lost <= 15
    store.close()


def test_a_damaged_subject_is_found_in_the_messages(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = opened(folder, KEY)
    log = store.open_log(1)
    for number in range(100):
        log.append(b"a.%d" % (number % 10), b"", b"", number)
    store.wait()
    store.close()
    store = opened(folder, KEY)
    data = (folder / "data.mdb").read_bytes()
    inspector = inspect.Inspector(data)
    for _, value in itertools.islice(
        inspector.walk("subjects"), 3
    ):  # while it is open: else it is mended before
        flip(folder / "data.mdb", data.index(value) + 20, 1)
    inspector.close()
    log = store.open_log(1)
    assert log.subjects((b"a.*",)) == {b"a.%d" % number: 10 for number in range(10)}
    assert all(log.subject(b"a.%d" % number) == (10, 1 + number, 91 + number) for number in range(10))
    with pytest.raises(StoreError, match="was damaged while it is in use"):
        store.close()


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "store"
    store = opened(folder, KEY)
    kept = filled(store)
    store.close()
    run = CliRunner().invoke
    monkeypatch.delenv("PHLOEM_STORE_KEY", raising=False)
    refused = run(command, ["check", str(folder)])
    assert refused.exit_code == 2
    assert "no main key" in refused.output
    key_file = tmp_path / "key"
    key_file.write_text(KEY.key + "\n")
    config = tmp_path / "phloem.conf"
    config.write_text(f'jetstream {{ store_dir: "{tmp_path}", key: "{KEY.key}" }}\n')
    assert run(command, ["check", str(folder), "--key-file", str(key_file)]).exit_code == 0
    assert run(command, ["check", str(folder), "--config", str(config)]).exit_code == 0
    monkeypatch.setenv("PHLOEM_STORE_KEY", KEY.key)
    for name in ("check", "repair", "compact", "check"):
        done = run(command, [name, str(folder)])
        assert done.exit_code == 0, done.output
        assert KEY.key not in done.output
    assert all_of(folder, KEY) == kept
