"""Bits flipped in a store, one at a time, while it is closed or while it is open and used: nothing wrong is served.

``python -m tests.durability.flips folder count seed`` flips bits of the store in ``folder`` and prints, as JSON, what
came of it; with ``open`` behind it bits of pages of data.mdb, while the store is open. Each flip is opened and read by
a process of its own, because a damaged file must not end the server either: LMDB follows pointers in a mapped file.
"""

import json
import os
import random
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from phloem.shared.store.log import Damaged, Log, Message
from phloem.shared.store.store import StoreError
from tests.durability.store_load import PACKED, PLAIN, open_store, parts, payload

PAGE = 4096
STEPS_MOST = 2_000_000
SERVED, REFUSED, NAMED, WRONG = 0, 1, 2, 3  # exit codes of a reader
OUTCOMES = {SERVED: "served", REFUSED: "refused", NAMED: "named", WRONG: "wrong"}

Contents = dict[tuple[int, int], Message]


def contents(folder: Path) -> tuple[Contents, int]:
    """Every message that is served, and how many were named as damaged."""
    store, damage, problems = open_store(folder)
    found: Contents = {}
    named = len(damage)
    for ident in (PLAIN, PACKED):
        log = store.open_log(ident)
        for seq in range(1, log.last_seq + 1):
            try:
                message = log.read(seq)
            except Damaged:
                named += 1
                continue
            if message is not None:
                found[ident, seq] = message
    return found, named + len(problems)


def judge(folder: Path, right: Contents) -> int:
    """Opens and reads a store with a flipped bit."""
    try:
        found, named = contents(folder)
    except StoreError:
        return REFUSED
    for (ident, seq), message in found.items():
        if right.get((ident, seq)) != message or parts(message.payload)[:2] != (ident, seq):
            return WRONG
    return NAMED if named or len(found) < len(right) else SERVED


def use_open(folder: Path, bit: int, right: Contents) -> int:
    """Opens a store, flips a bit of data.mdb under it, and goes on: what is acknowledged from then on is there, and
    what is missing of the rest is named."""
    store, damage, problems = open_store(folder)
    logs = {ident: store.open_log(ident, compress=ident == PACKED) for ident in (PLAIN, PACKED)}
    assert damage == []
    kept = dict(right)
    moves, steps = store.stats["flushes"] + 3, 0
    with (folder / "data.mdb").open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))
    while store.stats["flushes"] < moves or store.mending:
        for ident, log in logs.items():
            seq = log.last_seq + 1
            data = payload(ident, seq, 7, 600)
            assert log.append(b"s.%d" % (seq % 12), b"", data, seq) == seq
            kept[ident, seq] = Message(seq, seq, b"s.%d" % (seq % 12), b"", data)
            gone = rng_of(bit, steps, log.first_seq, log.last_seq)
            if steps % 5 == 0 and removed(log, gone):
                del kept[ident, gone]
        store.work()
        steps += 1
        if steps % 50 == 0 and store.stats["failed"]:
            return REFUSED
        assert steps < STEPS_MOST, (problems, store.stats)
    store.wait()
    lost = {ident: store.lost(ident) for ident in logs}
    store.close()
    found, named = contents(folder)
    if any(kept.get(place) != message for place, message in found.items()):
        return WRONG
    for ident, seq in kept.keys() - found.keys():
        mark = lost[ident]
        assert mark is not None or named, f"log {ident}: message {seq} is gone without a word: {problems}"
        assert mark is None or mark[0] <= seq <= mark[1] or named, f"log {ident}: message {seq} is not named"
    return NAMED if problems or named else SERVED


def rng_of(bit: int, steps: int, first: int, last: int) -> int:
    return random.Random(f"{bit}/{steps}").randint(first, last)


def removed(log: Log, seq: int) -> bool:
    try:
        return log.read(seq) is not None and log.remove(seq)
    except Damaged:
        return False


def places(data: bytes, rng: random.Random, count: int) -> list[int]:
    """Bits of pages that are used: half of them in the heads of pages, where LMDB's own numbers are."""
    used = [at for at in range(0, len(data), PAGE) if any(data[at : at + PAGE])]
    bits = [8 * (rng.choice(used) + rng.randrange(64)) + rng.randrange(8) for _ in range(count // 2)]
    bits += [8 * (rng.choice(used) + rng.randrange(PAGE)) + rng.randrange(8) for _ in range(count // 2)]
    return [bit % (8 * len(data)) for bit in bits]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def in_a_child(act: Callable[[], int]) -> str:
    child = os.fork()
    if child == 0:
        code = WRONG
        try:
            code = act()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return OUTCOMES[os.WEXITSTATUS(status)] if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"


def run(folder: Path, count: int, seed: int, *, used: bool = False) -> dict[str, list[str]]:
    """Outcome to the flips that had it, as file and bit."""
    rng = random.Random(seed)
    work = folder.with_name("flipped")
    right: Contents = {}
    for ident, messages in json.loads((folder.with_name("right")).read_text()).items():
        for seq, ts, subject, body in messages:
            right[int(ident), seq] = Message(seq, ts, bytes.fromhex(subject), b"", bytes.fromhex(body))
    outcomes: dict[str, list[str]] = {}
    if used:
        return run_open(folder, work, right, count, rng)
    for path in sorted(p for p in folder.iterdir() if not p.name.endswith("lock") and p.stat().st_size):
        data = path.read_bytes()
        for bit in places(data, rng, count):
            shutil.copytree(folder, work)
            (work / path.name).write_bytes(flipped(data, bit))
            outcomes.setdefault(in_a_child(partial(judge, work, right)), []).append(f"{path.name} bit {bit}")
            shutil.rmtree(work)
    return outcomes


def run_open(
    folder: Path, work: Path, right: Contents, count: int, rng: random.Random
) -> dict[str, list[str]]:
    outcomes: dict[str, list[str]] = {}
    for bit in places((folder / "data.mdb").read_bytes(), rng, count):
        shutil.copytree(folder, work)
        outcomes.setdefault(in_a_child(partial(use_open, work, bit, right)), []).append(f"bit {bit}")
        for left in folder.parent.glob("flipped*"):
            shutil.rmtree(left)
    return outcomes


def remember(folder: Path) -> None:
    """Writes what the undamaged store serves beside it; reading must not change it, so a copy is read."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    found, named = contents(copy)
    assert named == 0
    rows: dict[int, list[tuple[int, int, str, str]]] = {}
    for (ident, seq), m in found.items():
        rows.setdefault(ident, []).append((seq, m.ts, m.subject.hex(), m.payload.hex()))
    folder.with_name("right").write_text(json.dumps(rows))


if __name__ == "__main__":
    if sys.argv[2] == "remember":
        remember(Path(sys.argv[1]))
        os._exit(0)
    result = run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), used="open" in sys.argv[4:])
    print(json.dumps({"counts": Counter({k: len(v) for k, v in result.items()}), "flips": result}))
