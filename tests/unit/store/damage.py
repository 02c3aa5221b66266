"""A store with everything in it, closed; and how its files are damaged."""

import contextlib
import os
import random
import select
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from phloem.shared.store.encrypt import prepare
from phloem.shared.store.keyring import Keys, has_keys
from phloem.shared.store.log import Damaged, Message
from phloem.shared.store.store import Store, StoreError
from tests.unit.store.pages import FLAGS, HEAD, flip, pages_of, word

LIMIT_S = 100.0  # reached only by a case that fails; a slow machine takes some tens
TURN_MOST_S = 0.01  # what else may be waited for, such as a time, is looked at so often
LONG = b"long." + b"y" * 600


KEYS = Keys("only a test")  # of every store here that is encrypted


def open_store(folder: Path, problems: list[str] | None = None, generation_bytes: int = 40_000) -> Store:
    told = problems.append if problems is not None else None
    vault = prepare(folder, KEYS if has_keys(str(folder)) else None, print)
    return Store(str(folder), seed=3, generation_bytes=generation_bytes, on_problem=told, vault=vault)


Kept = dict[int, dict[int, Message]]
_filled: dict[bool, tuple[dict[str, bytes], Kept]] = {}  # files and what is in them


def turn(store: Store) -> None:
    """``Store.work``; if nothing is finished yet, when something may be: the threads that do it have the processor."""
    store.work()
    ready, _, _ = select.select([store.fileno(), store.timer_fileno()], [], [], TURN_MOST_S)
    if store.fileno() in ready:
        os.read(store.fileno(), 8)
    store.work()


def work_until(store: Store, done: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not done():
        turn(store)
        assert time.monotonic() < end, store.stats


def fill(folder: Path, count: int = 1500, *, encrypted: bool = False) -> Kept:
    """Two logs, one of them compressed, after appending, removing and purging; what they hold. It is made once, and
    from then on written down as it was closed."""
    kind = count, encrypted
    if kind not in _filled:
        kept = _fill(folder, count, encrypted=encrypted)
        files = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("lock")}
        _filled[kind] = files, kept
    else:
        folder.mkdir(mode=0o700)
        for name, data in _filled[kind][0].items():
            (folder / name).touch(0o600)
            (folder / name).write_bytes(data)
    return {ident: dict(messages) for ident, messages in _filled[kind][1].items()}


def _fill(folder: Path, count: int, *, encrypted: bool) -> Kept:
    rng = random.Random(1)
    if encrypted:
        prepare(folder, KEYS, print)
    kept: Kept = {1: {}, 2: {}}
    store = open_store(folder)
    assert store.open() == []
    store.put(b"s/A/ORDERS", b'{"ident": 1, "config": {}}')
    for number in range(count):
        ident = 1 + number % 2
        log = store.open_log(ident, compress=ident == 2)
        subject = rng.choice((b"a.%d" % rng.randrange(60), b"b", LONG))
        payload = b"%08d" % number + rng.randbytes(8) * rng.randrange(1, 40)
        seq = log.append(subject, b"", payload, 1000 + number)
        kept[ident][seq] = Message(seq, 1000 + number, subject, b"", payload)
        if number % 7 == 0:
            gone = rng.choice(list(kept[ident]))
            assert log.remove(gone)
            del kept[ident][gone]
        if number % 50 == 0:
            store.put(b"k%d" % number, b"v" * rng.randrange(1, 200))
        if number % 100 == 0:
            store.wait()
    store.wait()
    store.close()
    return kept


def nothing_invented(folder: Path, kept: Kept) -> int:
    """Opens a damaged store and reads all of it: right or named. How many messages were read."""
    store = open_store(folder)
    good = 0
    try:
        store.open()
    except StoreError:
        return 0
    try:
        for ident, messages in kept.items():
            try:
                log = store.open_log(ident)
            except StoreError:
                continue
            at, steps = 1, 0
            while at <= log.last_seq:
                steps += 1
                assert steps < 100_000, "reading does not end"
                try:
                    message = log.next((), at)
                except Damaged as damage:
                    at = damage.seq + 1
                    continue
                if message is None:
                    break
                assert message == messages[message.seq], "something was served that was not stored"
                good += 1
                at = message.seq + 1
            for seq in list(messages)[::50]:
                with contextlib.suppress(Damaged):
                    assert log.read(seq) in (messages[seq], None)
            log.subjects((b"a.>",))
            log.count((b"b",), 1, log.last_seq)
            log.append(b"a.1", b"", b"more", 5000)
        list(store.scan(b""))
        store.wait()
    finally:
        try:
            store.close()
        except StoreError:  # LMDB could not write: then the journal has it still
            assert any(path.stat().st_size for path in folder.glob("journal-*"))
    return good


def leaf_nodes(data: bytes, page_size: int = 4096) -> Iterator[tuple[int, bytes]]:
    """Where each entry's key stands in the leaves of LMDB's file, old ones as well, and the key."""
    for page in range(0, len(data), page_size):
        number = word(data, page)
        flags, lower = struct.unpack_from("<HH", data, page + FLAGS)
        if flags != 2 or number != page // page_size:
            continue
        for (at,) in struct.iter_unpack("<H", data[page + HEAD : page + lower]):
            (size,) = struct.unpack_from("<H", data, page + at + 6)
            yield page + at + 8, data[page + at + 8 : page + at + 8 + size]


def break_leaf(path: Path, ident: int) -> None:
    """Damages the pages that lead to a log's blocks: a key of each says something else, and so does the head of its
    block, so that nobody knows what it was. In place, and nothing else is written: a store may have the file open."""
    data, live = path.read_bytes(), pages_of(path)["leaf"]
    places = [
        at
        for at, key in leaf_nodes(data)
        if len(key) == 12 and key[:4] == ident.to_bytes(4) and at // 4096 in live
    ]
    pages = {at // 4096: at for at in reversed(places)}  # the first of each, so that the order is not right
    assert pages
    for at in pages.values():
        large = data[at - 4] == 1
        value = word(data, at + 12) * 4096 + HEAD if large else at + 12
        flip(path, value + 20, 1)
        flip(path, at + 4, 0x40)  # the sequence is out of all proportion
