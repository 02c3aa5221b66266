"""Bits flipped in a closed store, one at a time: nothing wrong is ever served.

``python -m tests.durability.flips folder count seed`` flips bits of the store in ``folder`` and prints, as JSON, what
came of it. Each flip is opened and read by a process of its own, because a damaged file must not end the server either:
LMDB follows pointers in a mapped file.
"""

import json
import os
import random
import shutil
import sys
import traceback
from collections import Counter
from pathlib import Path

from phloem.shared.store.log import Damaged, Message
from phloem.shared.store.store import StoreError
from tests.durability.store_load import PACKED, PLAIN, open_store, parts

PAGE = 4096
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


def in_a_child(folder: Path, right: Contents) -> str:
    child = os.fork()
    if child == 0:
        code = WRONG
        try:
            code = judge(folder, right)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return OUTCOMES[os.WEXITSTATUS(status)] if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"


def run(folder: Path, count: int, seed: int) -> dict[str, list[str]]:
    """Outcome to the flips that had it, as file and bit."""
    rng = random.Random(seed)
    work = folder.with_name("flipped")
    right: Contents = {}
    for ident, messages in json.loads((folder.with_name("right")).read_text()).items():
        for seq, ts, subject, payload in messages:
            right[int(ident), seq] = Message(seq, ts, bytes.fromhex(subject), b"", bytes.fromhex(payload))
    outcomes: dict[str, list[str]] = {}
    for path in sorted(p for p in folder.iterdir() if not p.name.endswith("lock") and p.stat().st_size):
        data = path.read_bytes()
        for bit in places(data, rng, count):
            shutil.copytree(folder, work)
            (work / path.name).write_bytes(flipped(data, bit))
            outcomes.setdefault(in_a_child(work, right), []).append(f"{path.name} bit {bit}")
            shutil.rmtree(work)
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
    result = run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"counts": Counter({k: len(v) for k, v in result.items()}), "flips": result}))
