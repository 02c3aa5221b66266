"""A small store that has a bit of everything, as it lies on the disk, and what is in it: kept in ``tests/vectors`` for
each format there ever was.

    python -m tests.unit.store.every_format tests/vectors/store-2

makes the folder for a new format. Nothing but that is ever done to such a folder: devices have such stores.
"""

import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from phloem.shared.store.encrypt import prepare
from phloem.shared.store.keyring import Keys
from phloem.shared.store.log import Message
from phloem.shared.store.store import Store

KEYS = Keys("a key that everybody knows")
LONG = b"long." + b"y" * 600  # longer than a key of LMDB
KINDS = ("plain", "encrypted")
BEFORE, AFTER = 40, 12  # messages: in data.mdb, and in the journal alone
IDENTS = (1, 2)  # the second log is compressed
Contents = dict[str, Any]


def opened(folder: Path, keys: Keys | None) -> Store:
    """A store of this version. Raises StoreError."""
    vault = prepare(folder, keys, lambda _: None)
    return Store(str(folder), seed=7, generation_bytes=1 << 16, vault=vault)


def make(folder: Path, keys: Keys | None) -> Contents:
    """Writes it to a folder that is not there; what is read back. It is as a power cut leaves it: with a journal."""
    live = folder.with_name(folder.name + ".live")
    store = opened(live, keys)
    assert store.open() == []
    store.put(b"s/A/ORDERS", b'{"ident": 1, "config": {"name": "ORDERS"}}')
    store.put(b"gone", b"1")
    _messages(store, 0, BEFORE)
    store.close()
    store = opened(live, keys)
    assert store.open() == []
    for ident in IDENTS:
        assert store.open_log(ident, compress=ident == 2).remove(11)  # of a block that stays as it is
    store.close()
    store = opened(live, keys)
    assert store.open() == []
    store.delete(b"gone")
    store.put(b"k", b"v")
    store.put_state(9, b"state")
    store.note(9, b"noted")
    _messages(store, BEFORE, AFTER)
    store.open_log(1).skip(BEFORE + AFTER)
    store.wait()
    shutil.copytree(live, folder)  # nothing is under way
    store.close()
    shutil.rmtree(live)
    shutil.copytree(folder, live)
    found = read(live, keys)
    shutil.rmtree(live)
    return found


def read(folder: Path, keys: Keys | None) -> Contents:
    """What a store has; it is used, so its files are others afterwards. Raises StoreError."""
    store = opened(folder, keys)
    try:
        assert store.open() == []
        return contents(store)
    finally:
        store.close()


def _messages(store: Store, first: int, count: int) -> None:
    for ident in IDENTS:
        log = store.open_log(ident, compress=ident == 2)
        for number in range(first, first + count):
            subject = LONG if number % 20 == 5 else b"a.%d.t" % (number % 6)
            header = b"NATS/1.0\r\nX: %d\r\n\r\n" % number if number % 4 == 0 else b""
            log.append(subject, header, b"%d " % number * 30, 1_700_000_000_000_000_000 + number)
        assert log.remove(first + 3)
    store.wait()


def contents(store: Store) -> Contents:
    """All of an open store, as JSON has it."""
    state, notes = store.state(9)
    return {
        "pairs": {key.decode(): value.decode() for key, value in store.scan(b"")},
        "state": None if state is None else state.decode(),
        "notes": [note.decode() for note in notes],
        "logs": {str(ident): _log(store, ident) for ident in IDENTS},
    }


def _log(store: Store, ident: int) -> Contents:
    log = store.open_log(ident, compress=ident == 2)
    found: list[Message] = []
    message = log.next()
    while message is not None:
        found.append(message)
        message = log.next((), message.seq + 1)
    return {
        "first": log.first_seq,
        "last": log.last_seq,
        "subjects": {subject.decode(): count for subject, count in log.subjects().items()},
        "messages": [[m.seq, m.ts, m.subject.decode(), m.header.decode(), m.payload.decode()] for m in found],
    }


def main(folder: Path) -> None:
    """Makes the files of a format."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        for kind in KINDS:
            store = Path(scratch) / kind
            found = make(store, KEYS if kind == "encrypted" else None)
            with tarfile.open(folder / f"{kind}.tar.xz", "w:xz") as archive:
                archive.add(store, ".")
            (folder / "contents.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
